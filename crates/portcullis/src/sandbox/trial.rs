//! A debug build tries on request what the daemon must not be able to do any more.
//!
//! `PORTCULLIS_SANDBOX_TRIAL=FILE` has every deed tried from a thread that was started afterwards; the file, in a place
//! that may be written, gets a line for each: `DEED: done`, or why not. A folder beside it that may not be written is
//! taken from `PORTCULLIS_SANDBOX_OUTSIDE`.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = "PORTCULLIS_SANDBOX_TRIAL";
const OUTSIDE: &str = "PORTCULLIS_SANDBOX_OUTSIDE";

/// Tries everything, if that is wanted.
pub(super) fn run() {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(file), Some(outside)) = (path(FILE), path(OUTSIDE)) else {
        return;
    };
    let tried = std::thread::spawn(move || deeds(&file, &outside));
    drop(tried.join());
}

fn deeds(file: &Path, outside: &Path) {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    drop(fs::write(file, ""));
    let all: [(&str, io::Result<()>); 10] = [
        ("write outside", fs::write(outside.join("new"), "x")),
        (
            "append outside",
            File::options().append(true).open(outside.join("old")).map(drop),
        ),
        ("remove outside", fs::remove_file(outside.join("old"))),
        ("make a folder outside", fs::create_dir(outside.join("folder"))),
        ("read outside", fs::read(outside.join("old")).map(drop)),
        ("listen on TCP", TcpListener::bind("127.0.0.1:0").map(drop)),
        ("start a program", Command::new("/bin/true").status().map(drop)),
        ("load a kernel module", load()),
        (
            "change the owner of a file",
            std::os::unix::fs::chown(file, Some(1), None),
        ),
        ("look at the first process", fs::read_link("/proc/1/exe").map(drop)),
    ];
    let line = |(deed, result): (&str, io::Result<()>)| match result {
        Ok(()) => format!("{deed}: done\n"),
        Err(error) => format!("{deed}: {:?}\n", error.kind()),
    };
    let text: String = all.into_iter().map(line).collect();
    drop(fs::write(file, format!("threads: {threads}\n{text}")));
}

fn load() -> io::Result<()> {
    let module = File::open("/dev/null")?;
    Ok(rustix::system::finit_module(module, c"", 0)?)
}

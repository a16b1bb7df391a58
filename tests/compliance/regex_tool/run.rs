//! A folder with small logs and filters, and the two programs in it.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::oracle;

/// The clock of both, which stands still.
const NOW: &str = "2026-06-15 12:00:00";

/// What a run printed to standard output, with its exit code.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) text: String,
}

impl fmt::Debug for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "exit {:?}\n{}", self.code, self.text)
    }
}

/// The folder.
pub(super) struct Stage(TempDir);

impl Stage {
    pub(super) fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_portcullis"), folder.path().join("fail2ban-regex")).unwrap();
        let many: String = (0..30)
            .map(|number| match number % 3 {
                0 => format!("Jun 15 11:00:{number:02} h d[{number}]: from 192.0.2.{number} x\n"),
                1 => format!("Jun 15 11:01:{number:02} h d[{number}]: hello 198.51.100.{number}\n"),
                _ => "h: nothing\t here  \n".to_owned(),
            })
            .collect();
        let door = "[Definition]\nprefregex = ^ h d\\[<F-MLFID>\\d+</F-MLFID>\\]: <F-CONTENT>.+</F-CONTENT>$\n\
                    failregex = ^from <HOST><<mode>>\n            ^<F-NOFAIL>hello</F-NOFAIL> <ADDR>\n\
                    ignoreregex = from 192\\.0\\.2\\.9\n[Init]\nmode = loose\nloose = \\b\nstrict = x$\n";
        let files: &[(&str, &[u8])] = &[
            ("many.log", many.as_bytes()),
            ("odd.log", b"Jun 15 11:00:00 \xff from 192.0.2.1\r\n\x1b[31m from 192.0.2.2\nfrom \xc3\xa9\xe6\x97\xa5 from 192.0.2.3 \nlast from 192.0.2.4"),
            ("empty.log", b""),
            ("comments.log", b"# from 192.0.2.1\n\n#x\n"),
            ("door.conf", door.as_bytes()),
            ("broken.conf", b"[Definition]\nfailregex = from <HOST>\nno option here\n"),
            ("section.conf", b"failregex = from <HOST>\n"),
            ("include.conf", b"[INCLUDES]\nbefore = door.conf\n[Definition]\nfailregex = %(known/failregex)s\n  ^x <HOST>\n"),
            ("empty.conf", b"[Definition]\n"),
            ("noid.conf", b"[Definition]\nfailregex = from nobody\n"),
        ];
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        Stage(folder)
    }

    pub(super) fn ours(&self, words: &[String]) -> Ended {
        self.run(self.0.path().join("fail2ban-regex").to_str().unwrap(), words)
    }

    pub(super) fn theirs(&self, words: &[String]) -> Ended {
        self.run(oracle::PYTHON, words)
    }

    fn run(&self, program: &str, words: &[String]) -> Ended {
        let etc = oracle::configuration();
        let fill = |word: &String| {
            word.replace("{etc}", etc.to_str().unwrap())
                .replace("{logs}", oracle::sample_logs().to_str().unwrap())
        };
        let mut command = Command::new(program);
        if program == oracle::PYTHON {
            command.arg(oracle::root().join("usr/bin/fail2ban-regex"));
        }
        if !words.iter().any(|word| word == "-c") {
            command.arg("-c").arg(&etc);
        }
        command.args(words.iter().map(fill));
        let python = oracle::python();
        let environment = python.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let output = command
            .envs(environment)
            .env("LD_PRELOAD", library())
            .env("FAKETIME", NOW)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        Ended {
            code: output.status.code(),
            text: untimed(&String::from_utf8_lossy(&output.stdout)),
        }
    }
}

/// The library that shows a process another wall clock.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).unwrap()
}

/// The output without how long it took.
fn untimed(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("[processed in ")).collect()
}

/// Words apart by blanks, or within single quotes; `\n` is a line feed.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => {
                begun = true;
                word.push(letter);
            }
        }
    }
    if begun {
        words.push(word);
    }
    words.iter().map(|word| word.replace("\\n", "\n")).collect()
}

//! What the world does to a database: `kill -9`, full and read-only file systems, damage, other writers.

use super::*;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const CHILD: &str = "PORTCULLIS_STORE_TEST";

/// This test again, in a process of its own, told by the environment which file to work on.
fn again(test: &str, wrapper: &[&str], path: &Path) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut words: Vec<&std::ffi::OsStr> = wrapper.iter().map(std::ffi::OsStr::new).collect();
    words.push(exe.as_os_str());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["--exact", test, "--nocapture"]);
    command.env(CHILD, path).stdin(Stdio::null());
    command.process_group(0);
    command
}

fn told() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Step `n`: one counter of seven goes up, the log is read to `n`, one address is banned, now and then many lines.
fn step(n: u64, counts: &mut [u32; 7]) -> Vec<Entry> {
    let which = usize::try_from(n % 7).unwrap();
    counts[which] += 1;
    let address = std::net::Ipv4Addr::from_bits(0xc633_0000 + u32::try_from(n).unwrap());
    let mut case = ticket(&address.to_string(), 0, 600);
    case.matches = vec!["x".repeat(if n.is_multiple_of(20) { 16_000 } else { 100 }).into(); 10];
    let counter = Entry::Count {
        jail: jail("sshd"),
        id: id(&format!("192.0.2.{which}")),
        count: Some(Count {
            matches: vec![],
            ..count(counts[which])
        }),
    };
    vec![counter, read(n), ban(&case)]
}

fn run_until_killed(path: &Path) {
    let (mut store, _) = open(path, 0).unwrap();
    let saved = store.load().unwrap();
    let mut counts = [0; 7];
    for (_, id, count) in &saved.counts {
        let which: usize = id.to_string().trim_start_matches("192.0.2.").parse().unwrap();
        counts[which] = count.retry;
    }
    let mut n = saved.marks.first().map_or(0, |(_, _, mark)| mark.offset);
    loop {
        n += 1;
        let entries = step(n, &mut counts);
        store.commit(at(0), &entries).unwrap();
        if n.is_multiple_of(50) {
            // A clean end and a new start may be hit as well.
            store.close().unwrap();
            store = open(path, 0).unwrap().0;
        }
    }
}

#[test]
fn kill_at_any_moment() {
    if let Some(path) = told() {
        return run_until_killed(&path);
    }
    let bench = Bench::new();
    let mut pauses = std::iter::successors(Some(12_345u64), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005) + 1));
    let mut last = 0;
    let mut moved = 0;
    for round in 0..30 {
        let mut child: Child = again("store::tests::force::kill_at_any_moment", &["env"], &bench.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(10 + (pauses.next().unwrap() >> 40) % 150));
        child.kill().unwrap();
        child.wait().unwrap();
        if !bench.path().exists() {
            continue;
        }
        assert_eq!(bench.ask("PRAGMA integrity_check"), "ok", "round {round}");
        let (store, opened) = bench.open(0);
        assert!(opened.moved_aside.is_none(), "round {round}");
        assert_eq!(opened.adopted, Adopted::default());
        let saved = store.load().unwrap();
        let offset = saved.marks.first().map_or(0, |(_, _, mark)| mark.offset);
        let counted: u64 = saved.counts.iter().map(|(_, _, count)| u64::from(count.retry)).sum();
        assert_eq!((counted, saved.bans.len() as u64), (offset, offset), "round {round}");
        drop(store);
        for table in ["bans", "bips"] {
            assert_eq!(bench.ask(&format!("SELECT count(*) FROM {table}")), offset.to_string());
        }
        assert_eq!(
            bench.ask("SELECT COALESCE(max(lastfilepos), 0) FROM logs"),
            offset.to_string()
        );
        assert!(offset >= last, "round {round}: {offset} after {last}");
        moved += u32::from(offset > last);
        last = offset;
    }
    assert!(
        moved >= 5,
        "the children got through {last} steps in {moved} of 30 rounds"
    );
}

fn shell(command: &str) {
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(
        done.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn full_and_read_only_file_systems() {
    let Some(dir) = told() else {
        let bench = Bench::new();
        let root = rustix::process::geteuid().is_root();
        let own: &[&str] = if root { &["unshare", "-m"] } else { &["unshare", "-Urm"] };
        let test = "store::tests::force::full_and_read_only_file_systems";
        let done = again(test, own, bench.dir.path()).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
        return;
    };
    let at_dir = dir.display();
    shell(&format!(
        "mount --make-rprivate / && mount -t tmpfs -o size=640k none {at_dir}"
    ));
    full(&dir);
    shell(&format!("mount -o remount,ro {at_dir}"));
    let (path, absent) = (dir.join("db"), dir.join("absent"));
    let refused = |path: &Path| open(path, 0).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&path), Error::ReadOnly(_)));
    assert!(
        refused(&absent).to_string().contains("Read-only file system"),
        "{}",
        refused(&absent)
    );
    // The file may be written, its folder may not.
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(&path, outside.path()).unwrap();
    shell(&format!("mount --bind {} {}", outside.path().display(), path.display()));
    let error = refused(&path);
    assert!(
        matches!(&error, Error::Folder { folder, .. } if *folder == dir),
        "{error}"
    );
}

fn full(dir: &Path) {
    let (mut store, _) = open(&dir.join("db"), 0).unwrap();
    store.commit(at(0), &[read(1)]).unwrap();
    let before = store.load().unwrap();
    let filler = dir.join("filler");
    let fill = |size: usize| std::fs::write(&filler, vec![0; size]);
    assert_eq!(fill(1 << 20).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let mut large = ticket("192.0.2.1", 0, 600);
    large.matches = vec!["x".repeat(3000).into(); 10];
    let entries = [read(2), ban(&large)];
    for _ in 0..3 {
        let error = store.commit(at(0), &entries).unwrap_err();
        let Error::Full { mount, free, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((mount.as_path(), *free), (dir, 0));
        assert!(error.to_string().contains("0 bytes free; free some space"), "{error}");
        assert_eq!(store.load().unwrap(), before);
    }
    // A start without room is refused in the same words, and nothing is lost by it.
    let Err(Error::Full { .. }) = open(&dir.join("another"), 0) else {
        panic!("there was room")
    };
    std::fs::remove_file(&filler).unwrap();
    store.commit(at(0), &entries).unwrap();
    let after = store.load().unwrap();
    assert_eq!((after.bans.len(), after.marks[0].2.offset), (1, 2));
    store.close().unwrap();
    let db = Connection::open(dir.join("db")).unwrap();
    assert_eq!(ask(&db, "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_hole_anywhere_costs_only_what_was_there() {
    let good = many_bans();
    let mut kept = Vec::new();
    for place in 1..20 {
        let bench = Bench::new();
        let mut holed = good.clone();
        let start = good.len() / 20 * place;
        holed[start..start + 6000].fill(0x55);
        std::fs::write(bench.path(), &holed).unwrap();
        let (store, opened) = bench.open(0);
        let saved = store.load().unwrap();
        kept.push(saved.bans.len() + saved.adopted.len());
        if let Some(aside) = opened.moved_aside {
            assert_eq!(std::fs::read(aside).unwrap(), holed, "the damaged file stays as it is");
        }
    }
    assert!(kept.iter().all(|kept| *kept >= 100), "{kept:?}");
    assert!(kept.iter().any(|kept| *kept < 200), "{kept:?}");
}

/// The bytes of a database with 200 bans.
fn many_bans() -> Vec<u8> {
    let whole = Bench::new();
    let (mut store, _) = whole.open(0);
    let many: Vec<Entry> = (0..200)
        .map(|n| ban(&ticket(&format!("198.51.100.{n}"), 0, 600)))
        .collect();
    store.commit(at(0), &many).unwrap();
    store.close().unwrap();
    std::fs::read(whole.path()).unwrap()
}

#[test]
fn a_damaged_file_is_moved_aside() {
    let good = many_bans();
    let mut holed = good.clone();
    let middle = good.len() / 2;
    holed[middle..middle + 8192].fill(0x55);
    let mut saved = Vec::new();
    for bytes in [
        b"not a database at all, and long enough to have a header".repeat(10),
        holed,
        good[..good.len() / 2].to_vec(),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.path(), &bytes).unwrap();
        let (mut store, opened) = bench.open(0);
        let aside = opened.moved_aside.unwrap();
        assert_eq!(
            aside,
            bench.dir.path().join("fail2ban.sqlite3.corrupt-20260101T000000Z")
        );
        assert_eq!(std::fs::read(&aside).unwrap(), bytes);
        assert!(opened.created);
        // The rows on either side of the hole are saved.
        let text = opened.diagnostics[0].to_string();
        let kept = store.load().unwrap().adopted.len();
        if text.contains("nothing of it could be read") {
            assert_eq!(kept, 0);
        } else {
            assert!(text.contains(&format!("{kept} of its bans")), "{text}");
            assert!((1..=200).contains(&kept), "{kept}");
        }
        saved.push(kept > 0);
        assert_eq!(
            (opened.diagnostics.len(), opened.diagnostics[0].code),
            (1, "database-damaged")
        );
        store.commit(at(0), &[read(1)]).unwrap();
        drop(store);
        // A second one in the same second does not overwrite the first.
        std::fs::write(bench.path(), &bytes).unwrap();
        let (_, opened) = bench.open(0);
        assert!(opened.moved_aside.unwrap().to_string_lossy().ends_with("Z-2"));
    }
    assert_eq!(saved[..2], [false, true]);
}

#[test]
fn what_is_refused() {
    let bench = Bench::new();
    let refused = |path: &Path, expect: &str| {
        let error = open(path, 0).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    refused(bench.dir.path(), "is not a regular file");
    refused(&bench.dir.path().join("a/b/db"), "cannot create the directory");
    // The last level is made.
    let below = bench.dir.path().join("made/db");
    drop(open(&below, 0).unwrap());
    assert!(below.exists());
    drop(bench.open(0));
    bench.run("UPDATE portcullis_meta SET version = 2");
    refused(
        &bench.path(),
        "has version 2 of portcullis's tables, and 1 is the newest known here",
    );
    bench.run("UPDATE portcullis_meta SET version = 1; UPDATE fail2banDb SET version = 5");
    refused(
        &bench.path(),
        "has version 5 of Fail2Ban's tables, and 4 is the newest known here",
    );
    assert_eq!(bench.ask("SELECT version FROM fail2banDb"), "5");
}

#[test]
fn another_writer_is_waited_for_and_named() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let other = bench.sql();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = std::time::Instant::now();
    let error = store.commit(at(0), &[read(1)]).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(150), "waited");
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    store.commit(at(0), &[read(1)]).unwrap();
    store.close().unwrap();

    // One in rollback mode, as Fail2Ban works, in the middle of a write: by another process, to be named.
    let mut child = hold(&bench.path());
    let error = open(&bench.path(), 0).map(|_| ()).unwrap_err();
    let expect = format!("(pid {})", child.id());
    assert!(error.to_string().contains(&expect), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bench.open(0).0.load().unwrap().marks.len(), 1);
}

/// A process that has a write open on `path`.
fn hold(path: &Path) -> Child {
    use std::io::BufRead;
    let mut child = again("store::tests::force::holds_a_write_open", &["env"], path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = out.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("holding")), "no child");
    child
}

#[test]
fn holds_a_write_open() {
    let bench = Bench::new();
    let path = told().unwrap_or_else(|| {
        drop(bench.open(0));
        bench.path()
    });
    let db = Connection::open(&path).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    if told().is_some() {
        println!("holding");
        std::thread::sleep(Duration::from_secs(60));
    }
    assert!(matches!(open(&path, 0), Err(Error::Locked { .. })));
}

use tempfile::TempDir;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn put(rule: &str, range: &str, claim: Claim) -> Entry {
    Entry::Put {
        rule: rule.to_owned(),
        range: net(range),
        claim,
    }
}

fn intend(rule: &str) -> Entry {
    Entry::Intend {
        rule: rule.to_owned(),
        request: "6f1d8a52".to_owned(),
        body: "da39a3ee".to_owned(),
        at: Timestamp::from_micros(1_790_000_000_123_456),
    }
}

fn operation(rule: &str, name: Option<&str>) -> Entry {
    Entry::Operation {
        rule: rule.to_owned(),
        operation: name.map(str::to_owned),
    }
}

fn books() -> (TempDir, PathBuf, CloudBooks) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let books = CloudBooks::open(&path).unwrap();
    (folder, path, books)
}

/// Everything that happens to a rule, step by step.
fn story() -> Vec<Vec<Entry>> {
    let rule = "block-ip";
    let more = "block-ip-2".to_owned();
    vec![
        vec![put(rule, "192.0.2.7/32", Claim::Want), intend(rule)],
        vec![operation(rule, Some("operation-1"))],
        vec![operation(rule, None), put(rule, "192.0.2.7/32", Claim::Held)],
        vec![Entry::Limit {
            rule: rule.to_owned(),
            most: 256,
        }],
        vec![Entry::Made {
            rule: more.clone(),
            base: rule.to_owned(),
        }],
        vec![
            put(&more, "2001:db8::/64", Claim::Want),
            intend(&more),
            operation(&more, Some("operation-2")),
        ],
        vec![put(rule, "192.0.2.7/32", Claim::Gone), intend(rule)],
        vec![Entry::Forget {
            rule: rule.to_owned(),
            range: net("192.0.2.7/32"),
        }],
        vec![intend(&more)],
        vec![Entry::Unmake { rule: more.clone() }],
        vec![Entry::Known { rule: more }],
    ]
}

#[test]
fn what_is_kept_comes_to_the_same_after_every_step() {
    let (_folder, path, mut books) = books();
    let mut model = Books::default();
    for step in story() {
        books.keep("mail-1", &step).unwrap();
        step.iter().for_each(|entry| model.apply(entry));
        // As after `kill -9`: another connection, while the first is still there.
        let seen = CloudBooks::open(&path).unwrap();
        assert_eq!(seen.load("mail-1").unwrap().state(), model.state(), "{step:?}");
        assert_eq!(seen.loss(), None);
    }
    assert_eq!(books.load("mail-2").unwrap(), Books::default());
}

#[test]
fn projects_have_nothing_in_common() {
    let (_folder, _path, mut books) = books();
    books
        .keep("a", &[put("block-ip", "192.0.2.1/32", Claim::Held)])
        .unwrap();
    books
        .keep("b", &[put("block-ip", "192.0.2.2/32", Claim::Want)])
        .unwrap();
    books
        .keep(
            "a",
            &[Entry::Unmake {
                rule: "block-ip".to_owned(),
            }],
        )
        .unwrap();
    assert_eq!(books.projects().unwrap(), ["b"]);
    assert_eq!(books.load("a").unwrap(), Books::default());
    assert_eq!(
        books.load("b").unwrap().entries,
        [put("block-ip", "192.0.2.2/32", Claim::Want)]
    );
}

#[test]
fn all_of_a_step_is_kept_or_nothing() {
    let (_folder, path, mut books) = books();
    books.keep("a", &[]).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON claims WHEN new.net = '192.0.2.2/32' BEGIN SELECT RAISE(ABORT, 'full'); END")
        .unwrap();
    let step = [
        put("r", "192.0.2.1/32", Claim::Want),
        put("r", "192.0.2.2/32", Claim::Want),
        intend("r"),
    ];
    let error = books.keep("a", &step).unwrap_err();
    assert!(error.contains("full") && error.contains(FILE), "{error}");
    assert_eq!(books.load("a").unwrap(), Books::default());
    reader.execute_batch("DROP TRIGGER full").unwrap();
    books.keep("a", &step).unwrap();
    assert_eq!(books.load("a").unwrap().state().rules["r"].claims.len(), 2);
}

#[test]
fn it_is_on_the_disk_before_a_call_goes_out() {
    let (_folder, _path, books) = books();
    let full: i64 = books.db.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
    assert_eq!(full, 2);
}

#[test]
fn only_its_owner_reads_it() {
    let (_folder, path, mut books) = books();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    books.keep("a", &[intend("r")]).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("sqlite3-wal")), 0o600);
    drop(books);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    CloudBooks::open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
}

fn check_damage(what: impl FnOnce(&Path)) {
    let (folder, path, mut books) = books();
    let many: Vec<Entry> = (0..=255)
        .map(|n| put("r", &format!("198.51.100.{n}/32"), Claim::Held))
        .collect();
    books.keep("a", &many).unwrap();
    drop(books);
    what(&path);
    let damaged = fs::read(&path).unwrap();
    let mut books = CloudBooks::open(&path).unwrap();
    let loss = books.loss().unwrap().to_owned();
    for part in ["damaged", "nothing in the rules is known as ours", ".corrupt-"] {
        assert!(loss.contains(part), "{loss}");
    }
    assert_eq!(books.load("a").unwrap(), Books::default());
    books.keep("a", &many).unwrap();
    let aside = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let aside = aside
        .into_iter()
        .find(|path| path.to_string_lossy().contains(".corrupt-"))
        .unwrap();
    assert_eq!(fs::read(aside).unwrap(), damaged);
    assert_eq!(CloudBooks::open(&path).unwrap().loss(), None);
}

#[test]
fn a_damaged_file_is_put_aside() {
    check_damage(|path| {
        fs::write(
            path,
            "nothing that SQLite knows, and longer than its header is, which has 100 bytes: so it goes on for a while",
        )
        .unwrap();
    });
    check_damage(|path| {
        let mut bytes = fs::read(path).unwrap();
        let page = 4096;
        let second = bytes.iter_mut().skip(page).take(3 * page);
        second.for_each(|byte| *byte = 0xa5);
        fs::write(path, bytes).unwrap();
    });
    for sql in [
        "DROP TABLE claims",
        "PRAGMA user_version = 0",
        "UPDATE claims SET net = 'everybody' WHERE net = '198.51.100.7/32'",
        "INSERT INTO rules(project, rule, request) VALUES('a', 'r', 'x')",
    ] {
        check_damage(|path| Connection::open(path).unwrap().execute_batch(sql).unwrap());
    }
}

#[test]
fn what_a_later_version_wrote_stays() {
    let (_folder, path, books) = books();
    drop(books);
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 2")
        .unwrap();
    let error = CloudBooks::open(&path).unwrap_err();
    assert!(error.contains("later portcullis"), "{error}");
    assert!(path.exists());
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = CloudBooks::open(folder.path()).unwrap_err();
    assert!(error.contains("is no file"), "{error}");
    let error = CloudBooks::open(&folder.path().join("nowhere").join(FILE)).unwrap_err();
    assert!(error.contains("No such file"), "{error}");
}

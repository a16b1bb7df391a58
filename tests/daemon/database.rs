//! The database while the daemon runs: jails that come and go, and a file that cannot be opened at first.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::house::{House, Jail, eventually};

fn jails(house: &House, names: &[&str]) {
    let jail = |name| Jail {
        name,
        maxretry: 1,
        options: "",
    };
    let jails: Vec<Jail<'_>> = names.iter().copied().map(jail).collect();
    house.jails(&jails);
}

/// Who is banned, as `jail ip`, and until when, in seconds.
fn ends(house: &House) -> BTreeMap<String, i64> {
    let banned = house.json(&["banned"]);
    let entry = |ban: &serde_json::Value| {
        let text = |name: &str| ban[name].as_str().unwrap();
        let until: jiff::Timestamp = text("until").parse().unwrap();
        (format!("{} {}", text("jail"), text("ip")), until.as_second())
    };
    banned.as_array().unwrap().iter().map(entry).collect()
}

#[test]
fn a_jail_that_comes_back_has_its_bans() {
    let mut house = House::empty();
    jails(&house, &["plain", "other"]);
    house.start();
    house.fail("other", "203.0.113.1");
    house.until_banned("other 203.0.113.1");
    let before = ends(&house);
    jails(&house, &["plain"]);
    house.json(&["reload"]);
    assert!(house.banned().is_empty());
    house.until_acted("unban other 203.0.113.1");
    // What is written meanwhile is read when it comes back, and what was read before is not.
    house.fail("other", "203.0.113.2");
    jails(&house, &["plain", "other"]);
    house.json(&["reload"]);
    house.until_banned("other 203.0.113.2");
    assert_eq!(house.said("[other] Restore Ban 203.0.113.1").len(), 1);
    assert_eq!(ends(&house)["other 203.0.113.1"], before["other 203.0.113.1"]);
    assert_eq!(house.said("[other] Found 203.0.113.1").len(), 1);
    assert_eq!(house.said("[other] Found 203.0.113.2").len(), 1);
}

#[test]
fn a_database_that_opens_late_still_gives_its_bans() {
    let mut house = House::new(1);
    house.start();
    house.fail("plain", "203.0.113.1");
    house.until_banned("plain 203.0.113.1");
    let before = ends(&house);
    assert_eq!(house.terminate(), Some(0));
    // Only the database knows of it from here on.
    house.write("log", "");
    let other = rusqlite::Connection::open(house.path("state/fail2ban.sqlite3")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    house.start();
    // The daemon itself may not look who that is: this test is.
    let who = format!("(pid {}); bans stay", std::process::id());
    house.until_said("is locked by another process: ");
    let said = house.said("is locked by another process").remove(0);
    assert!(said.contains(&who) && said.matches("(pid ").count() == 1, "{said}");
    assert!(house.banned().is_empty());
    house.fail("plain", "203.0.113.2");
    house.until_banned("plain 203.0.113.2");
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    house.until_banned("plain 203.0.113.1");
    // The two clocks of a run cannot be read at one instant, which may show as another second.
    let moved = ends(&house)["plain 203.0.113.1"] - before["plain 203.0.113.1"];
    assert!(moved.abs() <= 1, "{moved} seconds");
    eventually("both are kept", || {
        std::thread::sleep(Duration::from_millis(50));
        let sql = "SELECT count(*) FROM bips";
        let db = house.database().unwrap();
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .is_ok_and(|count| count == 2)
    });
}

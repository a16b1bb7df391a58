//! Bans that grow: who comes back counts more and is banned longer, also when the daemon was ended in between.

use crate::house::{House, Jail, eventually};

/// Bans of three seconds at first, of a minute at second.
const GROWING: &str = "bantime = 3\nbantime.increment = true\nbantime.multipliers = 1 20";

/// `bancount` and `bantime` of an address in Fail2Ban's table.
fn record(house: &House, jail: &str) -> Option<(i64, i64)> {
    let sql = "SELECT bancount, bantime FROM bips WHERE jail = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    house.database()?.query_row(sql, [jail], row).ok()
}

/// The time-out that the kernel's listing has for the address; 0 without one.
fn seconds(listing: &str) -> u64 {
    let after = listing
        .split_once("203.0.113.1 timeout ")
        .map_or("", |(_, after)| after);
    let unit = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let number: u64 = after.get(..unit).and_then(|number| number.parse().ok()).unwrap_or(0);
    match after.get(unit..) {
        Some(rest) if rest.starts_with("ms") => 0,
        Some(rest) if rest.starts_with('m') => number * 60,
        _ => number,
    }
}

#[test]
fn who_comes_back_after_a_restart_is_banned_longer() {
    let mut house = House::empty();
    let native = format!("{GROWING}\naction = nft[type=allports]");
    house.jails(&[
        Jail {
            name: "plain",
            maxretry: 2,
            options: &native,
        },
        Jail {
            name: "shell",
            maxretry: 2,
            options: GROWING,
        },
    ]);
    house.start();
    for jail in ["plain", "shell"] {
        house.fail(jail, "203.0.113.1");
        house.fail(jail, "203.0.113.1");
        house.until_said(&format!("[{jail}] Unban 203.0.113.1"));
        assert_eq!(record(&house, jail), Some((1, 3)), "{jail}");
    }
    house.kill();
    house.start();
    for jail in ["plain", "shell"] {
        house.fail(jail, "203.0.113.1");
        house.until_banned(&format!("{jail} 203.0.113.1"));
        for text in [
            "bad - ",
            "1 # -> 2.0, Ban",
            "IP 203.0.113.1 is bad: 1 # last ",
            "incr 3s to 1m",
            "Increase Ban 203.0.113.1 (2 # 1m -> ",
        ] {
            let said = house.said(text);
            assert!(
                said.iter().any(|line| line.contains(&format!("[{jail}]"))),
                "{jail}: {text}"
            );
        }
        assert_eq!(record(&house, jail), Some((2, 60)), "{jail}");
    }
    eventually("the kernel has the longer time", || seconds(&house.kernel()) > 30);
    assert_eq!(house.terminate(), Some(0));
    house.start();
    assert_eq!(house.banned(), ["plain 203.0.113.1", "shell 203.0.113.1"]);
    assert!(house.kernel().contains("203.0.113.1"), "{}", house.kernel());
}

/// A formula outside the grammar is named with its file, its line and its place, and bans nobody for a wrong time.
#[test]
fn a_formula_that_cannot_be_read() {
    let mut house = House::empty();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "bantime.increment = true\nbantime.formula = ban.Time * ban.Cnt",
    }]);
    house.start();
    house.until_said("'ban.Cnt' is not supported here (column 12)");
    assert!(house.said("'ban.Cnt'")[0].contains("jail.local:"));
    house.fail("plain", "192.0.2.7");
    house.until_said("[plain] 192.0.2.7 is not banned");
    assert!(house.banned().is_empty());
    assert_eq!(house.ask(&["status"]).status.code(), Some(2));
}

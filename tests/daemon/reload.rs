//! What runs after `reload` is what stands in the files, and nothing else (docs/deviations.md, Q-12 and Q-18).

use std::thread::sleep;
use std::time::Duration;

use crate::house::{House, Jail};

/// Writes the one jail with this option, and its action with these properties.
fn configure(house: &House, option: &str, properties: &str) {
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: option,
    }]);
    house.write(
        "etc/action.d/note.local",
        format!("[Definition]\nactionban = echo 'ban <ip> <word>' >> <file>\n[Init]\n{properties}\n"),
    );
}

#[test]
fn what_is_no_longer_configured_is_gone() {
    let mut house = House::empty();
    configure(&house, "prefregex = ^ never a line like this", "word = old");
    house.start();
    house.fail("plain", "203.0.113.1");
    // Long enough for the line to be read, and passed over.
    sleep(Duration::from_secs(2));
    configure(&house, "", "word = old");
    house.json(&["reload"]);
    house.fail("plain", "203.0.113.2");
    house.until_acted("ban 203.0.113.2 old");
    configure(&house, "", "");
    house.json(&["reload"]);
    house.fail("plain", "203.0.113.3");
    house.until_acted("ban 203.0.113.3 <word>");
    assert_eq!(house.banned(), ["plain 203.0.113.2", "plain 203.0.113.3"]);
}

//! A line that kills the daemon is found, skipped and recorded; nothing else is lost.

use std::collections::BTreeMap;

use crate::house::{House, Jail, append, eventually, failure, stamp};

#[test]
fn a_line_that_breaks_the_matcher_is_skipped() {
    let mut house = House::new(3);
    house.environment.push(("PORTCULLIS_BREAK_ON".into(), "poison".into()));
    house.start();
    house.fail("plain", "192.0.2.1");
    let poison = format!("{} fail from 192.0.2.9 poison\n", stamp(0));
    append(&house.log_of("plain"), poison.as_bytes());
    house.fail("plain", "192.0.2.1");
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    let said = house.said("the matcher broke on a line of");
    assert!(
        said.len() == 1 && said[0].contains("poison") && said[0].contains("before byte"),
        "{said:?}"
    );
    let status = house.json(&["status"]);
    assert_eq!(
        status["jails"][1]["remarks"][0], "1 lines broke the matcher and were skipped",
        "{status}"
    );
    assert!(!house.read("stderr").contains("death"), "the daemon lives on");
}

/// Two deadly lines, one of them a failure, in one of two jails; the lines around them all count once.
#[test]
fn lines_that_kill_the_daemon_are_skipped() {
    let mut house = House::empty();
    let jail = |name| Jail {
        name,
        maxretry: 1_000_000,
        options: "",
    };
    house.jails(&[jail("plain"), jail("other")]);
    house.environment.push(("PORTCULLIS_ABORT_ON".into(), "poison".into()));
    house.start();
    let mut lines = String::new();
    let mut expect: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..60 {
        let who = format!("192.0.2.{}", number % 7);
        lines += &failure(&who);
        *expect.entry(who).or_default() += 1;
        if number == 20 {
            lines += &format!("{} fail from 192.0.2.200 poison\n{} poison\n", stamp(0), stamp(0));
        }
        house.fail("other", "198.51.100.1");
    }
    append(&house.log_of("plain"), lines.as_bytes());
    house.counts_become("plain", &expect);
    house.counts_become("other", &[("198.51.100.1".to_owned(), 60)].into());
    let said = house.said("it is skipped");
    assert!(
        said.len() == 2
            && said
                .iter()
                .all(|line| line.contains("[plain]") && line.contains("before byte")),
        "{said:?}"
    );
    let deaths = house.read("stderr").matches("was killed by signal 6").count();
    assert!(deaths <= 6, "{deaths} deaths");
    // The first was skipped in a life before this one.
    let status = house.json(&["status", "plain"]);
    assert_eq!(
        status["jails"][0]["remarks"][0], "1 lines ended the daemon twice and were skipped",
        "{status}"
    );
    house.fail("plain", "192.0.2.100");
    eventually("it reads on", || house.counted("plain").contains_key("192.0.2.100"));
    println!("2 deadly lines, {deaths} deaths, 120 other lines, 0 differences");
}

//! Logs that are not in UTF-8.

use std::collections::BTreeMap;
use std::fs;

use crate::house::{House, Jail, append, eventually, failure};

fn jail<'a>(name: &'a str, options: &'a str) -> Jail<'a> {
    Jail {
        name,
        maxretry: 1000,
        options,
    }
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn once(who: &str) -> BTreeMap<String, u64> {
    [(who.to_owned(), 1)].into()
}

/// Half of the newline is written before the daemon dies: the line is not lost, and counts once. A jail that takes the
/// same log for ASCII sees no failure in it and is not in the way.
#[test]
fn a_line_of_utf_16_whose_newline_is_torn() {
    let mut house = House::empty();
    let beside = format!("logpath = {}\nlogencoding = ascii", house.path("wide").display());
    house.jails(&[jail("wide", "logencoding = utf-16-le"), jail("beside", &beside)]);
    house.start();
    let line = wide(&failure("192.0.2.7"));
    let (first, half) = line.split_at(line.len() - 1);
    append(&house.log_of("wide"), first);
    // The other jail has read it, and so has this one.
    eventually("the other jail's position is kept", || {
        house.placed("beside") == i64::try_from(first.len()).unwrap()
    });
    house.kill();
    house.start();
    append(&house.log_of("wide"), half);
    house.counts_become("wide", &once("192.0.2.7"));
    append(&house.log_of("wide"), &wide(&failure("192.0.2.7")));
    house.kill();
    house.start();
    house.counts_become("wide", &[("192.0.2.7".to_owned(), 2)].into());
    house.counts_become("beside", &BTreeMap::new());
}

#[test]
fn bytes_that_are_no_characters_are_said_once() {
    let mut house = House::empty();
    house.jails(&[jail("korean", "logencoding = ms949")]);
    house.start();
    let mut text = failure("192.0.2.7").into_bytes();
    text.splice(text.len() - 1.., *b" \xb0\xa1\x80\xff\n");
    append(&house.log_of("korean"), &text.repeat(2));
    house.counts_become("korean", &[("192.0.2.7".to_owned(), 2)].into());
    let log = fs::read_to_string(house.path("fail2ban.log")).unwrap();
    let expect = format!(
        "Error decoding line from '{}' with 'ms949'.",
        house.log_of("korean").display()
    );
    assert_eq!(log.matches(&expect).count(), 1, "{log}");
    assert!(log.contains("\\xb0\\xa1\\x80\\xff\\n'"), "{log}");
}

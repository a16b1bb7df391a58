use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;

use super::super::pace::tests::{Still, trouble};
use super::super::session::Api;
use super::*;

/// A rule, and what answers to its writes are.
struct Cloud {
    list: Vec<String>,
    /// What the next calls fail with
    faults: VecDeque<Trouble>,
    /// What somebody else makes of the list after each of our writes
    rival: Vec<Vec<String>>,
    log: Vec<String>,
}

fn cloud(list: &[&str]) -> Cloud {
    Cloud {
        list: list.iter().map(|&text| text.to_owned()).collect(),
        faults: VecDeque::new(),
        rival: Vec::new(),
        log: Vec::new(),
    }
}

impl Api for Cloud {
    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        self.log.push(format!("{method} {path}"));
        if let Some(trouble) = (method != "GET").then(|| self.faults.pop_front()).flatten() {
            return Err(trouble);
        }
        Ok(match method {
            "GET" => json!({"name": "block-ip", "direction": "INGRESS", "denied": [{"IPProtocol": "all"}],
                            "sourceRanges": self.list}),
            "PATCH" => {
                self.list = texts(body.unwrap(), "sourceRanges");
                if let Some(list) = self.rival.pop() {
                    self.list = list;
                }
                json!({"name": "op", "status": "RUNNING"})
            }
            _ => json!({"name": "op", "status": "DONE"}),
        })
    }
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn change(add: &[&str], remove: &[&str]) -> Change {
    Change {
        add: nets(add),
        remove: nets(remove),
    }
}

fn run(cloud: &mut Cloud, change: &Change) -> Result<Amended, Failure> {
    let mut pace = Still::default();
    let mut session = Session::new(cloud, &mut pace, Duration::from_secs(300));
    amend(&mut session, "block-ip", change, &|rule| fit(rule, change, &[]))
}

#[test]
fn lists_as_they_shall_be() {
    let check = |list: &[&str], add: &[&str], remove: &[&str], expect: Result<&[&str], &str>| {
        let list: Vec<String> = list.iter().map(|&text| text.to_owned()).collect();
        match (target(&list, &change(add, remove)), expect) {
            (Ok(target), Ok(expect)) => assert_eq!(target, expect),
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
            (target, expect) => panic!("{target:?}, not {expect:?}"),
        }
    };
    check(&["198.51.100.1"], &["198.51.100.1/32"], &[], Ok(&["198.51.100.1"]));
    check(
        &["203.0.113.0/24"],
        &["198.51.100.1/32"],
        &[],
        Ok(&["203.0.113.0/24", "198.51.100.1/32"]),
    );
    check(
        &["203.0.113.9/32", "198.51.100.1/32"],
        &[],
        &["203.0.113.9/32"],
        Ok(&["198.51.100.1/32"]),
    );
    check(&["203.0.113.9/32"], &[], &["203.0.113.9/32"], Ok(&["192.0.2.1/32"]));
    check(
        &["2001:db8:1::/64"],
        &[],
        &["2001:db8:1::/64"],
        Ok(&["2001:db8::1/128"]),
    );
    check(&[], &[], &[], Ok(&["192.0.2.1/32"]));
    check(&["2001:db8:1::/64"], &["198.51.100.1/32"], &[], Err("holds IPv6"));
    check(&["192.0.2.1/32"], &["2001:db8:1::/64"], &[], Err("holds IPv4"));
    check(&["nonsense"], &["198.51.100.1/32"], &[], Err("'nonsense'"));
}

#[test]
fn written_once_and_read_back() {
    let mut cloud = cloud(&["192.0.2.1/32", "203.0.113.0/24"]);
    let amended = run(
        &mut cloud,
        &change(&["198.51.100.1/32", "203.0.113.0/24"], &["203.0.113.7/32"]),
    )
    .unwrap();
    assert_eq!(amended.added, nets(&["198.51.100.1/32"]));
    assert_eq!(amended.unchanged, nets(&["203.0.113.0/24", "203.0.113.7/32"]));
    assert_eq!(
        amended.covered,
        [(nets(&["203.0.113.7/32"])[0], nets(&["203.0.113.0/24"])[0])]
    );
    assert_eq!((amended.writes, amended.lost, amended.size), (1, 0, 3));
    let methods: Vec<&str> = cloud.log.iter().map(|call| call.split('/').next().unwrap()).collect();
    assert_eq!(methods, ["GET global", "PATCH global", "POST global", "GET global"]);
    // What is so already costs no write.
    assert_eq!(run(&mut cloud, &change(&["198.51.100.1/32"], &[])).unwrap().writes, 0);
}

#[test]
fn the_same_request_again_while_that_helps() {
    let mut cloud = cloud(&["192.0.2.1/32"]);
    cloud.faults = [Kind::Busy, Kind::Unknown, Kind::Rate].map(trouble).into();
    assert_eq!(run(&mut cloud, &change(&["198.51.100.1/32"], &[])).unwrap().writes, 1);
    let patches: BTreeSet<&String> = cloud.log.iter().filter(|call| call.starts_with("PATCH")).collect();
    assert_eq!(patches.len(), 1, "one requestId: {:?}", cloud.log);
    cloud.faults = [trouble(Kind::Permission)].into();
    let failure = run(&mut cloud, &change(&["198.51.100.2/32"], &[])).unwrap_err();
    assert!(matches!(failure, Failure::Api(trouble) if trouble.kind == Kind::Permission));
}

#[test]
fn another_writer_is_outlasted_or_named() {
    let foreign = vec!["203.0.113.0/24".to_owned()];
    let mut cloud = cloud(&["192.0.2.1/32"]);
    cloud.rival = vec![foreign.clone(); 3];
    let amended = run(&mut cloud, &change(&["198.51.100.1/32"], &[])).unwrap();
    assert_eq!((amended.writes, amended.lost), (4, 3));
    assert_eq!(cloud.list, ["203.0.113.0/24", "198.51.100.1/32"]);
    cloud.rival = vec![foreign; 20];
    assert!(matches!(
        run(&mut cloud, &change(&["198.51.100.2/32"], &[])),
        Err(Failure::Lost(_))
    ));
}

#[test]
fn rules_that_are_not_written() {
    let deny = || json!([{"IPProtocol": "all"}]);
    let check = |mut rule: Value, change: &Change, expect: Option<&str>| {
        rule["name"] = "block-ip".into();
        match (
            fit(&rule, change, &["projects/p/global/networks/default".to_owned()]),
            expect,
        ) {
            (Ok(()), None) => {}
            (Err(error), Some(expect)) => assert!(error.contains(expect), "{error}"),
            (result, expect) => panic!("{result:?}, not {expect:?}"),
        }
    };
    let (add, remove) = (change(&["198.51.100.1/32"], &[]), change(&[], &["198.51.100.1/32"]));
    check(json!({"denied": deny(), "direction": "INGRESS"}), &add, None);
    for change in [&add, &remove] {
        check(json!({"allowed": deny()}), change, Some("let in"));
        check(json!({"denied": deny(), "direction": "EGRESS"}), change, Some("EGRESS"));
    }
    let harmless_to_take_from = [
        (json!({"denied": deny(), "disabled": true}), "--no-disabled"),
        (
            json!({"denied": deny(), "sourceRanges": ["0.0.0.0/0"]}),
            "nearly everybody",
        ),
        (
            json!({"denied": deny(), "network": "projects/p/global/networks/other"}),
            "network",
        ),
    ];
    for (rule, expect) in harmless_to_take_from {
        check(rule.clone(), &add, Some(expect));
        check(rule, &remove, None);
    }
}

#[test]
fn whom_nobody_bans_by_slip_of_the_pen() {
    let protected = [(
        "198.51.100.9/32".parse().unwrap(),
        "this machine's own address".to_owned(),
    )];
    let check = |word: &str, expect: Result<Option<&str>, &str>| {
        let found = objection(&parse(word).unwrap(), &protected);
        match (&found, expect) {
            (Ok(None), Ok(None)) => {}
            (Ok(Some(text)), Ok(Some(expect))) | (Err(text), Err(expect)) => assert!(text.contains(expect), "{text}"),
            _ => panic!("{word}: {found:?}"),
        }
    };
    check("203.0.113.7", Ok(None));
    check("203.0.113.7/24", Ok(None));
    check("0.0.0.0/0", Err("everybody"));
    check("192.0.2.1", Err("documentation"));
    check("198.51.100.0/24", Ok(Some("own address")));
    check("32.0.0.0/7", Ok(Some("wider than /8")));
    check("2001::/18", Ok(Some("wider than /19")));
    check("10.1.2.3", Ok(Some("private")));
    check("::ffff:10.1.2.3", Ok(Some("private")));
    assert!(parse("nobody").is_err());
}

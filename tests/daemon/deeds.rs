//! What the log says of bans that are applied: a line each, a number for many, and a reason where there is none.

use std::net::Ipv4Addr;

use crate::house::{House, Jail, eventually};

const LOGGER: &str = "portcullis.layers";

/// What the layers' logger has said, without what stands before the jail.
fn told(house: &House) -> Vec<String> {
    let text = |line: &String| line.split_once("[plain] ").map(|(_, text)| text.trim_end().to_owned());
    house.said(LOGGER).iter().filter_map(text).collect()
}

fn until_told(house: &House, part: &str) -> String {
    let found = || told(house).into_iter().find(|line| line.contains(part));
    eventually(&format!("the log says {part:?}"), || found().is_some());
    found().unwrap()
}

/// Whether a text is `before`, a length of time and `)`.
fn takes(text: &str, before: &str) -> bool {
    let rest = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(')'));
    let parts = rest.and_then(|rest| rest.split_once(' '));
    parts.is_some_and(|(number, unit)| number.parse::<u32>().is_ok() && ["ms", "s"].contains(&unit))
}

#[test]
fn each_layer_says_when_a_ban_is_in_force() {
    let mut house = House::empty();
    house.write(
        "etc/action.d/fails.conf",
        "[Definition]\nactionban = echo no room for <ip>; exit 3\nactionunban = true\n",
    );
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = nft[type=allports]\n         note[name=plain]\n         fails",
    }]);
    house.start();
    for who in ["203.0.113.1", "203.0.113.2", "127.0.0.1"] {
        house.fail("plain", who);
        house.until_banned(&format!("plain {who}"));
    }
    for who in ["203.0.113.1", "203.0.113.2"] {
        for layer in ["nft", "shell note"] {
            let before = format!("Applied {who} ({layer}, ");
            let said = until_told(&house, &before);
            assert!(takes(&said, &before), "{said}");
        }
        let count = |part: &str| told(&house).iter().filter(|line| line.contains(part)).count();
        assert_eq!(count(&format!("Applied {who} (nft, ")), 1, "{:?}", told(&house));
        assert_eq!(count(&format!("Applied {who} (shell fails")), 0);
    }
    let refused = until_told(&house, "Refused 127.0.0.1 (nft): ");
    assert!(refused.contains("loopback"), "{refused}");
    // A failure that is news is told as ever, and once.
    for who in ["203.0.113.1", "203.0.113.2"] {
        house.until_said(&format!("action 'fails' failed for {who}"));
    }
    assert!(!told(&house).iter().any(|line| line.contains("Not applied")));
    let line = house.said("Applied 203.0.113.1 (nft, ").remove(0);
    assert!(
        line.contains("portcullis.layers       [") && line.contains("]: INFO    [plain] "),
        "{line}"
    );
}

#[test]
fn whoever_is_not_banned_is_named() {
    let mut house = House::native();
    house.through = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
        .map(str::to_owned)
        .into();
    house.start();
    for who in ["203.0.113.1", "203.0.113.2"] {
        house.fail("plain", who);
        house.until_banned(&format!("plain {who}"));
    }
    // The layer failed in this way before, which is no news; that this one is not banned is.
    let said = until_told(&house, "Not applied 203.0.113.2 (nft, after ");
    assert!(
        said.contains("s): ") && house.said(&said)[0].contains(": ERROR   ["),
        "{said}"
    );
    // It is tried again and again, and told once.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(house.said("Not applied 203.0.113.2").len(), 1);
}

#[test]
fn many_bans_are_a_number() {
    const MANY: u32 = 3000;
    let mut house = House::native();
    house.start();
    let list: String = (0..MANY)
        .map(|number| format!("{}\n", Ipv4Addr::from(0xc612_0000 + number)))
        .collect();
    house.write("list", list);
    let list = house.path("list").display().to_string();
    house.json(&["ban", "--file", &list, "--jail", "plain", "--for", "1d"]);
    let number = |line: &String| -> Option<u32> {
        let rest = line.strip_prefix("Applied ")?;
        rest.split_once(" bans (nft, within ")?.0.parse().ok()
    };
    let all = |house: &House| told(house).iter().filter_map(number).sum::<u32>();
    eventually("the log has them all", || {
        let single = told(&house)
            .iter()
            .filter(|line| line.contains(" (nft, ") && number(line).is_none())
            .count();
        all(&house) + u32::try_from(single).unwrap() == MANY
    });
    let lines = house.said(LOGGER).len();
    assert!(lines < 100, "{lines} lines for {MANY} bans");
    // A start puts all of them in force again, and says so in one line.
    assert_eq!(house.terminate(), Some(0));
    house.start();
    let again = format!("Applied {MANY} bans again after a start (nft, within ");
    let said = until_told(&house, &again);
    assert!(takes(&said, &again), "{said}");
    assert_eq!(house.said(LOGGER).len(), lines + 1);
    house.fail("plain", "203.0.113.1");
    until_told(&house, "Applied 203.0.113.1 (nft, ");
}

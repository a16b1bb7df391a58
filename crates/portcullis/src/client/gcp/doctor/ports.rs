//! The ports that jails guard, held against those that a rule speaks of.

use serde_json::Value;

use crate::client::finding::Finding;
use crate::client::gcp::session::{text, texts};
use crate::enforce::ports::{PortRange, Ports, Protocol};

/// What a jail guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client::gcp) struct Door {
    pub(in crate::client::gcp) jail: String,
    /// Empty for every protocol
    pub(in crate::client::gcp) protocols: Vec<Protocol>,
    pub(in crate::client::gcp) ports: Ports,
}

/// Names that the API has for protocols, and their numbers.
const NAMES: [(&str, u8); 7] = [
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("esp", 50),
    ("ah", 51),
    ("ipip", 94),
    ("sctp", 132),
];

/// A protocol in a rule: `None` for all.
fn number(protocol: &str) -> Option<u8> {
    let known = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(protocol));
    known.map(|(_, number)| *number).or_else(|| protocol.parse().ok())
}

/// Ports as a rule writes them: `22`, `8000-8010`. All where there are none.
fn ranges(ports: &[String]) -> Vec<PortRange> {
    if ports.is_empty() {
        return vec![PortRange {
            first: 0,
            last: u16::MAX,
        }];
    }
    let range = |text: &String| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(PortRange {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    };
    ports.iter().filter_map(range).collect()
}

fn is_all(protocol: &str) -> bool {
    protocol.is_empty() || protocol.eq_ignore_ascii_case("all")
}

/// Whether a part of a rule is about any of the doors.
pub(super) fn meets(protocol: &str, ports: &[String], doors: &[Door]) -> bool {
    let ranges = ranges(ports);
    let about = |door: &Door| {
        let same = door.protocols.is_empty()
            || is_all(protocol)
            || door.protocols.iter().any(|own| Some(own.number()) == number(protocol));
        let overlap = |own: &PortRange| {
            ranges
                .iter()
                .any(|range| range.first <= own.last && own.first <= range.last)
        };
        same && match &door.ports {
            Ports::All => true,
            Ports::Some(own) => own.iter().any(overlap),
        }
    };
    doors.is_empty() || doors.iter().any(about)
}

/// Whether a rule's `denied` covers what the jails guard.
pub(super) fn covered(denied: &[Value], doors: &[Door]) -> Vec<Finding> {
    let open: Vec<String> = doors
        .iter()
        .filter(|door| !covers(denied, door))
        .map(|door| door.jail.clone())
        .collect();
    if open.is_empty() {
        return vec![Finding::ok("protocols", "denies every port that the jails guard")];
    }
    let text = format!(
        "does not deny all that these jails guard: {}; whoever is banned still reaches the rest",
        open.join(", ")
    );
    vec![Finding::warn("protocols", text).mend("--rules=all")]
}

fn covers(denied: &[Value], door: &Door) -> bool {
    if denied.iter().any(|part| is_all(text(part, "IPProtocol"))) {
        return true;
    }
    let parts = |protocol: &Protocol| -> Vec<PortRange> {
        let own = denied
            .iter()
            .filter(|part| number(text(part, "IPProtocol")) == Some(protocol.number()));
        own.flat_map(|part| ranges(&texts(part, "ports"))).collect()
    };
    // A door of all protocols is only shut by a rule that denies all.
    !door.protocols.is_empty()
        && door
            .protocols
            .iter()
            .all(|protocol| holds(parts(protocol), &door.ports))
}

/// Whether ranges, together, hold all ports.
fn holds(mut ranges: Vec<PortRange>, ports: &Ports) -> bool {
    ranges.sort_unstable();
    let all = [PortRange {
        first: 1,
        last: u16::MAX,
    }];
    let wanted = match ports {
        Ports::All => &all[..],
        Ports::Some(wanted) => wanted,
    };
    wanted.iter().all(|want| {
        let mut next = u32::from(want.first);
        for range in &ranges {
            if u32::from(range.first) <= next && next <= u32::from(range.last) {
                next = u32::from(range.last) + 1;
            }
        }
        next > u32::from(want.last)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::finding::Level;
    use crate::enforce::ports::{Services, protocols};

    pub(crate) fn door(protocol: &str, ports: &[u16]) -> Door {
        let list: Vec<String> = ports.iter().map(u16::to_string).collect();
        let text = if list.is_empty() {
            "all".to_owned()
        } else {
            list.join(",")
        };
        Door {
            jail: "jail".into(),
            protocols: protocols(protocol).unwrap(),
            ports: Ports::parse(&text, &Services::default()).unwrap(),
        }
    }

    #[test]
    fn what_a_rule_denies() {
        let check = |denied: Value, door: Door, expect: bool| {
            let found = covered(denied.as_array().unwrap(), std::slice::from_ref(&door));
            assert_eq!(found[0].level == Level::Ok, expect, "{denied} {door:?}");
        };
        let all = || json!([{"IPProtocol": "all"}]);
        check(all(), door("tcp", &[25]), true);
        check(all(), door("all", &[]), true);
        let mail = || json!([{"IPProtocol": "tcp", "ports": ["25", "110-143", "144-200"]}]);
        check(mail(), door("tcp", &[25]), true);
        check(mail(), door("tcp", &[25, 120, 180]), true);
        check(mail(), door("tcp", &[25, 587]), false);
        check(mail(), door("udp", &[25]), false);
        check(mail(), door("tcp", &[]), false);
        check(json!([{"IPProtocol": "6"}]), door("tcp", &[25]), true);
        check(json!([{"IPProtocol": "tcp"}]), door("tcp", &[]), true);
        check(json!([{"IPProtocol": "tcp"}]), door("all", &[25]), false);
    }

    #[test]
    fn what_another_rule_is_about() {
        let smtp = [door("tcp", &[25])];
        let check = |protocol: &str, ports: &[&str], expect: bool| {
            let ports: Vec<String> = ports.iter().map(|&port| port.to_owned()).collect();
            assert_eq!(meets(protocol, &ports, &smtp), expect, "{protocol} {ports:?}");
        };
        check("all", &[], true);
        check("tcp", &[], true);
        check("tcp", &["20-30"], true);
        check("tcp", &["26-30"], false);
        check("udp", &[], false);
        check("6", &["25"], true);
        assert!(meets("icmp", &[], &[]), "without jails everything matters");
    }
}

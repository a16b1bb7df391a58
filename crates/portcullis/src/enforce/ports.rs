//! Fail2Ban's `port` and `protocol` options: text in, ports and protocols out.
//!
//! Names are looked up in the system's services file, aliases included, and in a short list of our own for
//! the mail, web and login ports that some files lack or name differently. A name that neither knows is an
//! error: a jail that was meant for one port must not silently cover all or none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

/// More separate ranges than any jail has; keeps one kernel message below its 64 KiB.
const MOST_RANGES: usize = 1000;

/// Ports that are known even where the services file does not know them.
const BUILT_IN: &[(&str, u16)] = &[
    ("auth", 113),
    ("domain", 53),
    ("ftp", 21),
    ("ftp-data", 20),
    ("ftps", 990),
    ("ftps-data", 989),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imap2", 143),
    ("imap3", 220),
    ("imaps", 993),
    ("ldap", 389),
    ("ldaps", 636),
    ("mysql", 3306),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("sieve", 4190),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("smtp", 25),
    ("smtps", 465),
    ("ssh", 22),
    ("ssmtp", 465),
    ("submission", 587),
    ("submissions", 465),
    ("telnet", 23),
    ("urd", 465),
    ("webcache", 8080),
    ("www", 80),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
];

/// A transport protocol that a jail can be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `udplite`
    UdpLite,
    /// `sctp`
    Sctp,
    /// `dccp`
    Dccp,
    /// `icmp`
    Icmp,
    /// `icmpv6`
    Icmpv6,
}

impl Protocol {
    /// The protocols that have ports at all.
    pub(crate) const PORTED: [Protocol; 5] = [
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::UdpLite,
        Protocol::Sctp,
        Protocol::Dccp,
    ];

    /// Its number in the IP header.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::UdpLite => 136,
            Protocol::Sctp => 132,
            Protocol::Dccp => 33,
            Protocol::Icmp => 1,
            Protocol::Icmpv6 => 58,
        }
    }

    /// Whether it has ports.
    pub(crate) fn has_ports(self) -> bool {
        Protocol::PORTED.contains(&self)
    }

    fn from_name(name: &str) -> Option<Protocol> {
        Some(match name.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "udplite" => Protocol::UdpLite,
            "sctp" => Protocol::Sctp,
            "dccp" => Protocol::Dccp,
            "icmp" => Protocol::Icmp,
            "icmpv6" | "ipv6-icmp" | "icmp6" => Protocol::Icmpv6,
            _ => return None,
        })
    }
}

/// Reads a `protocol` option: names parted by commas or blanks. Empty for `all`.
///
/// # Errors
/// [`BadPorts::Protocol`] for a name that is none.
pub(crate) fn protocols(text: &str) -> Result<Vec<Protocol>, BadPorts> {
    let mut out = BTreeSet::new();
    for word in words(text) {
        if matches!(word.to_ascii_lowercase().as_str(), "all" | "any") {
            return Ok(Vec::new());
        }
        out.insert(Protocol::from_name(word).ok_or_else(|| BadPorts::Protocol(word.to_owned()))?);
    }
    if out.is_empty() {
        return Err(BadPorts::Empty("protocol"));
    }
    Ok(out.into_iter().collect())
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortRange {
    /// The lowest
    pub first: u16,
    /// The highest, not below `first`
    pub last: u16,
}

/// Which ports a jail covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// Every port.
    All,
    /// These; sorted, apart from one another, never empty.
    Some(Vec<PortRange>),
}

/// A `port` or `protocol` option that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPorts {
    /// A name that no list knows; the names that look like it.
    #[error("unknown service name '{name}' in port{}", Near(near))]
    Name {
        /// The name
        name: String,
        /// Known names that differ little
        near: Vec<String>,
    },
    /// A number beyond the ports.
    #[error("'{0}' is no port (0 to 65535)")]
    Number(String),
    /// The end of a range lies before its start.
    #[error("port range '{0}' ends before it starts")]
    Reversed(String),
    /// A protocol that is none, or is not supported.
    #[error("unknown protocol '{0}' (known: tcp, udp, udplite, sctp, dccp, icmp, icmpv6, all)")]
    Protocol(String),
    /// Nothing there.
    #[error("the option '{0}' is empty")]
    Empty(&'static str),
    /// Too long a list.
    #[error("more than {MOST_RANGES} port ranges")]
    TooMany,
}

struct Near<'n>(&'n [String]);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, " (did you mean {}?)", self.0.join(", "))
    }
}

impl Ports {
    /// Reads a `port` option: numbers, ranges (`8000:8010` or `8000-8010`) and service names, parted by
    /// commas or blanks; `any`, `all` and the whole range mean every port.
    ///
    /// # Errors
    /// [`BadPorts`], naming what could not be understood.
    pub(crate) fn parse(text: &str, services: &Services) -> Result<Ports, BadPorts> {
        let mut ranges = Vec::new();
        for word in words(text) {
            if matches!(word.to_ascii_lowercase().as_str(), "all" | "any") {
                return Ok(Ports::All);
            }
            read_word(word, services, &mut ranges)?;
        }
        if ranges.is_empty() {
            return Err(BadPorts::Empty("port"));
        }
        let ranges = merged(ranges);
        if ranges.iter().any(|range| range.first <= 1 && range.last == u16::MAX) {
            return Ok(Ports::All);
        }
        if ranges.len() > MOST_RANGES {
            return Err(BadPorts::TooMany);
        }
        Ok(Ports::Some(ranges))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

fn read_word(word: &str, services: &Services, ranges: &mut Vec<PortRange>) -> Result<(), BadPorts> {
    // Service names may hold a '-' (ftp-data), so it parts a range only between numbers.
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let ends = word
        .split_once(':')
        .or_else(|| word.split_once('-').filter(|(a, b)| numeric(a) && numeric(b)));
    let Some((first, last)) = ends else {
        ranges.extend(services.ports(word)?.into_iter().map(|port| PortRange {
            first: port,
            last: port,
        }));
        return Ok(());
    };
    let first = if first.is_empty() { 0 } else { services.one(first)? };
    let last = if last.is_empty() { u16::MAX } else { services.one(last)? };
    if last < first {
        return Err(BadPorts::Reversed(word.to_owned()));
    }
    ranges.push(PortRange { first, last });
    Ok(())
}

/// Sorted, with what overlaps or touches made one.
fn merged(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut out: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => {
                before.last = before.last.max(range.last);
            }
            _ => out.push(range),
        }
    }
    out
}

/// Service names and their ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    ports: BTreeMap<String, BTreeSet<u16>>,
}

impl Services {
    /// Reads a services file, `/etc/services` as a rule. A file that does not exist leaves the built-in names.
    ///
    /// # Errors
    /// Any other error of reading it.
    pub(crate) fn read(path: &Path) -> io::Result<Services> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Services::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Services::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads the text of a services file: `name port/protocol alias… # comment`. Lines that are none are passed over.
    pub(crate) fn parse(text: &str) -> Services {
        let mut ports: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut fields = line.split_whitespace();
            let (Some(name), Some(place)) = (fields.next(), fields.next()) else {
                continue;
            };
            let Some(port) = place.split('/').next().and_then(|number| number.parse().ok()) else {
                continue;
            };
            for name in std::iter::once(name).chain(fields) {
                ports.entry(name.to_ascii_lowercase()).or_default().insert(port);
            }
        }
        Services { ports }
    }

    /// The ports of a number or a name; a name may stand for different ports of different protocols.
    fn ports(&self, word: &str) -> Result<Vec<u16>, BadPorts> {
        if word.bytes().all(|b| b.is_ascii_digit()) {
            let port = word.parse().map_err(|_| BadPorts::Number(word.to_owned()))?;
            return Ok(vec![port]);
        }
        let name = word.to_ascii_lowercase();
        if let Some(ports) = self.ports.get(&name) {
            return Ok(ports.iter().copied().collect());
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, port)) => Ok(vec![*port]),
            None => Err(BadPorts::Name {
                near: self.near(&name),
                name: word.to_owned(),
            }),
        }
    }

    /// One end of a range.
    fn one(&self, word: &str) -> Result<u16, BadPorts> {
        self.ports(word)?
            .first()
            .copied()
            .ok_or_else(|| BadPorts::Number(word.to_owned()))
    }

    /// Known names within two typing mistakes, the nearest first, at most three.
    fn near(&self, name: &str) -> Vec<String> {
        // No service name is this long, and the distance below takes the product of both lengths.
        if name.len() > 40 {
            return Vec::new();
        }
        let known: BTreeSet<&str> = self
            .ports
            .keys()
            .map(String::as_str)
            .chain(BUILT_IN.iter().map(|(known, _)| *known))
            .collect();
        let most = if name.len() <= 4 { 1 } else { 2 };
        let mut near: Vec<(usize, &str)> = known
            .into_iter()
            .map(|known| (distance(name, known), known))
            .filter(|(distance, _)| *distance <= most)
            .collect();
        near.sort_unstable();
        near.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
    }
}

/// Levenshtein's distance: how many letters to insert, drop or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let change = corner + usize::from(from != *to);
            corner = *cell;
            left = change.min(corner + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "ssh\t22/tcp\t# Remote login\nsubmissions 465/tcp ssmtp smtps urd # over TLS\n\
        https 443/tcp\nhttps 443/udp\nodd 1/tcp\nodd 7/udp\n# nothing here 9/tcp\nbroken\nwrong x/tcp\nhttp 80/tcp www\n";

    fn range(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    fn check(text: &str, expect: &[PortRange]) {
        let ports = Ports::parse(text, &Services::parse(FILE));
        assert_eq!(ports, Ok(Ports::Some(expect.to_vec())), "{text}");
    }

    fn refused(text: &str, expect: &str) {
        let error = Ports::parse(text, &Services::parse(FILE)).unwrap_err();
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn lists_of_ports() {
        check("22", &[range(22, 22)]);
        check("ssh", &[range(22, 22)]);
        check("smtp,ssmtp", &[range(25, 25), range(465, 465)]);
        check(
            "http,https,8000:8010",
            &[range(80, 80), range(443, 443), range(8000, 8010)],
        );
        check("8000-8010 ftp-data", &[range(20, 20), range(8000, 8010)]);
        check("smtps , submissions,urd", &[range(465, 465)]);
        check("WWW", &[range(80, 80)]);
        check("odd", &[range(1, 1), range(7, 7)]);
        check("8000:8005,8006:8010,8003", &[range(8000, 8010)]);
        check("65535,0", &[range(0, 0), range(65535, 65535)]);
        check("1024:", &[range(1024, 65535)]);
        check(
            "pop3,pop3s,imap,imaps,submission,sieve",
            &[
                range(110, 110),
                range(143, 143),
                range(587, 587),
                range(993, 993),
                range(995, 995),
                range(4190, 4190),
            ],
        );
    }

    #[test]
    fn every_port() {
        for text in [
            "0:65535",
            "1:65535",
            "any",
            "all",
            "ssh,all",
            "0-65535",
            "0:30000,30001:65535",
        ] {
            assert_eq!(Ports::parse(text, &Services::default()), Ok(Ports::All), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_named() {
        refused(
            "ssh,htps",
            "unknown service name 'htps' in port (did you mean ftps, https?)",
        );
        refused(
            "submision",
            "unknown service name 'submision' in port (did you mean submission, submissions?)",
        );
        refused("qqqqqq", "unknown service name 'qqqqqq' in port");
        refused("70000", "'70000' is no port (0 to 65535)");
        refused("99999999999999999999", "'99999999999999999999' is no port (0 to 65535)");
        refused("90:80", "port range '90:80' ends before it starts");
        refused(" , ", "the option 'port' is empty");
        let many: Vec<String> = (0..1001).map(|n| (n * 2 + 2).to_string()).collect();
        refused(&many.join(","), "more than 1000 port ranges");
    }

    #[test]
    fn lists_of_protocols() {
        assert_eq!(protocols("tcp"), Ok(vec![Protocol::Tcp]));
        assert_eq!(protocols("udp, tcp,tcp"), Ok(vec![Protocol::Tcp, Protocol::Udp]));
        assert_eq!(protocols("all"), Ok(vec![]));
        assert_eq!(protocols("icmp"), Ok(vec![Protocol::Icmp]));
        assert_eq!(protocols("tpc"), Err(BadPorts::Protocol("tpc".into())));
        assert_eq!(protocols(""), Err(BadPorts::Empty("protocol")));
    }

    #[test]
    fn a_missing_file_leaves_the_built_in_names() {
        let services = Services::read(Path::new("/nonexistent/services")).unwrap();
        assert_eq!(Ports::parse("ssmtp", &services), Ok(Ports::Some(vec![range(465, 465)])));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC*", ports in "[0-9:,a-z \\-]{0,80}", file in "([a-z]{1,9}[ \t/]{0,2}[0-9]{0,6}[/#\n]{0,2}){0,20}") {
            let services = Services::parse(&file);
            for text in [&text, &ports] {
                drop(protocols(text));
                if let Ok(Ports::Some(ranges)) = Ports::parse(text, &services) {
                    assert!(!ranges.is_empty());
                    assert!(ranges.windows(2).all(|pair| pair[0].last < pair[1].first));
                }
            }
        }
    }
}

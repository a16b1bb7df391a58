//! How ids are spelled: texts read by Fail2Ban's `IPAddr` and by [`Id`].

use portcullis_core::address::{BadMask, Id};
use portcullis_core::allow::{list_path, list_text};
use serde_json::{Value, json};

use crate::count::Count;
use crate::names::dice;
use crate::oracle::Oracle;

/// Texts written by hand: the table of contract §13.7 and its neighbours.
const TABLE: &[&str] = &[
    "",
    "[",
    "[]",
    "[x]",
    "[[::1]]",
    "1.2.3.4",
    "1.2.3.4/24",
    "1.2.3.4/255.255.255.0",
    "01.2.3.4",
    "1.2.3",
    "1.2.3.4.5",
    "host",
    "999.1.1.1",
    "999.1.1.1/24",
    "999.1.1.1/255.0.0.0",
    "fe80::1%eth0",
    "fe80::1%eth0/64",
    "[2001:db8::1]",
    "2001:DB8:0:0::1",
    "::ffff:1.2.3.4",
    "::FFFF:1.2.3.4",
    "::ffff:102:304",
    "[::ffff:1.2.3.4]",
    "::1.2.3.4",
    "::1.2.3.4/100",
    "::ffff:1.2.3.4/120",
    "::ffff:102:304/120",
    "::ffff:102:304/128",
    "::ffff:0:0/96",
    "1.2.3.4/32",
    "1.2.3.4/33",
    "1.2.3.4/0",
    "1.2.3.4/00",
    "1.2.3.4/024",
    "1.2.3.4/+7",
    "1.2.3.4/-1",
    "1.2.3.4/ 7",
    "1.2.3.4/",
    "1.2.3.4/path",
    "some/path/as/id",
    "1.2.3.4/255.0.255.0",
    "1.2.3.4/ffff::",
    "2001:db8::/32",
    "2001:db8::1/128",
    "2001:db8::1/129",
    "2001:db8::1/0",
    "2001:db8::1/ffff:ffff::",
    "2001:db8::1/255.255.0.0",
    "2001:db8::1/::ffff:0",
    "2001:db8::/::ff00:ff",
    "::",
    "::/8",
    "::1",
    "::5:6",
    "0:0:0:0:0:0:1:2",
    "1::2:0:0:3",
    "1:2:3:4:5:6:7::",
    "::1:2:3:4:5:6:7/64",
    "::2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:8/64",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.4/24 ",
    "user/1.2.3.4",
    "1.2.3.4/24/8",
    "[1.2.3.4]/24",
    "[2001:db8::1]/64",
    "[2001:db8::1/64]",
    "1.2.3.4/999.1.1.1",
    "bücher",
    "a\nb",
    "1.2.3.4/99999999999999999999",
    "0.0.0.0",
    "255.255.255.255/255.255.255.255",
    "1.2.3.4/0.0.0.0",
    "1.2.3.4/::",
];

/// An address, or what looks like one.
fn address(dice: &mut dyn FnMut(u64) -> u64) -> String {
    match dice(6) {
        0 | 1 => {
            let parts: Vec<String> = (0..4)
                .map(|_| [dice(256), dice(4), 255, 0][usize::try_from(dice(4)).unwrap()].to_string())
                .collect();
            parts.join(".")
        }
        2 | 3 => {
            let groups = dice(9);
            let mut text: Vec<String> = (0..groups)
                .map(|_| {
                    let digits = format!("{:x}", dice(65_536) >> (4 * dice(4)));
                    if dice(4) == 0 { digits.to_uppercase() } else { digits }
                })
                .collect();
            if groups < 8 || dice(3) == 0 {
                text.insert(usize::try_from(dice(groups + 1)).unwrap(), String::new());
            }
            let joined = text.join(":");
            if joined.starts_with(':') {
                format!(":{joined}")
            } else if joined.ends_with(':') {
                format!("{joined}:")
            } else {
                joined
            }
        }
        4 => format!(
            "::{}{}.{}.{}.{}",
            ["ffff:", "", "FFFF:", "0:"][usize::try_from(dice(4)).unwrap()],
            dice(256),
            dice(256),
            dice(300),
            dice(256)
        ),
        _ => format!("2001:db8::{:x}", dice(65_536)),
    }
}

/// A text that is nearly an address, perhaps with a mask.
fn spelling(dice: &mut impl FnMut(u64) -> u64) -> String {
    let mut text = address(dice);
    match dice(8) {
        0..=2 => text += &format!("/{}", dice(140)),
        3 => {
            let ones = u32::try_from(dice(33)).unwrap();
            let mask = std::net::Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - ones).unwrap_or(0));
            text += &format!("/{mask}");
        }
        4 => {
            let ones = u32::try_from(dice(129)).unwrap();
            let mask = std::net::Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - ones).unwrap_or(0));
            text += &format!("/{mask}");
        }
        5 => text += &format!("/{}", address(dice)),
        _ => {}
    }
    if dice(6) == 0 {
        text = format!("[{text}]");
    }
    // A slip of the pen.
    if dice(4) == 0 && text.is_ascii() && !text.is_empty() {
        let at = usize::try_from(dice(text.len() as u64)).unwrap();
        let slips = [":", ".", "/", "g", "0", "%", "-", " ", "[", "]", ""];
        text.replace_range(at..=at, slips[usize::try_from(dice(11)).unwrap()]);
    }
    text
}

fn ours(text: &str) -> Value {
    match Id::parse(text) {
        Ok(id) => json!({"family": id.family().map(|family| family.to_string()), "text": id.to_string()}),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// D-101: whether the two differ exactly as is said there.
fn is_deviation(text: &str, theirs: &Value) -> bool {
    match Id::parse(text) {
        // Fail2Ban takes a mask that is no address for one of length 0.
        Err(BadMask(mask)) if mask.parse::<std::net::IpAddr>().is_err() => {
            let bare = text.trim_start_matches('[').split('/').next().unwrap();
            match Id::plain(bare) {
                Id::Ip(ip) if ip.is_ipv4() && !bare.contains(':') => theirs["text"] == "0.0.0.0",
                Id::Ip(_) => theirs["text"] == "::",
                _ => theirs["text"] == bare,
            }
        }
        _ => false,
    }
}

#[test]
fn spellings_of_addresses() {
    let mut dice = dice(1307);
    let mut texts: Vec<String> = TABLE.iter().map(|&text| text.to_owned()).collect();
    texts.extend((0..6000).map(|_| spelling(&mut dice)));
    let mut oracle = Oracle::start("addresses");
    let answer = oracle.ask(&json!({"texts": texts}));
    let mut count = Count::of("ids and addresses, spellings");
    let (mut deviations, mut kinds) = (0, std::collections::BTreeMap::<String, u32>::new());
    for (text, theirs) in texts.iter().zip(answer["read"].as_array().unwrap()) {
        *kinds.entry(theirs["family"].to_string()).or_default() += 1;
        let ours = ours(text);
        if ours != *theirs && is_deviation(text, theirs) {
            deviations += 1;
            count.equal(1);
        } else {
            count.compare(&ours, theirs, || format!("{text:?}"));
        }
    }
    println!("as D-101 says: {deviations}; by family {kinds:?}");
    assert!(deviations > 0 && kinds["\"inet4\""] > 500 && kinds["\"inet6\""] > 500 && kinds["null"] > 500);
    count.close(6000);
}

#[test]
fn what_is_in_which_network() {
    let mut dice = dice(17);
    let some = |dice: &mut dyn FnMut(u64) -> u64| {
        let base = ["10.0.", "10.1.", "192.0."][usize::try_from(dice(3)).unwrap()];
        match dice(6) {
            0 => format!("2001:db8:{:x}::{:x}/{}", dice(2), dice(3), 1 + dice(128)),
            1 => format!("2001:db8:{:x}::{:x}", dice(2), dice(3)),
            2 | 3 => format!("{base}{}.{}/{}", dice(2), dice(3), 1 + dice(32)),
            _ => format!("{base}{}.{}", dice(2), dice(3)),
        }
    };
    let pairs: Vec<[String; 2]> = (0..4000).map(|_| [some(&mut dice), some(&mut dice)]).collect();
    let answer = Oracle::start("addresses").ask(&json!({"pairs": pairs}));
    let mut count = Count::of("ids and addresses, networks");
    let mut inside = 0;
    for ([inner, outer], theirs) in pairs.iter().zip(answer["inside"].as_array().unwrap()) {
        let ours = Id::parse(outer).unwrap().covers(&Id::parse(inner).unwrap());
        inside += u32::from(ours);
        count.compare(&json!(ours), theirs, || format!("{inner} in {outer}"));
    }
    assert!(inside > 400, "{inside}");
    count.close(4000);
}

#[test]
fn paths_of_files() {
    let mut dice = dice(4);
    let parts = ["/", "/", "/", "a", "ab", "abc", ".", "..", "etc", "\n", " "];
    let mut texts: Vec<String> = ["file", "xfile:/a", "File:/etc/x"].map(str::to_owned).into();
    texts.extend((0..2000).map(|_| {
        let count = dice(8);
        let path: String = (0..count).map(|_| parts[usize::try_from(dice(11)).unwrap()]).collect();
        format!("file:{path}")
    }));
    let answer = Oracle::start("addresses").ask(&json!({"paths": texts}));
    let mut count = Count::of("ignoreip, paths of files");
    for (text, theirs) in texts.iter().zip(answer["paths"].as_array().unwrap()) {
        let ours = list_path(text).map(|path| [path.clone(), list_text(&path)]);
        count.compare(&json!(ours), theirs, || format!("{text:?}"));
    }
    count.close(2000);
}

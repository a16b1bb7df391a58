//! Counting and banning by prefix: who hops through a network, with a real kernel and real packets.

use std::thread::sleep;
use std::time::Duration;

use crate::house::{House, Jail, eventually};

const NATIVE: &str = "action = nft[type=allports]";
/// Dials from an address to a listener in the same namespace; exit 0 if that answers.
const DIAL: &str = "
import socket, sys
def bound(address):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
    sock.bind((address, 0))
    return sock
listener = bound('2001:db8:900d::1')
listener.listen()
caller = bound(sys.argv[1])
caller.settimeout(0.6)
try:
    caller.connect(listener.getsockname()[:2])
except TimeoutError:
    sys.exit(3)
";

fn house(options: &str) -> House {
    let house = House::empty();
    for words in [
        "link set lo up",
        "-6 route add local 2001:db8:bad::/48 dev lo",
        "-6 route add local 2001:db8:900d::/48 dev lo",
    ] {
        let done = house.inside("ip").args(words.split(' ')).status().unwrap();
        assert!(done.success(), "ip {words}");
    }
    let native = format!("{NATIVE}\n{options}");
    house.jails(&[
        Jail {
            name: "plain",
            maxretry: 3,
            options: &native,
        },
        Jail {
            name: "shell",
            maxretry: 2,
            options: "",
        },
    ]);
    house
}

impl House {
    /// Whether a connection from this address is answered.
    fn gets_in(&self, from: &str) -> bool {
        let status = self.inside("python3").args(["-c", DIAL, from]).status().unwrap();
        match status.code() {
            Some(0) => true,
            Some(3) => false,
            other => panic!("the dial from {from} ended with {other:?}"),
        }
    }

    fn fail_each(&self, jail: &str, whom: &[&str]) {
        for who in whom {
            self.fail(jail, who);
        }
    }
}

const HOPS: [&str; 3] = ["2001:db8:bad:1::1", "2001:db8:bad:1:dead::2", "2001:db8:bad:1::3"];
const SEEN: &str = "2001:db8:bad:1::1";
const UNSEEN: &str = "2001:db8:bad:1:ffff::77";
const NEIGHBOUR: &str = "2001:db8:bad:2::77";
const BAN: &str = "plain 2001:db8:bad:1::/64";

#[test]
fn who_hops_through_a_network_is_shut_out_with_it() {
    let mut house = house("");
    house.start();
    assert!(house.gets_in(UNSEEN));
    house.fail_each("plain", &HOPS);
    house.until_banned(BAN);
    eventually("the kernel drops it", || !house.gets_in(UNSEEN));
    assert!(!house.gets_in(SEEN) && house.gets_in(NEIGHBOUR));
    assert_eq!(
        house.said("Found 2001:db8:bad:1:dead::2").len(),
        1,
        "the log names who it was"
    );
    house.fail_each("shell", &HOPS[..2]);
    house.until_acted("ban shell 2001:db8:bad:1::/64");

    assert_eq!(house.terminate(), Some(0));
    assert!(!house.gets_in(UNSEEN));
    house.start();
    assert_eq!(house.banned(), [BAN, "shell 2001:db8:bad:1::/64"]);
    house.kill();
    house.start();
    assert!(!house.gets_in(UNSEEN) && house.gets_in(NEIGHBOUR));

    let freed = house.json(&["unban", "2001:db8:bad:1::5"]);
    assert_eq!(freed["count"], 2, "{freed}");
    let note = "2001:db8:bad:1::5 was banned with its network in jail plain: 2001:db8:bad:1::/64 is lifted";
    assert_eq!(freed["notes"][0], note, "{freed}");
    eventually("it gets in again", || house.gets_in(UNSEEN));
    house.until_acted("unban shell 2001:db8:bad:1::/64");
    assert!(house.banned().is_empty());

    house.json(&["ban", "2001:db8:bad:1::9", "--jail", "plain"]);
    house.until_banned("plain 2001:db8:bad:1::9");
    eventually("what was typed is dropped", || !house.gets_in("2001:db8:bad:1::9"));
    assert!(house.gets_in(UNSEEN));
}

#[test]
fn enough_neighbours_shut_out_the_neighbourhood() {
    let mut house = house("prefix.widen = 2\nprefix.widen.ipv6 = 56");
    house.start();
    house.fail_each("plain", &["2001:db8:bad:1::1"; 3]);
    house.until_banned(BAN);
    assert!(house.gets_in("2001:db8:bad:3::1"));
    house.fail_each("plain", &["2001:db8:bad:2::1"; 3]);
    house.until_banned("plain 2001:db8:bad::/56");
    house.until_said("2 in 2001:db8:bad::/56 are banned, so the whole of it is");
    eventually("the kernel drops it", || !house.gets_in("2001:db8:bad:3::1"));
    assert!(house.gets_in("2001:db8:bad:100::1"), "it is a /56");
    house.kill();
    house.start();
    assert_eq!(house.banned().len(), 3);
    assert!(!house.gets_in("2001:db8:bad:3::1"));
    assert_eq!(house.json(&["unban", "2001:db8:bad:2::7"])["count"], 2);
    eventually("the others get in", || house.gets_in("2001:db8:bad:3::1"));
    assert!(
        house.gets_in(NEIGHBOUR) && !house.gets_in(UNSEEN),
        "{:?}",
        house.banned()
    );
    house.kill();
    house.start();
    assert_eq!(house.banned(), [BAN]);
    assert!(house.gets_in("2001:db8:bad:3::1") && !house.gets_in(UNSEEN));
}

/// With a configuration of Fail2Ban's, addresses are counted singly until an option says otherwise; a wrong value
/// widens nothing.
#[test]
fn a_configuration_of_fail2bans() {
    let mut house = house("");
    house.write("etc/jail.conf", "[DEFAULT]\n");
    house.write("etc/fail2ban.conf", "[Definition]\n");
    house.start();
    house.fail_each("plain", &HOPS);
    house.fail_each("plain", &[HOPS[0]; 2]);
    house.until_banned("plain 2001:db8:bad:1::1");
    sleep(Duration::from_millis(200));
    assert_eq!(house.banned().len(), 1);
    let jails = house.read("etc/jail.local");
    let with = |value: &str| jails.replace("[DEFAULT]\n", &format!("[DEFAULT]\nprefix.ipv6 = {value}\n"));
    house.write("etc/jail.local", with("32"));
    let notes = house.json(&["reload"]).to_string();
    assert!(
        notes.contains("jail.local:2") && notes.contains("prefix.ipv6 cannot be '32'"),
        "{notes}"
    );
    house.fail_each(
        "plain",
        &["2001:db8:bad:7::1", "2001:db8:bad:7::2", "2001:db8:bad:7::3"],
    );
    house.write("etc/jail.local", with("64"));
    house.json(&["reload"]);
    house.fail_each(
        "plain",
        &["2001:db8:bad:8::1", "2001:db8:bad:8::2", "2001:db8:bad:8::3"],
    );
    house.until_banned("plain 2001:db8:bad:8::/64");
    assert_eq!(house.banned(), ["plain 2001:db8:bad:1::1", "plain 2001:db8:bad:8::/64"]);
}

//! Failures by host name while name servers are slow: nothing waits for them but these, and a kill loses none.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::house::{House, Jail, eventually};
use crate::nameserver::{Names, Said, addresses};

/// Three failures by a name that does not answer; the daemon is killed, twice, and the name answers at last.
#[test]
fn failures_that_wait_for_a_name_outlive_a_kill() {
    let mut house = House::empty();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 3,
        options: "usedns = yes\n",
    }]);
    let names = Names::serve(&house, "timeout:30 attempts:1", "127.0.0.1 localhost\n");
    names.say("evil.example", Said::Silence);
    house.start();
    house.fail("plain", "evil.example");
    house.fail("plain", "evil.example");
    house.fail("plain", "192.0.2.9");
    house.counts_become("plain", &BTreeMap::from([("192.0.2.9".into(), 1)]));
    eventually("the name is asked for", || names.asked("evil.example") > 0);
    assert_eq!(house.waiting(), 2, "kept with the position");
    house.kill();
    house.start();
    house.fail("plain", "evil.example");
    eventually("it waits", || house.waiting() == 3);
    house.kill();
    names.say("evil.example", addresses(&["192.0.2.1", "192.0.2.2"]));
    house.start();
    house.until_banned("plain 192.0.2.1");
    house.until_banned("plain 192.0.2.2");
    eventually("nothing waits any more", || house.waiting() == 0);
    house.kill();
    house.start();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(house.said("[plain] Ban 192.0.2.1").len(), 1, "nothing counts twice");
    assert_eq!(house.counted("plain"), BTreeMap::from([("192.0.2.9".into(), 1)]));
}

/// The whole way of `ignoreip = file:…`, `ignorecommand` and `ignorecache` through both processes.
#[test]
fn files_and_commands_that_spare() {
    let mut house = House::empty();
    let (list, script) = (house.path("allowed"), house.path("spare"));
    house.write(
        "spare",
        "#!/bin/sh\necho \"$1\" >> \"$0.ran\"\ncase $1 in 192.0.2.5) exit 0;; 192.0.2.6) exit 7;; *) exit 1;; esac\n",
    );
    let options = format!(
        "ignoreip = file:/{} 192.0.2.4\nignorecommand = /bin/sh {} <ip>\nignorecache = key=\"<ip>\", max-count=10\n",
        list.display(),
        script.display()
    );
    house.jails(&[Jail {
        name: "plain",
        maxretry: 3,
        options: &options,
    }]);
    house.start();
    house.until_said("Retrieving IPs set from");
    let fail = |house: &House, who: &str| (0..3).for_each(|_| house.fail("plain", who));
    fail(&house, "192.0.2.7");
    house.until_said("192.0.2.7 is not banned, because the jail must not ban: ignoreip = file:/");
    assert!(house.banned().is_empty(), "nobody, while the file is not there");
    house.write("allowed", "192.0.2.3 # a friend\n10.0.0.0/8\n");
    assert_eq!(house.terminate(), Some(0));
    house.start();
    for who in [
        "192.0.2.3",
        "192.0.2.4",
        "192.0.2.5",
        "192.0.2.6",
        "10.1.2.3",
        "192.0.2.8",
    ] {
        fail(&house, who);
    }
    house.until_banned("plain 192.0.2.8");
    house.until_banned("plain 192.0.2.6");
    assert_eq!(house.banned().len(), 2);
    house.until_said(&format!("[plain] Ignore 10.1.2.3 by file:/{}", list.display()));
    assert_eq!(
        house.said("[plain] Ignore 192.0.2.4 by ip").len(),
        3,
        "no cache for these"
    );
    assert_eq!(
        house.said("[plain] Ignore 192.0.2.5 by command").len(),
        1,
        "the others are cached"
    );
    assert_eq!(house.said(" -- returned 7").len(), 1);
    let ran = house.read("spare.ran");
    for who in ["192.0.2.5", "192.0.2.6", "192.0.2.8"] {
        assert_eq!(ran.matches(who).count(), 1, "{who} in {ran}");
    }
}

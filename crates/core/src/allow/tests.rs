use super::*;
use crate::time::Seconds;

struct World {
    own: BTreeSet<IpAddr>,
    names: Names,
    lists: Lists,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        World {
            own: BTreeSet::from(["198.51.100.1".parse().unwrap()]),
            names: Names::default(),
            lists: Lists::default(),
            now: Timestamp::from_seconds(1000),
        }
    }

    fn known(&self) -> Known<'_> {
        Known {
            own: &self.own,
            names: &self.names,
            lists: &self.lists,
            since: self.now,
        }
    }

    fn judge(&self, allow: &Allow, id: &str) -> Verdict {
        allow.judge(&Id::parse(id).unwrap(), &self.known())
    }

    fn within(&self, allow: &Allow, net: &str) -> Option<bool> {
        allow.has_within(&net.parse().unwrap(), &self.known())
    }

    fn list(&mut self, path: &str, found: Found) {
        let path = path.into();
        self.lists.ask(Some(self.now), &path);
        self.lists.put(&path, found);
    }
}

fn allow(entries: &[&str]) -> Allow {
    let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
    Allow::new(true, &entries).unwrap()
}

fn read(text: &str) -> Found {
    let stat = Stat {
        modified: 1,
        inode: 1,
        size: text.len() as u64,
    };
    Found::Read(stat, List::parse(text).unwrap())
}

/// Whoever is exempt by any rule keeps the network around him from being banned whole.
#[test]
fn somebody_within_a_network() {
    let (net, next) = ("2001:db8:1:2::/64", "2001:db8:1:3::/64");
    let check = |world: &World, entries: &[&str], expect: [Option<bool>; 2]| {
        let allow = allow(entries);
        assert_eq!(
            [world.within(&allow, net), world.within(&allow, next)],
            expect,
            "{entries:?}"
        );
    };
    let mut world = World::new();
    world.own.insert("2001:db8:1:9::1".parse().unwrap());
    let (yes, no) = ([Some(true), Some(false)], [Some(false); 2]);
    check(&world, &[], no);
    check(&world, &["2001:db8:1:2::"], yes);
    check(&world, &["2001:db8:1:2:ffff:ffff:ffff:ffff"], yes);
    check(&world, &["2001:db8:1:2:3::/80", "192.0.2.1"], yes);
    check(&world, &["2001:db8:1::/48"], [Some(true); 2]);
    check(&world, &["mail.example.com"], [None; 2]);
    check(&world, &["mail.example.com", "2001:db8:1:2::7"], [Some(true), None]);
    let name = |world: &mut World, name: &str, address: &str| {
        let addresses = vec![address.parse().unwrap()];
        world.names.put(world.now, name.into(), addresses, true);
    };
    name(&mut world, "mail.example.com", "2001:db8:1:2::7");
    check(&world, &["mail.example.com"], yes);
    check(&world, &["file:/x"], [None; 2]);
    for (text, expect) in [
        ("192.0.2.1 2001:db8:1:4::/64", no),
        ("2001:db8:1:2::7", yes),
        ("2001:db8:1:2:3::/80", yes),
        ("2001:db8:1::/48", [Some(true); 2]),
        ("mail.example.com", yes),
        ("other.example.com", [None; 2]),
    ] {
        world.list("/x", read(text));
        check(&world, &["file:/x"], expect);
    }
    world.own.insert("2001:db8:1:2::1".parse().unwrap());
    assert_eq!(
        world.within(&Allow::default(), net),
        Some(true),
        "own addresses without ignoreself"
    );
}

#[test]
fn the_order_of_contract_4_1() {
    let mut world = World::new();
    let allow = allow(&["127.0.0.1/8", "2001:db8::/32", "192.0.2.7", "mail.example.com"]);
    assert_eq!(world.judge(&allow, "198.51.100.1"), Verdict::Allowed(Rule::Own, true));
    assert_eq!(world.judge(&allow, "192.0.2.7"), Verdict::Allowed(Rule::Ip, false));
    assert_eq!(world.judge(&allow, "127.1.2.3"), Verdict::Allowed(Rule::Ip, true));
    assert_eq!(world.judge(&allow, "2001:db8::5"), Verdict::Allowed(Rule::Ip, true));
    let unknown = Verdict::Ask(vec![Unknown::Name("mail.example.com".into())]);
    assert_eq!(world.judge(&allow, "203.0.113.1"), unknown);
    let addresses = vec!["203.0.113.1".parse().unwrap()];
    world.names.put(world.now, "mail.example.com".into(), addresses, true);
    assert_eq!(world.judge(&allow, "203.0.113.1"), Verdict::Allowed(Rule::Dns, true));
    assert_eq!(world.judge(&allow, "203.0.113.2"), Verdict::Counts);
    let raw = world.judge(&allow, "mail.example.com");
    assert_eq!(raw, Verdict::Counts, "a raw id is not matched by equality");
    world.now = world.now + Seconds::new(300);
    assert_eq!(world.judge(&allow, "203.0.113.1"), unknown);
}

#[test]
fn a_wider_id_is_judged_by_its_first_address() {
    let allow = allow(&["10.0.0.0/24"]);
    assert_eq!(
        World::new().judge(&allow, "10.0.0.0/8"),
        Verdict::Allowed(Rule::Ip, true)
    );
}

#[test]
fn a_mask_that_is_none_is_an_error() {
    assert!(Allow::new(true, &["10.0.0.0/255.0.255.0".into()]).is_err());
}

#[test]
fn paths_of_files() {
    for (entry, path) in [
        ("file:/etc/x", "/etc/x"),
        ("file://etc/x", "/etc/x"),
        ("file:///etc/x", "/etc/x"),
        ("file:x", "x"),
        ("file:./x", "./x"),
        ("file:../x/y", "../x/y"),
        ("file:/a/b", "a/b"),
        ("file:/abc", "/abc"),
        ("file:", ""),
    ] {
        assert_eq!(list_path(entry).as_deref(), Some(path), "{entry}");
    }
    assert_eq!(list_path("mail.example.com"), None);
    assert_eq!(
        (list_text("/etc/x"), list_text("x")),
        ("file://etc/x".into(), "file:x".into())
    );
}

#[test]
fn a_file_is_read_and_believed_for_a_second() {
    let mut world = World::new();
    let allow = allow(&["file:/etc/allowed", "203.0.113.0/24"]);
    let path: Arc<str> = "/etc/allowed".into();
    let ask = Verdict::Ask(vec![Unknown::List(Arc::clone(&path))]);
    let by_list = Verdict::Allowed(Rule::List(Arc::clone(&path)), true);
    assert_eq!(world.judge(&allow, "192.0.2.1"), ask);
    assert_eq!(world.judge(&allow, "203.0.113.1"), ask, "the file stands first");
    world.list(
        "/etc/allowed",
        read("# all\n192.0.2.1, alice ;x\n10.0.0.0/8;x\r2001:db8::/32"),
    );
    for who in ["192.0.2.1", "alice", "2001:db8::9"] {
        assert_eq!(world.judge(&allow, who), by_list, "{who}");
    }
    assert_eq!(
        world.judge(&allow, "203.0.113.1"),
        Verdict::Ask(vec![
            Unknown::Name("10.0.0.0/8;x".into()),
            Unknown::Name("alice".into())
        ])
    );
    world.now = world.now + Seconds::new(1);
    assert_eq!(world.judge(&allow, "192.0.2.1"), by_list);
    world.now = world.now + Seconds::from_micros(1);
    assert_eq!(world.judge(&allow, "192.0.2.1"), ask);
    world.list("/etc/allowed", Found::Failed("gone".into(), None));
    world.now = world.now + Seconds::new(61);
    assert_eq!(world.judge(&allow, "192.0.2.1"), by_list, "as it was read last");
    assert_eq!(world.lists.failure("/etc/allowed"), None);
}

#[test]
fn a_file_that_was_never_read_says_so() {
    let mut world = World::new();
    world.list("/etc/allowed", Found::Failed("no such file".into(), None));
    assert_eq!(world.lists.failure("/etc/allowed"), Some("no such file"));
    // A glance at a file that is as bad as before, and at one that became good.
    let path = "/etc/allowed".into();
    world.lists.ask(None, &path);
    world.lists.put(&path, Found::Same);
    assert_eq!(world.lists.failure("/etc/allowed"), Some("no such file"));
    world.lists.ask(None, &path);
    world.lists.put(&path, read("192.0.2.1"));
    assert_eq!(world.lists.failure("/etc/allowed"), None);
    let unread = Verdict::Ask(vec![Unknown::List("/etc/allowed".into())]);
    assert_eq!(world.judge(&allow(&["file:/etc/allowed"]), "192.0.2.1"), unread);
    world.list("/etc/allowed", read(""));
    assert_eq!(world.lists.failure("/etc/allowed"), None);
    assert!(List::parse("10.0.0.0/255.0.255.0").is_err());
}

#[test]
fn a_full_cache_drops_the_oldest() {
    let now = Timestamp::from_seconds(1000);
    let mut cache = Cache::new(2, Seconds::new(10));
    let key = |text: &str| vec![text.to_owned()];
    for (text, allowed) in [("a", true), ("b", false), ("a", true), ("c", true)] {
        cache.put(now, key(text), allowed);
    }
    let mut get = |text: &str, at| cache.get(at, &key(text));
    assert_eq!((get("b", now), get("a", now)), (None, Some(true)));
    assert_eq!(get("c", now), Some(true));
    assert_eq!(get("c", now + Seconds::new(10)), None);
}

/// `check` says so of such a prefix.
#[test]
fn a_prefix_that_is_too_long_spares_one() {
    let world = World::new();
    let allow = allow(&["192.0.2.0/99", "2001:db8::/129"]);
    for (ip, expect) in [
        ("192.0.2.0", Verdict::Allowed(Rule::Ip, false)),
        ("192.0.2.1", Verdict::Counts),
        ("2001:db8::", Verdict::Allowed(Rule::Ip, false)),
        ("2001:db8::1", Verdict::Counts),
    ] {
        assert_eq!(world.judge(&allow, ip), expect, "{ip}");
    }
}

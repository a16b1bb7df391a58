use std::collections::BTreeMap;

use super::*;
use crate::action::Action;
use crate::action::{Scope, Verb};
use crate::config::plan::ActionPlan;
use crate::value::Value;

fn values(ip: &str, bantime: &str) -> Values {
    let tags = [("ip", ip), ("fid", ip), ("bantime", bantime)];
    let tags = tags.into_iter().map(|(tag, value)| (tag.to_owned(), value.to_owned()));
    Values {
        tags: tags.collect(),
        fields: BTreeMap::new(),
    }
}

/// What a command for somebody becomes: the program with its arguments, and the line that it reads.
fn read(script: &str, ip: &str, bantime: &str) -> Option<String> {
    let form = Form::of(script)?;
    let operation = form.operation(&values(ip, bantime))?;
    let line = form.line(&operation)?;
    let invocation = form.invocation();
    Some(format!(
        "{} {} < {line}",
        invocation.program,
        invocation.arguments.join(" ")
    ))
}

#[track_caller]
fn check(script: &str, ip: &str, expect: &str) {
    assert_eq!(read(script, ip, "600").as_deref(), Some(expect), "{script}");
}

const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

#[test]
fn commands_that_are_recognised() {
    for (script, ip, expect) in [
        (
            r"nft add element inet f2b-table addr-set-sshd \{ <ip> \}",
            V4,
            "nft -f - < add element inet f2b-table addr-set-sshd { 192.0.2.1 }",
        ),
        (
            "  /usr/sbin/nft delete element ip6 t s { <fid> } ",
            "2001:db8::/64",
            "/usr/sbin/nft -f - < delete element ip6 t s { 2001:db8::/64 }",
        ),
        (
            "iptables -w -I f2b-sshd 1 -s <ip> -j REJECT --reject-with icmp-port-unreachable",
            V4,
            "iptables-restore --noflush -w < -I f2b-sshd 1 -s 192.0.2.1 -j REJECT --reject-with icmp-port-unreachable",
        ),
        (
            "ip6tables -w -D f2b-sshd -s <ip> -j DROP",
            V6,
            "ip6tables-restore --noflush -w < -D f2b-sshd -s 2001:db8::1 -j DROP",
        ),
        (
            "/sbin/iptables-legacy -w 5 -A INPUT -s <ip> -j DROP",
            V4,
            "/sbin/iptables-legacy-restore --noflush -w 5 < -A INPUT -s 192.0.2.1 -j DROP",
        ),
        (
            "iptables -I fail2ban-x -s <ip> -j REJECT",
            V4,
            "iptables-restore --noflush < -I fail2ban-x -s 192.0.2.1 -j REJECT",
        ),
        (
            "ipset -exist add f2b-sshd <ip> timeout 0",
            V4,
            "ipset -exist restore < add f2b-sshd 192.0.2.1 timeout 0",
        ),
        (
            "ipset add f2b-sshd6 <ip> timeout <bantime> -exist",
            V6,
            "ipset -exist restore < add f2b-sshd6 2001:db8::1 timeout 600",
        ),
        (
            r#"ipset -exist add f2b-sshd <ip> timeout $([ "<bantime>" -le 2147483 ] && echo "<bantime>" || echo 0)"#,
            V4,
            "ipset -exist restore < add f2b-sshd 192.0.2.1 timeout 600",
        ),
        (
            "ipset -! del f2b-sshd <ip>",
            V4,
            "ipset -exist restore < del f2b-sshd 192.0.2.1",
        ),
    ] {
        check(script, ip, expect);
    }
}

#[test]
fn commands_that_are_not() {
    for script in [
        "",
        "nft",
        "echo <ip>",
        // Another program, or one in a place where nobody looks.
        "ufw prepend deny from <ip> to any",
        "firewall-cmd --direct --add-rule ipv4 filter f2b-x 0 -s <ip> -j DROP",
        "ip route add blackhole <ip>",
        "./nft add element inet t s { <ip> }",
        "/opt/nft/nft add element inet t s { <ip> }",
        "sudo nft add element inet t s { <ip> }",
        // What a shell acts upon.
        "nft add element inet t s { <ip> } || true",
        "nft add element inet t s { <ip> }; date",
        "nft add element inet t s { <ip> } > /dev/null",
        "nft add element inet t s { <ip> } &",
        "nft add element inet t $SET { <ip> }",
        "nft add element inet t `x` { <ip> }",
        "nft add element inet t 's' { <ip> }",
        "nft add element inet t s* { <ip> }",
        "nft add element inet t s { <ip> }\ndate",
        // What is no space to a shell.
        "nft\u{c}add element inet t s { <ip> }",
        "iptables -I f2b-x 1 -s <ip> -j DROP\r",
        "iptables -I f2b-x 1 -s <ip> -j DROP\u{a0}",
        "X=1 nft add element inet t s { <ip> }",
        "[ <restored> = 1 ] || iptables -I f2b-x 1 -s <ip> -j DROP",
        "iptables -I f2b-x 1 -s <ip> -j DROP && iptables -I f2b-y 1 -s <ip> -j DROP",
        "ipset --test f2b-x <ip> || ipset --add f2b-x <ip>",
        // Another verb, option or place.
        "nft -a add element inet t s { <ip> }",
        "nft flush set inet t s",
        "nft insert element inet t s { <ip> }",
        "nft add element inet t s { <ip> timeout 5m }",
        "nft add element inet t s { <ip>, 192.0.2.9 }",
        "nft add element inet t s { 192.0.2.9 }",
        "nft add element inet t -s { <ip> }",
        "nft add element weird t s { <ip> }",
        "nft add rule inet t c ip saddr <ip> drop",
        "nft add element inet t s { <F-USER> }",
        "nft add element inet t s-<F-USER> { <ip> }",
        "nft add element inet t s-<ip> { <ip> }",
        "nft add element inet t s { <ip> } timeout 5",
        "iptables -t mangle -I f2b-x 1 -s <ip> -j DROP",
        "iptables -w x -I f2b-x 1 -s <ip> -j DROP",
        "iptables -I f2b-x 1 -s <ip> -p tcp -j DROP",
        "iptables -I f2b-x 1 -d <ip> -j DROP",
        "iptables -I f2b-x -1 -s <ip> -j DROP",
        "iptables -R f2b-x 1 -s <ip> -j DROP",
        "iptables -I f2b-x 1 -s <ip> -j DROP timeout 5",
        "iptables-restore -I f2b-x 1 -s <ip> -j DROP",
        "ipset add f2b-x <ip>",
        "ipset -exist add f2b-x <ip> timeout -1",
        "ipset -exist add f2b-x <ip> timeout 99999999999",
        "ipset -exist add f2b-x <ip> timeout $((2 * 3))",
        "ipset -exist add f2b-x <ip> timeout <bancount>",
        "ipset -exist add f2b-x timeout 5 <ip>",
        "ipset -exist add f2b-x <ip> comment x",
        "ipset -exist del f2b-x <ip> timeout 5",
        "ipset -exist test f2b-x <ip>",
    ] {
        assert_eq!(Form::of(script), None, "{script}");
    }
}

#[test]
fn rules_that_do_something_else_are_not() {
    for script in [
        "iptables -w -I f2b-x 1 -s <ip> -j RETURN",
        "iptables -w -I f2b-x 1 -s <ip> -j ACCEPT",
        "iptables -w -I f2b-x 1 -s <ip> -j f2b-x-log",
        "iptables -w -I f2b-x 1 -s <ip> -j LOG",
        "iptables -w -I f2b-x 1 -s <ip> -j REJECT --reject-with",
        "iptables -w -I f2b-x 1 -s <ip> -j REJECT --reject-with x y",
        "iptables -w -I f2b-x 1 -s <ip> -j DROP -m comment",
    ] {
        assert_eq!(Form::of(script), None, "{script}");
    }
}

#[test]
fn whoever_is_no_address_is_never_in_a_batch() {
    let nft = r"nft add element inet t s \{ <ip> \}";
    for hostile in [
        "",
        "bob",
        "1.2.3.4; rm",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.4\n",
        "1.2.3.4, 5.6.7.8",
        "1.2.3.4-1.2.3.9",
        "1.2.3.4 }",
        "1.2.3",
        "01.2.3.4",
        "1.2.3.4/33",
        "1.2.3.4/024",
        "192.0.2.1 timeout 5s",
        "$(touch x)",
        "@s",
        "2001:DB8::1",
        "2001:db8:0::1",
        "fe80::1%eth0",
        "::ffff:1.2.3.4/x",
        "0x7f.1",
        "localhost",
    ] {
        assert_eq!(read(nft, hostile, "600"), None, "{hostile}");
        assert_eq!(Operation::new(hostile, None), None, "{hostile}");
    }
    let iptables = "iptables -w -I f2b-x 1 -s <ip> -j DROP";
    assert_eq!(
        (
            read(iptables, V6, "1"),
            read(&format!("ip6{}", &iptables[2..]), V4, "1")
        ),
        (None, None)
    );
    assert!(read(nft, V6, "1").is_some() && read(iptables, "192.0.2.0/24", "1").is_some());
}

#[test]
fn ban_times_that_a_set_takes() {
    let capped = format!("ipset -exist add s <ip> timeout {CAPPED}");
    let plain = "ipset -exist add s <ip> timeout <bantime>";
    let timeout = |script: &str, bantime: &str| {
        read(script, V4, bantime).map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned())
    };
    for (bantime, in_capped, in_plain) in [
        ("0", Some("0"), Some("0")),
        ("2147483", Some("2147483"), Some("2147483")),
        ("2147484", Some("0"), Some("2147484")),
        ("-1", None, None),
        ("1h", None, None),
        ("5; x", None, None),
    ] {
        assert_eq!(timeout(&capped, bantime).as_deref(), in_capped, "{bantime}");
        assert_eq!(timeout(plain, bantime).as_deref(), in_plain, "{bantime}");
    }
}

fn batch(script: &str, addresses: &[&str]) -> String {
    let form = Form::of(script).unwrap();
    let operations: Vec<_> = addresses
        .iter()
        .map(|ip| form.operation(&values(ip, "60")).unwrap())
        .collect();
    Batch::of(operations.iter().map(|operation| (&form, operation)))
        .unwrap()
        .input
}

#[test]
fn many_commands_are_one() {
    let both = ["192.0.2.1", "192.0.2.2"];
    for (script, input) in [
        (
            "nft add element inet t s { <ip> }",
            "add element inet t s { 192.0.2.1, 192.0.2.2 }\n",
        ),
        (
            "nft delete element inet t s { <ip> }",
            "delete element inet t s { 192.0.2.2, 192.0.2.1 }\n",
        ),
        (
            "iptables -I c 1 -s <ip> -j DROP",
            "*filter\n-I c 1 -s 192.0.2.1 -j DROP\n-I c 1 -s 192.0.2.2 -j DROP\nCOMMIT\n",
        ),
        (
            "iptables -D c -s <ip> -j DROP",
            "*filter\n-D c -s 192.0.2.2 -j DROP\n-D c -s 192.0.2.1 -j DROP\nCOMMIT\n",
        ),
        (
            "ipset -exist add s <ip> timeout <bantime>",
            "add s 192.0.2.1 timeout 60\nadd s 192.0.2.2 timeout 60\n",
        ),
    ] {
        assert_eq!(batch(script, &both), input);
    }
}

#[test]
fn commands_of_two_programs_are_no_batch() {
    let operation = Operation::new(V4, None).unwrap();
    let forms = |scripts: [&str; 2]| scripts.map(|script| Form::of(script).unwrap());
    let [one, two] = forms(["nft add element inet t a { <ip> }", "nft add element inet t b { <ip> }"]);
    let made = Batch::of([(&one, &operation), (&two, &operation)]).unwrap();
    assert_eq!(
        made.input,
        "add element inet t a { 192.0.2.1 }\nadd element inet t b { 192.0.2.1 }\n"
    );
    for other in [
        "/sbin/nft add element inet t s { <ip> }",
        "iptables -I c -s <ip> -j DROP",
        "ipset -exist add s <ip>",
    ] {
        let [one, two] = forms(["nft add element inet t s { <ip> }", other]);
        assert_eq!(Batch::of([(&one, &operation), (&two, &operation)]), None, "{other}");
    }
    assert_eq!(Batch::of([]), None);
}

#[test]
fn a_set_keeps_out_only_where_its_rules_do() {
    let nft = Form::of("nft add element inet t s { <ip> }").unwrap();
    let ipset = Form::of("ipset -exist add s <ip>").unwrap();
    for (form, start, expect) in [
        (&nft, "nft add rule inet t c meta l4proto tcp ip saddr @s drop", true),
        (
            &nft,
            "nft add rule inet t c tcp dport { 22 } ip saddr @s reject with icmp type host-unreachable\ndone",
            true,
        ),
        (&nft, "nft add rule inet t c ip saddr @s reject; done", true),
        (&nft, "nft add rule inet t c ip saddr @s accept", false),
        (&nft, "nft add rule inet t c ip saddr @s", false),
        (&nft, "nft add rule inet t c ip saddr @s2 drop", false),
        (&nft, "a ip saddr @s drop\nb ip saddr @s accept", false),
        (&nft, "", false),
        (
            &ipset,
            "iptables -I INPUT -p tcp -m set --match-set s src -j REJECT --reject-with icmp-x",
            true,
        ),
        (&ipset, "iptables -I INPUT -m set --match-set s src -j DROP\ndone", true),
        (&ipset, "iptables -I INPUT -m set --match-set s src -j ACCEPT", false),
        (&ipset, "iptables -I INPUT -m set ! --match-set t src -j DROP", false),
        (&ipset, "ipset create s hash:ip", false),
    ] {
        assert_eq!(form.keeps_out(start), expect, "{start}");
    }
}

/// An action as it comes from the stock's `iptables.conf`, in our own words.
fn action(start: &str, ban: &str, blocktype: &str) -> Action {
    let properties = [
        ("actionstart", start),
        ("actionban", ban),
        ("actionunban", "iptables -w -D f2b-x -s <ip> -j <blocktype>"),
        ("blocktype", blocktype),
        ("blocktype?family=inet6", "DROP"),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), Value::from(value)));
    let plan = ActionPlan {
        name: "a".into(),
        properties: properties.into(),
    };
    Action::compile(&plan, true).unwrap()
}

#[test]
fn an_action_says_which_of_its_commands_are_recognised() {
    let v4 = Scope::Family(Family::Inet4);
    let ban = "iptables -w -I f2b-x 1 -s <ip> -j <blocktype>";
    let drops = action("iptables -N f2b-x", ban, "DROP");
    assert!(!drops.is_recognised() && drops.form(Verb::Ban, v4).is_none());
    let drops = drops.recognised();
    assert!(drops.is_recognised() && drops.form(Verb::Ban, v4).is_some() && drops.form(Verb::Unban, v4).is_some());
    assert!(drops.form(Verb::Start, v4).is_none() && drops.form(Verb::Reban, v4).is_none());
    let lets_in = action("iptables -N f2b-x", ban, "RETURN").recognised();
    assert!(lets_in.form(Verb::Ban, v4).is_none() && lets_in.form(Verb::Unban, v4).is_none());
    assert!(lets_in.form(Verb::Ban, Scope::Family(Family::Inet6)).is_some());
    let set = "nft add element inet t s { <ip> }";
    let lets_in = action("nft add rule inet t c ip saddr @s <blocktype>", set, "accept").recognised();
    assert!(lets_in.form(Verb::Ban, v4).is_none());
    let drops = action("nft add rule inet t c ip saddr @s <blocktype>", set, "drop").recognised();
    assert!(drops.form(Verb::Ban, v4).is_some());
}

proptest::proptest! {
    /// Whatever is banned, a line holds of it an address or a network.
    #[test]
    fn lines_hold_addresses_alone(ip in ".{0,60}", script in "[a-z<>{}\\\\ ;$-]{0,60}") {
        let _ = Form::of(&script);
        if let Some(line) = read("nft add element inet t s { <ip> }", &ip, "1") {
            proptest::prop_assert!(ip.parse::<IpAddr>().is_ok() || ip.parse::<IpNet>().is_ok(), "{}", line);
        }
    }
}

//! Rules as the API gives them, what stands against writing them, and marks.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const URL: &str = "https://www.googleapis.com/compute/v1/projects/a-project/global/networks/default";

/// A rule that may be written.
fn fit() -> Rule {
    Rule {
        name: "block-ip".into(),
        network: URL.into(),
        is_ingress: true,
        denied: vec![json!({"IPProtocol": "all"})],
        priority: 10,
        source_ranges: texts("192.0.2.1/32 198.51.100.7"),
        ..Rule::default()
    }
}

fn texts(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_rule_is_read() {
    let value = json!({
        "kind": "compute#firewall",
        "id": "123",
        "name": "block-ip",
        "network": URL,
        "description": "by hand",
        "direction": "INGRESS",
        "denied": [{"IPProtocol": "tcp", "ports": ["25", "993"]}],
        "disabled": true,
        "priority": 10,
        "sourceRanges": ["192.0.2.1/32", "198.51.100.7"],
        "sourceTags": ["web"],
        "sourceServiceAccounts": ["mail@a-project.iam.gserviceaccount.com"],
        "destinationRanges": ["203.0.113.0/24"],
        "targetTags": ["mail"],
        "targetServiceAccounts": ["other@a-project.iam.gserviceaccount.com"],
        "logConfig": {"enable": true, "metadata": "INCLUDE_ALL_METADATA"},
        "somethingNew": [{"a": 1}],
    });
    let expect = Rule {
        name: "block-ip".into(),
        network: URL.into(),
        description: "by hand".into(),
        is_ingress: true,
        denied: vec![json!({"IPProtocol": "tcp", "ports": ["25", "993"]})],
        allowed: vec![],
        is_disabled: true,
        priority: 10,
        source_ranges: texts("192.0.2.1/32 198.51.100.7"),
        other_sources: texts("web mail@a-project.iam.gserviceaccount.com"),
        destination_ranges: texts("203.0.113.0/24"),
        target_tags: texts("mail"),
        target_accounts: texts("other@a-project.iam.gserviceaccount.com"),
        log_config: Some(json!({"enable": true, "metadata": "INCLUDE_ALL_METADATA"})),
    };
    assert_eq!(Rule::from_json(&value), Ok(expect));
    let bare = Rule::from_json(&json!({"name": "r"})).unwrap();
    assert_eq!((bare.is_ingress, bare.priority, bare.is_disabled), (true, 1_000, false));
    assert!(
        !Rule::from_json(&json!({"name": "r", "direction": "EGRESS"}))
            .unwrap()
            .is_ingress
    );
}

#[test]
fn what_is_no_rule() {
    let check = |value: Value, expect: &str| assert_eq!(Rule::from_json(&value), Err(expect.to_owned()), "{value}");
    check(json!([]), "the rule is not an object");
    check(json!({}), "the rule has no name");
    check(json!({"name": 7}), "name is not a text");
    check(json!({"name": "n".repeat(64)}), "name has 64 bytes, more than 63");
    let with = |key: &str, value: Value| json!({"name": "r", key: value});
    check(with("sourceRanges", json!("192.0.2.1")), "sourceRanges is not a list");
    check(
        with("sourceRanges", json!(["192.0.2.1", null])),
        "sourceRanges[1] is not a text",
    );
    check(
        with("sourceRanges", json!(["x".repeat(321)])),
        "sourceRanges[0] has more than 320 bytes",
    );
    check(
        with("sourceRanges", json!(vec!["1"; 20_001])),
        "sourceRanges has 20001 entries, more than 20000",
    );
    check(
        with("targetTags", json!(vec!["1"; 1_001])),
        "targetTags has 1001 entries, more than 1000",
    );
    check(with("denied", json!([{}, "all"])), "denied[1] is not an object");
    check(with("disabled", json!("yes")), "disabled is neither true nor false");
    check(with("priority", json!(65_536)), "priority is no number from 0 to 65535");
    check(with("priority", json!(-1)), "priority is no number from 0 to 65535");
    check(
        with("description", json!("x".repeat(4_097))),
        "description has 4097 bytes, more than 4096",
    );
}

#[test]
fn a_rule_that_is_made() {
    let mut rule = fit();
    rule.target_tags = texts("mail");
    rule.log_config = Some(json!({"enable": false}));
    let expect = json!({
        "name": "block-ip", "network": URL, "direction": "INGRESS", "priority": 10, "disabled": false,
        "sourceRanges": ["192.0.2.1/32", "198.51.100.7"], "denied": [{"IPProtocol": "all"}], "targetTags": ["mail"],
        "logConfig": {"enable": false},
    });
    assert_eq!(rule.to_insert(), expect);
    assert_eq!(Rule::from_json(&rule.to_insert()), Ok(rule.clone()));
    rule.source_ranges.clear();
    assert_eq!(rule.to_insert()["sourceRanges"], json!(["192.0.2.1/32"]));
    rule.destination_ranges = texts("203.0.113.0/24 2001:db8:5::/64");
    assert_eq!(rule.to_insert()["destinationRanges"], json!(["203.0.113.0/24"]));
    rule.source_ranges = texts("2001:db8::1/128");
    assert_eq!(rule.to_insert()["destinationRanges"], json!(["2001:db8:5::/64"]));
}

#[test]
fn a_further_rule_denies_the_same() {
    let mut rule = fit();
    rule.description = "by hand".into();
    rule.is_disabled = true;
    rule.other_sources = texts("web");
    rule.target_tags = texts("mail");
    rule.log_config = Some(json!({"enable": true}));
    let shard = rule.shard("block-ip-2", "ours");
    let expect = Rule {
        name: "block-ip-2".into(),
        description: "ours".into(),
        is_disabled: false,
        source_ranges: vec![],
        other_sources: vec![],
        ..rule
    };
    assert_eq!(shard, expect);
}

/// What stands against a changed rule, and the command that mends it.
#[track_caller]
fn check_unfit(change: &dyn Fn(&mut Rule), expect: Option<(Why, &str)>) {
    let mut rule = fit();
    change(&mut rule);
    let unfit = rule.unfit(
        Family::Inet4,
        &["projects/a-project/global/networks/default".to_owned()],
    );
    let found = unfit.map(|unfit| (unfit.why.clone(), unfit.mend()));
    assert_eq!(found, expect.map(|(why, mend)| (why, mend.to_owned())));
}

const ANOTHER: &str = "make a rule of its own and name it in the action (rule=block-ip-deny): gcloud compute \
    firewall-rules create block-ip-deny --project=a-project --network=default --direction=INGRESS --action=DENY \
    --rules=all --priority=100 --source-ranges=192.0.2.1/32";

fn update(rest: &str) -> String {
    format!("gcloud compute firewall-rules update block-ip --project=a-project {rest}")
}

#[test]
fn what_stands_against_a_rule() {
    check_unfit(&|_| {}, None);
    check_unfit(&|rule| rule.source_ranges.clear(), None);
    check_unfit(&|rule| rule.target_tags = texts("mail"), None);
    check_unfit(&|rule| rule.is_ingress = false, Some((Why::Egress, ANOTHER)));
    check_unfit(
        &|rule| rule.allowed = vec![json!({"IPProtocol": "all"})],
        Some((Why::Allows, ANOTHER)),
    );
    check_unfit(&|rule| rule.denied.clear(), Some((Why::DeniesNothing, ANOTHER)));
    check_unfit(
        &|rule| rule.is_disabled = true,
        Some((Why::Disabled, &update("--no-disabled"))),
    );
    let far = URL.replace("default", "other");
    check_unfit(
        &|rule| rule.network = URL.replace("default", "other"),
        Some((Why::OtherNetwork(far), ANOTHER)),
    );
}

#[test]
fn what_stands_against_what_is_in_it() {
    let tags = texts("web db");
    check_unfit(
        &|rule| rule.other_sources = texts("web db"),
        Some((Why::OtherSources(tags), &update("--source-tags="))),
    );
    let both = texts("web mail@a-project.iam.gserviceaccount.com");
    check_unfit(
        &|rule| rule.other_sources = texts("web mail@a-project.iam.gserviceaccount.com"),
        Some((
            Why::OtherSources(both),
            &update("--source-tags= --source-service-accounts="),
        )),
    );
    let wide = |text: &str| Why::Wide(text.to_owned());
    check_unfit(
        &|rule| rule.source_ranges = texts("0.0.0.0/0"),
        Some((wide("0.0.0.0/0"), &update("--source-ranges=192.0.2.1/32"))),
    );
    check_unfit(
        &|rule| rule.source_ranges = texts("198.51.100.7 8.0.0.0/7 203.0.113.0/24"),
        Some((
            wide("8.0.0.0/7"),
            &update("--source-ranges=198.51.100.7,203.0.113.0/24"),
        )),
    );
    check_unfit(&|rule| rule.source_ranges = texts("8.0.0.0/8"), None);
    check_unfit(
        &|rule| rule.source_ranges = texts("198.51.100.7 2001:db8::/32"),
        Some((Why::OtherFamily("2001:db8::/32".into()), ANOTHER)),
    );
    let look = "look at the list and take that entry out: gcloud compute firewall-rules describe block-ip \
                --project=a-project --format='value(sourceRanges)'";
    check_unfit(
        &|rule| rule.source_ranges = texts("0.0.0.0/0 198.51.100.7/99"),
        Some((Why::Entry("198.51.100.7/99".into()), look)),
    );
}

#[test]
fn a_long_list_is_mended_by_a_command_of_its_own() {
    let mut rule = fit();
    rule.source_ranges = (0..200).map(|low| format!("203.0.113.{low}/32")).collect();
    rule.source_ranges.push("0.0.0.0/0".into());
    let expect = "gcloud compute firewall-rules update block-ip --project=a-project --source-ranges=\"$(gcloud compute \
                  firewall-rules describe block-ip --project=a-project --format='value[delimiter=\",\"](sourceRanges)' \
                  | tr , '\\n' | grep -vxF 0.0.0.0/0 | paste -sd,)\"";
    assert_eq!(rule.unfit(Family::Inet4, &[]).unwrap().mend(), expect);
}

#[test]
fn a_rule_for_ipv6() {
    let mut rule = fit();
    rule.source_ranges = texts("2001:db8::1/128 2001:db8:5::/64");
    assert_eq!(rule.unfit(Family::Inet6, &[]), None);
    rule.source_ranges = texts("::/0");
    let unfit = rule.unfit(Family::Inet6, &[]).unwrap();
    assert!(
        unfit.mend().ends_with("--source-ranges=2001:db8::1/128"),
        "{}",
        unfit.mend()
    );
    assert_eq!(
        unfit.to_string(),
        "rule block-ip is not written: it holds ::/0, which denies nearly everybody"
    );
}

#[test]
fn texts_from_outside_are_shown_as_what_they_are() {
    let mut rule = fit();
    rule.name = "x$(reboot)\u{1b}[2J".into();
    rule.network = "projects/a;reboot/global/networks/d`e`".into();
    rule.source_ranges = vec!["'; reboot #\u{202e}".into()];
    let unfit = rule.unfit(Family::Inet4, &[]).unwrap();
    let all = format!("{unfit} {}", unfit.mend());
    assert!(!all.contains(['$', '`', ';', '\u{1b}', '\u{202e}', '#']), "{all}");
    rule.is_ingress = false;
    let mend = rule.unfit(Family::Inet4, &[]).unwrap().mend();
    assert!(!mend.contains(['$', '`', ';', '\u{1b}']), "{mend}");
}

#[test]
fn spellings_of_a_network() {
    let check = |one: &str, other: &str, expect: Sameness| {
        assert_eq!(same_network(one, other), expect, "{one} {other}");
        assert_eq!(same_network(other, one), expect, "{other} {one}");
    };
    check(URL, "projects/a-project/global/networks/default", Sameness::Same);
    check(
        URL,
        "http://127.0.0.1:8080/compute/v1/projects/a-project/global/networks/default/",
        Sameness::Same,
    );
    check(URL, "projects/a-project/networks/default", Sameness::Same);
    check(URL, "projects/123456/networks/default", Sameness::Unknown);
    check(URL, "projects/123456/networks/other", Sameness::Different);
    check(URL, "projects/b-project/global/networks/default", Sameness::Different);
    check(
        "projects/123/networks/default",
        "projects/124/networks/default",
        Sameness::Different,
    );
    check(
        "projects/123/networks/default",
        "projects/123/networks/default",
        Sameness::Same,
    );
    check(URL, "default", Sameness::Unknown);
    check(URL, "global/networks/default", Sameness::Unknown);
    check(URL, "other", Sameness::Different);
    check(
        URL,
        "projects/example.com:a-project/global/networks/default",
        Sameness::Different,
    );
    check(URL, "", Sameness::Unknown);
    check(URL, "projects/a-project/global/subnetworks/default", Sameness::Unknown);
    check(URL, "projects//global/networks/default", Sameness::Unknown);
}

#[test]
fn only_a_network_that_is_another_for_certain_is_one() {
    let check = |networks: &str, expect: bool| {
        let unfit = fit().unfit(Family::Inet4, &texts(networks));
        assert_eq!(
            unfit.map(|unfit| unfit.why) == Some(Why::OtherNetwork(URL.into())),
            expect,
            "{networks}"
        );
    };
    check("", false);
    check("projects/123/networks/default", false);
    check("projects/123/networks/other", true);
    check(
        "projects/123/networks/other projects/a-project/global/networks/default",
        false,
    );
    check("projects/123/networks/other projects/123/networks/default", false);
    check("projects/host-project/global/networks/default", true);
    let unfit = fit()
        .unfit(Family::Inet4, &texts("projects/host-project/global/networks/shared"))
        .unwrap();
    assert_eq!(
        unfit.to_string(),
        "rule block-ip is not written: it lies on network default, this machine on shared"
    );
    assert!(
        unfit.mend().contains(" --project=host-project --network=shared "),
        "{}",
        unfit.mend()
    );
}

#[test]
fn whom_a_rule_meets() {
    let check = |tags: &str, accounts: &str, expect: bool| {
        let mut rule = fit();
        rule.target_tags = texts(tags);
        rule.target_accounts = texts(accounts);
        let (own_tags, own_accounts) = (texts("mail web"), texts("vm@a.iam.gserviceaccount.com"));
        assert_eq!(rule.meets(&own_tags, &own_accounts), expect, "{tags} {accounts}");
        assert_eq!(rule.misses(&own_tags, &own_accounts).is_none(), expect);
    };
    check("", "", true);
    check("mail", "", true);
    check("db mail", "", true);
    check("db", "", false);
    check("", "vm@a.iam.gserviceaccount.com", true);
    check("", "other@a.iam.gserviceaccount.com", false);
    let mut rule = fit();
    rule.target_tags = texts("db");
    let text = rule.misses(&[], &[]).unwrap();
    assert!(
        text.contains("gcloud compute instances add-tags VM --zone=ZONE --tags=db"),
        "{text}"
    );
}

#[test]
fn rules_that_let_in_what_ours_denies() {
    let allow = |name: &str, change: &dyn Fn(&mut Rule)| {
        let mut rule = Rule {
            name: name.into(),
            denied: vec![],
            allowed: vec![json!({"IPProtocol": "tcp"})],
            priority: 9,
            ..fit()
        };
        change(&mut rule);
        rule
    };
    let others = [
        allow("lower", &|_| {}),
        allow("same", &|rule| rule.priority = 10),
        allow("higher", &|rule| rule.priority = 1_000),
        allow("egress", &|rule| rule.is_ingress = false),
        allow("disabled", &|rule| rule.is_disabled = true),
        allow("elsewhere", &|rule| rule.network = URL.replace("default", "other")),
        allow("by-number", &|rule| rule.network = "projects/1/networks/default".into()),
        allow("mail", &|rule| rule.target_tags = texts("mail")),
        allow("web", &|rule| rule.target_tags = texts("web")),
        allow("account", &|rule| {
            rule.target_accounts = texts("vm@a.iam.gserviceaccount.com");
        }),
        Rule {
            priority: 1,
            name: "denies".into(),
            ..fit()
        },
    ];
    let check = |rule: &Rule, expect: &str| {
        let names: Vec<&str> = rule.beaten_by(&others).iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names.join(" "), expect);
    };
    check(&fit(), "lower by-number mail web account");
    let mut rule = fit();
    rule.target_tags = texts("mail");
    check(&rule, "lower by-number mail account");
    rule.target_tags.clear();
    rule.target_accounts = texts("other@a.iam.gserviceaccount.com");
    check(&rule, "lower by-number mail web");
    rule.priority = 9;
    check(&rule, "");
}

fn mark(writer: &str) -> Mark {
    Mark {
        writer: writer.into(),
        at: "2026-01-02T03:04:05Z".into(),
        is_alone: false,
    }
}

#[test]
fn marks_are_read() {
    let check = |text: &str, expect: Option<&str>| {
        assert_eq!(Mark::of(text).map(|mark| mark.writer).as_deref(), expect, "{text}");
    };
    let one = "[portcullis writer=vm-1 at=2026-01-02T03:04:05Z]";
    check("", None);
    check(one, Some("vm-1"));
    check(&format!("bans {one} keep out"), Some("vm-1"));
    check(&format!("{one}{one}"), None);
    check(&format!("{one} [portcullis writer=vm-2 at=2026-01-02T03:04:05Z]"), None);
    check(&format!("[portcullis writer=a {one}"), Some("vm-1"));
    check("[portcullis writer= at=x]", None);
    check("[portcullis writer=a at=]", None);
    check("[portcullis writer=a at=b", None);
    check("[portcullis writer=a b at=c]", None);
    check("[portcullis writer=a\u{1b} at=c]", None);
    check("[Portcullis writer=a at=c]", None);
    check(&format!("[portcullis writer={} at=c]", "w".repeat(254)), None);
    assert_eq!(Mark::of(one), Some(mark("vm-1")));
    let alone = Mark {
        is_alone: true,
        ..mark("vm-1")
    };
    assert_eq!(Mark::of(&Mark::write(one, &alone)), Some(alone));
    check("[portcullis writer=a at=b alone alone]", None);
    check("[portcullis writer=a at=b  alone]", None);
    check("[portcullis writer=a at= alone]", None);
}

#[test]
fn marks_are_written() {
    let check = |text: &str, expect: &str| {
        assert_eq!(
            Mark::write(text, &mark("vm-1")),
            expect.replace('M', "[portcullis writer=vm-1 at=2026-01-02T03:04:05Z]")
        );
    };
    check("", "M");
    check("keep out ", "keep out M");
    check("keep [portcullis writer=old at=2025] out", "keep out M");
    check("[portcullis writer=old at=2025][portcullis writer=b at=2025]", "M");
    check("[portcullis[portcullis writer=x at=y]writer=b at=c]", "M");
    check("two\nlines", "two\nlines M");
    assert_eq!(
        Mark::write(
            "",
            &Mark {
                writer: "a b]\n".into(),
                at: String::new(),
                is_alone: true,
            }
        ),
        "[portcullis writer=a-b-- at=- alone]"
    );
}

proptest! {
    #[test]
    fn a_written_mark_is_read(text in ".{0,80}", parts in prop::collection::vec(prop_oneof![
        Just("[portcullis writer="), Just("x"), Just(" at="), Just("]"), Just(" "), Just("é")
    ], 0..60), many in 0_usize..80) {
        let description = format!("{text}{}", parts.concat().repeat(many));
        let written = Mark::write(&description, &mark("vm-1"));
        prop_assert!(written.len() <= 2_048);
        prop_assert_eq!(Mark::of(&written), Some(mark("vm-1")));
        prop_assert_eq!(Mark::write(&written, &mark("vm-1")), written);
    }

    #[test]
    fn a_persons_text_is_kept(text in "[a-zA-Z .:\\[\\]]{0,200}", writer in ".{0,300}") {
        prop_assume!(Mark::of(&text).is_none());
        let written = Mark::write(&text, &mark(&writer));
        prop_assert!(written.starts_with(text.trim_end()));
        prop_assert!(Mark::of(&written).is_some());
    }

    #[test]
    fn any_rule_is_no_harm(name in ".{0,64}", network in ".{0,80}", sources in prop::collection::vec(".{0,30}", 0..5), egress: bool) {
        let value = json!({"name": name, "network": network, "sourceRanges": sources, "direction": if egress { "EGRESS" } else { "INGRESS" },
            "denied": [{}], "sourceTags": sources});
        if let Ok(rule) = Rule::from_json(&value) {
            let unfit = rule.unfit(Family::Inet4, &[network]);
            let shown = unfit.map(|unfit| format!("{unfit}{}", unfit.mend())).unwrap_or_default();
            prop_assert!(!shown.chars().any(char::is_control), "{}", shown);
            prop_assert!(shown.len() < 3_000);
            prop_assert!(rule.to_insert()["sourceRanges"].as_array().is_some_and(|list| !list.is_empty()));
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::value::Value;

const BAN: &str = "gcloud compute firewall-rules update block-ip --add-source-ranges <ip>";
const UNBAN: &str = "gcloud compute firewall-rules update block-ip --remove-source-ranges <ip>";

fn check(script: &str, expect: (&str, Option<&str>, Change)) {
    let (rule, project, change) = expect;
    let expect = Command {
        rule: rule.to_owned(),
        project: project.map(str::to_owned),
        change,
    };
    assert_eq!(recognise(script), Ok(expect), "{script}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_recognised() {
    let add = ("block-ip", None, Change::Add);
    let with_project = ("block-ip", Some("mail-1"), Change::Add);
    for (script, expect) in [
        (BAN, add),
        (UNBAN, ("block-ip", None, Change::Remove)),
        (
            "/usr/bin/gcloud compute firewall-rules update block-ip --add-source-ranges <ip>",
            add,
        ),
        (
            "/snap/bin/gcloud compute firewall-rules update block-ip --add-source-ranges <ip>",
            add,
        ),
        (
            "/root/google-cloud-sdk/bin/gcloud compute firewall-rules update block-ip --add-source-ranges <ip>",
            add,
        ),
        (
            "gcloud compute firewall-rules update block-ip --add-source-ranges=<ip>",
            add,
        ),
        (
            "gcloud compute firewall-rules update block-ip --add-source-ranges=\"<ip>\"",
            add,
        ),
        (
            "gcloud compute firewall-rules update block-ip --add-source-ranges '<ip>'",
            add,
        ),
        (
            "gcloud compute firewall-rules update \"block-ip\" \"--add-source-ranges=<ip>\"",
            add,
        ),
        (
            "gcloud compute firewall-rules update --add-source-ranges <ip> block-ip",
            add,
        ),
        (
            "  gcloud\tcompute  firewall-rules update block-ip --add-source-ranges <ip>  \n",
            add,
        ),
        (
            "gcloud -q compute firewall-rules update block-ip --quiet --add-source-ranges <ip>",
            add,
        ),
        (
            "gcloud compute firewall-rules update block-ip --add-source-ranges <ip> --project mail-1",
            with_project,
        ),
        (
            "gcloud --project=mail-1 compute firewall-rules update block-ip --add-source-ranges <ip> --quiet",
            with_project,
        ),
        (
            "gcloud compute firewall-rules update block-ip --add-source-ranges <ip> --project=\"mail-1\" -q",
            with_project,
        ),
        (
            "gcloud compute firewall-rules update block-ip --add-source-ranges <ip> --verbosity=error --format none",
            add,
        ),
        (
            "gcloud compute firewall-rules update block-ip --source-ranges <ip>",
            ("block-ip", None, Change::Replace),
        ),
    ] {
        check(script, expect);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_left_to_the_shell() {
    let update = |rest: &str| format!("gcloud compute firewall-rules update block-ip {rest}");
    for (script, reason) in [
        (
            update("--add-source-ranges <ip> --account a@example.com"),
            "--account changes who acts",
        ),
        (
            update("--add-source-ranges <ip> --configuration=other"),
            "--configuration changes",
        ),
        (
            update("--add-source-ranges <ip> --impersonate-service-account=a@b.example"),
            "--impersonate",
        ),
        (
            update("--add-source-ranges <ip> --access-token-file=/t"),
            "--access-token-file",
        ),
        (
            update("--add-source-ranges <ip> --priority=5"),
            "the flag --priority is not one",
        ),
        (update("--add-source-ranges <ip> --async"), "--async"),
        (update("--add-source <ip>"), "--add-source "),
        (update("--add-source-ranges <ip>/32"), "'<ip>/32', not <ip> alone"),
        (update("--add-source-ranges <ip>,203.0.113.0/24"), "not <ip> alone"),
        (update("--add-source-ranges 203.0.113.1"), "not <ip> alone"),
        (update("--source-ranges <ip>,<ip>"), "not <ip> alone"),
        (update("--add-source-ranges <fid>"), "another tag than <ip>"),
        (update("--add-source-ranges $ip"), "'$' means something"),
        (update("--add-source-ranges"), "has no value"),
        (update("--add-source-ranges --quiet <ip>"), "has no value"),
        (update("--add-source-ranges="), "has no value"),
        (
            update("--add-source-ranges <ip> --remove-source-ranges <ip>"),
            "there is --add-source-ranges and",
        ),
        (update("--add-source-ranges <ip> --add-source-ranges <ip>"), "there is"),
        (update("--add-source-ranges <ip> --project a --project b"), "twice"),
        (update("--add-source-ranges <ip> --project <ip>"), "project = '<ip>'"),
        (update("--add-source-ranges <ip> --format <ip>"), "--format has <ip>"),
        (update("--add-source-ranges <ip> -- x"), "the flag --"),
        (update("other --add-source-ranges <ip>"), "'other' is a word too many"),
        (update(""), "no source range is added"),
        (update("--add-source-ranges <ip> || true"), "'|'"),
        (update("--add-source-ranges <ip> >/dev/null"), "'>'"),
        (update("--add-source-ranges <ip> &"), "'&'"),
        (update("--add-source-ranges <ip> # x"), "'#'"),
        (update("--add-source-ranges <ip>; true"), "';'"),
        (update("--add-source-ranges <ip>\ntrue"), "more than one line"),
        (update("--add-source-ranges \\\n<ip>"), "\\"),
        (update("--add-source-ranges \"<ip>"), "quote"),
        (update("--add-source-ranges $(echo <ip>)"), "'$'"),
        (update("--add-source-ranges <ip> ~"), "'~'"),
        (update("--add-source-ranges <ip>\u{a0}"), "means something"),
        (
            "gcloud beta compute firewall-rules update r --add-source-ranges <ip>".into(),
            "track beta",
        ),
        (
            "gcloud alpha compute firewall-rules update r --add-source-ranges <ip>".into(),
            "track alpha",
        ),
        (
            "gcloud compute firewall-rules create r --source-ranges <ip>".into(),
            "'create' is another",
        ),
        (
            "gcloud compute instances update r --add-source-ranges <ip>".into(),
            "'instances'",
        ),
        (
            "gcloud compute firewall-rules update Block --add-source-ranges <ip>".into(),
            "no name",
        ),
        (
            "gcloud compute firewall-rules update block-<ip> --add-source-ranges <ip>".into(),
            "no name",
        ),
        (
            "gcloud compute firewall-rules update --add-source-ranges <ip>".into(),
            "no rule is named",
        ),
        (
            "gcloud --add-source-ranges <ip> compute firewall-rules update r".into(),
            "stands before the command",
        ),
        ("gcloud".into(), "compute is missing"),
        ("".into(), "comes before gcloud"),
        (format!("sudo {BAN}"), "'sudo' comes before gcloud"),
        (format!("timeout 30 {BAN}"), "'timeout'"),
        (format!("CLOUDSDK_CORE_ACCOUNT=x {BAN}"), "CLOUDSDK_CORE_ACCOUNT is set"),
        (format!("/opt/own/{BAN}"), "not where gcloud is installed"),
        (format!("./{BAN}"), "not where gcloud is installed"),
    ] {
        let found = recognise(&script);
        let told = found.clone().err().unwrap_or_default();
        assert!(told.contains(reason), "{script}: {found:?}");
    }
}

fn plan(properties: &[(&str, &str)]) -> ActionPlan {
    let property = |(name, value): &(&str, &str)| ((*name).to_owned(), Value::from(*value));
    ActionPlan {
        name: "gcloud-ban".into(),
        properties: properties.iter().map(property).collect(),
    }
}

fn of(properties: &[(&str, &str)]) -> Result<Option<Recognised>, String> {
    of_action(&plan(properties), |_| None)
}

#[test]
fn the_published_recipe() {
    let ban = "/usr/bin/gcloud compute firewall-rules update block-ip --add-source-ranges <ip>";
    let unban = "/usr/bin/gcloud compute firewall-rules update block-ip --remove-source-ranges <ip>";
    let recipe = [
        ("actionban", ban),
        ("actionunban", unban),
        ("name", "postfix"),
        ("actname", "gcloud-ban"),
    ];
    let found = of(&recipe).unwrap().unwrap();
    assert_eq!((&found.options, found.ban), (&Options::new("block-ip"), Change::Add));
    assert!(found.said().contains("block-ip") && found.said().contains("--add-source-ranges"));
    let mut expect = Options::new("block-ip");
    expect.local = false;
    expect.max_ranges = Some(50);
    expect.project = Some("mail-2".to_owned());
    let given = [
        ("local", "no"),
        ("max_ranges", "50"),
        ("project", "mail-2"),
        ("rule", "<x>"),
        ("own_words", "x"),
    ];
    let found = of(&[&recipe[..], &given].concat()).unwrap().unwrap();
    assert_eq!(found.options, expect);
}

#[test]
fn the_project_is_the_commands_first() {
    let [ban, unban] = [BAN, UNBAN].map(|text| format!("{text} --project <own>"));
    let named = [
        ("actionban", ban.as_str()),
        ("actionunban", &unban),
        ("own", "mail-1"),
        ("project", "mail-2"),
    ];
    let bare = [("actionban", BAN), ("actionunban", UNBAN)];
    let environment = |name: &str| (name == "CLOUDSDK_CORE_PROJECT").then(|| "mail-3".to_owned());
    for (properties, expect) in [
        (&named[..], "mail-1"),
        (&[&bare[..], &[("project", "mail-2")]].concat(), "mail-2"),
        (&bare[..], "mail-3"),
    ] {
        let found = of_action(&plan(properties), environment).unwrap().unwrap();
        assert_eq!(found.options.project.as_deref(), Some(expect));
    }
}

#[test]
fn actions_left_to_the_shell() {
    let replace = "gcloud compute firewall-rules update block-ip --source-ranges <ip>";
    let found = of(&[("actionban", replace), ("actionunban", UNBAN)]).unwrap().unwrap();
    assert!(found.ban == Change::Replace && found.said().contains("replace the whole list"));
    let both = [("actionban", BAN), ("actionunban", UNBAN)];
    let with = |name, text| [&both[..], &[(name, text)]].concat();
    for (properties, reason) in [
        (vec![("actionban", BAN)], "it has no actionunban"),
        (vec![("actionunban", UNBAN)], "it has no actionban"),
        (vec![("actionban", UNBAN), ("actionunban", BAN)], "takes addresses out"),
        (vec![("actionban", BAN), ("actionunban", BAN)], "actionunban adds"),
        (
            vec![("actionban", replace), ("actionunban", replace)],
            "write --remove-source-ranges <ip>",
        ),
        (
            vec![
                ("actionban", BAN),
                (
                    "actionunban",
                    "gcloud compute firewall-rules update other --remove-source-ranges <ip>",
                ),
            ],
            "different rules",
        ),
        (
            vec![("actionban", BAN), ("actionunban", "echo <ip>")],
            "in actionunban 'echo' comes before gcloud",
        ),
        (with("actionstart", "gcloud auth list"), "a command in actionstart too"),
        (with("actioncheck", "true"), "a command in actioncheck too"),
        (with("actionprolong", "true"), "a command in actionprolong too"),
        (with("actionban?family=inet6", "echo <ip>"), "in actionban 'echo'"),
        (
            with(
                "actionban?family=inet6",
                "gcloud compute firewall-rules update six --add-source-ranges <ip>",
            ),
            "differs by family",
        ),
        (with("local", "192.0.2.1"), "neither yes nor no"),
        (with("project", "<unknown>"), "neither the id"),
    ] {
        let told = of(&properties).unwrap_err();
        assert!(told.contains(reason), "{properties:?}: {told}");
    }
    let again = of(&with("actionreban", BAN)).unwrap();
    assert!(again.is_some());
    for properties in [
        vec![("actionban", "iptables -I INPUT -s <ip> -j DROP")],
        vec![("actionban", "echo firewall-rules <ip>")],
        vec![("actionban", "gcloud compute instances list")],
        with("layer", "nft"),
        with("actionstop", "<actionstop>"),
    ] {
        assert_eq!(of(&properties), Ok(None), "{properties:?}");
    }
}

#[test]
fn another_identity_in_the_environment() {
    for name in FOREIGN {
        let environment = |asked: &str| (asked == name).then(|| "x".to_owned());
        let told = of_action(&plan(&[("actionban", BAN), ("actionunban", UNBAN)]), environment).unwrap_err();
        assert!(told.starts_with(name), "{told}");
    }
    let empty = |_: &str| Some(String::new());
    assert!(
        of_action(&plan(&[("actionban", BAN), ("actionunban", UNBAN)]), empty)
            .unwrap()
            .is_some()
    );
}

/// Pieces that a command may be made of, and such as must never be in one.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "gcloud",
        "/usr/bin/gcloud",
        "compute",
        "firewall-rules",
        "update",
        "block-ip",
        "--add-source-ranges",
        "<ip>",
        "--add-source-ranges=<ip>",
        "--remove-source-ranges=<ip>",
        "--source-ranges=\"<ip>\"",
        "--quiet",
        "--project",
        "mail-1",
        "\"",
        "'",
        ";",
        "|",
        "&",
        "$",
        "`",
        "(",
        ")",
        "<",
        ">",
        "\n",
        "\\",
        "<fid>",
        " ",
        "=",
        "#",
        "beta",
    ];
    prop_oneof![
        proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        "\\PC{0,3}"
    ]
}

proptest! {
    #[test]
    fn nothing_that_a_shell_acts_upon_is_recognised(
        pieces in proptest::collection::vec(piece(), 0..12), at in 0_usize..80, odd in "[;|&$`()<>\\\\*?~!{}\\[\\]#^%\n]"
    ) {
        let mut script = pieces.join(" ");
        for _ in 0..2 {
            if recognise(&script).is_ok() {
                prop_assert!(!script.trim().replace("<ip>", "").contains(|c| ";|&$`()<>\\\n".contains(c)), "{}", script);
            }
            // A good command with one letter put in somewhere.
            script = BAN.to_owned();
            script.insert_str(at.min(BAN.len()), &odd);
        }
    }

    #[test]
    fn order_does_not_matter(flags in Just(vec!["--quiet", "--project=mail-1", "--add-source-ranges=<ip>", "block-ip"]).prop_shuffle()) {
        let script = format!("gcloud compute firewall-rules update {}", flags.join(" "));
        check(&script, ("block-ip", Some("mail-1"), Change::Add));
    }
}

//! Where our commands do otherwise on purpose: what Fail2Ban answers, and what we do.

use serde_json::{Value, json};

use super::last_answers;

/// Whether both answer so to the last line.
fn check(lines: &[&str], theirs: &Value, ours: &Value) {
    let answers = last_answers(lines);
    assert_eq!(&answers.1, theirs, "Fail2Ban: {lines:?}");
    assert_eq!(&answers.0, ours, "ours: {lines:?}");
}

fn refused(class: &str, text: &str) -> Value {
    json!({"error": class, "arguments": [text], "text": text})
}

/// D-110
#[test]
fn what_is_no_expression_is_said_in_our_words() {
    let (ours, theirs) = last_answers(&["add j polling", "set j findtime '1 fortnight'"]);
    assert_eq!(
        (&ours["error"], &theirs["error"]),
        (&json!("SyntaxError"), &json!("SyntaxError"))
    );
    assert_eq!(theirs["text"], "invalid syntax (<string>, line 1)");
    assert!(
        ours["text"]
            .as_str()
            .unwrap()
            .contains("'fortnight' is not expected here"),
        "{ours}"
    );
}

/// D-111
#[test]
fn what_is_refused_changes_nothing() {
    check(
        &["add j polling", "set j bantime.maxtime never", "get j bantime.maxtime"],
        &json!({"value": "never"}),
        &json!({"value": null}),
    );
    check(
        &[
            "add j polling",
            "set j banip 192.0.2.1 192.0.2.2/255.0.255.0",
            "get j banned",
        ],
        &json!({"value": ["192.0.2.1"]}),
        &json!({"value": []}),
    );
}

/// D-112
#[test]
fn bans_end_in_jails_that_rest() {
    for rest in ["echo", "set j idle on"] {
        let start = if rest == "echo" { "echo" } else { "start j" };
        check(
            &[
                "add j polling",
                start,
                "set j banip 192.0.2.1",
                rest,
                "~700",
                "get j banned",
            ],
            &json!({"value": ["192.0.2.1"]}),
            &json!({"value": []}),
        );
    }
}

/// D-113
#[test]
fn other_spellings_of_an_address() {
    let (theirs, ours) = (json!({"value": 0}), json!({"value": 1}));
    let begin = ["add j polling", "set j banip 2001:db8::1 192.0.2.1"];
    check(&[begin[0], begin[1], "set j unbanip 2001:DB8:0::1"], &theirs, &ours);
    check(&[begin[0], begin[1], "set j unbanip ::ffff:192.0.2.1"], &theirs, &ours);
    check(
        &[
            "add j polling",
            "set j addignoreip 192.0.2.1",
            "set j delignoreip ::ffff:192.0.2.1",
        ],
        &refused("ValueError", "list.remove(x): x not in list"),
        &json!({"value": []}),
    );
}

/// D-114
#[test]
fn what_is_inside_an_action_stays_there() {
    let begin = ["add j polling", "set j addaction a"];
    check(
        &[begin[0], begin[1], "get j action a ban"],
        &json!({"value": {"other": "method"}}),
        &refused("Exception", "ban of an action is not supported as a value"),
    );
    check(
        &[begin[0], begin[1], "set j action a _name b"],
        &json!({"value": "b"}),
        &refused("Exception", "_name of an action cannot be set"),
    );
    check(
        &[begin[0], begin[1], r#"set j action a escapeTag '{"value":"x"}'"#],
        &json!({"value": "x"}),
        &refused("Exception", "escapeTag of an action is not supported"),
    );
    let mail = "set j addaction a FOLDER/smtp.py '{}'";
    check(
        &[begin[0], mail, "get j action a message_values"],
        &json!({"value": {"other": "CallingMap"}}),
        &refused("Exception", "message_values of an action is not supported as a value"),
    );
    check(
        &[begin[0], mail, "set j action a message_values x"],
        &json!({"value": "x"}),
        &refused("Exception", "message_values of an action cannot be set"),
    );
}

/// D-115
#[test]
fn regexes_are_read_as_the_jail_is() {
    let lines = [
        "add j polling",
        "set j addfailregex <HOST>",
        "set j usedns no",
        "get j failregex",
    ];
    let (ours, theirs) = last_answers(&lines);
    let has_name = |reply: &Value| reply["value"][0].as_str().unwrap().contains("(?P<dns>");
    assert!(has_name(&theirs) && !has_name(&ours), "{ours} {theirs}");
}

/// D-116
#[test]
fn streams_configure_and_do_nothing_else() {
    check(
        &["add j polling", r#"server-stream #[["set","j","banip","192.0.2.1"]]"#],
        &json!({"value": null}),
        &refused("Exception", "['set', 'j', 'banip'] within a stream is not supported"),
    );
}

/// D-117
#[test]
fn date_patterns_that_cannot_be_used() {
    let (ours, theirs) = last_answers(&["add j polling", "set j datepattern ("]);
    assert_eq!(theirs, json!({"value": {"tuple": ["(", "("]}}));
    assert_eq!(ours["error"], "ValueError", "{ours}");
    check(
        &["add j polling", "set j datepattern #null"],
        &json!({"value": null}),
        &refused("Exception", "datepattern None is not supported"),
    );
}

/// D-102, which has its tests where names are: by command.
#[test]
fn entries_behind_a_file() {
    check(
        &[
            "add j polling",
            "set j addignoreip file:/nowhere/list",
            "set j addignoreip 192.0.2.1",
        ],
        &refused("TypeError", "expected string or bytes-like object, got 'IPAddr'"),
        &json!({"value": ["file://nowhere/list", "192.0.2.1"]}),
    );
}

/// D-126
#[test]
fn an_action_that_a_reload_adds() {
    let reload = r#"reload j #[] #[["add","j","polling"],["set","j","addaction","b"],["start","j"]]"#;
    check(
        &["add j polling", "start j", reload, "get j actions"],
        &json!({"value": []}),
        &json!({"value": ["b"]}),
    );
}

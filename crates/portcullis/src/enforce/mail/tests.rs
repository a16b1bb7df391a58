use portcullis_core::config::plan::ActionPlan;
use portcullis_core::value::Value;

use super::*;

fn plan(path: &Path, options: &str) -> ActionPlan {
    let property = |name: &str, value: &str| (name.to_owned(), Value::from(value));
    ActionPlan {
        name: "mail".into(),
        properties: vec![
            property(ActionPlan::FILE, &path.to_string_lossy()),
            property(ActionPlan::OPTIONS, options),
        ],
    }
}

#[test]
fn only_fail2bans_own_file_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("smtp.py");
    assert!(of(&plan(&path, "{}")).is_ok());
    fs::write(&path, "class Action: pass\n").unwrap();
    let refused = of(&plan(&path, "{}")).unwrap_err();
    assert!(
        refused.contains("is not the smtp.py of a Fail2Ban release"),
        "{refused}"
    );
    let refused = of(&plan(&folder.path().join("own.py"), "{}")).unwrap_err();
    assert!(refused.contains("actionban = PROGRAM <ip>"), "{refused}");
}

#[test]
fn options() {
    let path = Path::new("/nowhere/smtp.py");
    let check = |options: &str, expect: &str| {
        let told = match of(&plan(path, options)) {
            Ok(mail) => format!("{}:{} {} {:?}", mail.host, mail.port, mail.encrypted, mail.recipients),
            Err(error) => error,
        };
        assert!(told.contains(expect), "{options}: {told}");
    };
    check("{}", "localhost:25 false [\"root\"]");
    check(
        r#"{"host": "mx.example.com:587", "ssl": "yes"}"#,
        "mx.example.com:587 true",
    );
    check(
        r#"{"ssl": false, "dest": "a@example.com, B <b@example.com>"}"#,
        r#"false ["a@example.com", "b@example.com"]"#,
    );
    check(r#"{"host": "a:b"}"#, "neither NAME nor NAME:PORT");
    check(r#"{"dest": "a@example.com\r\nDATA"}"#, "is no mail address");
    check(r#"{"subject": "x"}"#, "has no option 'subject'");
    check("[]", "no JSON object");
    check(r#"{"toaddr": "b@example.com"}"#, "has no option 'toaddr'");
}

/// By the names of the attributes of Fail2Ban's object.
#[test]
fn what_is_set_by_hand_counts() {
    let check = |set: &[(&str, Value)], expect: &str| {
        let mut changed = plan(
            Path::new("/nowhere/smtp.py"),
            r#"{"host": "mx:25", "sender": "a@example.com", "dest": "a@example.com", "ssl": "yes"}"#,
        );
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        changed.properties.extend(set);
        let mail = of(&changed).unwrap();
        let told = format!(
            "{}:{} {} {} {:?}",
            mail.host, mail.port, mail.encrypted, mail.sender, mail.recipients
        );
        assert_eq!(told, expect);
    };
    let as_given = "mx:25 true a@example.com [\"a@example.com\"]";
    check(&[], as_given);
    check(
        &[
            ("fromaddr", "b@example.com".into()),
            ("toaddr", "c@example.com".into()),
            ("host", "other:26".into()),
            ("ssl", false.into()),
        ],
        "other:26 false b@example.com [\"c@example.com\"]",
    );
    let means_nothing = ["sender", "dest", "sendername", "actionban", "norestored", "own"];
    check(&means_nothing.map(|name| (name, "x".into())), as_given);
}

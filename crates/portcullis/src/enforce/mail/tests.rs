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
    let mut changed = plan(path, "{}");
    changed.properties.push(("toaddr".into(), "b@example.com".into()));
    assert_eq!(of(&changed).unwrap().recipients, ["b@example.com"]);
}

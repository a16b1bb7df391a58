use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use portcullis_core::cloud::trouble::Kind;

use super::super::http::Reach;
use super::*;

fn source(token_file: Option<&str>, given: &[(&str, &str)]) -> Source {
    let environment = |name: &str| {
        let of_it = given.iter().find(|(key, _)| *key == name);
        of_it.map(|(_, value)| (*value).to_owned())
    };
    Tokens::within(token_file.map(Path::new), &environment).source
}

#[test]
fn the_nearest_source_wins() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let both = [(TOKEN_VARIABLE, "/t"), (CREDENTIALS_VARIABLE, "/c"), ("HOME", home)];
    assert_eq!(source(Some("/own"), &both), Source::Token("/own".into()));
    assert_eq!(source(None, &both), Source::Token("/t".into()));
    assert_eq!(source(None, &both[1..]), Source::Credentials("/c".into()));
    assert_eq!(source(None, &both[2..]), Source::Machine);
    let left = folder
        .path()
        .join(".config/gcloud/application_default_credentials.json");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, r#"{"quota_project_id":"mail-2"}"#).unwrap();
    assert_eq!(source(None, &both[2..]), Source::Credentials(left));
}

#[test]
fn a_token_is_one_word_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let check = |content: &str, expect: Result<&str, &str>| {
        fs::write(&path, content).unwrap();
        match (bearer(&path), expect) {
            (Ok(headers), Ok(value)) => assert_eq!(headers["authorization"], value, "{content:?}"),
            (Err(error), Err(part)) => {
                assert!(error.contains(part), "{content:?}: {error}");
                assert!(!error.contains("secret"), "{error}");
            }
            (found, _) => panic!("{content:?}: {found:?}"),
        }
    };
    check("secret-1", Ok("Bearer secret-1"));
    check(" secret-2 \n\n", Ok("Bearer secret-2"));
    check("", Err("is empty"));
    check(" \n", Err("is empty"));
    check("secret 3", Err("something else than one token"));
    check("secret\n4", Err("something else than one token"));
    check("secret\u{e4}", Err("something else than one token"));
    fs::write(&path, [0x73, 0xff, 0x80]).unwrap();
    assert!(bearer(&path).unwrap_err().contains("cannot read"));
    fs::remove_file(&path).unwrap();
    assert!(bearer(&path).unwrap_err().contains("No such file"));
}

#[test]
fn a_file_that_others_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "t").unwrap();
    let tokens = Tokens::new(Some(&path));
    for (mode, is_warned) in [
        (0o600, false),
        (0o400, false),
        (0o640, true),
        (0o604, true),
        (0o620, true),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(tokens.warning().is_some(), is_warned, "{mode:o}");
    }
    assert!(tokens.warning().unwrap().contains("chmod 600"));
}

#[test]
fn the_project_may_stand_in_the_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let check = |content: &str, expect: Option<&str>| {
        fs::write(&path, content).unwrap();
        let file = path.to_str().unwrap().to_owned();
        let environment = move |name: &str| (name == CREDENTIALS_VARIABLE).then(|| file.clone());
        assert_eq!(project(&environment).as_deref(), expect, "{content}");
    };
    check(r#"{"type":"service_account","project_id":"mail-1"}"#, Some("mail-1"));
    check(
        r#"{"type":"authorized_user","quota_project_id":"mail-2"}"#,
        Some("mail-2"),
    );
    check(r#"{"project_id":5}"#, None);
    check("no json", None);
    assert_eq!(
        project(&|name: &str| (name == QUOTA_VARIABLE).then(|| "q".to_owned())).as_deref(),
        Some("q")
    );
}

#[test]
fn the_librarys_failures_are_told_apart_and_show_no_secret() {
    let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKjMzEf";
    let error = CredentialsError::new(false, format!("cannot use {key}"), std::io::Error::other("why"));
    let Failure::Unusable(text) = refused(&error) else {
        panic!("it would be the same next time")
    };
    assert!(
        text.contains("cannot use") && text.contains("why") && !text.contains(key),
        "{text}"
    );
    let error = CredentialsError::from_msg(true, "later");
    assert!(matches!(refused(&error), Failure::Silent(_)));
    let machine = Tokens {
        source: Source::Credentials("/key.json".into()),
        credentials: None,
    };
    let silent = machine.explain(&Failure::Silent("later".to_owned()));
    assert_eq!(silent.kind, Kind::Unknown);
    let unusable = machine.explain(&Failure::Unusable("never".to_owned()));
    assert_eq!(unusable.kind, Kind::Credentials);
    assert!(unusable.message.contains("/key.json"), "{}", unusable.message);
}

#[test]
fn the_library_is_asked_and_waited_for() {
    // It reads the process's own environment, in which a test must not write: what is there decides the way, and
    // without credentials both ways end in trouble, never in a fault.
    let http = Http::new(Reach::Loopback).unwrap();
    let mut tokens = Tokens {
        source: Source::Machine,
        credentials: None,
    };
    if let Err(trouble) = tokens.headers(&http) {
        assert!(matches!(trouble.kind, Kind::Credentials | Kind::Unknown), "{trouble:?}");
        assert!(tokens.credentials.is_none());
    }
}

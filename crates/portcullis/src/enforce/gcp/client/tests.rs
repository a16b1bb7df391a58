use std::fs;
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::super::caller::Caller;
use super::super::stage::{Asked, Move, Stage, good};
use super::*;

const TOKEN: &str = "tok-0123456789";
const ID: &str = "6f1d8a52-0c4e-4e0f-9d27-30f3c1a2b4d5";
const RULES: &str = "/compute/v1/projects/mail-1/global/firewalls";
const OPERATIONS: &str = "/compute/v1/projects/mail-1/global/operations";
const RUNNING: &str = r#"{"name":"operation-1-a","status":"RUNNING","progress":0}"#;
const DONE: &str = r#"{"name":"operation-1-a","status":"DONE","progress":100}"#;

/// A client of a stage, with a token from a file.
struct House {
    stage: Stage,
    client: Client,
    _folder: TempDir,
}

fn house(moves: Vec<Move>) -> House {
    let stage = Stage::set(moves);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let base = format!("http://{}/", stage.address);
    let api = Api {
        endpoint: format!("{base}compute/v1/"),
        resources: Some(base),
        project: "mail-1".to_owned(),
        token_file: Some(token),
    };
    let mut client = Client::open(&api).unwrap();
    client.pause = Duration::from_millis(10);
    House {
        stage,
        client,
        _folder: folder,
    }
}

fn rule(name: &str, ranges: &[&str]) -> Value {
    json!({
        "kind": "compute#firewall", "id": "1", "name": name, "direction": "INGRESS", "priority": 10,
        "network": "https://www.googleapis.com/compute/v1/projects/mail-1/global/networks/default",
        "denied": [{"IPProtocol": "all"}], "sourceRanges": ranges, "logConfig": {"enable": false}, "disabled": false,
    })
}

fn ranges(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// One call with one answer: what went out, and what came of it.
fn once(call: &Call, reply: Move) -> (Asked, Result<Answer, Trouble>) {
    let mut house = house(vec![reply]);
    let answer = house.client.call(call);
    (house.stage.asked(), answer)
}

fn check_request(call: &Call, line: &str, body: &str) {
    let (asked, answer) = once(call, good(RUNNING));
    assert_eq!((asked.line.as_str(), asked.body.as_str()), (line, body));
    let expect = Answer::Operation {
        name: "operation-1-a".to_owned(),
        done: None,
    };
    assert_eq!(answer, Ok(expect), "{call:?}");
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(
        asked.header("user-agent"),
        Some(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
    );
    let json = (!body.is_empty()).then_some("application/json");
    assert_eq!(asked.header("content-type"), json);
}

#[test]
fn writes_are_as_short_as_they_can_be() {
    let (request, rule_name) = (ID.to_owned(), "block-ip".to_owned());
    check_request(
        &Call::Write {
            rule: rule_name.clone(),
            ranges: ranges(&["192.0.2.1/32", "198.51.100.0/24"]),
            request: request.clone(),
        },
        &format!("PATCH {RULES}/block-ip?alt=json&requestId={ID}"),
        r#"{"sourceRanges":["192.0.2.1/32","198.51.100.0/24"]}"#,
    );
    check_request(
        &Call::Describe {
            rule: rule_name.clone(),
            description: "bans \"here\"".to_owned(),
            request: request.clone(),
        },
        &format!("PATCH {RULES}/block-ip?alt=json&requestId={ID}"),
        r#"{"description":"bans \"here\""}"#,
    );
    check_request(
        &Call::Delete {
            rule: rule_name,
            request,
        },
        &format!("DELETE {RULES}/block-ip?alt=json&requestId={ID}"),
        "",
    );
}

#[test]
fn a_new_rule_is_sent_whole() {
    let mut new = Rule::from_json(&rule("block-ip-2", &["192.0.2.1/32"])).unwrap();
    new.description = "more".to_owned();
    let call = Call::Create {
        rule: Box::new(new),
        request: ID.to_owned(),
    };
    let (asked, _) = once(&call, good(RUNNING));
    assert_eq!(asked.line, format!("POST {RULES}?alt=json&requestId={ID}"));
    let sent: Value = serde_json::from_str(&asked.body).unwrap();
    let expect = [
        ("name", json!("block-ip-2")),
        ("direction", json!("INGRESS")),
        ("priority", json!(10)),
        ("denied", json!([{"IPProtocol": "all"}])),
        ("sourceRanges", json!(["192.0.2.1/32"])),
        ("description", json!("more")),
    ];
    for (key, value) in expect {
        assert_eq!(sent[key], value, "{key}");
    }
}

#[test]
fn an_empty_list_never_leaves() {
    let mut house = house(vec![]);
    let write = Call::Write {
        rule: "block-ip".to_owned(),
        ranges: vec![],
        request: ID.to_owned(),
    };
    let create = Call::Create {
        rule: Box::new(Rule::from_json(&rule("block-ip-2", &[])).unwrap()),
        request: ID.to_owned(),
    };
    for call in [write, create] {
        let trouble = house.client.call(&call).unwrap_err();
        assert_eq!(trouble.kind, Kind::Refused);
        assert!(trouble.message.contains("never sent"), "{}", trouble.message);
    }
}

#[test]
fn a_name_is_no_path() {
    let mut house = house(vec![]);
    for name in ["", "../networks/default", "a?b", "A", "a/b", "%2e%2e"] {
        let read = house.client.call(&Call::Read { rule: name.to_owned() });
        let list = house.client.call(&Call::List { base: name.to_owned() });
        let follow = house.client.call(&Call::Follow {
            operation: name.to_owned(),
        });
        for answer in [read, list, follow] {
            assert_eq!(answer.unwrap_err().kind, Kind::Refused, "{name}");
        }
    }
    for path in ["../../other", "https://192.0.2.1/", "\\\\192.0.2.1/x"] {
        let answer = house.client.get(path);
        let stays = answer.unwrap_err();
        assert!(
            stays.kind == Kind::Refused || stays.message.contains("connect"),
            "{path}: {stays:?}"
        );
    }
}

#[test]
fn a_rule_is_read() {
    let body = rule("block-ip", &["192.0.2.1/32", "2001:db8::1"]).to_string();
    let (asked, answer) = once(
        &Call::Read {
            rule: "block-ip".to_owned(),
        },
        good(&body),
    );
    assert_eq!(asked.line, format!("GET {RULES}/block-ip?alt=json"));
    let Ok(Answer::Rule(found)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(found.source_ranges, ["192.0.2.1/32", "2001:db8::1"]);
    for body in ["", "[]", "{}", "<html>", r#"{"name":5}"#] {
        let (_, answer) = once(
            &Call::Read {
                rule: "block-ip".to_owned(),
            },
            good(body),
        );
        assert!(answer.is_err(), "{body}");
    }
}

#[test]
fn a_list_is_read_page_by_page() {
    let page = |names: &[&str], next: Option<&str>| {
        let items: Vec<Value> = names.iter().map(|name| rule(name, &["192.0.2.1/32"])).collect();
        good(&json!({"kind": "compute#firewallList", "items": items, "nextPageToken": next}).to_string())
    };
    let mut house = house(vec![
        page(&["block-ip", "other"], Some("a b&c")),
        page(&["block-ip-2"], None),
    ]);
    let answer = house.client.call(&Call::List {
        base: "block-ip".to_owned(),
    });
    let Ok(Answer::Rules(rules)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["block-ip", "block-ip-2"]);
    let first = format!("GET {RULES}?alt=json&maxResults=25&filter=name+eq+%22block-ip.*%22");
    assert_eq!(house.stage.asked().line, first);
    assert_eq!(house.stage.asked().line, format!("{first}&pageToken=a+b%26c"));
}

#[test]
fn a_list_without_end_is_refused() {
    let page = || good(r#"{"nextPageToken":"again"}"#);
    let mut house = house((0..PAGES).map(|_| page()).collect());
    let answer = house.client.call(&Call::List { base: "b".to_owned() });
    assert!(answer.unwrap_err().message.contains("more than 1000 rules"));
    assert_eq!(house.stage.rest().len(), PAGES);
}

#[test]
fn an_operation_is_followed_to_its_end() {
    let follow = Call::Follow {
        operation: "operation-1-a".to_owned(),
    };
    let mut house = house(vec![good(RUNNING), good(RUNNING), good(DONE)]);
    let answer = house.client.call(&follow);
    let expect = Answer::Operation {
        name: "operation-1-a".to_owned(),
        done: Some(Ok(())),
    };
    assert_eq!(answer, Ok(expect));
    for asked in house.stage.rest() {
        assert_eq!(asked.line, format!("POST {OPERATIONS}/operation-1-a/wait?alt=json"));
        assert_eq!((asked.body.as_str(), asked.header("content-length")), ("", Some("0")));
    }
}

#[test]
fn where_nobody_may_wait_an_operation_is_looked_at() {
    let follow = Call::Follow {
        operation: "operation-1-a".to_owned(),
    };
    let forbidden = Move::Answer(403, "", r#"{"error":{"code":403,"message":"no"}}"#.to_owned());
    let mut house = house(vec![forbidden, good(RUNNING), good(DONE)]);
    assert!(house.client.call(&follow).is_ok());
    let lines: Vec<String> = house.stage.rest().into_iter().map(|asked| asked.line).collect();
    let look = format!("GET {OPERATIONS}/operation-1-a?alt=json");
    assert_eq!(lines[1..], [look.clone(), look]);
}

#[test]
fn an_operation_may_fail_although_every_call_went_well() {
    let body = json!({
        "name": "operation-1-a", "status": "DONE", "httpErrorStatusCode": 403,
        "error": {"errors": [{"code": "QUOTA_EXCEEDED", "message": "Quota 'FIREWALLS' exceeded."}]},
    });
    let mut house = house(vec![good(&body.to_string())]);
    let answer = house.client.call(&Call::Follow {
        operation: "operation-1-a".to_owned(),
    });
    let Ok(Answer::Operation {
        done: Some(Err(trouble)),
        ..
    }) = answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!(trouble.reason, "QUOTA_EXCEEDED");
}

#[test]
fn nobody_waits_for_ever() {
    let follow = Call::Follow {
        operation: "operation-1-a".to_owned(),
    };
    let mut house = house((0..20).map(|_| good(RUNNING)).collect());
    house.client.wait = Duration::from_secs(2);
    house.client.pause = Duration::from_millis(700);
    let begun = Instant::now();
    let expect = Answer::Operation {
        name: "operation-1-a".to_owned(),
        done: None,
    };
    assert_eq!(house.client.call(&follow), Ok(expect));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!((2..20).contains(&house.stage.rest().len()));
}

#[test]
fn what_is_wrong_is_told_apart() {
    let error = |status: u16, headers, reason: &str, message: &str| {
        let body =
            json!({"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}});
        Move::Answer(status, headers, body.to_string())
    };
    let read = Call::Read {
        rule: "block-ip".to_owned(),
    };
    let cases = [
        (error(403, "", "rateLimitExceeded", "slow"), Kind::Rate),
        (error(404, "", "notFound", "no rule"), Kind::Missing),
        (error(400, "", "resourceNotReady", "busy"), Kind::Busy),
        (error(503, "", "backendError", "later"), Kind::Unknown),
        (
            Move::Answer(502, "", "<html>Bad Gateway</html>".to_owned()),
            Kind::Unknown,
        ),
        (Move::Hangs, Kind::Unknown),
    ];
    for (reply, kind) in cases {
        let (_, answer) = once(&read, reply);
        let trouble = answer.unwrap_err();
        assert_eq!(trouble.kind, kind, "{trouble:?}");
    }
    let (_, answer) = once(&read, error(429, "retry-after: 7\r\n", "rateLimitExceeded", "slow"));
    let wait = answer.unwrap_err().retry_after;
    assert_eq!(wait, Some(portcullis_core::time::Seconds::new(7)));
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let mut house = house(vec![Move::Sleeps(Duration::from_secs(3))]);
    let url = house.client.url("projects/mail-1").unwrap();
    let begun = Instant::now();
    let answer = house
        .client
        .ask(Method::GET, url.as_str(), None, Duration::from_millis(200));
    let trouble = answer.unwrap_err();
    assert_eq!(trouble.kind, Kind::Unknown);
    assert!(trouble.message.contains("no answer in time"), "{}", trouble.message);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn nobody_listening_is_lost_and_named() {
    let mut house = house(vec![]);
    let trouble = house.client.get("projects/mail-1").unwrap_err();
    assert_eq!(trouble.kind, Kind::Unknown);
    assert!(trouble.message.contains("cannot connect"), "{}", trouble.message);
}

#[test]
fn a_redirection_is_not_followed() {
    let target = "location: http://127.0.0.1:1/\r\n";
    let (_, answer) = once(
        &Call::Read { rule: "b".to_owned() },
        Move::Answer(302, target, String::new()),
    );
    assert_eq!(answer.unwrap_err().status, Some(302));
}

#[test]
fn an_answer_has_an_end() {
    let long = format!("\"{}\"", "x".repeat(super::super::http::MOST));
    let (_, answer) = once(&Call::Read { rule: "b".to_owned() }, good(&long));
    let trouble = answer.unwrap_err();
    assert!(trouble.message.contains("longer than"), "{}", trouble.message);
}

#[test]
fn a_refused_token_is_renewed_once() {
    let refused = || {
        Move::Answer(
            401,
            "",
            r#"{"error":{"code":401,"message":"Invalid Credentials"}}"#.to_owned(),
        )
    };
    let body = rule("block-ip", &["192.0.2.1/32"]).to_string();
    let read = Call::Read {
        rule: "block-ip".to_owned(),
    };
    // The same token again would be refused again.
    let mut same = house(vec![refused()]);
    assert_eq!(same.client.call(&read).unwrap_err().kind, Kind::Token);
    assert_eq!(same.stage.rest().len(), 1);

    // Somebody renews the file between the first try and the second; a third is not made.
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let renews = |to| Move::Renews(token.clone(), to);
    let mut renewed = house(vec![
        renews("tok-2"),
        good(&body),
        renews("tok-3"),
        renews("tok-4"),
        good(&body),
    ]);
    renewed.client.tokens = Tokens::new(Some(&token));
    assert!(renewed.client.call(&read).is_ok());
    assert_eq!(renewed.client.call(&read).unwrap_err().kind, Kind::Token);
    let sent: Vec<Asked> = renewed.stage.rest();
    let tokens: Vec<_> = sent
        .iter()
        .map(|asked| asked.header("authorization").unwrap())
        .collect();
    assert_eq!(tokens[0], format!("Bearer {TOKEN}"));
    assert_eq!(tokens[1..], ["Bearer tok-2", "Bearer tok-2", "Bearer tok-3"]);
}

#[test]
fn a_token_shows_nowhere() {
    let refused = || Move::Answer(401, "", "{}".to_owned());
    let mut house = house(vec![refused()]);
    let trouble = house.client.call(&Call::Read { rule: "b".to_owned() }).unwrap_err();
    let headers = house.client.tokens.headers(&house.client.http).unwrap();
    let shown = format!(
        "{trouble:?} {trouble} {headers:?} {:?} {}",
        house.client.tokens,
        house.client.origin()
    );
    assert!(!shown.contains("tok-"), "{shown}");
}

#[test]
fn other_resources_are_asked_by_path() {
    let mut house = house(vec![good(r#"{"name":"mail-1"}"#), good("{}"), good(DONE)]);
    let project = house.client.get("projects/mail-1").unwrap();
    assert_eq!(project["name"], "mail-1");
    let body = json!({"c": 1});
    house
        .client
        .send(Method::POST, "projects/mail-1/x?a=b", Some(&body))
        .unwrap();
    house
        .client
        .send(Method::POST, "projects/mail-1/global/operations/o/wait", None)
        .unwrap();
    assert_eq!(house.stage.asked().line, "GET /compute/v1/projects/mail-1?alt=json");
    let second = house.stage.asked();
    assert_eq!(second.line, "POST /compute/v1/projects/mail-1/x?a=b&alt=json");
    assert_eq!(second.body, r#"{"c":1}"#);
}

#[test]
fn permissions_are_asked_of_the_resource_manager() {
    let mut house = house(vec![good(r#"{"permissions":["compute.firewalls.get"]}"#), good("{}")]);
    let wanted = ["compute.firewalls.get", "compute.firewalls.update"];
    assert_eq!(house.client.permitted(&wanted).unwrap(), ["compute.firewalls.get"]);
    assert_eq!(house.client.permitted(&wanted).unwrap(), Vec::<String>::new());
    let asked = house.stage.asked();
    assert_eq!(asked.line, "POST /v1/projects/mail-1:testIamPermissions?alt=json");
    assert_eq!(
        asked.body,
        r#"{"permissions":["compute.firewalls.get","compute.firewalls.update"]}"#
    );
}

#[test]
fn a_caller_answers_each_call_once_and_delays_nobody() {
    let body = rule("block-ip", &["192.0.2.1/32"]).to_string();
    let House { stage, client, _folder } = house(vec![good(&body), Move::Sleeps(Duration::from_secs(20))]);
    let (tell, told) = channel();
    let caller = Caller::start(client, move |number, answer| {
        let _ = tell.send((number, answer));
    })
    .unwrap();
    let read = || Call::Read {
        rule: "block-ip".to_owned(),
    };
    caller.call(7, read());
    caller.call(8, read());
    let (number, answer) = told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(number == 7 && answer.is_ok(), "{answer:?}");
    stage.asked();
    stage.asked();
    let begun = Instant::now();
    drop(caller);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

//! What goes wrong by script, and who may do what.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::{Fake, Fault, PROJECT, Problem};
use crate::raw::Raw;

const RULE: &str = "/global/firewalls/block-ip";

fn start() -> (Fake, Raw) {
    let fake = Fake::start();
    fake.block_ip(&["192.0.2.1/32"]);
    let raw = Raw::new(&fake);
    (fake, raw)
}

fn patch() -> Value {
    json!({"sourceRanges": ["198.51.100.7/32"]})
}

#[test]
fn refusals_by_script() {
    let (fake, mut raw) = start();
    let mut check = |problem: Problem, expect: &str, detail: Value| {
        fake.script("PATCH", RULE, 2, Fault::Refused(problem));
        assert_eq!(raw.get(RULE).status, 200, "the script is about another method");
        for _ in 0..2 {
            let answer = raw.call("PATCH", RULE, &patch());
            assert_eq!(answer.short(), expect);
            assert_eq!(answer.body["error"]["details"][0]["reason"], detail, "{answer:?}");
        }
    };
    check(Problem::unauthorized(), "401 authError", Value::Null);
    check(
        Problem::forbidden("compute.firewalls.update", "x"),
        "403 forbidden",
        Value::Null,
    );
    check(Problem::rate(), "403 rateLimitExceeded", json!("RATE_LIMIT_EXCEEDED"));
    check(
        Problem::api_off(PROJECT),
        "403 accessNotConfigured",
        json!("SERVICE_DISABLED"),
    );
    check(
        Problem::scopes(),
        "403 insufficientPermissions",
        json!("ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
    );
    check(
        Problem::operations(),
        "403 quotaExceeded",
        json!("CONCURRENT_OPERATIONS_QUOTA_EXCEEDED"),
    );
    check(Problem::broken(503), "503 backendError", Value::Null);
    fake.script("PATCH", RULE, 1, Fault::Refused(Problem::too_many(17)));
    let answer = raw.call("PATCH", RULE, &patch());
    assert_eq!(answer.short(), "429 rateLimitExceeded");
    assert!(answer.head.contains("Retry-After: 17\r\n"), "{answer:?}");
    assert_eq!(fake.ranges("block-ip"), ["192.0.2.1/32"]);
    assert_eq!(raw.call("PATCH", RULE, &patch()).status, 200, "the script is over");
}

#[test]
fn connections_break_before_and_after() {
    for is_done in [false, true] {
        let (fake, mut raw) = start();
        fake.script("PATCH", RULE, 1, Fault::Reset { is_done });
        let error = raw.try_call("PATCH", RULE, &patch()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        fake.until_listed("block-ip", "198.51.100.7/32", is_done);
        assert_eq!(fake.records()[0].status(), None);
    }
}

#[test]
fn answers_stay_away_or_come_late() {
    for is_done in [false, true] {
        let (fake, mut raw) = start();
        let lasting = Duration::from_millis(200);
        fake.script("PATCH", RULE, 1, Fault::Silence { is_done, lasting });
        let began = Instant::now();
        let error = raw.try_call("PATCH", RULE, &patch()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(began.elapsed() >= lasting);
        fake.until_listed("block-ip", "198.51.100.7/32", is_done);
    }
    let (fake, mut raw) = start();
    fake.script("*", RULE, 1, Fault::Late(Duration::from_millis(200)));
    let began = Instant::now();
    assert_eq!(raw.get(RULE).status, 200);
    assert!(began.elapsed() >= Duration::from_millis(200));
    fake.script("*", RULE, 9, Fault::Refused(Problem::broken(500)));
    assert_eq!(raw.get(RULE).status, 500);
    fake.heal();
    assert_eq!(raw.get(RULE).status, 200);
}

#[test]
fn permissions_that_the_account_lacks() {
    let cases = [
        ("compute.firewalls.get", "GET", RULE),
        ("compute.firewalls.list", "GET", "/global/firewalls"),
        ("compute.firewalls.update", "PATCH", RULE),
        ("compute.networks.updatePolicy", "PATCH", RULE),
        ("compute.firewalls.delete", "DELETE", RULE),
        ("compute.globalOperations.get", "GET", "/global/operations/x"),
        ("compute.projects.get", "GET", ""),
        ("compute.networks.get", "GET", "/global/networks/default"),
        (
            "compute.networks.getEffectiveFirewalls",
            "GET",
            "/global/networks/default/getEffectiveFirewalls",
        ),
        ("compute.instances.get", "GET", "/zones/europe-west3-c/instances/mail"),
    ];
    for (permission, method, path) in cases {
        let (fake, mut raw) = start();
        fake.settings(|settings| {
            settings.lacking.insert(permission.to_owned());
        });
        let body = if method == "PATCH" { patch() } else { Value::Null };
        let answer = raw.call(method, path, &body);
        assert_eq!(answer.short(), "403 forbidden", "{permission}");
        assert!(
            answer
                .text
                .contains(&format!("Required '{permission}' permission for 'projects/{PROJECT}")),
            "{answer:?}"
        );
    }
    let (fake, mut raw) = start();
    fake.settings(|settings| {
        settings.lacking.insert("compute.firewalls.update".to_owned());
    });
    let path = format!("{RULE}/testIamPermissions");
    let asked = json!({"permissions": ["compute.firewalls.get", "compute.firewalls.update"]});
    assert_eq!(
        raw.call("POST", &path, &asked).body,
        json!({"permissions": ["compute.firewalls.get"]})
    );
    let asked = json!({"permissions": ["compute.firewalls.update"]});
    assert_eq!(raw.call("POST", &path, &asked).body, json!({}));
    let asked = json!({"permissions": ["compute.networks.updatePolicy"]});
    assert_eq!(raw.call("POST", &path, &asked).status, 400);
    let asked = json!({"permissions": ["compute.networks.updatePolicy", "compute.firewalls.update"]});
    let answer = raw.manager(&asked);
    assert_eq!(answer.body, json!({"permissions": ["compute.networks.updatePolicy"]}));
}

#[test]
fn tokens_and_their_scopes() {
    let (fake, mut raw) = start();
    raw.token = String::new();
    assert_eq!(raw.get(RULE).status, 401);
    let flavour = "Metadata-Flavor: Google\r\n";
    let token = |raw: &mut Raw| {
        let answer = raw.metadata("/computeMetadata/v1/instance/service-accounts/default/token", flavour);
        assert_eq!(
            (&answer.body["token_type"], &answer.body["expires_in"]),
            (&json!("Bearer"), &json!(3599))
        );
        answer.body["access_token"].as_str().unwrap().to_owned()
    };
    raw.token = token(&mut raw);
    assert_eq!(raw.get(RULE).status, 200);
    fake.revoke();
    assert_eq!(raw.get(RULE).status, 401);
    for (scope, read, write) in [
        ("devstorage.read_only", 403, 403),
        ("compute.readonly", 200, 403),
        ("compute", 200, 200),
    ] {
        let scope = format!("https://www.googleapis.com/auth/{scope}");
        fake.settings(|settings| settings.scopes = vec![scope.clone()]);
        raw.token = token(&mut raw);
        assert_eq!(raw.get(RULE).status, read, "{scope}");
        assert_eq!(raw.call("PATCH", RULE, &patch()).status, write, "{scope}");
    }
    fake.settings(|settings| settings.tokens = Some(["good".to_owned()].into()));
    for (token, status) in [("good", 200), ("bad", 401)] {
        raw.token = token.to_owned();
        assert_eq!(raw.get(RULE).status, status);
    }
}

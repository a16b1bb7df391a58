use proptest::prelude::*;
use serde_json::json;

use super::*;

/// An answer as the API makes them.
fn body(code: u16, reason: &str, message: &str) -> String {
    json!({"error": {
        "code": code,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": reason}],
    }})
    .to_string()
}

/// The same with `status` and one of `details`.
fn detailed(code: u16, status: &str, message: &str, detail: Value) -> String {
    json!({"error": {"code": code, "message": message, "status": status, "details": [detail]}}).to_string()
}

fn info(reason: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"})
}

const TOO_LARGE: &str =
    "Value for field 'resource.sourceRanges' is too large: maximum size 256 element(s); actual size 300.";
const BAD_ENTRY: &str = "Invalid value for field 'resource.sourceRanges[3]': '198.51.100.9/24'. Not a network.";
const NO_RULE: &str = "The resource 'projects/mail-1/global/firewalls/block-ip' was not found";
const NO_NETWORK: &str = "The resource 'projects/mail-1/global/networks/lan' was not found";
const NO_RIGHT: &str = "Required 'compute.firewalls.update' permission for 'projects/mail-1/global/firewalls/block-ip'";
const NO_SCOPE: &str = "Request had insufficient authentication scopes.";
const NO_ROOM: &str = "Quota 'FIREWALLS' exceeded.  Limit: 100.0 globally.";
const TOO_FAST: &str = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of the service";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn answers() {
    for (status, body, kind) in [
        (401, body(401, "authError", "Invalid credentials"), Kind::Token),
        (401, String::new(), Kind::Token),
        (403, body(403, "rateLimitExceeded", "Rate Limit Exceeded"), Kind::Rate),
        (403, body(403, "userRateLimitExceeded", "Too fast"), Kind::Rate),
        (403, body(403, "quotaExceeded", TOO_FAST), Kind::Rate),
        (403, body(403, "quotaExceeded", NO_ROOM), Kind::Quota),
        (429, body(429, "rateLimitExceeded", TOO_FAST), Kind::Rate),
        (429, String::new(), Kind::Rate),
        (
            429,
            detailed(429, "RESOURCE_EXHAUSTED", TOO_FAST, info("RATE_LIMIT_EXCEEDED")),
            Kind::Rate,
        ),
        (
            403,
            detailed(
                403,
                "PERMISSION_DENIED",
                "Too many",
                info("CONCURRENT_OPERATIONS_QUOTA_EXCEEDED"),
            ),
            Kind::Rate,
        ),
        (403, body(403, "forbidden", NO_RIGHT), Kind::Permission),
        (
            403,
            detailed(403, "PERMISSION_DENIED", NO_RIGHT, info("IAM_PERMISSION_DENIED")),
            Kind::Permission,
        ),
        (403, body(403, "insufficientPermissions", NO_RIGHT), Kind::Permission),
        (
            403,
            body(403, "insufficientPermissions", "Insufficient Permission"),
            Kind::Scope,
        ),
        (403, body(403, "forbidden", NO_SCOPE), Kind::Scope),
        (
            403,
            detailed(
                403,
                "PERMISSION_DENIED",
                NO_SCOPE,
                info("ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
            ),
            Kind::Scope,
        ),
        (
            403,
            body(403, "accessNotConfigured", "The API has not been used before"),
            Kind::ApiOff,
        ),
        (
            403,
            detailed(403, "PERMISSION_DENIED", "It is off", info("SERVICE_DISABLED")),
            Kind::ApiOff,
        ),
        (403, "<html><title>403</title>".to_owned(), Kind::Refused),
        (
            403,
            detailed(403, "PERMISSION_DENIED", "No bill", info("BILLING_DISABLED")),
            Kind::Refused,
        ),
        (
            400,
            body(400, "resourceNotReady", "The resource 'networks/default' is not ready"),
            Kind::Busy,
        ),
        (400, body(400, "invalid", BAD_ENTRY), Kind::Entry(Some(3))),
        (
            400,
            body(400, "invalid", "Invalid value for field 'resource.sourceRanges': mixed"),
            Kind::Entry(None),
        ),
        (
            400,
            body(400, "invalid", "Invalid value for field 'resource.priority': '70000'"),
            Kind::Refused,
        ),
        (400, body(400, "badRequest", "no"), Kind::Refused),
        (404, body(404, "notFound", NO_RULE), Kind::Missing),
        (404, "<!DOCTYPE html>".to_owned(), Kind::Refused),
        (
            404,
            r#"{"error":{"code":404,"message":"none"}}"#.to_owned(),
            Kind::Missing,
        ),
        (
            409,
            body(409, "alreadyExists", "The resource 'block-ip-2' already exists"),
            Kind::Conflict,
        ),
        (412, body(412, "conditionNotMet", "Stale"), Kind::Conflict),
        (
            412,
            body(
                412,
                "conditionNotMet",
                "Constraint constraints/compute.x violated for projects/mail-1",
            ),
            Kind::Refused,
        ),
        (
            413,
            body(413, "fieldSizeTooLarge", TOO_LARGE),
            Kind::TooLarge(Some(256)),
        ),
        (
            400,
            body(400, "fieldSizeTooLarge", TOO_LARGE),
            Kind::TooLarge(Some(256)),
        ),
        (
            413,
            body(413, "uploadTooLarge", "Request is too large."),
            Kind::TooLarge(None),
        ),
        (
            413,
            body(
                413,
                "fieldSizeTooLarge",
                "Value for field 'resource.description' is too large",
            ),
            Kind::Refused,
        ),
        (500, body(500, "internalError", "Oops"), Kind::Unknown),
        (502, "<html>bad gateway".to_owned(), Kind::Unknown),
        (503, body(503, "backendError", "Try later"), Kind::Unknown),
        (503, body(503, "rateLimitExceeded", "Too fast"), Kind::Rate),
        (504, String::new(), Kind::Unknown),
        (200, "<html>log in here</html>".to_owned(), Kind::Unknown),
        (302, String::new(), Kind::Refused),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Bad key"}"#.to_owned(),
            Kind::Credentials,
        ),
    ] {
        let trouble = Trouble::of_answer(status, &body, None);
        assert_eq!((trouble.kind, trouble.status), (kind, Some(status)), "{status} {body}");
    }
}

#[test]
fn what_is_kept_of_an_answer() {
    let trouble = Trouble::of_answer(403, &body(403, "forbidden", NO_RIGHT), None);
    assert_eq!((&*trouble.reason, &*trouble.message), ("forbidden", NO_RIGHT));
    assert_eq!(trouble.permission(), Some("compute.firewalls.update"));
    assert_eq!(trouble.to_string(), format!("403 forbidden: {NO_RIGHT}"));
    let page = Trouble::of_answer(502, "<html>\n<b>bad\u{1b}[31m \u{202e}gateway</b>", None);
    assert_eq!(page.to_string(), "502: <html> <b>bad [31m gateway</b>");
    assert_eq!(Trouble::of_answer(503, "", None).to_string(), "503");
    assert_eq!(Trouble::lost("timed out\n").to_string(), "timed out");
    assert!(Trouble::lost("x").is_unknown() && Trouble::lost("x").passes());
    let none = Trouble::credentials("no key");
    assert!(none.kind == Kind::Credentials && !none.is_unknown() && !none.passes());
}

#[test]
fn how_long_to_wait() {
    let delay = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33.5s"});
    let body = detailed(429, "RESOURCE_EXHAUSTED", TOO_FAST, delay);
    for (header, expect) in [
        (Some("7"), Some(7)),
        (Some(" 0 "), Some(0)),
        (None, Some(34)),
        (Some("-5"), Some(34)),
        (Some("Wed, 21 Oct 2015 07:28:00 GMT"), Some(34)),
        (Some("99999999999"), Some(3600)),
        (Some("99999999999999999999999"), Some(34)),
    ] {
        let found = Trouble::of_answer(429, &body, header).retry_after;
        assert_eq!(found, expect.map(Seconds::new), "{header:?}");
    }
}

#[test]
fn operations() {
    let done = |errors: Value, status: u16| {
        json!({"status": "DONE", "name": "op-1", "httpErrorStatusCode": status, "httpErrorMessage": "NO",
               "error": {"errors": errors}})
    };
    let quota = json!([{"code": "QUOTA_EXCEEDED", "message": NO_ROOM, "errorDetails": [
        {"quotaInfo": {"metricName": "compute.googleapis.com/firewalls", "limitName": "FIREWALLS-per-project"}}]}]);
    for (operation, expect) in [
        (json!({"status": "RUNNING", "error": {"errors": [{"code": "X"}]}}), None),
        (json!({"status": "DONE"}), None),
        (json!({"status": "DONE", "httpErrorStatusCode": 200}), None),
        (json!({}), None),
        (json!([1, "x"]), None),
        (json!(null), None),
        (
            done(json!([{"code": "RESOURCE_NOT_READY", "message": "Busy"}]), 400),
            Some(Kind::Busy),
        ),
        (
            done(json!([{"code": "RATE_LIMIT_EXCEEDED", "message": "Fast"}]), 403),
            Some(Kind::Rate),
        ),
        (done(quota, 403), Some(Kind::Quota)),
        (
            done(json!([{"code": "PERMISSIONS_ERROR", "message": NO_RIGHT}]), 403),
            Some(Kind::Permission),
        ),
        (
            done(json!([{"code": "INVALID_FIELD_VALUE", "message": BAD_ENTRY}]), 400),
            Some(Kind::Entry(Some(3))),
        ),
        (
            done(json!([{"code": "RESOURCE_NOT_FOUND", "message": NO_RULE}]), 404),
            Some(Kind::Missing),
        ),
        (
            done(json!([{"code": "INTERNAL_ERROR", "message": "Oops"}]), 500),
            Some(Kind::Unknown),
        ),
        (done(json!([]), 503), Some(Kind::Unknown)),
        (
            json!({"status": "DONE", "error": {"errors": [{"code": "INTERNAL_ERROR"}]}}),
            Some(Kind::Unknown),
        ),
        (
            json!({"status": "DONE", "error": {"errors": [{"code": "WHATEVER", "message": 7}]}}),
            Some(Kind::Refused),
        ),
        (json!({"status": "DONE", "error": {}}), Some(Kind::Refused)),
    ] {
        let found = Trouble::of_operation(&operation).map(|trouble| trouble.kind);
        assert_eq!(found, expect, "{operation}");
    }
    let told = Trouble::of_operation(&done(json!([]), 503)).unwrap();
    assert_eq!((told.status, &*told.message), (Some(503), "NO"));
}

fn place() -> Place {
    Place {
        project: Some("mail-1".to_owned()),
        rule: "block-ip".to_owned(),
        network: Some("lan".to_owned()),
        instance: Some("mx".to_owned()),
        zone: Some("europe-west3-a".to_owned()),
        home: None,
        account: Some("mx@mail-1.iam.gserviceaccount.com".to_owned()),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn mends() {
    for (status, body, parts) in [
        (
            403,
            body(403, "forbidden", NO_SCOPE),
            &[
                "reserve the machine's external address first",
                "gcloud compute instances stop mx --zone europe-west3-a --project mail-1 && ",
                "gcloud compute instances set-service-account mx --zone europe-west3-a --project mail-1 \
                 --service-account mx@mail-1.iam.gserviceaccount.com --scopes cloud-platform",
                "token_file",
            ][..],
        ),
        (
            403,
            body(403, "forbidden", NO_RIGHT),
            &[
                "gcloud projects add-iam-policy-binding mail-1 --member serviceAccount:mx@mail-1.iam.gserviceaccount.com \
                 --role projects/mail-1/roles/portcullis --condition \"title=block-ip,",
                "startsWith('projects/mail-1/global/firewalls/block-ip')",
                "the role portcullis has compute.firewalls.update,",
                "docs/guide/gcp.md",
            ],
        ),
        (
            403,
            body(403, "accessNotConfigured", "off"),
            &["gcloud services enable compute.googleapis.com --project mail-1"],
        ),
        (
            404,
            body(404, "notFound", NO_RULE),
            &[
                "gcloud compute firewall-rules create block-ip --project mail-1 --network lan --direction INGRESS \
               --action DENY --rules all --priority 10 --source-ranges 192.0.2.1/32",
            ],
        ),
        (
            404,
            body(404, "notFound", NO_NETWORK),
            &["gcloud compute networks list --project mail-1"],
        ),
        (
            404,
            body(404, "notFound", "Failed to find project mail-1"),
            &["gcloud projects describe mail-1"],
        ),
        (
            403,
            body(403, "quotaExceeded", NO_ROOM),
            &[
                "lower max_rules",
                "quotas?project=mail-1",
                "gcloud compute project-info describe --project mail-1",
            ],
        ),
        (
            401,
            String::new(),
            &["service-accounts describe mx@mail-1.iam.gserviceaccount.com --project mail-1"],
        ),
        (
            403,
            detailed(403, "PERMISSION_DENIED", "No bill", info("BILLING_DISABLED")),
            &["gcloud billing projects link mail-1"],
        ),
        (
            412,
            body(412, "conditionNotMet", "Constraint constraints/compute.x violated"),
            &["policy of the organisation"],
        ),
        (404, "<html>".to_owned(), &["look at the endpoint"]),
        (302, String::new(), &["look at the endpoint"]),
    ] {
        let mend = Trouble::of_answer(status, &body, None).mend(&place()).unwrap();
        for part in parts {
            assert!(mend.contains(part), "{status}: no {part} in {mend}");
        }
    }
    for (status, body) in [
        (429, String::new()),
        (503, String::new()),
        (400, body(400, "resourceNotReady", "Busy")),
        (400, body(400, "invalid", BAD_ENTRY)),
        (409, String::new()),
        (413, String::new()),
        (400, body(400, "badRequest", "no")),
    ] {
        assert_eq!(Trouble::of_answer(status, &body, None).mend(&place()), None, "{status}");
    }
    let mend = Trouble::credentials("none").mend(&Place::default()).unwrap();
    assert!(
        mend.contains("GOOGLE_APPLICATION_CREDENTIALS") && mend.contains("token_file"),
        "{mend}"
    );
}

/// Somebody pastes a mend into a shell.
#[test]
fn no_name_breaks_out_of_a_command() {
    let evil = || Some("x; rm -rf $(y)".to_owned());
    let place = Place {
        project: evil(),
        rule: "x`y`".to_owned(),
        network: evil(),
        instance: evil(),
        zone: Some("--zone".to_owned()),
        home: evil(),
        account: evil(),
    };
    for kind in [
        Kind::Scope,
        Kind::Permission,
        Kind::ApiOff,
        Kind::Missing,
        Kind::Quota,
        Kind::Token,
    ] {
        let trouble = Trouble {
            kind,
            message: "Required '$(x).y.z' permission".to_owned(),
            ..Trouble::lost("")
        };
        let mend = trouble.mend(&place).unwrap();
        assert!(
            !mend.contains("rm -rf") && !mend.contains('`') && !mend.contains("$("),
            "{mend}"
        );
    }
    let mend = Trouble::of_answer(403, &body(403, "forbidden", NO_SCOPE), None).mend(&Place::default());
    assert!(mend.unwrap().contains("stop INSTANCE --zone ZONE &&"));
}

#[test]
fn large_and_deep_bodies_survive() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = body(403, &"r".repeat(10_000), &"m".repeat(10_000));
    let huge = format!("{{\"error\":{{\"message\":\"{}\"}}}}", "x".repeat(2 << 20));
    for body in [deep, wide, huge] {
        let trouble = Trouble::of_answer(400, &body, None);
        assert!(trouble.message.chars().count() <= LONGEST_MESSAGE && trouble.reason.len() <= LONGEST_REASON);
    }
}

proptest! {
    #[test]
    fn no_answer_is_too_odd(status in any::<u16>(), body in "\\PC{0,200}", retry in proptest::option::of("\\PC{0,20}")) {
        let trouble = Trouble::of_answer(status, &body, retry.as_deref());
        prop_assert!(!trouble.to_string().contains(char::is_control));
        let _ = trouble.mend(&place());
    }

    #[test]
    fn no_message_is_too_odd(message in "(sourceRanges\\[|maximum size |'|[0-9]{0,30}|\\PC){0,8}", code in 400_u16..600) {
        let _ = Trouble::of_answer(code, &body(code, "invalid", &message), None).mend(&place());
        let operation = json!({"status": "DONE", "error": {"errors": [{"code": "invalid", "message": message}]}});
        prop_assert!(Trouble::of_operation(&operation).is_some());
    }
}

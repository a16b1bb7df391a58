//! The metadata server.

use serde_json::json;

use crate::fake::{EXTERNAL, Fake, INTERNAL, NUMBER, PROJECT, WIDE};
use crate::raw::Raw;

const FLAVOUR: &str = "Metadata-Flavor: Google\r\n";
const ROOT: &str = "/computeMetadata/v1/";

#[test]
fn it_answers_who_asks_properly() {
    let fake = Fake::start();
    let mut raw = Raw::new(&fake);
    let answer = raw.metadata(&format!("{ROOT}project/project-id"), FLAVOUR);
    assert_eq!((answer.status, answer.text.as_str()), (200, PROJECT));
    assert!(answer.head.contains("Metadata-Flavor: Google\r\n"));
    let mut check = |path: &str, head: &str, status: u16| {
        assert_eq!(raw.metadata(path, head).status, status, "{path} {head}");
    };
    check("/", "", 200);
    check(&format!("{ROOT}project/project-id"), "", 403);
    check(&format!("{ROOT}project/project-id"), "Metadata-Flavor: google\r\n", 403);
    check(
        &format!("{ROOT}project/project-id"),
        &format!("{FLAVOUR}X-Forwarded-For: 192.0.2.7\r\n"),
        403,
    );
    check(&format!("{ROOT}project/name"), FLAVOUR, 404);
    check("/computeMetadata/v0/", FLAVOUR, 404);
    check(&format!("{ROOT}instance/service-accounts/other/token"), FLAVOUR, 404);
}

#[test]
fn texts_and_folders() {
    let fake = Fake::start();
    let mut raw = Raw::new(&fake);
    let network = format!("projects/{NUMBER}/networks/default");
    let number = NUMBER.to_string();
    let cases = [
        ("project/numeric-project-id", number.as_str()),
        ("instance/name", "mail"),
        ("instance/network-interfaces/0/network", &network),
        ("instance/network-interfaces/0/ip", INTERNAL),
        ("instance/network-interfaces/0/access-configs/0/external-ip", EXTERNAL),
        ("instance/network-interfaces/", "0/\n"),
        ("instance/service-accounts/default/scopes", &format!("{WIDE}\n")),
        ("instance/service-accounts/default/", "aliases\nemail\nscopes\n"),
        ("project/", "attributes/\nnumeric-project-id\nproject-id\n"),
        ("universe/universe-domain", "googleapis.com"),
    ];
    for (path, expect) in cases {
        assert_eq!(raw.metadata(&format!("{ROOT}{path}"), FLAVOUR).text, expect, "{path}");
    }
}

#[test]
fn everything_at_once() {
    let fake = Fake::start();
    let mut raw = Raw::new(&fake);
    let body = raw.metadata(&format!("{ROOT}instance/?recursive=true"), FLAVOUR).body;
    assert_eq!(body["networkInterfaces"][0]["accessConfigs"][0]["externalIp"], EXTERNAL);
    assert_eq!(body["serviceAccounts"]["default"]["scopes"], json!([WIDE]));
    assert_eq!(body["tags"], json!(["mail-server"]));
    let body = raw
        .metadata(&format!("{ROOT}project/?recursive=true&alt=json"), FLAVOUR)
        .body;
    assert_eq!(body["numericProjectId"], NUMBER);
    fake.with(|state| {
        state.metadata["instance"]["networkInterfaces"][0]["ipv6s"] = json!(["2001:db8:7::25"]);
    });
    let body = raw.metadata(&format!("{ROOT}?recursive=true"), FLAVOUR).body;
    assert_eq!(
        body["instance"]["networkInterfaces"][0]["ipv6s"],
        json!(["2001:db8:7::25"])
    );
}

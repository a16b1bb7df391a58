use std::time::Instant;

use serde_json::json;

use super::super::stage::{Move, Stage};
use super::*;

const FLAVORED: &str = "Metadata-Flavor: Google\r\n";

fn said(body: &str) -> Move {
    Move::Answer(200, FLAVORED, body.to_owned())
}

fn nothing() -> Move {
    Move::Answer(404, FLAVORED, "<html>".to_owned())
}

fn moves() -> Vec<Move> {
    let interfaces = json!([
        {
            "accessConfigs": [{"externalIp": "203.0.113.25", "type": "ONE_TO_ONE_NAT"}],
            "ip": "10.156.0.2",
            "ipv6s": ["2001:db8:4000:1::1", "fd20:1:2::3"],
            "network": "projects/410298375016/networks/default",
            "mtu": 1460,
        },
        {"accessConfigs": [{"externalIp": ""}], "ip": "10.9.0.2", "network": "projects/77/networks/shared"},
    ]);
    vec![
        said("mail-1\n"),
        said("410298375016"),
        said("mx"),
        said("7312486905517203448"),
        said("projects/410298375016/zones/europe-west3-a"),
        said(&interfaces.to_string()),
        said(r#"["mail-server","ssh"]"#),
        said("410298375016-compute@developer.gserviceaccount.com"),
        said("https://www.googleapis.com/auth/compute\nhttps://www.googleapis.com/auth/logging.write\n"),
    ]
}

#[test]
fn the_machine_says_who_and_where_it_is() {
    let stage = Stage::set(moves());
    let mut found = read_from(&stage.address, true).unwrap().unwrap();
    let here = ("mail-1", "410298375016", "mx", "7312486905517203448", "europe-west3-a");
    let read = (
        &*found.project,
        &*found.number,
        &*found.instance,
        &*found.id,
        &*found.zone,
    );
    assert_eq!(read, here);
    assert_eq!(found.tags, ["mail-server", "ssh"]);
    assert_eq!(
        found.account.as_deref(),
        Some("410298375016-compute@developer.gserviceaccount.com")
    );
    assert_eq!(found.scopes[0], "https://www.googleapis.com/auth/compute");
    assert_eq!(found.scopes.len(), 2);
    let near: Vec<IpAddr> = ["10.156.0.2", "fd20:1:2::3"]
        .iter()
        .map(|ip| ip.parse().unwrap())
        .collect();
    let first = &found.interfaces[0];
    assert_eq!(first.internal, near);
    assert_eq!(first.external4, ["203.0.113.25".parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(first.external6, ["2001:db8:4000:1::1".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(found.interfaces[1].external4, Vec::<Ipv4Addr>::new());

    let host = found.host();
    assert!(host.is_on_gce && host.has_ipv6);
    assert_eq!(host.writer, "mx");
    let by_number = "projects/77/global/networks/shared";
    assert_eq!(host.networks, ["projects/mail-1/global/networks/default", by_number]);
    found.resolve("7", "not-this");
    found.resolve("77", "host-project");
    assert_eq!(found.host().networks[1], "projects/host-project/global/networks/shared");
    assert_eq!(
        found.host().accounts,
        ["410298375016-compute@developer.gserviceaccount.com"]
    );

    let asked = stage.rest();
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("metadata-flavor") == Some("Google"))
    );
    assert_eq!(asked[0].line, "GET /computeMetadata/v1/project/project-id");
    assert_eq!(
        asked[5].line,
        "GET /computeMetadata/v1/instance/network-interfaces/?recursive=true"
    );
}

#[test]
fn what_a_machine_may_lack() {
    let mut moves = moves();
    moves.truncate(5);
    moves.extend([said("[]"), said("[]"), nothing(), nothing()]);
    let stage = Stage::set(moves);
    let found = read_from(&stage.address, true).unwrap().unwrap();
    assert_eq!((found.account.as_deref(), found.scopes.len()), (None, 0));
    let host = found.host();
    assert!(!host.has_ipv6 && host.networks.is_empty() && host.tags.is_empty());
}

fn check_other(it: Move, is_expected: bool, expect: Result<(), &str>) {
    let stage = Stage::set(vec![it]);
    match (read_from(&stage.address, is_expected), expect) {
        (Ok(None), Ok(())) => {}
        (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[test]
fn another_clouds_server_is_not_taken() {
    let other = || Move::Answer(200, "", "mail-1".to_owned());
    check_other(other(), false, Ok(()));
    check_other(other(), true, Err("without Google's header"));
    check_other(Move::Answer(401, "", String::new()), false, Ok(()));
    check_other(Move::Hangs, false, Ok(()));
    check_other(Move::Hangs, true, Err("does not answer"));
    check_other(Move::Answer(500, FLAVORED, String::new()), true, Err("with 500"));
    check_other(nothing(), true, Err("knows no project"));
}

#[test]
fn where_there_is_no_server_it_is_known_within_a_second() {
    let begun = Instant::now();
    let stage = Stage::set(vec![Move::Sleeps(Duration::from_secs(3))]);
    assert_eq!(read_from(&stage.address, false), Ok(None));
    // A documentation address: there is no way to it, or nobody answers.
    assert_eq!(read_from("192.0.2.1", false), Ok(None));
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}

#[test]
fn odd_answers_are_no_fault() {
    for (text, networks) in [
        ("null", 0),
        ("{}", 0),
        (r#"[5,null,{"ip":7}]"#, 3),
        (
            r#"[{"network":"x/y","ip":"nobody","accessConfigs":[{}],"ipv6s":"2001:db8::1"}]"#,
            1,
        ),
    ] {
        let found = interfaces(&serde_json::from_str(text).unwrap());
        assert_eq!(found.len(), networks, "{text}");
        assert!(
            found
                .iter()
                .all(|it| it.external4.is_empty() && it.external6.is_empty()),
            "{text}"
        );
    }
    assert_eq!(interface(&json!({"ipv6s": ["2001:db8:1::/96"]})).external6.len(), 1);
}

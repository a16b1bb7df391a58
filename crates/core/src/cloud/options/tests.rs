use super::*;

fn plan(properties: &[(&str, &str)]) -> ActionPlan {
    let property = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).into());
    ActionPlan {
        name: "gcp-firewall".into(),
        properties: properties.iter().map(property).collect(),
    }
}

fn of(properties: &[(&str, &str)]) -> Result<Options, String> {
    let base = [("layer", "gcp-firewall"), ("rule", "block-ip"), ("port", "0:65535")];
    Options::of(&plan(&[&base, properties].concat()))
}

#[test]
fn defaults() {
    assert_eq!(of(&[]), Ok(Options::new("block-ip")));
    let empty = [
        "project",
        "endpoint",
        "max_ranges",
        "max_rules",
        "own_rule",
        "local",
        "on_drift",
        "allow_private",
    ];
    let empty: Vec<(&str, &str)> = empty.into_iter().map(|name| (name, " ")).collect();
    assert_eq!(of(&empty), Ok(Options::new("block-ip")));
}

#[test]
fn every_option() {
    let found = of(&[
        ("rule", "block-2"),
        ("project", "example.com:mail"),
        ("endpoint", "http://127.0.0.1:8080"),
        ("max_ranges", "256"),
        ("max_rules", "3"),
        ("own_rule", "Yes"),
        ("local", "off"),
        ("on_drift", "Reassert"),
        ("allow_private", "1"),
        ("token_file", "/run/token"),
        ("name", "postfix"),
        ("bantime", "600"),
        ("actname", "x"),
        ("protect", "no"),
    ]);
    let expect = Options {
        rule: "block-2".to_owned(),
        project: Some("example.com:mail".to_owned()),
        endpoint: Some("http://127.0.0.1:8080/compute/v1/".to_owned()),
        max_ranges: Some(256),
        max_rules: 3,
        own_rule: true,
        local: false,
        on_drift: OnDrift::Reassert,
        allow_private: true,
        token_file: Some("/run/token".to_owned()),
    };
    assert_eq!(found, Ok(expect));
}

/// What is wrong is refused, and the text says what is taken.
#[test]
fn slips_are_refused() {
    for (name, value, said) in [
        ("rule", "Block-IP", "rule = 'Block-IP' is no name of a firewall rule"),
        ("rule", "2block", "a letter first"),
        ("rule", "block-", "no name"),
        ("rule", "block_ip", "no name"),
        ("rule", "", "rule is missing"),
        ("project", "My Project", "neither the id of a project"),
        ("project", "-x", "nor its number"),
        ("project", "12345678901234567890", "nor its number"),
        ("project", "com:mail", "neither"),
        ("endpoint", "compute.googleapis.com", "https://"),
        ("endpoint", "ftp://x/compute/v1/", "https://"),
        ("endpoint", "http://203.0.113.1/compute/v1/", "plain http"),
        ("endpoint", "http://localhost.example/", "plain http"),
        ("endpoint", "https://example.com/other", "/compute/v1/"),
        ("endpoint", "https://u@example.com/", "more than a host"),
        ("endpoint", "https://example.com/?x", "more than a host"),
        ("endpoint", "https:///compute/v1/", "names no host"),
        ("endpoint", "https://example.com:0/", "names no host"),
        ("endpoint", "https://[::1]x/", "names no host"),
        ("max_ranges", "0", "neither auto nor a number from 1"),
        ("max_ranges", "+5", "neither auto"),
        ("max_ranges", "many", "neither auto"),
        ("max_ranges", "100001", "neither auto"),
        ("max_rules", "101", "from 1 to 100"),
        ("max_rules", "0", "from 1 to 100"),
        ("own_rule", "yess", "own_rule = 'yess' is neither yes nor no"),
        ("local", "perhaps", "local = 'perhaps' is neither yes nor no"),
        ("allow_private", "2", "neither yes nor no"),
        ("on_drift", "ignore", "neither respect nor reassert"),
        ("token_file", "token", "named from the root"),
        ("max_range", "5", "there is no option max_range; is it max_ranges"),
        ("Project", "x", "is it project?"),
        ("on-drift", "respect", "is it on_drift?"),
        ("priority", "5", "there is no option priority; there are rule, project"),
        ("rule?family=inet6", "block-v6", "cannot differ by family"),
    ] {
        let error = of(&[(name, value)]).unwrap_err();
        assert!(error.contains(said), "{name} = {value}: {error}");
    }
    let long = "a".repeat(64);
    assert!(of(&[("rule", &long)]).is_err() && of(&[("rule", &long[1..])]).is_ok());
    let hostile = of(&[("rule", "\u{1b}[31mx")]).unwrap_err();
    assert!(!hostile.contains('\u{1b}'), "{hostile:?}");
}

#[test]
fn endpoints_are_completed() {
    for (text, expect) in [
        (
            "https://compute.googleapis.com",
            "https://compute.googleapis.com/compute/v1/",
        ),
        (
            "https://Compute.Example.com/",
            "https://compute.example.com/compute/v1/",
        ),
        ("https://x.example/compute/v1", "https://x.example/compute/v1/"),
        (
            "https://x.example:8443/a/compute/v1/",
            "https://x.example:8443/a/compute/v1/",
        ),
        ("HTTP://127.8.8.8:1/compute/v1/", "http://127.8.8.8:1/compute/v1/"),
        ("http://[::1]:99", "http://[::1]:99/compute/v1/"),
        ("http://localhost:99/", "http://localhost:99/compute/v1/"),
        (" https://x.example ", "https://x.example/compute/v1/"),
    ] {
        let found = endpoint(text);
        assert_eq!(found.as_deref(), Ok(expect), "{text}");
        assert_eq!(endpoint(expect).as_deref(), Ok(expect));
    }
}

#[test]
fn projects() {
    for name in [
        "mail-server-1",
        "fake-project",
        "example.com:mail",
        "a.b.example.com:m",
        "123456789012",
        "p",
    ] {
        assert!(is_project(name), "{name}");
    }
    for name in [
        "",
        "1mail",
        "mail-",
        "a:b",
        "Mail",
        "example.com:",
        ":mail",
        "example..com:mail",
        "a.b:c:d",
        "x/y",
    ] {
        assert!(!is_project(name), "{name}");
    }
}

#[test]
fn one_rule_of_two_actions() {
    let mut one = of(&[
        ("own_rule", "yes"),
        ("max_rules", "4"),
        ("allow_private", "yes"),
        ("local", "no"),
    ])
    .unwrap();
    let other = of(&[("max_ranges", "100"), ("on_drift", "reassert")]).unwrap();
    let told = one.merge(&other).unwrap();
    let expect = Options {
        max_ranges: Some(100),
        max_rules: 4,
        on_drift: OnDrift::Reassert,
        local: false,
        ..Options::new("block-ip")
    };
    assert_eq!(one, expect);
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(
        told.iter()
            .any(|text| text.contains("block-ip") && text.contains("max_rules ('4' and '10'): '4' holds")),
        "{told:?}"
    );
    // Whoever comes first, the same holds.
    let mut turned = other.clone();
    turned
        .merge(&of(&[("own_rule", "yes"), ("max_rules", "4"), ("allow_private", "yes")]).unwrap())
        .unwrap();
    assert_eq!(Options { local: false, ..turned }, one);
    assert_eq!(one.clone().merge(&one), Ok(Vec::new()));
    for (name, value) in [("endpoint", "https://x.example"), ("token_file", "/t")] {
        let before = one.clone();
        let error = one.merge(&of(&[(name, value)]).unwrap()).unwrap_err();
        assert!(
            error.contains(name) && error.contains(value) && error.contains("block-ip"),
            "{error}"
        );
        assert_eq!(one, before);
    }
}

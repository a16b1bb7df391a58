//! The trials, one function each: what is sent, and what the answer means.

use std::time::Duration;

use portcullis_core::cloud::trouble::{Kind, Trouble};
use serde_json::{Value, json};

use crate::client::gcp::pace::request;
use crate::client::gcp::session::{Session, text, texts};

/// The name of the trial that is only made when asked for.
pub(super) const LIMIT: &str = "limit";

/// What came of a trial, and how long its operation took.
type Came = Result<(String, Option<Duration>), Trouble>;
/// A trial.
pub(super) type Try = (&'static str, fn(&mut Session<'_>, &Bench) -> Came);

/// The trials, in this order.
pub(super) const TRIALS: [Try; 11] = [
    ("patch", patch),
    ("order", order),
    ("bare address", bare),
    ("host bits", host_bits),
    ("twice the same", duplicates),
    ("unchanged", unchanged),
    ("both families", families),
    ("same requestId", replay),
    ("two at a time", concurrent),
    (LIMIT, limit),
    ("empty list", empty),
];

/// What is harmless on a rule that matters.
pub(super) const GENTLE: [Try; 1] = [("patch", in_and_out)];

/// The rules that are tried on.
pub(super) struct Bench {
    first: String,
    second: String,
}

impl Bench {
    pub(super) fn on(name: &str) -> Bench {
        Bench {
            first: name.to_owned(),
            second: format!("{name}-b"),
        }
    }

    pub(super) fn rules(&self) -> [&str; 2] {
        [&self.first, &self.second]
    }

    /// The target tag that no machine has.
    pub(super) fn tag(&self) -> &str {
        &self.first
    }
}

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Replaces the list and reads it back.
fn set(session: &mut Session<'_>, bench: &Bench, ranges: &[&str]) -> Result<(Vec<String>, Duration), Trouble> {
    let ended = session.write(&bench.first, &list(ranges))?;
    let read = session.read(&bench.first)?;
    Ok((texts(&read, "sourceRanges"), ended.took))
}

/// As [`set`], where a refusal is an answer as well.
fn probe(session: &mut Session<'_>, bench: &Bench, ranges: &[&str]) -> Came {
    match set(session, bench, ranges) {
        Ok((read, took)) => Ok((format!("taken, and read back as {}", read.join(" ")), Some(took))),
        Err(trouble) => refusal(trouble),
    }
}

/// A refusal that the trial asked for; anything that says nothing about the trial stays a failure.
fn refusal(trouble: Trouble) -> Came {
    let says_nothing = matches!(
        trouble.kind,
        Kind::Unknown | Kind::Token | Kind::Credentials | Kind::Rate | Kind::Permission | Kind::Scope | Kind::ApiOff
    );
    if says_nothing {
        return Err(trouble);
    }
    Ok((format!("refused: {trouble}"), None))
}

/// How long a write takes, and whether it is to be seen before its operation is over.
fn patch(session: &mut Session<'_>, bench: &Bench) -> Came {
    let body = json!({ "sourceRanges": ["192.0.2.1/32", "192.0.2.2/32"] });
    let begun = session.pace.now();
    let operation = patch_once(session, &bench.first, &body, None)?;
    let answered = session.pace.now().saturating_sub(begun);
    let status = text(&operation, "status").to_owned();
    let seen = texts(&session.read(&bench.first)?, "sourceRanges").len() == 2;
    let ended = session.follow(operation, begun)?;
    let after = texts(&session.read(&bench.first)?, "sourceRanges").len() == 2;
    let said = format!(
        "answered after {:.1} s with {status}; {} right then, {} when it was DONE",
        answered.as_secs_f64(),
        if seen { "to be seen" } else { "not to be seen" },
        if after { "to be seen" } else { "NOT to be seen" }
    );
    Ok((said, Some(ended.took)))
}

fn patch_once(session: &mut Session<'_>, rule: &str, body: &Value, id: Option<&str>) -> Result<Value, Trouble> {
    let id = id.map_or_else(|| request(session.pace), str::to_owned);
    session.once("PATCH", &format!("global/firewalls/{rule}?requestId={id}"), Some(body))
}

fn order(session: &mut Session<'_>, bench: &Bench) -> Came {
    let sent = ["203.0.113.0/24", "192.0.2.1/32", "198.51.100.0/24"];
    let (read, took) = set(session, bench, &sent)?;
    let mut sorted = read.clone();
    sorted.sort();
    let said = if read == sent {
        "the order of the list is kept".to_owned()
    } else if read == sorted {
        "the list is sorted as text".to_owned()
    } else {
        format!("{} came back as {}", sent.join(" "), read.join(" "))
    };
    Ok((said, Some(took)))
}

fn bare(session: &mut Session<'_>, bench: &Bench) -> Came {
    probe(session, bench, &["192.0.2.7"])
}

fn host_bits(session: &mut Session<'_>, bench: &Bench) -> Came {
    probe(session, bench, &["198.51.100.7/24"])
}

fn duplicates(session: &mut Session<'_>, bench: &Bench) -> Came {
    probe(session, bench, &["192.0.2.1/32", "192.0.2.1/32"])
}

fn families(session: &mut Session<'_>, bench: &Bench) -> Came {
    probe(session, bench, &["192.0.2.1/32", "2001:db8::1/128"])
}

/// Whether a write that changes nothing is an operation, too.
fn unchanged(session: &mut Session<'_>, bench: &Bench) -> Came {
    set(session, bench, &["192.0.2.1/32"])?;
    let ended = session.write(&bench.first, &list(&["192.0.2.1/32"]))?;
    Ok((
        "a write that changes nothing is an operation as well".to_owned(),
        Some(ended.took),
    ))
}

/// What a request does that comes twice, and what its id does with another body.
fn replay(session: &mut Session<'_>, bench: &Bench) -> Came {
    let id = request(session.pace);
    let begun = session.pace.now();
    let body = json!({ "sourceRanges": ["192.0.2.1/32", "192.0.2.3/32"] });
    let first = patch_once(session, &bench.first, &body, Some(&id))?;
    let name = text(&first, "name").to_owned();
    session.follow(first, begun)?;
    let again = patch_once(session, &bench.first, &body, Some(&id));
    let mut said = match &again {
        Ok(again) if text(again, "name") == name => "the same operation came back".to_owned(),
        Ok(_) => "another operation began".to_owned(),
        Err(trouble) => format!("refused: {trouble}"),
    };
    if let Ok(again) = again {
        session.follow(again, begun)?;
    }
    let other = json!({ "sourceRanges": ["192.0.2.1/32", "192.0.2.4/32"] });
    said += &match patch_once(session, &bench.first, &other, Some(&id)) {
        Ok(answer) if text(&answer, "name") == name => "; with another body too, which was not written".to_owned(),
        Ok(answer) => {
            session.follow(answer, begun)?;
            "; with another body it was written".to_owned()
        }
        Err(trouble) => format!("; with another body refused: {trouble}"),
    };
    Ok((said, None))
}

/// Two writes of one rule, and of two rules of one network, the second before the first is over.
fn concurrent(session: &mut Session<'_>, bench: &Bench) -> Came {
    let same = pair(session, [&bench.first, &bench.first])?;
    let read = texts(&session.read(&bench.first)?, "sourceRanges").join(" ");
    let other = pair(session, [&bench.first, &bench.second])?;
    Ok((
        format!("on one rule {same}, which then held {read}; on two rules of the network {other}"),
        None,
    ))
}

fn pair(session: &mut Session<'_>, rules: [&str; 2]) -> Result<String, Trouble> {
    let begun = session.pace.now();
    let lists = [["192.0.2.1/32", "192.0.2.5/32"], ["192.0.2.1/32", "192.0.2.6/32"]];
    let answers: Vec<Result<Value, Trouble>> = rules
        .iter()
        .zip(lists)
        .map(|(rule, list)| patch_once(session, rule, &json!({ "sourceRanges": list }), None))
        .collect();
    let mut words = Vec::new();
    for answer in answers {
        words.push(match answer.and_then(|operation| session.follow(operation, begun)) {
            Ok(ended) => format!("done after {:.1} s", ended.took.as_secs_f64()),
            Err(trouble) => format!("refused ({trouble})"),
        });
    }
    Ok(format!("the first was {}, the second {}", words[0], words[1]))
}

/// The most entries: what a list is refused with that is longer than any limit known, and whether that many are taken.
fn limit(session: &mut Session<'_>, bench: &Bench) -> Came {
    let many = |count: usize| -> Vec<String> {
        // RFC 2544's range for benchmarks has 131,072 addresses, none of which is anybody's.
        let hosts = (0..count).map(|host| format!("198.{}.{}.{}/32", 18 + host / 65_536, host / 256 % 256, host % 256));
        hosts.collect()
    };
    let Err(refused) = session.write(&bench.first, &many(10_001)) else {
        return Ok(("10001 entries are taken".to_owned(), None));
    };
    let Kind::TooLarge(Some(most)) = refused.kind else {
        return Ok((format!("10001 entries are refused: {refused}"), None));
    };
    let ended = session.write(&bench.first, &many(most.min(10_000)));
    session.write(&bench.first, &list(&["192.0.2.1/32"]))?;
    let ended = ended?;
    Ok((
        format!("{most} entries are taken, and no more: {refused}"),
        Some(ended.took),
    ))
}

/// What an empty list becomes. Only after a look that the rule meets nobody: it may come to deny everybody.
fn empty(session: &mut Session<'_>, bench: &Bench) -> Came {
    let rule = session.read(&bench.first)?;
    if texts(&rule, "targetTags") != [bench.tag()] || !texts(&rule, "targetServiceAccounts").is_empty() {
        return Err(Trouble::without_answer(
            Kind::Refused,
            "not tried: the rule might meet a machine",
        ));
    }
    let path = format!("global/firewalls/{}", bench.first);
    let ended = session.change("PATCH", &path, Some(&json!({ "sourceRanges": [] })));
    let read = session.read(&bench.first);
    session.write(&bench.first, &list(&["192.0.2.1/32"]))?;
    let ended = match ended {
        Ok(ended) => ended,
        Err(trouble) => return refusal(trouble),
    };
    let read = texts(&read?, "sourceRanges");
    let said = match read.as_slice() {
        [] => "taken, and the rule has no list then".to_owned(),
        some => format!("taken, and read back as {}", some.join(" ")),
    };
    Ok((said, Some(ended.took)))
}

/// An entry that nobody has, in and out.
fn in_and_out(session: &mut Session<'_>, bench: &Bench) -> Came {
    use crate::client::gcp::amend::{Change, amend, fit};
    let net = ipnet::IpNet::new_assert([192, 0, 2, 2].into(), 32);
    let both = [(vec![net], Vec::new()), (Vec::new(), vec![net])];
    let mut said = Vec::new();
    for (add, remove) in both {
        let change = Change { add, remove };
        let begun = session.pace.now();
        let amended = amend(session, &bench.first, &change, &|rule| fit(rule, &change, &[]));
        let amended = amended.map_err(|failure| match failure {
            crate::client::gcp::amend::Failure::Api(trouble) => trouble,
            other => Trouble::without_answer(Kind::Refused, &other.to_string()),
        })?;
        let took = session.pace.now().saturating_sub(begun).as_secs_f64();
        let word = if change.add.is_empty() { "out" } else { "in" };
        said.push(format!(
            "{word} after {took:.1} s with {} writes, read back",
            amended.writes
        ));
    }
    Ok((said.join(", "), None))
}

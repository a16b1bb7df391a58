//! `verify`: what was decided, held against what the layers hold, for people or as JSON.

use std::io::IsTerminal;
use std::process::ExitCode;

use portcullis_core::wire::Verb;
use serde_json::Value;

use super::failure::fail;
use super::probe::{self, INCONCLUSIVE, NOT_DROPPED, PROVEN};
use super::status::print;
use super::{Ask, call, exit};
use crate::control::answer::{Layer, Probe, Verification, state};
use crate::regex::harmless;

/// So many addresses of a list are shown to people.
const MOST_SHOWN: usize = 10;

/// Compares, and sends packets where that is asked for.
pub(crate) fn verify(ask: &Ask, with_probe: bool) -> ExitCode {
    if with_probe && !probe::is_allowed() {
        let text = "a probe makes a network of its own, which only root may: run it as root";
        return fail(ask.json, text, exit::REFUSED);
    }
    let (mut verification, text) = match call::json::<Verification>(ask, &Verb::Verify) {
        Ok(answer) => answer,
        Err(error) => return error.exit(ask.json),
    };
    verification.probe = with_probe.then(|| probe::probe(ask));
    if ask.json {
        print(&(document(text, verification.probe.as_ref()) + "\n"));
    } else {
        let colours = std::io::stdout().is_terminal();
        print(&page(&verification, colours));
    }
    ExitCode::from(code(&verification))
}

/// The daemon's answer with the probe in it; what else the daemon says stays as it is.
fn document(text: String, probe: Option<&Probe>) -> String {
    let (Some(probe), Ok(mut answer)) = (probe, serde_json::from_str::<Value>(&text)) else {
        return text;
    };
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("probe".to_owned(), serde_json::to_value(probe).unwrap_or_default());
    }
    answer.to_string()
}

fn code(verification: &Verification) -> u8 {
    let result = verification.probe.as_ref().map(|probe| probe.result.as_str());
    let lags = !verification.lagging.is_empty();
    if verification.drift || lags || !verification.not_protected.is_empty() || result == Some(NOT_DROPPED) {
        exit::NOT_PROTECTED
    } else if result.is_some_and(|result| result != PROVEN) {
        exit::REFUSED
    } else {
        exit::DONE
    }
}

fn page(verification: &Verification, colours: bool) -> String {
    let paint = |text: String, colour: &str| {
        if colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text
        }
    };
    let (red, green) = ("1;31", "32");
    let mut text = String::new();
    for reason in &verification.not_protected {
        text += &format!("{}: {}\n", paint("NOT PROTECTED".into(), red), harmless(reason));
    }
    for lag in &verification.lagging {
        text += &format!("{}\n", paint(harmless(lag).into_owned(), red));
    }
    let rows: Vec<[String; 7]> = [HEAD.map(str::to_owned)]
        .into_iter()
        .chain(verification.layers.iter().map(row))
        .collect();
    let states = [None].into_iter().chain(verification.layers.iter().map(Some));
    for (line, layer) in table(&rows).into_iter().zip(states) {
        let line = harmless(&line).into_owned();
        text += &match layer.map(|layer| layer.state.as_str()) {
            Some(state::DRIFT | state::FAILING | state::UNREADABLE | state::LAGGING | state::FULL) => paint(line, red),
            Some(state::VERIFIED | state::READ_BACK) => paint(line, green),
            _ => line,
        };
        text += "\n";
        text += &layer.map_or(String::new(), |layer| harmless(&remarks(layer)).into_owned());
    }
    if let Some(probe) = &verification.probe {
        let colour = if probe.result == PROVEN { green } else { red };
        text += &format!("probe: {}\n", paint(harmless(&tell_probe(probe)).into_owned(), colour));
    }
    text + &advice(verification).map_or(String::new(), |advice| format!("what to do: {advice}\n"))
}

const HEAD: [&str; 7] = ["JAIL", "ACTION", "DECIDED", "APPLIED", "VERIFIED", "FAILED", "STATE"];

fn row(layer: &Layer) -> [String; 7] {
    let verified = layer.held.map_or("-".to_owned(), |_| layer.verified.to_string());
    [
        layer.jail.clone(),
        layer.action.clone(),
        layer.decided.to_string(),
        layer.applied.to_string(),
        verified,
        layer.failed.to_string(),
        layer.state.clone(),
    ]
}

/// Names to the left, numbers to the right, the last column as it is.
fn table(rows: &[[String; 7]]) -> Vec<String> {
    let width = |at: usize| {
        rows.iter()
            .filter_map(|row| Some(row.get(at)?.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    let cell = |(at, text): (usize, &String)| {
        let width = widths.get(at).copied().unwrap_or(0);
        match at {
            0 | 1 => format!("{text:width$}"),
            6 => text.clone(),
            _ => format!("{text:>width$}"),
        }
    };
    let line = |row: &[String; 7]| row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
    rows.iter().map(line).collect()
}

/// What the numbers do not say.
fn remarks(layer: &Layer) -> String {
    let mut text = String::new();
    if !layer.missing.is_empty() {
        text += &format!("  missing, being mended: {}\n", shown(&layer.missing));
    }
    if !layer.extra.is_empty() {
        text += &format!("  held and not decided: {}\n", shown(&layer.extra));
    }
    if layer.drifts > 0 {
        let times = if layer.drifts == 1 {
            "once".to_owned()
        } else {
            format!("{} times", layer.drifts)
        };
        text += &format!("  changed by others {times}\n");
    }
    match &layer.last_unprotected {
        Some(last) if layer.unprotected > 0.0 => {
            text += &format!(
                "  unprotected for {:.3} s in all, the last time at {last}\n",
                layer.unprotected
            );
        }
        Some(last) => text += &format!("  unprotected at {last}\n"),
        None => {}
    }
    text
}

fn shown(ids: &[String]) -> String {
    let text = ids.get(..MOST_SHOWN).unwrap_or(ids).join(" ");
    match ids.len().saturating_sub(MOST_SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

fn tell_probe(probe: &Probe) -> String {
    let reason = probe.reason.as_deref().unwrap_or("no reason is known");
    let address = probe.address.as_deref().unwrap_or("nobody");
    match (probe.result.as_str(), probe.ms) {
        (PROVEN, Some(ms)) => format!(
            "proven: {address} was dropped {ms:.1} ms after it was banned, its open connection hung, and it got through \
             when it was freed"
        ),
        (NOT_DROPPED, _) => format!("NOT DROPPED: {reason}"),
        _ => format!("inconclusive: {reason}"),
    }
}

/// What to do next, where something is wrong; the worst alone.
fn advice(verification: &Verification) -> Option<String> {
    let any = |word: &str| verification.layers.iter().any(|layer| layer.state == word);
    let probed = |word: &str| verification.probe.as_ref().is_some_and(|probe| probe.result == word);
    let text = if any(state::UNREADABLE) {
        "see to it that the daemon runs as root, or has CAP_NET_ADMIN, on a kernel with nf_tables"
    } else if probed(NOT_DROPPED) {
        "look at 'nft list ruleset' for what lets the packets pass before table inet portcullis sees them"
    } else if any(state::FAILING) {
        "'portcullis banned' says by address what failed, and the log when; it is tried again by itself"
    } else if any(state::LAGGING) {
        "'portcullis gcp doctor' says what is wrong with the cloud, and how to mend it"
    } else if any(state::FULL) {
        "'portcullis gcp plan' names who is not in the cloud's rules; a higher max_rules, or a shorter bantime, makes room"
    } else if verification.drift {
        "ask again in a few seconds, when it is mended; if it comes back, the log says who changes the packet filter"
    } else if !verification.not_protected.is_empty() {
        "'portcullis status' shows the jails, 'portcullis check' the configuration"
    } else if probed(INCONCLUSIVE) {
        "let the probe's packets through, or probe on a machine that does"
    } else {
        return None;
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(jail: &str, numbers: [usize; 4], state: &str) -> Layer {
        let [decided, applied, verified, failed] = numbers;
        Layer {
            jail: jail.into(),
            action: "nft".into(),
            state: state.into(),
            decided,
            applied,
            verified,
            failed,
            held: (state != state::APPLIED).then_some(verified),
            ..Layer::default()
        }
    }

    #[test]
    fn a_table_and_what_to_do() {
        let ids = (1..=12).map(|host| format!("192.0.2.{host}"));
        let verification = Verification {
            drift: true,
            lagging: Vec::new(),
            not_protected: vec!["one thing".into()],
            layers: vec![
                Layer {
                    missing: ids.collect(),
                    drifts: 2,
                    unprotected: 0.0125,
                    last_unprotected: Some("T".into()),
                    ..layer("sshd", [112, 112, 100, 0], state::DRIFT)
                },
                layer("a", [5, 5, 0, 0], state::APPLIED),
            ],
            probe: None,
        };
        let expect = "NOT PROTECTED: one thing\n\
                      JAIL  ACTION  DECIDED  APPLIED  VERIFIED  FAILED  STATE\n\
                      sshd  nft         112      112       100       0  drift\n\
                      \x20 missing, being mended: 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 \
                      192.0.2.7 192.0.2.8 192.0.2.9 192.0.2.10 and 2 more\n\
                      \x20 changed by others 2 times\n\
                      \x20 unprotected for 0.013 s in all, the last time at T\n\
                      a     nft           5        5         -       0  applied (not verifiable)\n\
                      what to do: ask again in a few seconds, when it is mended; if it comes back, the log says who \
                      changes the packet filter\n";
        assert_eq!(page(&verification, false), expect);
        assert!(page(&verification, true).starts_with("\x1b[1;31mNOT PROTECTED\x1b[0m: one"));
        let fine = Verification {
            layers: vec![layer("a", [1, 1, 1, 0], state::VERIFIED)],
            ..Verification::default()
        };
        assert_eq!(page(&fine, false).lines().count(), 2, "nothing to do");
    }

    #[test]
    fn exit_codes() {
        let check = |drift, not_protected: &[&str], result: Option<&str>, expect| {
            let verification = Verification {
                drift,
                lagging: Vec::new(),
                not_protected: not_protected.iter().map(|text| (*text).to_owned()).collect(),
                layers: Vec::new(),
                probe: result.map(|result| Probe {
                    result: result.into(),
                    ..Probe::default()
                }),
            };
            assert_eq!(code(&verification), expect, "{verification:?}");
        };
        check(false, &[], None, exit::DONE);
        check(true, &[], None, exit::NOT_PROTECTED);
        check(false, &["x"], Some(PROVEN), exit::NOT_PROTECTED);
        check(false, &[], Some(PROVEN), exit::DONE);
        check(false, &[], Some(NOT_DROPPED), exit::NOT_PROTECTED);
        check(false, &[], Some(INCONCLUSIVE), exit::REFUSED);
    }

    #[test]
    fn the_daemons_answer_stays_as_it_is() {
        let probe = Probe::default();
        let text = document(r#"{"new": 1, "probe": null}"#.into(), Some(&probe));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["new"], &value["probe"]["tcp"]), (&1.into(), &Value::Null));
        assert_eq!(document("{}".into(), None), "{}");
    }
}

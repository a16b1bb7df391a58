use std::collections::BTreeMap;

use super::super::pace::tests::{Still, trouble};
use super::super::session::{Api, text, texts};
use super::*;

/// An API that takes what it is sent, but for what Google's is said to refuse.
#[derive(Default)]
struct Cloud {
    rules: BTreeMap<String, Value>,
    requests: BTreeMap<String, Value>,
    /// After so many calls nobody may do anything any more
    breaks_after: Option<usize>,
    calls: usize,
    lists_of_bench: Vec<(Vec<String>, Vec<String>)>,
}

impl Cloud {
    fn patch(&mut self, name: &str, body: &Value) -> Result<(), Trouble> {
        let list = texts(body, "sourceRanges");
        if list.iter().any(|text| text.contains("::")) && list.iter().any(|text| text.contains('.')) {
            return Err(trouble(Kind::Entry(Some(1))));
        }
        if list.len() > 5000 {
            return Err(trouble(Kind::TooLarge(Some(5000))));
        }
        let rule = self.rules.get_mut(name).ok_or_else(|| trouble(Kind::Missing))?;
        self.lists_of_bench.push((texts(rule, "targetTags"), list.clone()));
        rule["sourceRanges"] = if list.is_empty() {
            json!(["0.0.0.0/0"])
        } else {
            json!(list)
        };
        Ok(())
    }
}

impl Api for Cloud {
    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        self.calls += 1;
        if self.breaks_after.is_some_and(|most| self.calls > most) && method != "DELETE" {
            return Err(trouble(Kind::Permission));
        }
        let (path, id) = path.split_once("?requestId=").unwrap_or((path, ""));
        if let Some(known) = self.requests.get(id) {
            return Ok(known.clone());
        }
        let name = path.rsplit('/').next().unwrap().to_owned();
        match method {
            "GET" => return self.rules.get(&name).cloned().ok_or_else(|| trouble(Kind::Missing)),
            "POST" if path.ends_with("/wait") => return Ok(json!({"name": "op", "status": "DONE"})),
            "POST" => {
                _ = self
                    .rules
                    .insert(text(body.unwrap(), "name").to_owned(), body.unwrap().clone());
            }
            "PATCH" => self.patch(&name, body.unwrap())?,
            _ => _ = self.rules.remove(&name).ok_or_else(|| trouble(Kind::Missing))?,
        }
        let answer = json!({"name": format!("op-{}", self.calls), "status": "RUNNING"});
        self.requests.insert(id.to_owned(), answer.clone());
        Ok(answer)
    }
}

/// The whole of it; what the API had in the end.
fn run(mut cloud: Cloud, stops: bool) -> (Report, Cloud) {
    let bench = Bench::on("portcullis-selftest-1");
    let mut report = Report::new("p", "projects/p/global/networks/default", "");
    let mut pace = Still {
        stops,
        ..Still::default()
    };
    let mut session = Session::new(&mut cloud, &mut pace, PATIENCE);
    match made(
        &mut session,
        &bench,
        "projects/p/global/networks/default",
        &mut report.begun,
    ) {
        Ok(trial) => {
            report.trials.push(trial);
            report.finished = trials(&mut session, &bench, TRIALS.iter(), &mut report);
        }
        Err(trouble) => report.failed("make", &trouble),
    }
    // Other ids than before: a request that comes twice is not carried out twice.
    let mut pace = Still {
        chance: 1 << 20,
        ..Still::default()
    };
    let mut session = Session::new(&mut cloud, &mut pace, PATIENCE_AT_THE_END);
    put_away(&mut session, &mut report);
    (report, cloud)
}

#[test]
fn everything_is_tried_and_put_away() {
    let (report, cloud) = run(Cloud::default(), false);
    assert!(report.finished && report.left.is_none(), "{report:?}");
    assert!(cloud.rules.is_empty());
    let said = |name: &str| {
        let trial = report.trials.iter().find(|trial| trial.name == name);
        trial.unwrap_or_else(|| panic!("{name} was not tried")).said.clone()
    };
    for (name, part) in [
        ("patch", "to be seen right then"),
        ("order", "order of the list is kept"),
        ("bare address", "read back as 192.0.2.7"),
        ("both families", "refused"),
        (
            "same requestId",
            "the same operation came back; with another body too, which was not written",
        ),
        ("two at a time", "which then held 192.0.2.1/32 192.0.2.6/32"),
        ("limit", "5000 entries are taken"),
        ("empty list", "read back as 0.0.0.0/0"),
    ] {
        assert!(said(name).contains(part), "{name}: {}", said(name));
    }
    let empty: Vec<_> = cloud
        .lists_of_bench
        .iter()
        .filter(|(_, list)| list.is_empty())
        .collect();
    assert_eq!(empty.len(), 1);
    assert_eq!(
        empty[0].0,
        ["portcullis-selftest-1"],
        "only on a rule that meets nobody"
    );
}

#[test]
fn put_away_whatever_happened() {
    for most in 0..40 {
        let cloud = Cloud {
            breaks_after: Some(most),
            ..Cloud::default()
        };
        let (report, cloud) = run(cloud, false);
        // An operation cannot be followed any more, so what was deleted is named all the same.
        assert!(cloud.rules.is_empty(), "{most}: {report:?}");
    }
    let (report, cloud) = run(Cloud::default(), true);
    assert!(!report.finished && cloud.rules.is_empty(), "{report:?}");
}

#[test]
fn an_empty_list_never_where_it_could_bite() {
    let bench = Bench::on("portcullis-selftest-1");
    for change in [
        json!({"targetTags": []}),
        json!({"targetTags": ["web"]}),
        json!({"targetServiceAccounts": ["a"]}),
    ] {
        let mut cloud = Cloud::default();
        let mut rule = scratch("portcullis-selftest-1", &bench, "n");
        for (key, value) in change.as_object().unwrap() {
            rule[key] = value.clone();
        }
        cloud.rules.insert("portcullis-selftest-1".into(), rule);
        let mut pace = Still::default();
        let mut session = Session::new(&mut cloud, &mut pace, PATIENCE);
        let (_, empty) = TRIALS.iter().find(|(name, _)| *name == "empty list").unwrap();
        assert!(empty(&mut session, &bench).is_err());
        assert!(cloud.lists_of_bench.is_empty(), "nothing was written");
    }
}

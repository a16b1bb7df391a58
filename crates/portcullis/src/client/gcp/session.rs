//! A conversation with the API: one call after the other, each tried again as its failure asks for, each operation
//! followed to its end.

use std::time::Duration;

use portcullis_core::cloud::trouble::{Kind, Trouble};
use serde_json::{Value, json};

use super::pace::{Pace, request, rest};

/// What the verbs ask of the API.
pub(super) trait Api {
    /// One call to `projects/PROJECT/path`; the answer's document.
    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble>;
}

/// The API, and the patience with it.
pub(super) struct Session<'a> {
    pub(super) api: &'a mut dyn Api,
    pub(super) pace: &'a mut dyn Pace,
    /// After so long nothing is tried again
    pub(super) until: Duration,
    /// Calls that were made
    pub(super) calls: u64,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    /// Its name
    pub(super) name: String,
    /// From the call to DONE
    pub(super) took: Duration,
}

impl<'a> Session<'a> {
    /// With so much patience from now on.
    pub(super) fn new(api: &'a mut dyn Api, pace: &'a mut dyn Pace, patience: Duration) -> Session<'a> {
        let until = pace.now() + patience;
        Session {
            api,
            pace,
            until,
            calls: 0,
        }
    }

    /// One call, once.
    pub(super) fn once(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        self.calls += 1;
        self.api.send(method, path, body)
    }

    /// One call, again and again while that may help. A change needs its `requestId` in the path: it is the same one
    /// each time, so that a change whose answer was lost is not made twice.
    pub(super) fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let mut tries = 0;
        loop {
            let trouble = match self.once(method, path, body) {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            self.wait_after(trouble, tries)?;
            tries += 1;
        }
    }

    /// Waits as long as this trouble asks for.
    ///
    /// # Errors
    /// The trouble itself, where another try would not help or the patience is at its end.
    pub(super) fn wait_after(&mut self, trouble: Trouble, tries: u32) -> Result<(), Trouble> {
        // An answer that contradicts what was read asks for another look, not for the same call again.
        let length = rest(&trouble, tries, self.pace).filter(|_| trouble.kind != Kind::Conflict);
        let Some(length) = length.filter(|length| self.pace.now() + *length < self.until) else {
            return Err(trouble);
        };
        self.pace
            .tell(&format!("{trouble}; again in {:.0} s", length.as_secs_f64().ceil()));
        if self.pace.pause(length) { Ok(()) } else { Err(trouble) }
    }

    /// A rule as it is.
    pub(super) fn read(&mut self, rule: &str) -> Result<Value, Trouble> {
        self.send("GET", &format!("global/firewalls/{rule}"), None)
    }

    /// A change, followed to its end.
    pub(super) fn change(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Ended, Trouble> {
        let begun = self.pace.now();
        let id = request(self.pace);
        let answer = self.send(method, &format!("{path}?requestId={id}"), body)?;
        self.follow(answer, begun)
    }

    /// Replaces the list of a rule. It must not be empty: that would mean everybody.
    pub(super) fn write(&mut self, rule: &str, ranges: &[String]) -> Result<Ended, Trouble> {
        if ranges.is_empty() {
            return Err(Trouble::without_answer(
                Kind::Refused,
                "a rule without sources denies everybody; nothing was written",
            ));
        }
        let body = json!({ "sourceRanges": ranges });
        self.change("PATCH", &format!("global/firewalls/{rule}"), Some(&body))
    }

    /// Waits until an operation is DONE; it may have failed although the call that began it did not.
    pub(super) fn follow(&mut self, mut operation: Value, begun: Duration) -> Result<Ended, Trouble> {
        let name = text(&operation, "name").to_owned();
        let mut tries = 0;
        loop {
            if text(&operation, "status") == "DONE" {
                return match Trouble::of_operation(&operation) {
                    Some(trouble) => Err(trouble),
                    None => Ok(Ended {
                        name,
                        took: self.pace.now().saturating_sub(begun),
                    }),
                };
            }
            if self.pace.now() >= self.until {
                return Err(Trouble::without_answer(
                    Kind::Unknown,
                    &format!("the operation {name} is still under way"),
                ));
            }
            let waited = self.once("POST", &format!("global/operations/{name}/wait"), None);
            operation = match waited {
                Ok(operation) => operation,
                Err(trouble) => {
                    self.wait_after(trouble, tries)?;
                    tries += 1;
                    continue;
                }
            };
            // It may come back early.
            let pause = Duration::from_millis(200);
            if text(&operation, "status") != "DONE" && !self.pace.pause(pause) {
                return Err(Trouble::without_answer(Kind::Unknown, "interrupted"));
            }
        }
    }
}

/// A text in a document, empty where it has none.
pub(super) fn text<'v>(document: &'v Value, name: &str) -> &'v str {
    document.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The texts of a list in a document.
pub(super) fn texts(document: &Value, name: &str) -> Vec<String> {
    let list = document.get(name).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

//! Every call that came in, with what became of it.

use std::time::Instant;

use serde_json::Value;

use super::http::{Reply, Request};

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// `User-Agent`
    pub(crate) agent: String,
    /// `Authorization`
    pub(crate) authorization: Option<String>,
    /// Null where there was none, or no JSON
    pub(crate) body: Value,
    /// None while it is not answered, and for ever where it never was
    pub(crate) answer: Option<(u16, Value)>,
    /// Whether a script answered in the service's place
    pub(crate) is_scripted: bool,
}

impl Record {
    pub(crate) fn of(request: &Request) -> Record {
        Record {
            at: Instant::now(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            agent: request.header("user-agent").unwrap_or_default().to_owned(),
            authorization: request.header("authorization").map(str::to_owned),
            body: json(&request.body),
            answer: None,
            is_scripted: false,
        }
    }

    pub(crate) fn answered(&mut self, reply: &Reply) {
        self.answer = Some((reply.status, json(&reply.body)));
    }

    /// A call by its method and the end of its path.
    pub(crate) fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path.ends_with(end)
    }

    /// Whether it was for the API, and not for the metadata server.
    pub(crate) fn is_api(&self) -> bool {
        self.path.starts_with("/compute/")
    }

    /// The status that it was answered with.
    pub(crate) fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|(status, _)| *status)
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

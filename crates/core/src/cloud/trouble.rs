//! What can go wrong between us and the API, told apart, and what mends it.
//!
//! In come an answer that is no success, an operation that ended badly, or the word that none came; out comes a
//! [`Trouble`]: what it means for the caller, the API's own words, and for a person the command that ends it. The API's
//! `reason` decides before the HTTP status does. Everything in an answer is taken for hostile: it is cut, and nothing of
//! it reaches a terminal or a command that was not looked at.

mod mend;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use mend::Place;

use crate::time::Seconds;

/// A sentence of the API is kept to this many characters.
const LONGEST_MESSAGE: usize = 500;
/// A word of the API is kept to this many characters.
const LONGEST_REASON: usize = 64;
/// Above this many bytes an answer is not looked into: errors are a few hundred.
const LARGEST_BODY: usize = 1 << 20;
/// Of an answer with several errors, details or quotas this many are looked at.
const MOST_ERRORS: usize = 16;
/// Nobody is told to wait longer than this.
const LONGEST_WAIT: i64 = 3600;

/// What a failed call means for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 401: the token is refreshed, once
    Token,
    /// Too many calls in this minute, or too many operations at a time: wait for the next minute
    Rate,
    /// A permission is missing
    Permission,
    /// The machine's scopes do not cover the API
    Scope,
    /// The API is not enabled in the project
    ApiOff,
    /// Another operation works on the same network: try again in seconds
    Busy,
    /// One entry of the list is refused; its place, where that is said
    Entry(Option<usize>),
    /// There is no such rule, network or project
    Missing,
    /// It exists already, or is in another state than thought: read again
    Conflict,
    /// More entries than the API takes; the most that it takes, where that is said
    TooLarge(Option<usize>),
    /// The quota of rules is used up
    Quota,
    /// Nobody knows whether it was done: 5xx, a time-out, a connection that broke. The same request is sent again.
    Unknown,
    /// There are no credentials, or they are not usable
    Credentials,
    /// Anything else: it would be refused again
    Refused,
}

/// A call that failed, or an operation that ended with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it means
    pub kind: Kind,
    /// The HTTP status, if there was an answer
    pub status: Option<u16>,
    /// The API's own word for it (`rateLimitExceeded`)
    pub reason: String,
    /// The API's sentence, cut
    pub message: String,
    /// How long to wait, where the answer says so
    pub retry_after: Option<Seconds>,
}

impl Trouble {
    /// Of an answer to a call: its HTTP status, its body, and the header `Retry-After`.
    #[must_use]
    pub fn of_answer(status: u16, body: &str, retry_after: Option<&str>) -> Trouble {
        let said = Said::of_body(body);
        let wait = retry_after.and_then(|text| seconds(text.trim())).or(said.wait);
        said.trouble(Some(status), wait)
    }

    /// Of an operation, as the API gives it: `None` unless it is DONE and ended with an error, which it may although
    /// every call was answered with 200.
    #[must_use]
    pub fn of_operation(operation: &Value) -> Option<Trouble> {
        let is_done = operation.get("status").and_then(Value::as_str) == Some("DONE");
        let status = operation.get("httpErrorStatusCode").and_then(Value::as_u64);
        let status = status
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| *status >= 400);
        let errors = operation.pointer("/error/errors").and_then(Value::as_array);
        let errors = errors.filter(|errors| !errors.is_empty());
        if !is_done || errors.is_none() && status.is_none() && operation.get("error").is_none_or(Value::is_null) {
            return None;
        }
        let said = Said::of_operation(operation, errors.map_or(&[], Vec::as_slice));
        let wait = said.wait;
        Some(said.trouble(status, wait))
    }

    /// No answer came (time-out, reset), so nobody knows whether it was done.
    #[must_use]
    pub fn lost(what: &str) -> Trouble {
        Trouble::without_answer(Kind::Unknown, what)
    }

    /// There are no credentials, or nothing is given for them.
    #[must_use]
    pub fn credentials(text: &str) -> Trouble {
        Trouble::without_answer(Kind::Credentials, text)
    }

    /// One that no answer of the API's is behind, in words of our own.
    #[must_use]
    pub fn without_answer(kind: Kind, text: &str) -> Trouble {
        Trouble {
            kind,
            status: None,
            reason: String::new(),
            message: plain(text, LONGEST_MESSAGE),
            retry_after: None,
        }
    }

    /// Whether it may have been done nevertheless.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.kind == Kind::Unknown
    }

    /// Whether the same call may go well later although nobody does anything.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(
            self.kind,
            Kind::Token | Kind::Rate | Kind::Busy | Kind::Conflict | Kind::Unknown
        )
    }

    /// The permission that is missing (`compute.firewalls.update`), where the answer names it.
    #[must_use]
    pub fn permission(&self) -> Option<&str> {
        let mut words = self.message.split('\'').skip(1).step_by(2);
        words
            .find(|word| is_permission(word))
            .filter(|_| self.kind == Kind::Permission)
    }
}

/// One line for a log: the status, the API's word and its sentence.
impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.map(|status| status.to_string());
        let mut parts = [status.as_deref().unwrap_or_default(), &self.reason]
            .into_iter()
            .filter(|part| !part.is_empty());
        let head = [parts.next(), parts.next()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        match (head.is_empty(), self.message.is_empty()) {
            (true, _) => f.write_str(&self.message),
            (false, true) => f.write_str(&head),
            (false, false) => write!(f, "{head}: {}", self.message),
        }
    }
}

/// What an answer says, put into one form.
#[derive(Default)]
struct Said {
    /// The API's words for it, the first first
    reasons: Vec<String>,
    /// Its sentence
    message: String,
    /// Names of quotas that it speaks of
    quotas: Vec<String>,
    wait: Option<Seconds>,
    /// Whether it is the API that says it, and no proxy or other server in its place
    is_ours: bool,
}

impl Said {
    fn of_body(body: &str) -> Said {
        let json = (body.len() <= LARGEST_BODY)
            .then(|| serde_json::from_str::<Value>(body).ok())
            .flatten();
        // An answer of a batch, and of some proxies, is a list of one.
        let json = match json {
            Some(Value::Array(list)) => list.into_iter().next(),
            json => json,
        };
        let Some(json) = json else {
            return Said {
                message: page(body),
                ..Said::default()
            };
        };
        let mut said = Said {
            is_ours: json.get("error").is_some(),
            ..Said::default()
        };
        match json.get("error") {
            Some(Value::String(word)) => {
                said.reason(word);
                said.message = text(&json, "error_description");
            }
            Some(error) => {
                said.message = text(error, "message");
                said.errors(items(error, "errors"));
                said.details(items(error, "details"));
                said.reason(&text(error, "status"));
            }
            None => said.message = text(&json, "message"),
        }
        said
    }

    fn of_operation(operation: &Value, errors: &[Value]) -> Said {
        let mut said = Said {
            is_ours: true,
            ..Said::default()
        };
        said.errors(errors);
        if said.message.is_empty() {
            said.message = text(operation, "httpErrorMessage");
        }
        said
    }

    fn errors(&mut self, errors: &[Value]) {
        for error in errors.iter().take(MOST_ERRORS) {
            // Answers say `reason`, operations say `code`.
            self.reason(&text(error, "reason"));
            self.reason(&text(error, "code"));
            self.details(items(error, "errorDetails"));
            if self.message.is_empty() {
                self.message = text(error, "message");
            }
        }
    }

    fn details(&mut self, details: &[Value]) {
        for detail in details.iter().take(MOST_ERRORS) {
            let info = detail.get("errorInfo").unwrap_or(detail);
            self.reason(&text(info, "reason"));
            for (part, names) in [
                ("metadata", ["quota_metric", "quota_limit"]),
                ("quotaInfo", ["metricName", "limitName"]),
            ] {
                let part = detail.get(part).or_else(|| info.get(part));
                let named = part.into_iter().flat_map(|part| names.map(|name| text(part, name)));
                self.quotas.extend(named.filter(|name| !name.is_empty()));
            }
            let delay = text(detail, "retryDelay");
            self.wait = self.wait.or_else(|| seconds(delay.trim_end_matches('s')));
        }
    }

    fn reason(&mut self, word: &str) {
        let word = plain(word, LONGEST_REASON);
        if !word.is_empty() && self.reasons.len() < 4 * MOST_ERRORS {
            self.reasons.push(word);
        }
    }

    /// Whether any of the reasons is one of these, however it is spelled: `rateLimitExceeded`, `RATE_LIMIT_EXCEEDED`.
    fn is(&self, words: &[&str]) -> bool {
        self.reasons.iter().any(|reason| words.contains(&bare(reason).as_str()))
    }

    fn says(&self, part: &str) -> bool {
        self.message.to_ascii_lowercase().contains(part)
    }

    fn trouble(self, status: Option<u16>, wait: Option<Seconds>) -> Trouble {
        Trouble {
            kind: self.kind(status),
            status,
            reason: self.reasons.into_iter().next().unwrap_or_default(),
            message: self.message,
            retry_after: wait,
        }
    }

    /// The reason decides, then the status.
    fn kind(&self, status: Option<u16>) -> Kind {
        let by_reason = self
            .quota_or_rate(status)
            .or_else(|| self.access(status))
            .or_else(|| self.state())
            .or_else(|| self.list(status));
        by_reason.unwrap_or_else(|| match status {
            Some(401) => Kind::Token,
            Some(403) if self.is_ours => Kind::Permission,
            Some(404) if self.is_ours => Kind::Missing,
            Some(409 | 412) => Kind::Conflict,
            Some(413) => Kind::TooLarge(None),
            Some(429) => Kind::Rate,
            // An answer of 200 that is none does not say what was done.
            Some(200..=299 | 408 | 500..) => Kind::Unknown,
            None if self.is(&["internalerror", "backenderror", "unavailable"]) => Kind::Unknown,
            _ => Kind::Refused,
        })
    }

    fn quota_or_rate(&self, status: Option<u16>) -> Option<Kind> {
        let is_quota = self.is(&["quotaexceeded", "resourceexhausted"]) || status == Some(429);
        let is_of_rules =
            || self.quotas.iter().any(|name| bare(name).contains("firewalls")) || self.says("'firewalls'");
        let is_by_time = || {
            let by_time = |name: &String| bare(name).contains("perminute") || bare(name).contains("persecond");
            self.quotas.iter().any(by_time) || self.says("per minute") || self.says("per second")
        };
        if is_quota && !is_by_time() && is_of_rules() {
            return Some(Kind::Quota);
        }
        let is_rate = self.is(&[
            "ratelimitexceeded",
            "userratelimitexceeded",
            "concurrentoperationsquotaexceeded",
            "concurrentlimitexceeded",
            "resourceoperationrateexceeded",
            "operationratequotaexceeded",
        ]);
        (is_rate || is_quota).then_some(Kind::Rate)
    }

    fn access(&self, status: Option<u16>) -> Option<Kind> {
        let is_permission = self.says("required '") && self.says("permission");
        if self.is(&["accesstokenscopeinsufficient"])
            || self.says("insufficient authentication scopes")
            || self.is(&["insufficientpermissions"]) && !is_permission
        {
            return Some(Kind::Scope);
        }
        if self.is(&["accessnotconfigured", "servicedisabled"]) {
            return Some(Kind::ApiOff);
        }
        if self.is(&["autherror", "unauthenticated", "accesstokenexpired"]) {
            return Some(Kind::Token);
        }
        if self.is(&["invalidgrant", "invalidclient", "unauthorizedclient"]) {
            return Some(Kind::Credentials);
        }
        // An organisation's rules and unpaid bills are no matter of permissions, nor is a proxy's page.
        if self.is(&[
            "billingdisabled",
            "billingnotenabled",
            "securitypolicyviolated",
            "vpcservicecontrols",
        ]) || self.says("constraint constraints/")
        {
            return Some(Kind::Refused);
        }
        let is_denied = self.is(&[
            "forbidden",
            "permissionserror",
            "iampermissiondenied",
            "insufficientpermissions",
        ]);
        (is_denied && status.is_none_or(|status| (400..500).contains(&status))).then_some(Kind::Permission)
    }

    fn state(&self) -> Option<Kind> {
        if self.is(&["resourcenotready", "resourceinuse", "operationinprogress"]) {
            return Some(Kind::Busy);
        }
        if self.is(&[
            "alreadyexists",
            "duplicate",
            "resourcealreadyexists",
            "conditionnotmet",
            "conflict",
        ]) {
            return Some(Kind::Conflict);
        }
        self.is(&["notfound", "resourcenotfound"]).then_some(Kind::Missing)
    }

    fn list(&self, status: Option<u16>) -> Option<Kind> {
        let is_ranges = self.says("sourceranges");
        if self.is(&["fieldsizetoolarge"]) || status == Some(413) {
            // A description that is too long is no matter of entries.
            let is_another = self.says("'resource.") && !is_ranges;
            return Some(if is_another {
                Kind::Refused
            } else {
                Kind::TooLarge(after(&self.message, "maximum size "))
            });
        }
        let is_bad = matches!(status, Some(400)) || status.is_none() && self.is(&["invalidfieldvalue", "invalid"]);
        (is_bad && is_ranges).then(|| Kind::Entry(after(&self.message, "sourceRanges[")))
    }
}

/// The number that stands behind some words.
fn after(text: &str, words: &str) -> Option<usize> {
    let (_, rest) = text.split_once(words)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A reason in one spelling: small letters only.
fn bare(reason: &str) -> String {
    reason
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

/// A text of an object, cut; empty if it is none.
fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str).unwrap_or_default();
    plain(text, LONGEST_MESSAGE)
}

/// A list of an object; empty if it is none.
fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text on one line, without what a terminal would act upon, cut.
fn plain(text: &str, most: usize) -> String {
    // Direction marks make a line look like another.
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut out = String::new();
    let words = text
        .split(|c: char| c.is_whitespace() || is_hidden(c))
        .filter(|word| !word.is_empty());
    let mut room = most;
    for word in words {
        if !out.is_empty() {
            out.push(' ');
            room = room.saturating_sub(1);
        }
        out.extend(word.chars().take(room));
        room = room.saturating_sub(word.chars().count());
        if room == 0 {
            break;
        }
    }
    out
}

/// A body that is no JSON: the page of a proxy, mostly.
fn page(body: &str) -> String {
    let start: String = body.chars().take(4 * LONGEST_MESSAGE).collect();
    plain(&start, LONGEST_MESSAGE)
}

/// A length of time in seconds, a fraction rounded up.
fn seconds(text: &str) -> Option<Seconds> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = whole.parse().ok().filter(|_| is_number(whole) && is_number(fraction))?;
    let more = i64::from(fraction.bytes().any(|byte| byte != b'0'));
    Some(Seconds::new(number.saturating_add(more).min(LONGEST_WAIT)))
}

/// `compute.firewalls.update`: words of letters with dots between them, three at least.
fn is_permission(word: &str) -> bool {
    let mut parts = word.split('.');
    let fits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    word.len() <= LONGEST_REASON && parts.clone().count() >= 3 && parts.all(fits)
}

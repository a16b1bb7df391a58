//! The calls of compute v1 that bans in a firewall rule take, one at a time.
//!
//! In comes a [`Call`] of the rules' state machine, out goes its [`Answer`] or the [`Trouble`] that it met. The client
//! waits; [`Caller`](super::caller::Caller) is the thread that does so for somebody who cannot. A call is tried once,
//! but for a token that was refused and could be renewed: when and how often to try again, the state machine decides.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis_core::cloud::reconcile::{Answer, Call};
use portcullis_core::cloud::rule::Rule;
use portcullis_core::cloud::trouble::{Kind, Trouble};
use reqwest::Url;
use serde_json::{Value, json};

use super::api::Api;
pub(crate) use super::http::Method;
use super::http::{Http, Reach, Reply, Request, plain};
use super::token::Tokens;

/// For a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// For an operation: the API holds the answer back for up to two minutes.
const WAIT: Duration = Duration::from_secs(130);

/// Between two looks at an operation, where the API did not hold its answer back.
const PAUSE: Duration = Duration::from_secs(1);

/// Rules on one page: as many as fit into the longest answer with 5,000 IPv6 ranges each.
const PAGE: usize = 25;

/// Most pages of one list.
const PAGES: usize = 40;

/// A client of one API for one project.
pub(crate) struct Client {
    api: Api,
    http: Http,
    tokens: Tokens,
    /// Whether this API lets nobody wait for operations
    is_polling: bool,
    wait: Duration,
    pause: Duration,
    /// What the last answer said that time it was
    date: Option<String>,
}

impl Client {
    /// A client, which has called nobody yet.
    ///
    /// # Errors
    /// TLS cannot be spoken here; the text says why.
    pub(crate) fn open(api: &Api) -> Result<Client, String> {
        let reach = if api.is_loopback() { Reach::Loopback } else { Reach::Tls };
        Ok(Client {
            http: Http::new(reach)?,
            tokens: Tokens::new(api.token_file.as_deref()),
            api: api.clone(),
            is_polling: false,
            wait: WAIT,
            pause: PAUSE,
            date: None,
        })
    }

    /// The API and the project.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Where tokens come from, for people.
    pub(crate) fn origin(&self) -> String {
        self.tokens.origin()
    }

    /// The account that we act as, if that can be told, on a machine of this account.
    pub(crate) fn account(&self, machine: Option<&str>) -> Option<String> {
        self.tokens.account(machine)
    }

    /// What is to be mended about the credentials though they work: others can read the file.
    pub(crate) fn warning(&self) -> Option<String> {
        self.tokens.warning()
    }

    /// What time the API had when it gave its last answer (the header `Date`).
    pub(crate) fn date(&self) -> Option<&str> {
        self.date.as_deref()
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Errors
    /// What it met.
    pub(crate) fn call(&mut self, call: &Call) -> Result<Answer, Trouble> {
        match call {
            Call::Read { rule } => {
                let url = self.rule(rule, &[])?;
                let value = self.ask(Method::GET, &url, None, PATIENCE)?;
                Ok(Answer::Rule(Box::new(read(&value)?)))
            }
            Call::List { base } => self.list(base).map(Answer::Rules),
            Call::Write { rule, ranges, request } => {
                let body = json!({ "sourceRanges": texts(ranges)? });
                self.write(Method::PATCH, Some(rule), request, Some(&body))
            }
            Call::Describe {
                rule,
                description,
                request,
            } => {
                let body = json!({ "description": description });
                self.write(Method::PATCH, Some(rule), request, Some(&body))
            }
            Call::Create { rule, request } => {
                if rule.source_ranges.is_empty() {
                    return Err(refused(EMPTY));
                }
                let body = rule.to_insert();
                self.write(Method::POST, None, request, Some(&body))
            }
            Call::Delete { rule, request } => self.write(Method::DELETE, Some(rule), request, None),
            Call::Follow { operation } => self.follow(operation),
        }
    }

    /// Any other call of compute v1: `path` comes after the base address (`projects/P/global/networks/N`), a question
    /// mark and parameters with it where it takes some.
    ///
    /// # Errors
    /// What it met.
    pub(crate) fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let url = self.url(path)?;
        let patience = if url.path().ends_with("/wait") {
            self.wait
        } else {
            PATIENCE
        };
        self.ask(method, url.as_str(), body, patience)
    }

    /// A resource, by such a path.
    ///
    /// # Errors
    /// What it met.
    pub(crate) fn get(&mut self, path: &str) -> Result<Value, Trouble> {
        self.send(Method::GET, path, None)
    }

    /// Those of these permissions that we have in the project.
    ///
    /// # Errors
    /// What it met; also where compute's address was overridden and the resource manager's was not.
    pub(crate) fn permitted(&mut self, permissions: &[&str]) -> Result<Vec<String>, Trouble> {
        let Some(base) = &self.api.resources else {
            let text = "nobody can be asked about permissions: the address of the resource manager is not known";
            return Err(refused(text));
        };
        let url = format!("{base}v1/projects/{}:testIamPermissions?alt=json", self.api.project);
        let body = json!({ "permissions": permissions });
        let value = self.ask(Method::POST, &url, Some(&body), PATIENCE)?;
        let granted = value.get("permissions").and_then(Value::as_array);
        let granted = granted.into_iter().flatten().filter_map(Value::as_str);
        Ok(granted.map(str::to_owned).collect())
    }

    fn list(&mut self, base: &str) -> Result<Vec<Rule>, Trouble> {
        let filter = format!("name eq \"{}.*\"", name(base)?);
        let size = PAGE.to_string();
        let mut rules = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES {
            let mut parameters = vec![("maxResults", size.as_str()), ("filter", &filter)];
            if !token.is_empty() {
                parameters.push(("pageToken", &token));
            }
            let url = self.resource("global/firewalls", &parameters)?;
            let value = self.ask(Method::GET, &url, None, PATIENCE)?;
            let items = value.get("items").and_then(Value::as_array);
            for item in items.into_iter().flatten() {
                let rule = read(item)?;
                if rule.name.starts_with(base) {
                    rules.push(rule);
                }
            }
            match value.get("nextPageToken").and_then(Value::as_str) {
                Some(next) if !next.is_empty() => next.clone_into(&mut token),
                _ => return Ok(rules),
            }
        }
        let text = format!("more than {} rules have a name that begins with '{base}'", PAGE * PAGES);
        Err(refused(&text))
    }

    fn write(
        &mut self,
        method: Method,
        rule: Option<&str>,
        request: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Trouble> {
        let parameters = [("requestId", request)];
        let url = match rule {
            Some(rule) => self.rule(rule, &parameters)?,
            None => self.resource("global/firewalls", &parameters)?,
        };
        operation(&self.ask(method, &url, body, PATIENCE)?)
    }

    /// Looks at an operation until it is done, or until nobody would wait longer.
    fn follow(&mut self, operation_name: &str) -> Result<Answer, Trouble> {
        let begun = Instant::now();
        loop {
            let answer = self.look(operation_name)?;
            let is_done = matches!(&answer, Answer::Operation { done: Some(_), .. });
            if is_done || begun.elapsed() + self.pause >= self.wait {
                return Ok(answer);
            }
            std::thread::sleep(self.pause);
        }
    }

    fn look(&mut self, operation_name: &str) -> Result<Answer, Trouble> {
        let path = format!("global/operations/{}", name(operation_name)?);
        if !self.is_polling {
            let url = self.resource(&format!("{path}/wait"), &[])?;
            match self.ask(Method::POST, &url, None, self.wait) {
                Ok(value) => return operation(&value),
                // Only a proxy or a permission can forbid waiting where looking is allowed; which of the two it is
                // shows when looking.
                Err(trouble) if matches!(trouble.status, Some(403 | 404 | 405 | 501)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let url = self.resource(&path, &[])?;
        let seen = operation(&self.ask(Method::GET, &url, None, PATIENCE)?)?;
        self.is_polling = true;
        Ok(seen)
    }

    /// Sends a request with a token; once more with a new one if the token was refused.
    fn ask(&mut self, method: Method, url: &str, body: Option<&Value>, patience: Duration) -> Result<Value, Trouble> {
        let body = body.map(|body| body.to_string().into_bytes());
        let headers = self.tokens.headers(&self.http)?;
        let send = |http: &Http, headers| {
            let request = Request {
                method: method.clone(),
                url,
                headers,
                body: body.clone(),
                patience,
            };
            http.send(request).map_err(|reason| Trouble::lost(&reason))
        };
        let mut reply = send(&self.http, headers.clone())?;
        if reply.status == 401 {
            self.tokens.forget();
            let renewed = self.tokens.headers(&self.http)?;
            if renewed != headers {
                reply = send(&self.http, renewed)?;
            }
        }
        let date = reply.headers.get("date").and_then(|value| value.to_str().ok());
        self.date = date.map(str::to_owned);
        understand(&reply)
    }

    fn rule(&self, rule: &str, parameters: &[(&str, &str)]) -> Result<String, Trouble> {
        self.resource(&format!("global/firewalls/{}", name(rule)?), parameters)
    }

    /// The address of something in our project.
    fn resource(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String, Trouble> {
        let mut url = self.parse(&format!("projects/{}/{path}", self.api.project))?;
        let mut query = url.query_pairs_mut();
        query.append_pair("alt", "json");
        query.extend_pairs(parameters);
        drop(query);
        Ok(url.into())
    }

    fn url(&self, path: &str) -> Result<Url, Trouble> {
        let mut url = self.parse(path)?;
        if !url.query_pairs().any(|(key, _)| key == "alt") {
            url.query_pairs_mut().append_pair("alt", "json");
        }
        Ok(url)
    }

    /// A path under the base address and nowhere else, since a token goes with the request.
    fn parse(&self, path: &str) -> Result<Url, Trouble> {
        let url = Url::parse(&format!("{}{}", self.api.endpoint, path.trim_start_matches('/')));
        match url {
            Ok(url) if url.as_str().starts_with(&self.api.endpoint) => Ok(url),
            _ => Err(refused(&format!("'{}' is no path", plain(path)))),
        }
    }
}

const EMPTY: &str = "a deny rule without sources denies everybody: an empty list is never sent";

/// A name as it may stand in a path: RFC 1035, as all names in the API are.
fn name(name: &str) -> Result<&str, Trouble> {
    let is_ours = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 100 || !name.chars().all(is_ours) {
        return Err(refused(&format!("'{}' is no name", plain(name))));
    }
    Ok(name)
}

/// The list as it is sent.
fn texts(ranges: &[IpNet]) -> Result<Vec<String>, Trouble> {
    if ranges.is_empty() {
        return Err(refused(EMPTY));
    }
    Ok(ranges.iter().map(ToString::to_string).collect())
}

fn understand(reply: &Reply) -> Result<Value, Trouble> {
    if !(200..300).contains(&reply.status) {
        let text = String::from_utf8_lossy(&reply.body);
        let wait = reply.headers.get("retry-after").and_then(|value| value.to_str().ok());
        return Err(Trouble::of_answer(reply.status, &text, wait));
    }
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&reply.body).map_err(|error| Trouble {
        status: Some(reply.status),
        ..Trouble::lost(&format!("the answer is no JSON: {error}"))
    })
}

/// A rule in an answer.
fn read(value: &Value) -> Result<Rule, Trouble> {
    Rule::from_json(value).map_err(|reason| refused(&format!("a rule in the answer is not understood: {reason}")))
}

/// An operation in an answer.
fn operation(value: &Value) -> Result<Answer, Trouble> {
    let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        return Err(Trouble::lost("the answer is no operation"));
    }
    let is_done = text("status") == "DONE";
    let end = || Trouble::of_operation(value).map_or(Ok(()), Err);
    Ok(Answer::Operation {
        name: text("name").to_owned(),
        done: is_done.then(end),
    })
}

/// What is refused here, before anybody was asked.
fn refused(text: &str) -> Trouble {
    Trouble {
        kind: Kind::Refused,
        ..Trouble::lost(text)
    }
}

#[cfg(test)]
mod tests;

//! The API's refusals: a status, a reason that programs read, and a sentence for people.
//!
//! Statuses, reasons and the form are facts; most sentences are our own. Where clients read something out of a sentence
//! (a permission, a field with its place, the largest size) it stands there as the service has it.

use serde_json::{Value, json};

use super::http::Reply;

/// One refusal.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: Vec<Value>,
    /// In seconds
    pub(crate) retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: u16, reason: &str, message: impl Into<String>) -> Problem {
        Problem {
            status,
            reason: reason.to_owned(),
            message: message.into(),
            details: Vec::new(),
            retry_after: None,
        }
    }

    /// 404: no such thing, by the path below the project's or its own.
    pub(crate) fn missing(resource: &str) -> Problem {
        Problem::new(404, "notFound", format!("There is no '{resource}'"))
    }

    /// 400: a field holds what it cannot.
    pub(crate) fn invalid(field: &str, value: &Value, why: &str) -> Problem {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let message = format!("Invalid value for field 'resource.{field}': '{shown}'. {why}");
        Problem::new(400, "invalid", message)
    }

    /// 400: a field is not there.
    pub(crate) fn required(field: &str) -> Problem {
        Problem::new(400, "required", format!("The field 'resource.{field}' is needed"))
    }

    /// 413: a list is too long.
    pub(crate) fn too_large(field: &str, most: usize, size: usize) -> Problem {
        let message = format!(
            "Value for field 'resource.{field}' is too large: maximum size {most} element(s); actual size {size}."
        );
        Problem::new(413, "fieldSizeTooLarge", message)
    }

    /// 400: another operation works on the network.
    pub(crate) fn busy(resource: &str) -> Problem {
        let message = format!("The resource '{resource}' is not ready: another operation works on it");
        Problem::new(400, "resourceNotReady", message)
    }

    /// 401: no token, or not a good one.
    pub(crate) fn unauthorized() -> Problem {
        Problem::new(401, "authError", "This access token is not taken")
    }

    /// 403: the account lacks a permission on something.
    pub(crate) fn forbidden(permission: &str, resource: &str) -> Problem {
        let message = format!("Required '{permission}' permission for '{resource}'");
        Problem::new(403, "forbidden", message)
    }

    /// 403: the token's scopes do not cover the method.
    pub(crate) fn scopes() -> Problem {
        let message = "The scopes of this access token do not cover the call";
        Problem::new(403, "insufficientPermissions", message).detailed("ACCESS_TOKEN_SCOPE_INSUFFICIENT")
    }

    /// 403: too many calls in this minute.
    pub(crate) fn rate() -> Problem {
        let message = "The quota of calls in a minute is used up";
        Problem::new(403, "rateLimitExceeded", message).detailed("RATE_LIMIT_EXCEEDED")
    }

    /// 403: too many operations at a time.
    pub(crate) fn operations() -> Problem {
        let message = "The quota of operations at a time is used up";
        Problem::new(403, "quotaExceeded", message).detailed("CONCURRENT_OPERATIONS_QUOTA_EXCEEDED")
    }

    /// 403: no more rules in this project.
    pub(crate) fn rules(limit: usize) -> Problem {
        let message = format!("The quota 'FIREWALLS' is used up: {limit} rules");
        Problem::new(403, "quotaExceeded", message)
    }

    /// 403: the API is not enabled in the project.
    pub(crate) fn api_off(project: &str) -> Problem {
        let message = format!("The Compute Engine API is not enabled in project {project}");
        Problem::new(403, "accessNotConfigured", message).detailed("SERVICE_DISABLED")
    }

    /// 429, with the seconds to wait.
    pub(crate) fn too_many(retry_after: u32) -> Problem {
        let mut problem = Problem::new(429, "rateLimitExceeded", "Too many calls");
        problem.retry_after = Some(retry_after);
        problem
    }

    /// 5xx.
    pub(crate) fn broken(status: u16) -> Problem {
        Problem::new(status, "backendError", "Something behind the API does not work")
    }

    fn detailed(mut self, reason: &str) -> Problem {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
        }));
        self
    }

    /// As the answer to a call.
    pub(crate) fn reply(&self) -> Reply {
        let error = json!({"message": self.message, "domain": "global", "reason": self.reason});
        let mut body = json!({"error": {"code": self.status, "message": self.message, "errors": [error]}});
        if !self.details.is_empty() {
            body["error"]["details"] = json!(self.details);
        }
        let reply = Reply::json(self.status, &body);
        match self.retry_after {
            Some(seconds) => reply.with("Retry-After", seconds),
            None => reply,
        }
    }

    /// Its word in an operation that ended with it: `resourceNotReady` is `RESOURCE_NOT_READY` there.
    pub(crate) fn code(&self) -> String {
        let mut code = String::new();
        for letter in self.reason.chars() {
            if letter.is_ascii_uppercase() {
                code.push('_');
            }
            code.push(letter.to_ascii_uppercase());
        }
        code
    }
}

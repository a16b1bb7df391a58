//! What can go wrong between us and the API, told apart, and what mends it.

use crate::time::Seconds;

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

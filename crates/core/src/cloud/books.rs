//! What in the rules is ours: the durable memory of a [`Reconciler`](super::reconcile::Reconciler).
//!
//! Entries of a rule that are not in the books are somebody else's, and stay.

use ipnet::IpNet;

use crate::time::Timestamp;

/// How an entry in a rule is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// We want it there, and have meant to write it
    Want,
    /// It is to go, or has gone, and has not been seen gone twice
    Gone,
}

/// A change to the books. All of one step are kept together, before the calls that follow them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// This range in this rule is ours
    Put {
        /// The rule
        rule: String,
        /// The range
        range: IpNet,
        /// How
        claim: Claim,
    },
    /// It is ours no more
    Forget {
        /// The rule
        rule: String,
        /// The range
        range: IpNet,
    },
    /// A write is about to be tried: the id under which it may be tried again, with the hash of its body
    Intend {
        /// The rule
        rule: String,
        /// `requestId`, a UUID
        request: String,
        /// SHA-1 of the body, hexadecimal
        body: String,
        /// On the wall clock
        at: Timestamp,
    },
    /// The write was answered; the name of its operation, `None` once that is over
    Operation {
        /// The rule
        rule: String,
        /// The operation
        operation: Option<String>,
    },
    /// What was learned of a rule: the most entries that it takes
    Limit {
        /// The rule
        rule: String,
        /// The most entries
        most: usize,
    },
    /// We made this rule, as a part of the base rule, or for the other family
    Made {
        /// The rule
        rule: String,
        /// The base rule
        base: String,
    },
    /// The rule is no concern of ours any more: all entries about it go
    Unmake {
        /// The rule
        rule: String,
    },
}

/// Everything in the books, as a store gives it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Entries, in any order, as they would be written anew
    pub entries: Vec<Entry>,
}

//! What in the rules is ours: the durable memory of a [`Reconciler`](super::reconcile::Reconciler).
//!
//! Entries of a rule that are not in the books are somebody else's, and stay.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::time::Timestamp;

/// How an entry in a rule is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// We want it there, and have meant to write it; it was not read there yet
    Want,
    /// We want it there, and have read it there: where it vanishes, somebody took it out
    Held,
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
    /// The rule was looked at while these were the books: what is in it and not in them is somebody else's
    Known {
        /// The rule
        rule: String,
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
    /// Entries in the order in which they were written, or any that [`State::entries`] gives
    pub entries: Vec<Entry>,
}

impl Books {
    /// Takes down one more.
    pub fn apply(&mut self, entry: &Entry) {
        self.entries.push(entry.clone());
    }

    /// What they come to.
    #[must_use]
    pub fn state(&self) -> State {
        let mut state = State::default();
        for entry in &self.entries {
            state.apply(entry);
        }
        state
    }
}

/// What the books come to, rule by rule. A rule of which nothing is known has no place here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By the rule's name
    pub rules: BTreeMap<String, Account>,
}

/// What the books say of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What in it is ours, and how
    pub claims: BTreeMap<IpNet, Claim>,
    /// The write that was meant last, while nobody knows how it ended
    pub intent: Option<Intent>,
    /// The operation that it became
    pub operation: Option<String>,
    /// The most entries that the rule takes, where that was learned
    pub limit: Option<usize>,
    /// The base rule of which it is a part, where we made it
    pub base: Option<String>,
    /// Whether something was written down about the rule itself. Where nothing was, and the rule carries our mark, books
    /// were lost.
    pub is_known: bool,
}

/// A write that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// `requestId`
    pub request: String,
    /// SHA-1 of its body, hexadecimal
    pub body: String,
    /// When, on the wall clock
    pub at: Timestamp,
}

impl State {
    /// One more entry. An operation that is over takes its intent with it: the same id may not be used again.
    pub fn apply(&mut self, entry: &Entry) {
        let rule = rule_of(entry);
        if let Entry::Unmake { .. } = entry {
            self.rules.remove(rule);
            return;
        }
        let account = self.rules.entry(rule.to_owned()).or_default();
        account.is_known |= !matches!(entry, Entry::Put { .. } | Entry::Forget { .. });
        match entry.clone() {
            Entry::Put { range, claim, .. } => _ = account.claims.insert(range, claim),
            Entry::Forget { range, .. } => _ = account.claims.remove(&range),
            Entry::Intend { request, body, at, .. } => {
                account.intent = Some(Intent { request, body, at });
                account.operation = None;
            }
            Entry::Operation { operation, .. } => {
                if operation.is_none() {
                    account.intent = None;
                }
                account.operation = operation;
            }
            Entry::Limit { most, .. } => account.limit = Some(most),
            Entry::Made { base, .. } => account.base = Some(base),
            Entry::Known { .. } | Entry::Unmake { .. } => {}
        }
        if *account == Account::default() {
            self.rules.remove(rule);
        }
    }

    /// Whether this rule was looked at while these were the books.
    #[must_use]
    pub fn knows(&self, rule: &str) -> bool {
        self.rules.get(rule).is_some_and(|account| account.is_known)
    }

    /// The fewest entries that come to the same.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (rule, account) in &self.rules {
            account.write(rule, &mut entries);
        }
        entries
    }

    /// How this range in this rule is ours, if it is.
    #[must_use]
    pub fn claim(&self, rule: &str, range: &IpNet) -> Option<Claim> {
        self.rules.get(rule)?.claims.get(range).copied()
    }
}

impl Account {
    fn write(&self, name: &str, out: &mut Vec<Entry>) {
        let rule = || name.to_owned();
        if self.is_known {
            out.push(Entry::Known { rule: rule() });
        }
        if let Some(base) = self.base.clone() {
            out.push(Entry::Made { rule: rule(), base });
        }
        if let Some(most) = self.limit {
            out.push(Entry::Limit { rule: rule(), most });
        }
        if let Some(Intent { request, body, at }) = self.intent.clone() {
            out.push(Entry::Intend {
                rule: rule(),
                request,
                body,
                at,
            });
        }
        if self.operation.is_some() {
            let operation = self.operation.clone();
            out.push(Entry::Operation {
                rule: rule(),
                operation,
            });
        }
        for (&range, &claim) in &self.claims {
            out.push(Entry::Put {
                rule: rule(),
                range,
                claim,
            });
        }
    }
}

fn rule_of(entry: &Entry) -> &str {
    match entry {
        Entry::Put { rule, .. }
        | Entry::Forget { rule, .. }
        | Entry::Intend { rule, .. }
        | Entry::Operation { rule, .. }
        | Entry::Limit { rule, .. }
        | Entry::Made { rule, .. }
        | Entry::Known { rule }
        | Entry::Unmake { rule } => rule,
    }
}

//! One project: its state machine, its books, and the thread that makes its calls.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::cloud::books::{Books, Entry};
use portcullis_core::cloud::reconcile::{Answer, Call, Host, Input, Output, Reconciler, View};
use portcullis_core::cloud::trouble::Trouble;
use portcullis_core::time::{Clock, Timestamp};

use super::super::api::Api;
use super::super::board::Key;
use super::super::client::Caller;
use super::super::store::CloudBooks;
use super::{Around, LOGGER, News};
use crate::fault::{self, Step};
use crate::observe::log::{Level, note as say};

/// Books that could not be kept are tried again after this.
const UNSAVED_EVERY: Duration = Duration::from_secs(2);

/// One project's rules.
pub(super) struct Project {
    reconciler: Reconciler,
    pub(super) writer: String,
    caller: Caller,
    books: CloudBooks,
    /// Entries that are not kept yet
    unsaved: Vec<Entry>,
    /// Why they are not
    trouble: Option<String>,
    again: Instant,
    /// A fault of ours, after which nothing is done here any more
    pub(super) fault: Option<String>,
}

impl Project {
    /// With what the books say. Nothing is called yet.
    pub(super) fn begin(host: Host, (key, api): (&Key, Api), around: &Around) -> Project {
        let writer = host.writer.clone();
        let books = CloudBooks::new(&around.place, &key.endpoint, &key.project);
        let (kept, trouble) = match books.load() {
            Ok(kept) => (kept, None),
            Err(error) => (Books::default(), Some(error.to_string())),
        };
        if let Some(error) = &trouble {
            let text = format!("what is ours in the rules of {} is not known: {error}", key.project);
            say(Level::Error, LOGGER, &text);
        }
        let (tell, whose) = (Arc::clone(&around.tell), key.clone());
        let caller = Caller::start(api, move |number, result| {
            tell(News::Answer(whose.clone(), number, result));
        });
        Project {
            reconciler: Reconciler::new(host, kept, RandomState::new().build_hasher().finish()),
            writer,
            caller,
            books,
            unsaved: Vec::new(),
            trouble,
            again: Instant::now(),
            fault: None,
        }
    }

    /// One thing that happened. A fault in our own code stops this project and nothing else.
    pub(super) fn handle(&mut self, now: Clock, input: Input, out: &mut Vec<Output>) {
        if self.fault.is_some() {
            return;
        }
        let reconciler = &mut self.reconciler;
        let mut fresh = Vec::new();
        let done = catch_unwind(AssertUnwindSafe(|| reconciler.handle(now, input, &mut fresh)));
        if done.is_err() {
            self.fault = Some("a fault in portcullis itself; restart it, and please report it".to_owned());
            return;
        }
        out.append(&mut fresh);
    }

    /// Keeps entries, before the calls that follow them. Where that fails they are in force all the same, and tried
    /// again.
    pub(super) fn keep(&mut self, entries: Vec<Entry>) {
        fault::reach(Step::CloudKeep);
        self.unsaved.extend(entries);
        self.save();
        fault::reach(Step::CloudKept);
    }

    fn save(&mut self) {
        match self.books.keep(&self.unsaved) {
            Ok(()) => {
                self.unsaved.clear();
                if self.trouble.take().is_some() {
                    say(Level::Notice, LOGGER, "the cloud's books are kept again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    let text = format!("the cloud's books are not kept, and tried again: {error}");
                    say(Level::Error, LOGGER, &text);
                }
                self.trouble = Some(error);
                self.again = Instant::now() + UNSAVED_EVERY;
            }
        }
    }

    /// Hands a call to the thread.
    pub(super) fn call(&mut self, number: u64, call: Call) {
        let step = match call {
            Call::Write { .. } | Call::Create { .. } => Some(Step::CloudWrite),
            Call::Follow { .. } => Some(Step::CloudWait),
            _ => None,
        };
        self.caller.call(number, call);
        if let Some(step) = step {
            fault::reach(step);
        }
    }

    /// What is due by now.
    pub(super) fn rest(&mut self, now: Clock, out: &mut Vec<Output>) {
        if !self.unsaved.is_empty() && self.again <= Instant::now() {
            self.save();
        }
        if self.reconciler.next_wake().is_some_and(|due| due <= now.steady) {
            self.handle(now, Input::Tick, out);
        }
    }

    /// When something is due, on the steady clock.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.reconciler.next_wake().filter(|_| self.fault.is_none())
    }

    /// For how long the books need not be tried again.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.unsaved.is_empty()).then(|| self.again.saturating_duration_since(Instant::now()))
    }

    pub(super) fn view(&self, now: Clock) -> View {
        self.reconciler.view(now)
    }

    pub(super) fn unsaved(&self) -> Option<String> {
        self.trouble.clone()
    }
}

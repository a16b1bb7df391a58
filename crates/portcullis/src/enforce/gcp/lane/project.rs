//! One project: its state machine, its books, and the thread that makes its calls.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::cloud::books::{Books, Entry};
use portcullis_core::cloud::reconcile::{Call, Host, Input, Output, Reconciler, View};
use portcullis_core::time::{Clock, Timestamp};

use super::super::api::Api;
use super::super::board::Key;
use super::super::caller::Caller;
use super::super::client::Client;
use super::super::store::CloudBooks;
use super::{Around, LOGGER, News};
use crate::fault::{self, Step};
use crate::observe::log::{Level, note as say};

/// Books that could not be kept are tried again after this.
const UNSAVED_EVERY: Duration = Duration::from_secs(2);

/// One project's rules.
pub(super) struct Project {
    pub(super) writer: String,
    /// The project's id
    name: String,
    reconciler: Option<Reconciler>,
    caller: Option<Caller>,
    books: Option<CloudBooks>,
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
    pub(super) fn begin(host: Host, (key, api): (&Key, &Api), around: &Around) -> Project {
        let mut project = Project {
            writer: host.writer.clone(),
            name: key.project.clone(),
            reconciler: None,
            caller: None,
            books: None,
            unsaved: Vec::new(),
            trouble: None,
            again: Instant::now(),
            fault: None,
        };
        let kept = project.open_books(&around.books).unwrap_or_else(|error| {
            let text = format!(
                "what is ours in the firewall rules of {} is not known: {error}",
                key.project
            );
            say(Level::Error, LOGGER, &text);
            project.trouble = Some(error);
            Books::default()
        });
        let seed = RandomState::new().build_hasher().finish();
        project.reconciler = Some(Reconciler::new(host, kept, seed));
        match start(key, api, around) {
            Ok(caller) => project.caller = Some(caller),
            Err(reason) => project.fault = Some(reason),
        }
        project
    }

    fn open_books(&mut self, path: &Path) -> Result<Books, String> {
        let books = CloudBooks::open(path)?;
        if let Some(loss) = books.loss() {
            say(Level::Error, LOGGER, loss);
        }
        let kept = books.load(&self.name)?;
        self.books = Some(books);
        Ok(kept)
    }

    /// One thing that happened. A fault in our own code stops this project and nothing else.
    pub(super) fn handle(&mut self, now: Clock, input: Input, out: &mut Vec<Output>) {
        let Some(reconciler) = self.reconciler.as_mut().filter(|_| self.fault.is_none()) else {
            return;
        };
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
        let kept = match &mut self.books {
            Some(books) => books.keep(&self.name, &self.unsaved),
            None => Err(self.trouble.clone().unwrap_or_default()),
        };
        match kept {
            Ok(()) => {
                self.unsaved.clear();
                if self.trouble.take().is_some() {
                    say(Level::Notice, LOGGER, "the cloud's books are kept again");
                }
            }
            Err(error) => {
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
        if let Some(caller) = &self.caller {
            caller.call(number, call);
        }
        if let Some(step) = step {
            fault::reach(step);
        }
    }

    /// What is due by now.
    pub(super) fn rest(&mut self, now: Clock, out: &mut Vec<Output>) {
        if !self.unsaved.is_empty() && self.again <= Instant::now() {
            self.save();
        }
        if self.next_wake().is_some_and(|due| due <= now.steady) {
            self.handle(now, Input::Tick, out);
        }
    }

    /// When something is due, on the steady clock.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let reconciler = self.reconciler.as_ref().filter(|_| self.fault.is_none());
        reconciler.and_then(Reconciler::next_wake)
    }

    /// For how long the books need not be tried again.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.unsaved.is_empty()).then(|| self.again.saturating_duration_since(Instant::now()))
    }

    pub(super) fn view(&self, now: Clock) -> View {
        self.reconciler
            .as_ref()
            .map_or_else(View::default, |reconciler| reconciler.view(now))
    }

    pub(super) fn unsaved(&self) -> Option<String> {
        self.trouble.clone()
    }
}

/// The thread that makes a project's calls.
fn start(key: &Key, api: &Api, around: &Around) -> Result<Caller, String> {
    let client = Client::open(api)?;
    if let Some(warning) = client.warning() {
        say(Level::Warning, LOGGER, &warning);
    }
    let (tell, whose) = (Arc::clone(&around.tell), key.clone());
    let caller = Caller::start(client, move |number, result| {
        tell(News::Answer(whose.clone(), number, result));
    });
    caller.map_err(|error| format!("no thread for calls to the cloud: {error}"))
}

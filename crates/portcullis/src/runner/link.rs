//! The daemon's end of the socket: templates and commands go out, results and signals come in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_core::action::Values;
use portcullis_core::time::Number;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::passing::Passing;
use super::wire::{self, Answer, Excerpt, Item, Lane, Look, Notice, Outcome, Ran, Request, Template, TemplateId};

/// What the runner says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The main process was sent a signal.
    Notice(Notice),
    /// The main process is no more: end, keeping the bans.
    Gone,
}

/// What comes of an order for entries of the journal, a program's output, or standard input.
#[derive(Debug)]
pub(crate) enum Feed {
    /// They are to be read here; of a program, there is its error output as well.
    Opened(OwnedFd, Option<OwnedFd>),
    /// There will be no more.
    Ended(Ran),
}

/// The templates of all layers, each with a number that is never given to another one while this lives.
#[derive(Default)]
pub(crate) struct Catalogue {
    known: BTreeMap<(String, u64), TemplateId>,
    next: u32,
}

impl Catalogue {
    /// The number of a script with this time-out; equal ones share it.
    pub(crate) fn add(&mut self, script: &str, timeout: Number) -> TemplateId {
        let key = (script.to_owned(), milliseconds(timeout));
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        let id = TemplateId(self.next);
        self.next += 1;
        self.known.insert(key, id);
        id
    }

    /// Forgets the templates that no layer uses any more.
    pub(crate) fn keep(&mut self, mut used: impl FnMut(TemplateId) -> bool) {
        self.known.retain(|_, id| used(*id));
    }

    /// All of them, as the runner learns them.
    pub(crate) fn templates(&self) -> Vec<Template> {
        let template = |((script, timeout_ms), id): (&(String, u64), &TemplateId)| Template {
            id: *id,
            script: script.clone(),
            timeout_ms: *timeout_ms,
        };
        self.known.iter().map(template).collect()
    }
}

/// Nothing below nought, and no more than a year.
fn milliseconds(timeout: Number) -> u64 {
    let longest = Duration::from_secs(366 * 86_400);
    let timeout = Duration::try_from_secs_f64(timeout.as_f64().max(0.0)).unwrap_or(longest);
    u64::try_from(timeout.min(longest).as_millis()).unwrap_or(u64::MAX)
}

/// The socket to the runner; copies share it.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    stream: Mutex<UnixStream>,
    waiting: Mutex<Waiting>,
}

/// Who waits for which answer; nobody any more once the runner is gone.
#[derive(Default)]
struct Waiting {
    next: u64,
    gone: bool,
    senders: BTreeMap<u64, Sender<Ran>>,
    feeds: BTreeMap<u64, Sender<Feed>>,
}

impl Link {
    /// Takes up the socket that this process was started with, and has the kernel end this process together with
    /// the runner. What the runner says by itself goes to `events`.
    ///
    /// # Errors
    /// If standard input is no socket.
    pub(crate) fn from_stdin(events: Sender<Event>) -> io::Result<Link> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let stream = UnixStream::from(stdin);
        stream.peer_addr()?;
        Link::new(stream, events)
    }

    /// A link over this socket.
    ///
    /// # Errors
    /// If the socket cannot be shared with a thread.
    pub(crate) fn new(stream: UnixStream, events: Sender<Event>) -> io::Result<Link> {
        let answers = BufReader::new(Passing::new(stream.try_clone()?));
        let shared = Arc::new(Shared {
            stream: Mutex::new(stream),
            waiting: Mutex::default(),
        });
        let reader = shared.clone();
        thread::Builder::new()
            .name("answers".to_owned())
            .spawn(move || reader.listen(answers, &events))?;
        Ok(Link { shared })
    }

    /// Tells the runner which templates a lane has from now on.
    ///
    /// # Errors
    /// If the runner is gone, or the templates are longer than a frame.
    pub(crate) fn learn(&self, lane: Lane, catalogue: &Catalogue) -> io::Result<()> {
        let templates = catalogue.templates();
        self.shared.send(&Request::Learn { lane, templates })
    }

    /// Has the runner tell systemd how we are.
    ///
    /// # Errors
    /// If the runner is gone.
    pub(crate) fn tell(&self, state: String) -> io::Result<()> {
        self.shared.send(&Request::Tell { state })
    }

    /// Asks for a command; its result comes over the channel, which closes without one if the runner is gone.
    pub(crate) fn start(&self, template: TemplateId, values: &Values, lane: Lane) -> Receiver<Ran> {
        self.ask(|number| Request::Run {
            number,
            template,
            tags: values.tags.clone(),
            fields: values.fields.clone(),
            lane,
        })
    }

    fn ask(&self, request: impl FnOnce(u64) -> Request) -> Receiver<Ran> {
        let (sender, receiver) = channel();
        let Some(number) = self.shared.expect(sender) else {
            return receiver;
        };
        if let Err(error) = self.shared.send(&request(number)) {
            let ran = Ran::nothing(Outcome::CouldNotStart(error.to_string()));
            self.shared.deliver(number, ran);
        }
        receiver
    }

    /// Where the SSH sessions that are open now come from; nobody where the runner is gone.
    pub(crate) fn visitors(&self) -> BTreeSet<IpNet> {
        let found = self.look(Look::Visitors);
        found.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Which other daemon has a database open, if one has.
    pub(crate) fn holder(&self, database: &Path) -> Option<String> {
        let found = self.look(Look::Holder(database.to_owned()));
        Some(found).filter(|who| !who.is_empty())
    }

    /// Which processes have a file open, ourselves among them where we do.
    pub(crate) fn holders(&self, file: &Path) -> Vec<String> {
        let found = self.look(Look::Holders(file.to_owned()));
        found.lines().map(str::to_owned).collect()
    }

    fn look(&self, look: Look) -> String {
        let ran = self.ask(|number| Request::Look { number, look }).recv();
        ran.map(|ran| ran.stdout).unwrap_or_default()
    }

    /// Asks for entries of the journal. Returns the number of the order, and what comes of it: nothing more if the
    /// runner is gone.
    pub(crate) fn journal(&self, excerpt: Excerpt) -> (u64, Receiver<Feed>) {
        self.order(|number| Request::Journal { number, excerpt })
    }

    /// Asks for a program that was learned for [`Lane::Logs`]; as [`Link::journal`].
    pub(crate) fn program(&self, template: TemplateId) -> (u64, Receiver<Feed>) {
        self.order(|number| Request::Program { number, template })
    }

    /// Asks for the standard input of the main process; as [`Link::journal`].
    pub(crate) fn input(&self) -> (u64, Receiver<Feed>) {
        self.order(|number| Request::Input { number })
    }

    fn order(&self, request: impl FnOnce(u64) -> Request) -> (u64, Receiver<Feed>) {
        let (sender, receiver) = channel();
        let number = self.shared.number();
        if self.shared.expect_feed(number, sender)
            && let Err(error) = self.shared.send(&request(number))
        {
            let ran = Ran::nothing(Outcome::CouldNotStart(error.to_string()));
            self.shared.feed(number, Feed::Ended(ran));
        }
        (number, receiver)
    }

    /// Says that what an order brings is no longer wanted.
    pub(crate) fn hush(&self, number: u64) {
        // A runner that is gone prints nothing.
        let _ = self.shared.send(&Request::Hush { number });
    }

    /// Runs recognised templates as one batch of their program, and waits for its end.
    pub(crate) fn batch(&self, items: Vec<Item>, lane: Lane) -> Ran {
        let gone = |_| Ran::nothing(Outcome::CouldNotStart("the runner is gone".to_owned()));
        let request = |number| Request::Batch { number, items, lane };
        self.ask(request).recv().unwrap_or_else(gone)
    }

    /// Runs a command and waits for its end.
    pub(crate) fn run(&self, template: TemplateId, values: &Values, lane: Lane) -> Ran {
        let gone = |_| Ran::nothing(Outcome::CouldNotStart("the runner is gone".to_owned()));
        self.start(template, values, lane).recv().unwrap_or_else(gone)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, request: &Request) -> io::Result<()> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(&mut *stream, request)
    }

    fn expect(&self, sender: Sender<Ran>) -> Option<u64> {
        let mut waiting = self.waiting();
        if waiting.gone {
            return None;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.senders.insert(number, sender);
        Some(number)
    }

    fn number(&self) -> u64 {
        let mut waiting = self.waiting();
        waiting.next += 1;
        waiting.next - 1
    }

    fn expect_feed(&self, number: u64, sender: Sender<Feed>) -> bool {
        let mut waiting = self.waiting();
        if !waiting.gone {
            waiting.feeds.insert(number, sender);
        }
        !waiting.gone
    }

    fn feed(&self, number: u64, feed: Feed) {
        let mut waiting = self.waiting();
        let is_last = matches!(feed, Feed::Ended(_));
        if let Some(sender) = waiting.feeds.get(&number) {
            // Who asked may have gone; a descriptor is closed then.
            let _ = sender.send(feed);
        }
        if is_last {
            waiting.feeds.remove(&number);
        }
    }

    fn deliver(&self, number: u64, ran: Ran) {
        let sender = self.waiting().senders.remove(&number);
        if let Some(sender) = sender {
            // Who asked need not wait for the answer.
            let _ = sender.send(ran);
        }
    }

    fn listen(&self, mut answers: BufReader<Passing>, events: &Sender<Event>) {
        while let Ok(Some(answer)) = wire::receive(&mut answers) {
            match answer {
                Answer::Ran { number, ran } => self.deliver(number, ran),
                Answer::Notice(notice) => {
                    let _ = events.send(Event::Notice(notice));
                }
                Answer::Journal { number } => {
                    if let Some(descriptor) = answers.get_mut().next() {
                        self.feed(number, Feed::Opened(descriptor, None));
                    }
                }
                Answer::Program { number } => {
                    let descriptors = (answers.get_mut().next(), answers.get_mut().next());
                    if let (Some(output), complaints) = descriptors {
                        self.feed(number, Feed::Opened(output, complaints));
                    }
                }
                Answer::Hushed { number, ran } => self.feed(number, Feed::Ended(ran)),
            }
        }
        let mut waiting = self.waiting();
        waiting.gone = true;
        waiting.senders.clear();
        waiting.feeds.clear();
        drop(waiting);
        let _ = events.send(Event::Gone);
    }
}

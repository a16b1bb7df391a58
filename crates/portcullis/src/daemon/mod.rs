//! The daemon: joins the parts by channels and turns the wheel. The only place that knows every part.
//!
//! One thread, this one, owns the engine and the store. Everything that happens arrives in one inbox; each turn takes
//! what is there, asks the engine, keeps the records in one transaction, and only then tells the layers, answers and
//! writes the log.

mod alarm;
mod answers;
mod backlog;
mod caution;
mod clouds;
mod commands;
mod deeds;
mod ending;
mod files;
mod held;
mod inquiries;
mod keeper;
mod layers;
mod live;
mod logging;
mod names;
mod notes;
mod origin;
mod reading;
mod requests;
mod resolver;
mod seat;
mod setup;
mod start;
mod surroundings;
mod tally;
mod tidings;
mod traces;
mod verify;
pub(crate) mod way;

#[cfg(feature = "gcp")]
pub(crate) use clouds::{ignored, view as cloud_view};
pub(crate) use inquiries::read_list;
pub(crate) use origin::fingerprint;
pub(crate) use setup::{Setup as Configured, look as configured, zone};
pub(crate) use traces::{is_here, network, past};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use portcullis_core::config::plan::{JailPlan, Plan};
use portcullis_core::diagnostic::Diagnostic;
use portcullis_core::engine::{Answer, Effect, Engine, Event, Input, Query, ReplyTo, Saved};
use portcullis_core::exception::Exception;
use portcullis_core::ledger::LayerId;
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::value::Value;
use portcullis_core::wire::Reply;

use crate::client::Run;
use crate::control::Asked;
use crate::control::listen::Listener;
use crate::enforce::protect::Protected;
use crate::enforce::{Facts, Held, gcp};
use crate::fault::{self, Step};
use crate::matching::{News, Seen};
use crate::observe::log::{Level, note as say, notes as say_all};
use crate::observe::notify;
use crate::place::Places;
use crate::runner;
use crate::source::Reader;
use crate::store::{Place, Running};
use inquiries::Inquiries;
use keeper::Keeper;
use layers::Lanes;
use origin::Origin;
use setup::Setup;
use traces::Traces;
use way::Way;

const SERVER: &str = "fail2ban.server";
/// Messages taken in one turn, and so kept in one transaction.
const TURN: usize = 256;
/// While lines of the past come in a turn goes on for so long, up to so many effects.
const HOLD: (Duration, usize) = (Duration::from_millis(20), 4096);
/// The database is purged this often (contract §7.3), and being unprotected is repeated in the log.
const HOURLY: Duration = Duration::from_secs(3600);
/// The wheel turns at least this often while records wait for the database.
const UNSAVED_EVERY: Duration = Duration::from_secs(2);

/// Everything that arrives.
enum Message {
    News(News),
    Asked(Asked),
    /// With the moment at which the lane had them: the wheel may be busy for longer than the kernel was
    Facts(Facts, Instant),
    Answer(Answer),
    Own(BTreeSet<IpAddr>),
    Names(names::Found),
    Loaded(Box<Setup>, Option<Sender<Reply>>),
    Runner(runner::Event),
    ReadBack(Result<Vec<Held>, String>, verify::Wish, Sender<Reply>),
    Merged(surroundings::Question),
}

impl Message {
    /// Whether it may change what is enforced.
    fn is_fact(&self) -> bool {
        matches!(self, Message::Facts(..) | Message::Loaded(..))
    }

    /// Whether more is sure to follow at once: lines of a log whose end is not reached.
    fn goes_on(&self) -> bool {
        matches!(self, Message::News(News::Batch(batch)) if !batch.at_once)
    }

    /// Whether groups may be taken down by it.
    fn may_rearrange(&self) -> bool {
        matches!(self, Message::Asked(_) | Message::Loaded(..))
    }
}

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Bans stay in force.
    Keep,
    /// Everybody was freed.
    Free,
}

/// What is installed of a configuration, once its jails are with their groups.
#[derive(Default)]
struct Installed {
    ways: BTreeMap<LayerId, Way>,
    files: BTreeMap<String, Vec<Arc<str>>>,
    /// What the jails have seen since they were set to read
    seen: BTreeMap<String, Arc<Seen>>,
    held: BTreeMap<String, String>,
    blind: BTreeMap<String, String>,
    dropped: BTreeMap<String, String>,
    /// The logs for want of which jails read the journal
    awaited: BTreeMap<String, Vec<String>>,
    diagnostics: Vec<Diagnostic>,
    /// The jails as they are in force, but for the pseudo-jail
    jails: BTreeMap<Arc<str>, JailPlan>,
}

impl Installed {
    /// How many jails are at work.
    fn started(&self) -> usize {
        self.jails.values().filter(|jail| jail.started).count()
    }
}

/// What is left of effects when they are in force: what is said of them.
struct Rest {
    clock: Clock,
    events: Vec<Event>,
    replies: Vec<(ReplyTo, Result<Value, Exception>)>,
    /// Orders of each action that are open
    open: BTreeMap<LayerId, usize>,
}

struct Daemon {
    places: Places,
    dry_run: bool,
    database: Place,
    engine: Engine,
    keeper: Keeper,
    clock: Running,
    since: Timestamp,
    zone: TimeZone,
    lanes: Lanes,
    traces: Traces,
    inquiries: Inquiries,
    reader: Reader,
    outputs: crate::source::output::Outputs,
    link: runner::Link,
    groups: Vec<reading::AtWork>,
    setup: Installed,
    /// The configuration in force; commands change it
    plan: Plan,
    origin: Origin,
    kept: reading::Kept,
    protected: Protected,
    names: names::Names,
    files: BTreeMap<Arc<str>, String>,
    remarks: BTreeMap<(String, &'static str), String>,
    replies: BTreeMap<u64, (Sender<Reply>, Option<Vec<String>>)>,
    next_reply: u64,
    own_due: Instant,
    hourly_due: Instant,
    files_due: Instant,
    outbox: SyncSender<Message>,
    backlog: Arc<backlog::Backlog>,
    room: Vec<Effect>,
    /// Messages that came while groups were taken down
    later: VecDeque<Message>,
    /// Who asked for the end, to be told when it is reached, and whether by our own verb
    farewell: Option<(Sender<Reply>, bool)>,
    board: surroundings::Board,
    /// How the cloud's rules stand
    cloud: gcp::board::Board,
    held: held::Held,
    /// What is to be said once the daemon is ready
    unsaid: Option<Rest>,
    caution: caution::Caution,
    watchdog: notify::Watchdog,
    alarm: alarm::Alarm,
}

/// Runs the daemon until it is told to end; the exit code.
pub(crate) fn run(run: &Run) -> i32 {
    let places = Places::of(run);
    logging::quiet_panics();
    match fault::arm(run.deaths).and_then(|()| start::start(run, places)) {
        Ok((daemon, inbox, _seat, listener)) => daemon.turn_until_the_end(&inbox, listener),
        Err(error) => {
            say(Level::Critical, SERVER, &error);
            eprintln!("portcullis: {error}");
            1
        }
    }
}

impl Daemon {
    /// Puts a configuration in force. The groups of the former one have been taken down.
    fn arrange(&mut self, setup: Setup, saved: Option<Saved>) {
        for diagnostic in &setup.diagnostics {
            logging::diagnostic(diagnostic);
        }
        self.plan = setup.plan;
        self.traces.put(&setup.layers, &self.plan);
        self.spare_in_clouds();
        self.lanes.put(&setup.layers);
        self.keeper.set(&setup.server);
        let plans = setup.arrangements.iter().map(|arrangement| &arrangement.plan);
        self.inquiries.learn(plans.map(|plan| plan.ignorecommand.as_str()));
        let before = self.engine.query(&Query::Status).jails;
        let names = setup.arrangements.iter().map(|arrangement| &arrangement.plan.name);
        let is_new = |name: &&Arc<str>| !before.iter().any(|jail| jail.name == **name);
        let new: Vec<Arc<str>> = names.filter(is_new).cloned().collect();
        self.step(Input::Plan(setup.arrangements));
        fault::reach(Step::Arranged);
        match saved {
            Some(saved) => {
                self.restore(saved);
                fault::reach(Step::Restore);
                self.settle_past(None);
                self.bury();
            }
            None => new.iter().for_each(|jail| self.take_up(jail)),
        }
        let in_force = |jail: &&JailPlan| !setup.dropped.contains_key(&*jail.name);
        let jails = self.plan.jails.iter().filter(in_force);
        let jails = jails.map(|jail| (Arc::clone(&jail.name), jail.clone())).collect();
        self.lanes.only(&setup.layers, self.keeper.is_open());
        self.setup = Installed {
            ways: setup.layers,
            files: BTreeMap::new(),
            seen: BTreeMap::new(),
            held: setup.held,
            blind: setup.blind,
            dropped: setup.dropped,
            awaited: setup.awaited,
            diagnostics: setup.diagnostics,
            jails,
        };
        self.look_up_ignored();
        self.read_logs(setup.readings);
        self.tell_systemd();
    }

    /// Takes up what an earlier run kept. A line for each ban can wait until the daemon is ready.
    fn restore(&mut self, saved: Saved) {
        let clock = self.clock.now();
        let mut out = Vec::new();
        self.engine.handle(clock.steady, Input::Restore(saved), &mut out);
        self.unsaid = Some(self.put_through(clock, &mut out));
    }

    /// A jail that starts while the daemon runs takes up what is kept of it, as at a start of the daemon.
    fn take_up(&mut self, jail: &str) {
        let saved = self.keeper.saved_of(self.clock.now(), jail);
        self.kept.add(&saved);
        self.step(Input::Restore(keeper::remembered(saved)));
        self.settle_past(Some(jail));
    }

    /// The wheel.
    fn turn_until_the_end(mut self, inbox: &Receiver<Message>, listener: Listener) -> i32 {
        notify::ready();
        // A server that waits for its configuration is not ready before a client has sent it, and says so.
        if !self.places.is_stream {
            say(Level::Info, SERVER, "Server ready");
            self.greet();
        }
        if let Some(rest) = self.unsaid.take() {
            self.tell(rest);
        }
        if self.dry_run {
            self.complain_if_unprotected();
        }
        self.watch_protection();
        let end = loop {
            let pause = if self.later.is_empty() {
                self.pause()
            } else {
                Duration::ZERO
            };
            let first = match inbox.recv_timeout(pause) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break End::Keep,
            };
            let mut messages = std::mem::take(&mut self.later);
            messages.extend(first.into_iter().chain(inbox.try_iter().take(TURN)));
            if let Some(end) = self.turn(messages, inbox) {
                break end;
            }
        };
        self.finish(end, inbox, listener)
    }

    /// How long nothing needs to happen.
    fn pause(&self) -> Duration {
        let now = self.clock.now().steady;
        let wake = self.engine.next_wake().map_or(HOURLY, |wake| {
            Duration::from_micros(u64::try_from((wake - now).micros()).unwrap_or(0))
        });
        let clock = Instant::now();
        let due = self.own_due.min(self.hourly_due);
        let due = self
            .files_due()
            .map_or(due, |files| files.min(due))
            .saturating_duration_since(clock);
        let unsaved = if self.keeper.unsaved() > 0 {
            UNSAVED_EVERY
        } else {
            HOURLY
        };
        let held = self
            .held
            .due()
            .map_or(HOURLY, |due| due.saturating_duration_since(clock));
        let owed = if self.keeper.owes() { Duration::ZERO } else { HOURLY };
        let watched = self.watchdog.due(clock).unwrap_or(HOURLY);
        wake.min(due).min(unsaved).min(held).min(owed).min(watched)
    }

    fn turn(&mut self, mut messages: VecDeque<Message>, inbox: &Receiver<Message>) -> Option<End> {
        let (mut out, clock) = (std::mem::take(&mut self.room), self.clock.now());
        let (saved, facts) = (self.keeper.failure().is_none(), messages.iter().any(Message::is_fact));
        self.engine.handle(clock.steady, Input::Tick, &mut out);
        let until = Instant::now() + HOLD.0;
        while let Some(message) = messages.pop_front() {
            let goes_on = message.goes_on() && out.len() < HOLD.1;
            // Groups that are taken down get counted what they sent before, so that what is behind waits in line.
            if message.may_rearrange() {
                self.defer(&mut messages);
            }
            if let Some(end) = self.take(message, inbox, &mut out) {
                self.defer(&mut messages);
                self.carry_out(clock, out);
                return Some(end);
            }
            if goes_on && messages.is_empty() {
                messages.extend(inbox.recv_timeout(until.saturating_duration_since(Instant::now())).ok());
            }
        }
        self.carry_out(clock, out);
        self.tell_tally();
        self.tell_deeds(false);
        self.answer_held(false);
        if let Some(late) = self.keeper.late() {
            self.traces.take_up(&mut self.keeper);
            self.step(Input::Restore(keeper::remembered(late)));
            self.settle_past(None);
            self.bury();
            self.lanes.only(&self.setup.ways, true);
        }
        self.caution.turn(&self.reader);
        self.keeper.pay();
        if facts || saved != self.keeper.failure().is_none() {
            self.watch_protection();
        }
        self.chores(clock);
        self.turn_to_files(inbox);
        self.watchdog.beat(Instant::now());
        None
    }

    /// One message. What ends the daemon is said by the value.
    fn take(&mut self, message: Message, inbox: &Receiver<Message>, out: &mut Vec<Effect>) -> Option<End> {
        let now = self.clock.now().steady;
        match message {
            Message::News(News::Batch(batch)) => self.engine.handle(now, self.arrived(batch), out),
            Message::News(news) => self.hear(news),
            Message::Facts(facts, at) => self.take_facts(facts, at, out),
            Message::Answer(answer) => {
                if let Answer::Name { name, addresses } = &answer {
                    self.hear_name(name, addresses);
                }
                self.engine.handle(now, Input::Answer(answer), out);
            }
            Message::Names(found) => self.hear_names(found),
            Message::Own(own) => self.engine.handle(now, Input::Own(own), out),
            Message::Asked(asked) => return self.answer(asked, inbox, out),
            Message::Loaded(setup, reply) => {
                let clock = self.clock.now();
                self.carry_out(clock, std::mem::take(out));
                self.reload(*setup, reply, inbox);
            }
            Message::Runner(event) => return self.obey(event),
            Message::ReadBack(held, wish, reply) => self.compare((held, &wish), &reply, out),
            Message::Merged(question) => question.answer(|ip, jail| self.keeper.merged(ip, jail)),
        }
        None
    }

    /// One input by itself.
    fn step(&mut self, input: Input) {
        let clock = self.clock.now();
        let mut out = Vec::new();
        self.engine.handle(clock.steady, input, &mut out);
        self.carry_out(clock, out);
    }

    /// Records first; then layers, questions, log and replies.
    fn carry_out(&mut self, clock: Clock, mut effects: Vec<Effect>) {
        let rest = self.put_through(clock, &mut effects);
        self.tell(rest);
        self.room = effects;
    }

    /// All of it but what is said.
    fn put_through(&mut self, clock: Clock, effects: &mut Vec<Effect>) -> Rest {
        let (mut records, mut changes, mut questions) = (Vec::new(), Vec::new(), Vec::new());
        let (mut events, mut replies) = (Vec::new(), Vec::new());
        for effect in effects.drain(..) {
            match effect {
                Effect::Record(entry) => records.push(entry),
                Effect::Change(change) => changes.push(change),
                Effect::Note(event) => events.push(event),
                Effect::Ask(question) => questions.push(question),
                Effect::Reply(to, reply) => replies.push((to, reply)),
            }
        }
        let mut open = BTreeMap::new();
        let is_deed = changes.iter().any(|change| change.order.ticket().is_some());
        let reach = |step| is_deed.then(|| fault::reach(step));
        reach(Step::Records);
        self.keeper.keep(clock, records);
        reach(Step::Committed);
        questions.into_iter().for_each(|question| self.inquiries.ask(question));
        if !changes.is_empty() {
            self.put_up_counters();
            self.trace(&changes);
            open = self.count_orders(&changes);
            reach(Step::Orders);
            self.lanes.order(clock.steady, changes);
        }
        for event in &events {
            self.held.hear(event, clock.steady);
        }
        Rest {
            clock,
            events,
            replies,
            open,
        }
    }

    /// Writes the log, and answers.
    fn tell(&mut self, rest: Rest) {
        let lines = rest.events.iter();
        say_all(lines.filter_map(|event| notes::note(event, rest.clock, &self.zone, self.dry_run)));
        for (to, reply) in rest.replies {
            self.reply(to, reply, &rest.open);
        }
    }

    /// Ends jails. What stops them is told their counters, also where another of the name follows.
    fn part_with(&mut self, input: Input, is_meant: impl Fn(&str) -> bool) {
        let mut facts = self.counters();
        facts.retain(|name, _| is_meant(name));
        facts.values_mut().for_each(|facts| facts.banned = 0);
        self.lanes.part(&facts);
        self.step(input);
        self.lanes.part(&BTreeMap::new());
    }

    fn obey(&mut self, event: runner::Event) -> Option<End> {
        match event {
            runner::Event::Notice(runner::Notice::Quit) | runner::Event::Gone => return Some(End::Keep),
            // As in Fail2Ban's own server, whose client has the files.
            runner::Event::Notice(runner::Notice::Reload) if self.places.is_stream => {}
            runner::Event::Notice(runner::Notice::Reload) => return self.load(None),
            runner::Event::Notice(runner::Notice::ReopenLogs) => logging::reopen(),
        }
        None
    }

    fn chores(&mut self, clock: Clock) {
        let now = Instant::now();
        if now >= self.own_due {
            self.gather_own();
        }
        if now >= self.hourly_due {
            self.hourly_due = now + HOURLY;
            if let Some(before) = self.keeper.purge(clock) {
                self.step(Input::Purge(before));
            }
            self.repeat_remarks();
            self.complain_if_unprotected();
        }
    }
}

//! The start of the daemon: seat, database, threads, and the configuration to begin with.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use portcullis_core::config;
use portcullis_core::config::plan::Plan;
use portcullis_core::engine::{Engine, Input, MOST_COUNTERS, MOST_LINES, MOST_WAITING};

use super::inquiries::Inquiries;
use super::keeper::{self, Keeper};
use super::layers::{Lanes, Sky};
use super::origin::{Kind, Origin};
use super::setup::{self, Setup};
use super::{Daemon, HOURLY, Installed, Message, SERVER};
use super::{caution, live, logging, reading, resolver, seat, surroundings};
use crate::client::Run;
use crate::control::listen;
use crate::enforce::gcp::board::Board;
use crate::enforce::mail::MailLayer;
use crate::enforce::nft::TABLE;
use crate::enforce::protect::Protected;
use crate::enforce::shell::ShellLayer;
use crate::observe::log::{Level, note as say};
use crate::observe::notify::{self, Watchdog};
use crate::place::Places;
use crate::source::output::Outputs;
use crate::source::{Limits, Reader};
use crate::store::{Place, Running};
use crate::{runner, sandbox, store};

/// Messages that wait for the engine; a full inbox stops the matching groups, and they the reader.
const INBOX: usize = 1024;

pub(super) type Started = (Daemon, Receiver<Message>, seat::Seat, listen::Listener);

fn broken(error: std::io::Error) -> String {
    format!("cannot start a thread: {error}")
}

/// Makes the daemon.
///
/// # Errors
/// What keeps it from its seat or its threads, for people.
pub(super) fn start(run: &Run, places: Places) -> Result<Started, String> {
    let (mut setup, origin) = first(run, &places);
    logging::open(&setup.server, &places.fallback_log());
    say_version(&places);
    let database = first_database(run, &places, &setup, &origin);
    let (listener, seat) = (listener(run, &places)?, sit(run, &places, &database)?);
    // No thread may be there before: only those that are started afterwards are confined, too.
    confine(run, &places, (&setup, &database));
    let (outbox, inbox) = sync_channel(INBOX);
    let link = link(&outbox)?;
    let (keeper, clock, saved) = Keeper::open(&database, &setup.server);
    if !run.stream || live::has_bans_by_hand(&saved) {
        setup.manual();
    }
    let around = surroundings::Around::new(&clock, &outbox);
    let (board, (cloud, sky)) = (Arc::clone(&around.board), sky(&clock, &places, link.clone()));
    let reader = Reader::spawn(Limits::default()).map_err(broken)?;
    let mut daemon = Daemon {
        dry_run: run.dry_run,
        database,
        engine: Engine::new(),
        keeper,
        since: clock.now().steady,
        clock,
        zone: setup::zone(),
        inquiries: Inquiries::start(link.clone(), &around, sender(&outbox, Message::Answer)).map_err(broken)?,
        lanes: lanes(link.clone(), around, sky, &outbox).map_err(broken)?,
        traces: super::traces::Traces::new(),
        caution: caution::Caution::begin(run.deaths, &places, &reader),
        watchdog: Watchdog::asked(),
        reader,
        outputs: Outputs::new(link.clone()),
        link,
        groups: Vec::new(),
        setup: Installed::default(),
        plan: Plan::default(),
        origin,
        kept: reading::Kept::from_saved(&saved),
        protected: Protected::gather().unwrap_or_else(|_| Protected::new([], [])),
        names: super::names::Names::default(),
        files: BTreeMap::new(),
        remarks: BTreeMap::new(),
        replies: BTreeMap::new(),
        next_reply: 0,
        own_due: Instant::now(),
        hourly_due: Instant::now() + HOURLY,
        files_due: Instant::now(),
        outbox,
        backlog: Arc::default(),
        room: Vec::new(),
        later: VecDeque::new(),
        farewell: None,
        board,
        cloud,
        held: super::held::Held::default(),
        unsaid: None,
        alarm: super::alarm::Alarm::default(),
        places,
    };
    daemon.begin(setup, saved);
    daemon.listen(&listener).map_err(broken)?;
    Ok((daemon, inbox, seat, listener))
}

/// Gives up what the daemon does not need from now on, and says so.
fn confine(run: &Run, places: &Places, (setup, database): (&Setup, &Place)) {
    if run.no_sandbox || sandbox::is_off() {
        return say(Level::Warning, SERVER, "no sandbox: the daemon keeps all its rights");
    }
    // What is not there when it is confined it cannot make; that it could not be made is said where it is missed.
    let _ = database.path().and_then(Path::parent).map(std::fs::create_dir_all);
    let target = config::extract(&setup.server.logtarget).map(|named| PathBuf::from(named.name));
    let log = target.ok().filter(|target| target.is_absolute());
    let files: Vec<PathBuf> = [database.path().map(Path::to_owned), log]
        .into_iter()
        .flatten()
        .collect();
    let files = [files, places.written()].concat();
    let written = sandbox::written(&files, std::slice::from_ref(&places.state));
    // Of a client it is told later where its database and its log are.
    let given = sandbox::enter((!run.stream).then_some(&written));
    say(Level::Info, SERVER, &format!("sandbox: {}", given.up.join("; ")));
    if !given.not.is_empty() {
        let text = format!("sandbox: not given up: {}", given.not.join("; "));
        say(Level::Warning, SERVER, &text);
    }
}

/// The way to the runner, over which systemd hears of us as well.
fn link(outbox: &SyncSender<Message>) -> Result<runner::Link, String> {
    let (said, heard) = std::sync::mpsc::channel();
    let link = runner::Link::from_stdin(said).map_err(|error| format!("the runner does not answer: {error}"))?;
    notify::through(&link);
    let witness = link.clone();
    store::holder::ask(move |file| witness.holders(file));
    forward(heard, outbox.clone(), Message::Runner);
    Ok(link)
}

/// The lanes, which ask `around` for what their actions want to know.
fn lanes(
    link: runner::Link,
    around: surroundings::Around,
    sky: Sky,
    outbox: &SyncSender<Message>,
) -> std::io::Result<Lanes> {
    let mails = MailLayer::new(Box::new(around.clone()));
    let shell = move |run| ShellLayer::new(Box::new(run), Box::new(around.clone()));
    Lanes::start(
        shell,
        mails,
        link,
        sky,
        sender(outbox, |facts| Message::Facts(facts, Instant::now())),
    )
}

fn listener(run: &Run, places: &Places) -> Result<listen::Listener, String> {
    let given = runner::given_socket(run.given_socket)?;
    let group = run.socket_group.as_deref();
    listen::open(&places.socket, given, group).map_err(|error| error.to_string())
}

/// What the cloud's lane is given, and where it puts up how its rules stand.
fn sky(clock: &Running, places: &Places, link: runner::Link) -> (Board, Sky) {
    let (board, clock) = (Board::default(), clock.clone());
    let sky = Sky {
        clock: Arc::new(move || clock.now()),
        books: places.books(),
        board: board.clone(),
        visitors: Arc::new(move || link.visitors()),
    };
    (board, sky)
}

/// Takes the seat. Only then what commands changed may be forgotten: before, it would be another daemon's.
fn sit(run: &Run, places: &Places, database: &Place) -> Result<seat::Seat, String> {
    let table = (!run.dry_run).then_some(TABLE);
    let seat = seat::take(&places.pid_file(), database, table).map_err(|error| error.to_string())?;
    if run.deaths == 0 {
        Origin::forget(&places.live());
    }
    places.write_pid();
    Ok(seat)
}

/// The configuration to begin with: of files, or of a client that is still to send it; after a death, what was in force.
fn first(run: &Run, places: &Places) -> (Setup, Origin) {
    let wall = Running::fresh().now().wall;
    let (setup, kind) = if run.stream {
        (setup::waiting(&run.given, places.manner()), Kind::Waiting)
    } else {
        (setup::read(places), Kind::Files)
    };
    let kept = (run.deaths > 0).then(|| Origin::kept(&places.live())).flatten();
    if let Some((origin, plan)) = kept {
        return (setup.again(plan), origin);
    }
    let origin = Origin::new(kind, wall).of(&setup.plan);
    (setup, origin)
}

fn first_database(run: &Run, places: &Places, setup: &Setup, origin: &Origin) -> Place {
    match origin.kind {
        Kind::Waiting => Place::Memory,
        // A client that names none means none.
        Kind::Stream if run.stream && setup.server.dbfile.is_none() => Place::Memory,
        Kind::Files | Kind::Stream => places.database(&setup.server),
    }
}

fn say_version(places: &Places) {
    let (ours, theirs) = (env!("CARGO_PKG_VERSION"), portcullis_core::config::FAIL2BAN_VERSION);
    if places.is_stream {
        say(Level::Info, SERVER, &"-".repeat(50));
        say(Level::Info, SERVER, &format!("Starting Fail2ban v{theirs}"));
    }
    let text = format!("Starting portcullis {ours} (Fail2Ban {theirs})");
    say(Level::Info, SERVER, &text);
    say(Level::Info, SERVER, &caps(&Limits::default()));
}

/// What bounds the memory that a log can make the daemon use.
fn caps(limits: &Limits) -> String {
    let kib = |bytes: usize| bytes >> 10;
    format!(
        "Memory: of one jail {MOST_COUNTERS} counters and {} KiB of their lines; lines of {} KiB; of one log {} × {} KiB; \
         {} failures on their way and {MOST_WAITING} that wait for names or commands",
        kib(MOST_LINES),
        kib(limits.line),
        crate::matching::WAITING,
        kib(limits.bytes),
        super::backlog::MOST
    )
}

/// Turns what arrives on a part's own channel into messages.
fn forward<T: Send + 'static>(from: Receiver<T>, to: SyncSender<Message>, wrap: fn(T) -> Message) {
    // Without the thread the part is mute, which the daemon survives; the system is out of threads then.
    let _ = thread::Builder::new().name("forward".into()).spawn(move || {
        for item in from {
            if to.send(wrap(item)).is_err() {
                return;
            }
        }
    });
}

fn sender<T: 'static>(to: &SyncSender<Message>, wrap: fn(T) -> Message) -> impl Fn(T) + Clone + Send + 'static {
    let to = to.clone();
    move |item| {
        let _ = to.send(wrap(item));
    }
}

impl Daemon {
    /// The first plan, then what an earlier run kept, then the logs.
    fn begin(&mut self, setup: Setup, saved: store::Saved) {
        let own = resolver::own_addresses();
        self.step(Input::Own(own));
        self.gather_own();
        self.traces.take_up(&mut self.keeper);
        // Drawn by the system: who is banned must not be able to reckon for how long.
        self.step(Input::Seed(RandomState::new().build_hasher().finish()));
        if self.origin.kind == Kind::Waiting {
            // What an earlier run left in the kernel stays until it is known what shall be there.
            self.plan = setup.plan;
            return;
        }
        self.arrange(setup, Some(keeper::remembered(saved)));
    }

    fn listen(&self, listener: &listen::Listener) -> std::io::Result<()> {
        let outbox = self.outbox.clone();
        listener.serve(move |asked| outbox.send(Message::Asked(asked)).is_ok())
    }
}

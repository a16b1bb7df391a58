//! The cloud's lane: it joins orders, the state machine of each project, its books, and the thread that makes its calls.
//!
//! In come orders, which are answered at once, answers of the API, and time; out go facts. What is to be called is
//! handed to the project's own thread after what must be kept first is kept, so that no network and no disk of the
//! cloud's delays anything but the cloud. Nothing is begun before it is known which machine this is.

mod orders;
mod project;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis_core::address::Id;
use portcullis_core::cloud::options::Options;
use portcullis_core::cloud::reconcile::{Answer, Input, Loudness, Output};
use portcullis_core::cloud::trouble::Trouble;
use portcullis_core::ledger::LayerId;
use portcullis_core::time::{Clock, Seconds, Timestamp};

use self::project::Project;
use super::api::Api;
use super::board::{Board, Key, is_same_place};
use super::metadata::{Interface, Metadata};
use super::spared;
use super::store::CloudBooks;
use crate::enforce::Facts;
use crate::observe::log::{Level, note as say};
use crate::visitors::Visitors;

/// The logger of what the cloud's lane says.
const LOGGER: &str = "fail2ban.actions";

/// A ban that waits for longer is late: two operations are over by then, and a minute's quota is new.
const LATE: Seconds = Seconds::new(60);

/// Between two posts on the board so many times what the last one took passes, and no more than this: what stands there
/// is nearly always how it is, and with many bans a twentieth of the time goes into saying so.
const POST_TIMES: u32 = 20;
const POST_EVERY: Duration = Duration::from_millis(250);

/// Who is logged in is looked at so often while there are bans, and before orders unless that was just done.
const SESSIONS_EVERY: Duration = Duration::from_secs(10);
const SESSIONS_FRESH: Duration = Duration::from_secs(2);

/// What the lane's helpers tell it.
pub(crate) enum News {
    /// What the machine says about itself; nothing where it is none of Google's
    Machine(Option<Box<Metadata>>),
    /// It is not known yet, and why
    Unknown(String),
    /// What came of a call
    Answer(Key, u64, Result<Answer, Trouble>),
}

/// Takes news to the lane.
pub(crate) type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// What the lane is given by the daemon.
pub(crate) struct Around {
    pub(crate) clock: Arc<dyn Fn() -> Clock + Send + Sync>,
    /// The file of the books
    pub(crate) books: PathBuf,
    pub(crate) visitors: Visitors,
    pub(crate) tell: Tell,
}

/// Which machine this is.
enum Machine {
    Unasked,
    /// Somebody is asking; why it is not known yet, once an answer was late
    Asked(Option<String>),
    Known(Option<Box<Metadata>>),
}

/// A ban that waits until it is known where it goes.
type Early = BTreeMap<IpNet, (Option<Timestamp>, u32)>;

/// One action.
struct Layer {
    options: Options,
    /// Its project, once it is known and it bans there
    key: Option<Key>,
    early: Early,
    /// What the state machine says, or what keeps it from having one
    failing: Option<String>,
    /// Why it does not follow, as it was last told
    lag: Option<String>,
}

/// All actions that ban in rules of the cloud's firewall.
pub(crate) struct Clouds {
    around: Around,
    machine: Machine,
    /// When it was asked for last
    asked: Instant,
    layers: BTreeMap<LayerId, Layer>,
    projects: BTreeMap<Key, Project>,
    /// Networks that are banned as a single address of theirs
    narrowed: BTreeMap<(LayerId, IpNet), Id>,
    is_settled: bool,
    /// Who is never written, as the daemon gathered it
    spared: Vec<(IpNet, String)>,
    here: Vec<(IpNet, String)>,
    here_at: Option<Instant>,
    told: Facts,
    board: Board,
    posted: Instant,
    /// How long after that the next one may be
    post_pause: Duration,
    is_stale: bool,
    /// When a ban that waits will have waited for too long
    late_at: Option<Timestamp>,
    /// Who waits until nothing is left to write
    drains: Vec<Sender<()>>,
}

impl Clouds {
    /// Nothing is asked and nobody is called before the first action is put here.
    pub(crate) fn new(around: Around, board: Board) -> Clouds {
        Clouds {
            around,
            machine: Machine::Unasked,
            asked: Instant::now(),
            layers: BTreeMap::new(),
            projects: BTreeMap::new(),
            narrowed: BTreeMap::new(),
            is_settled: false,
            spared: Vec::new(),
            here: Vec::new(),
            here_at: None,
            told: Facts::default(),
            board,
            posted: Instant::now(),
            post_pause: Duration::ZERO,
            is_stale: false,
            late_at: None,
            drains: Vec::new(),
        }
    }

    /// An action is done like this from now on.
    pub(crate) fn put(&mut self, id: &LayerId, options: Options) {
        if let Some(layer) = self.layers.get_mut(id) {
            if layer.options == options {
                return self.open(id);
            }
            let stays = is_same_place(&layer.options, &options);
            layer.options = options;
            if stays {
                self.give(id, |id, layer| Input::Open(id, layer.options.clone()));
            } else {
                self.close(id);
                self.open(id);
                self.told.lost.push(id.clone());
            }
            return;
        }
        let layer = Layer {
            options,
            key: None,
            early: Early::new(),
            failing: None,
            lag: None,
        };
        self.layers.insert(id.clone(), layer);
        self.open(id);
        // One that was done in another way until now has bans that nobody would order again.
        if self.is_settled {
            self.told.lost.push(id.clone());
        }
    }

    /// All other actions are no more. `is_all` says that every ban that was kept has been ordered by now.
    pub(crate) fn only(&mut self, layers: &BTreeSet<LayerId>, is_all: bool) {
        let gone: Vec<LayerId> = self.layers.keys().filter(|id| !layers.contains(*id)).cloned().collect();
        for id in gone {
            self.close(&id);
            self.layers.remove(&id);
        }
        if is_all && !self.is_settled {
            self.is_settled = true;
            self.inherit();
            self.all(|| Input::Settled);
        }
    }

    /// One input for the project of a layer, if it has one.
    fn give(&mut self, id: &LayerId, input: impl FnOnce(LayerId, &Layer) -> Input) {
        let Some(layer) = self.layers.get(id) else { return };
        let Some(key) = layer.key.clone() else { return };
        let input = input(id.clone(), layer);
        self.step(&key, input);
    }

    fn all(&mut self, input: impl Fn() -> Input) {
        let keys: Vec<Key> = self.projects.keys().cloned().collect();
        keys.iter().for_each(|key| self.step(key, input()));
    }

    /// One thing that happened to a project, and what follows from it.
    fn step(&mut self, key: &Key, input: Input) {
        let now = (self.around.clock)();
        let Some(project) = self.projects.get_mut(key) else {
            return;
        };
        let mut out = Vec::new();
        project.handle(now, input, &mut out);
        self.is_stale = true;
        for output in out {
            self.carry_out(key, output);
        }
    }

    fn carry_out(&mut self, key: &Key, output: Output) {
        match output {
            Output::Keep(entries) => {
                if let Some(project) = self.projects.get_mut(key) {
                    project.keep(entries);
                }
            }
            Output::Call(number, call) => {
                if let Some(project) = self.projects.get_mut(key) {
                    project.call(number, call);
                }
            }
            Output::Stand { layer, range, standing } => self.stand(layer, range, standing),
            Output::Failing(layer, why) => {
                if let Some(layer) = self.layers.get_mut(&layer) {
                    layer.failing = why;
                }
            }
            // That it is so, and where, is in a note of its own.
            Output::Freed(range, _) => self.told.freed.push(range),
            Output::Read(reading) => self.told.readings.push(reading),
            Output::Note(loudness, text) => say(level(loudness), LOGGER, &text),
        }
    }

    /// News of the lane's helpers.
    pub(crate) fn hear(&mut self, news: News) {
        match news {
            News::Unknown(why) => {
                if !matches!(self.machine, Machine::Known(_)) {
                    self.machine = Machine::Asked(Some(why));
                }
                self.open_all();
            }
            News::Machine(machine) => {
                self.machine = Machine::Known(machine);
                self.open_all();
                if self.is_settled {
                    self.inherit();
                    self.all(|| Input::Settled);
                }
                self.protect_all();
            }
            News::Answer(key, number, result) => {
                self.look_who_is_here(SESSIONS_FRESH);
                self.step(&key, Input::Answer(number, result));
            }
        }
    }

    /// Somebody wants everything read and planned again now.
    pub(crate) fn review(&mut self) {
        self.all(|| Input::Review);
    }

    /// Who is never written, gathered again.
    pub(crate) fn spare(&mut self, spared: Vec<(IpNet, String)>) {
        if self.spared != spared {
            self.spared = spared;
            self.protect_all();
        }
    }

    fn protect_all(&mut self) {
        let own = match &self.machine {
            Machine::Known(Some(metadata)) => own(metadata),
            _ => Vec::new(),
        };
        let all = self.spared.iter().chain(&self.here).cloned().chain(own);
        let all: Vec<(IpNet, String)> = all.collect();
        self.all(|| Input::Protect(all.clone()));
    }

    /// Who is logged in, unless that was looked at just now.
    fn look_who_is_here(&mut self, fresh: Duration) {
        let now = Instant::now();
        if self.projects.is_empty() || self.here_at.is_some_and(|at| now < at + fresh) {
            return;
        }
        self.here_at = Some(now);
        let here = spared::with((self.around.visitors)());
        if here != self.here {
            self.here = here;
            self.protect_all();
        }
    }

    fn open_all(&mut self) {
        let ids: Vec<LayerId> = self.layers.keys().cloned().collect();
        ids.iter().for_each(|id| self.open(id));
    }

    /// Has an action ban where its options say, once that is known.
    fn open(&mut self, id: &LayerId) {
        let Some(layer) = self.layers.get_mut(id).filter(|layer| layer.key.is_none()) else {
            return;
        };
        self.is_stale = true;
        let metadata = match &self.machine {
            Machine::Known(metadata) => metadata.as_deref(),
            // That the answer takes a moment is no failure.
            Machine::Asked(why) => {
                layer.failing.clone_from(why);
                return;
            }
            Machine::Unasked => return self.ask(),
        };
        let api = match Api::of(&layer.options, metadata) {
            Ok(api) => api,
            Err(reason) => {
                layer.failing = Some(reason);
                return;
            }
        };
        let key = key(&api);
        (layer.failing, layer.key) = (None, Some(key.clone()));
        let (early, options) = (std::mem::take(&mut layer.early), layer.options.clone());
        if self.begin(&key, api) {
            self.protect_all();
        }
        self.step(&key, Input::Open(id.clone(), options));
        for (range, (until, bancount)) in early {
            let layer = id.clone();
            let ban = Input::Ban {
                layer,
                range,
                until,
                bancount,
            };
            self.step(&key, ban);
        }
    }

    /// Begins with a project, unless that is done. Whether it was new.
    fn begin(&mut self, key: &Key, api: Api) -> bool {
        if self.projects.contains_key(key) {
            return false;
        }
        let host = match &self.machine {
            Machine::Known(Some(metadata)) => metadata.host(),
            _ => watch::plain_host(),
        };
        let project = Project::begin(host, (key, &api), &self.around);
        self.projects.insert(key.clone(), project);
        true
    }

    /// Projects in which something is ours and where no action bans any more: what is there goes.
    fn inherit(&mut self) {
        if !self.around.books.exists() {
            return;
        }
        let opened = CloudBooks::open(&self.around.books);
        // Whoever opens them next finds new ones, and nothing to say.
        if let Some(loss) = opened.as_ref().ok().and_then(CloudBooks::loss) {
            say(Level::Error, LOGGER, loss);
        }
        let kept = match opened.and_then(|books| books.projects()) {
            Ok(kept) => kept,
            Err(error) => return say(Level::Error, LOGGER, &error),
        };
        let known: BTreeSet<&String> = self.projects.keys().map(|key| &key.project).collect();
        let left: Vec<String> = kept.into_iter().filter(|name| !known.contains(name)).collect();
        if left.is_empty() {
            return;
        }
        let Machine::Known(metadata) = &self.machine else {
            return self.ask();
        };
        let api = |name: String| {
            // The rule is of no account: what the books name is.
            let mut options = Options::new("block-ip");
            options.project = Some(name);
            Api::of(&options, metadata.as_deref()).ok()
        };
        for api in left.into_iter().filter_map(api).collect::<Vec<_>>() {
            self.begin(&key(&api), api);
        }
    }

    /// Has what waits written at once, and answers when nothing is left to write.
    pub(crate) fn drain(&mut self, answer: Sender<()>) {
        self.all(|| Input::Review);
        self.drains.push(answer);
        self.is_stale = true;
    }

    fn ask(&mut self) {
        if matches!(self.machine, Machine::Unasked) {
            self.machine = Machine::Asked(None);
            self.ask_machine();
        }
    }

    fn close(&mut self, id: &LayerId) {
        self.give(id, |id, _| Input::Close(id));
        if let Some(layer) = self.layers.get_mut(id) {
            (layer.key, layer.failing) = (None, None);
            layer.early.clear();
        }
        self.narrowed.retain(|(layer, _), _| layer != id);
    }
}

fn level(loudness: Loudness) -> Level {
    match loudness {
        Loudness::Info => Level::Info,
        Loudness::Notice => Level::Notice,
        Loudness::Warning => Level::Warning,
        Loudness::Error => Level::Error,
    }
}

/// Whose rules an API has.
fn key(api: &Api) -> Key {
    Key {
        endpoint: api.endpoint.clone(),
        project: api.project.clone(),
    }
}

/// The addresses under which others know this machine.
fn own(metadata: &Metadata) -> Vec<(IpNet, String)> {
    let of = |interface: &Interface| {
        let four = interface.external4.iter().map(|ip| IpAddr::V4(*ip));
        let six = interface.external6.iter().map(|ip| IpAddr::V6(*ip));
        let all = four.chain(six).chain(interface.internal.iter().copied());
        all.collect::<Vec<_>>()
    };
    let what = "this machine's own address";
    let all = metadata.interfaces.iter().flat_map(of);
    all.map(|ip| (IpNet::from(ip), what.to_owned())).collect()
}

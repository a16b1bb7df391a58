//! From a configuration folder to what the daemon runs: jails, filters, layers, and what is wrong with them.

mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use jiff::tz::TimeZone;
use portcullis_core::config::plan::{ActionPlan, JailPlan, LogPath, Plan, Server};
use portcullis_core::config::{self, Command, Face, FilterName, FilterUse, Outcome, Refusal, Tree};
use portcullis_core::diagnostic::{Diagnostic, Position, Severity};
use portcullis_core::engine::Arrangement;
use portcullis_core::filter::{self, Filter};
use portcullis_core::json;
use portcullis_core::ledger::LayerId;
use portcullis_core::pattern::{self, Flags, Pattern};
use portcullis_core::time::Seconds;
use portcullis_core::value::Value;

use super::resolver;
use super::way::{Manner, Way};
use ways::Kinds;
pub(super) use ways::{ALONE, GCLOUD};

use crate::matching::{LogEncoding, Reading, Unseen};
use crate::place::Places;
use crate::source::journal::{self, Matches};
use crate::{folder, place};

/// The pseudo-jail of bans by hand.
pub(crate) const MANUAL: &str = "manual";
/// How long a ban by hand lasts if nothing is said.
const MANUAL_BANTIME: Seconds = Seconds::new(86_400);
/// Modes of a filter that would see what its default mode lets pass: filter, mode, what it sees, what to write.
const OTHER_MODES: &[(&str, &str, &str, &str)] =
    &[("postfix", "auth", "SASL failures", "filter = postfix[mode=extra]")];

/// Complaints about something that was not read at all.
const LOST: &[&str] = &[
    "no-option",
    "no-section",
    "not-utf8",
    "line-too-long",
    "too-large",
    "unreadable",
];
/// Options whose value must not be guessed.
const GUESSED: &[&str] = &[
    "bantime",
    "findtime",
    "maxretry",
    "ignoreip",
    "ignorecommand",
    "ignoreself",
    "bantime.factor",
    "bantime.formula",
    "bantime.multipliers",
    "bantime.maxtime",
    "bantime.rndtime",
];
/// The reader's word for a jail that it left out.
const SKIPPED: &str = "config-error";

/// Everything that a configuration comes to.
pub(crate) struct Setup {
    /// Server options
    pub(crate) server: Server,
    /// The configuration as commands see it, without the pseudo-jail
    pub(crate) plan: Plan,
    /// The jails for the engine
    pub(crate) arrangements: Vec<Arrangement>,
    /// The jails for the matching groups, with their files
    pub(crate) readings: Vec<(Reading, Vec<LogPath>)>,
    /// How each action is done
    pub(crate) layers: BTreeMap<LayerId, Way>,
    /// Jails that must not ban, and why
    pub(crate) held: BTreeMap<String, String>,
    /// Jails that read nothing, and why
    pub(crate) blind: BTreeMap<String, String>,
    /// Jails that are not in force, and why
    pub(crate) dropped: BTreeMap<String, String>,
    /// The lines of `logpath` of jails that read the journal for want of these logs
    pub(crate) awaited: BTreeMap<String, Vec<String>>,
    /// What is wrong
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The filter of each jail that has one, by name
    pub(crate) filters: BTreeMap<String, String>,
    /// Where options are written, by jail and option
    origins: BTreeMap<(String, String), Position>,
    manner: Manner,
}

/// The time zone of stamps that name none.
pub(crate) fn zone() -> TimeZone {
    TimeZone::system()
}

/// Reads the folder and makes everything ready. Never fails: what is bad is left out and named.
pub(crate) fn read(places: &Places) -> Setup {
    ready(places, true)
}

/// The same for somebody who only looks: nothing is kept.
pub(crate) fn look(places: &Places) -> Setup {
    ready(places, false)
}

fn ready(places: &Places, keeps: bool) -> Setup {
    let base = places.base();
    folder::with(&base, |tree| {
        let mut request = config::Request::new(&base, Face::Portcullis, config::FAIL2BAN_VERSION);
        request.check_regex = check_regex;
        let mut outcome = config::read(tree, &request);
        let (plan, refusals) = Plan::from_stream_by_option(&outcome.stream, Face::Portcullis);
        for refusal in refusals {
            place_refusal(refusal, &mut outcome);
        }
        let plan = fall_back((places, keeps), plan, &mut outcome);
        resolver::allow_ipv6(&plan.server.allowipv6);
        let live = plan.clone();
        let mut setup = Setup::empty(live, places.manner());
        setup.held = std::mem::take(&mut outcome.held);
        setup.origins.clone_from(&outcome.origins);
        setup.awaited.clone_from(&outcome.awaited);
        let filters = outcome.filters.iter();
        setup.filters = filters
            .map(|(jail, used)| (jail.to_string(), used.name.clone()))
            .collect();
        let unseen = Other {
            tree,
            base: &base,
            outcome: &outcome,
        };
        for jail in plan.jails {
            setup.jail(jail, |plan| unseen.of(plan));
        }
        setup.manual();
        setup.dropped.extend(outcome.skipped.clone());
        setup.diagnostics.splice(0..0, outcome.diagnostics.iter().cloned());
        once_each(&mut setup.diagnostics);
        folder::name_stock(&mut setup.diagnostics, &base);
        setup
    })
}

/// Of a server that waits for a client to send its configuration. `given` are options as NAME=VALUE; one that is none
/// is named and left.
pub(super) fn waiting(given: &[String], manner: Manner) -> Setup {
    let mut plan = Plan::default();
    // Until a client names a database there is none.
    plan.server.dbfile = None;
    let mut diagnostics = Vec::new();
    for option in given.iter().filter(|option| !option.starts_with("pidfile=")) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if let Err(error) = plan.apply(&["set".into(), name.into(), value.into()]) {
            let text = format!("--given {option}: {error}");
            diagnostics.push(Diagnostic::new(Severity::Error, "bad-given", text));
        }
    }
    let mut setup = Setup::empty(plan, manner);
    setup.diagnostics = diagnostics;
    setup
}

/// Says where a refused value is written. A jail must not ban on a guess of how long, how often or whom to spare.
fn place_refusal(refusal: Refusal, outcome: &mut Outcome) {
    let Refusal { option, mut diagnostic } = refusal;
    // A jail that was skipped was told of by the reading already, with its line.
    if diagnostic.code == SKIPPED {
        return;
    }
    if let (Some(jail), Some(option)) = (diagnostic.jail.clone(), option) {
        diagnostic.position = outcome.origins.get(&(jail.clone(), option.clone())).cloned();
        if GUESSED.contains(&option.as_str()) {
            outcome.held.entry(jail).or_insert_with(|| diagnostic.message.clone());
        }
    }
    outcome.diagnostics.push(diagnostic);
}

/// A fault in a file that several jails use is one fault.
fn once_each(diagnostics: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    diagnostics.retain(|diagnostic| match &diagnostic.position {
        Some(position) => seen.insert((position.clone(), diagnostic.message.clone())),
        None => true,
    });
}

/// A failregex is in order when it compiles and names an address.
fn check_regex(regex: &str, prefregex: Option<&str>) -> Result<(), pattern::Error> {
    let pattern = Pattern::new(regex, Flags::default())?;
    if pattern.has_failure_id() {
        return Ok(());
    }
    config::check_failure_id(regex, prefregex)
}

/// Keeps a faultless configuration; takes the kept one for the jails that a damaged one must not run (invariant 12).
fn fall_back((places, keeps): (&Places, bool), mut plan: Plan, outcome: &mut Outcome) -> Plan {
    if outcome.held.is_empty() && outcome.usable && !is_damaged(outcome) {
        if keeps {
            keep(places, &outcome.stream);
        }
        return plan;
    }
    let Some(good) = kept(places) else { return plan };
    if is_damaged(outcome) {
        bring_back(&good, &mut plan, outcome);
    }
    if outcome.stream.is_empty() {
        let text = "the configuration could not be read; the last good one stays in force";
        outcome
            .diagnostics
            .push(Diagnostic::new(Severity::Error, "last-good", text));
        return good;
    }
    for jail in &mut plan.jails {
        let name = jail.name.to_string();
        let Some(before) = good.jails.iter().find(|old| old.name == jail.name) else {
            continue;
        };
        if outcome.held.remove(&name).is_some() {
            *jail = before.clone();
            let text = "its damaged configuration is not used; the last good one stays in force";
            outcome
                .diagnostics
                .push(Diagnostic::new(Severity::Warning, "last-good", text).jail(name));
        }
    }
    plan
}

/// Whether a line or a file was lost: what is not there may only not have been read.
fn is_damaged(outcome: &Outcome) -> bool {
    lost(&outcome.diagnostics).next().is_some()
}

/// The places of what was not read at all.
pub(super) fn lost(diagnostics: &[Diagnostic]) -> impl Iterator<Item = String> {
    let lost = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error && LOST.contains(&diagnostic.code));
    lost.map(|diagnostic| {
        diagnostic
            .position
            .as_ref()
            .map_or("a file".to_owned(), ToString::to_string)
    })
}

/// A jail that a damaged configuration does not mention stays as it was, and so does one that it has spoilt: behind a
/// header that cannot be read, the options of one jail fall to another.
fn bring_back(good: &Plan, plan: &mut Plan, outcome: &mut Outcome) {
    for jail in &good.jails {
        if plan.jails.iter().any(|other| other.name == jail.name) {
            continue;
        }
        let text = match outcome.skipped.remove(&*jail.name) {
            Some(_) => "cannot be read from the damaged configuration; it stays in force as in the last good one",
            None => "is not found in the damaged configuration; it stays in force as in the last good one",
        };
        let diagnostic = Diagnostic::new(Severity::Warning, "last-good", text).jail(&*jail.name);
        outcome.diagnostics.push(diagnostic);
        plan.jails.push(jail.clone());
    }
}

fn keep(places: &Places, stream: &[Command]) {
    let lines = json::from_value(&config::stream_value(stream.to_vec()));
    // Not being able to keep it is no reason not to run; the store next to it will complain of the same folder.
    let _ = place::replace(&places.last_good(), lines.to_string().as_bytes());
}

fn kept(places: &Places) -> Option<Plan> {
    let text = fs::read_to_string(places.last_good()).ok()?;
    let lines: serde_json::Value = serde_json::from_str(&text).ok()?;
    let stream = config::stream_of(&json::to_value(&lines))?;
    Some(Plan::from_stream(&stream, Face::Portcullis).0)
}

/// Finds the mode of a filter that would see more.
struct Other<'t> {
    tree: &'t dyn Tree,
    base: &'t str,
    outcome: &'t Outcome,
}

impl Other<'_> {
    /// The filter in a mode that would see more, where its default mode was taken without a word.
    fn of(&self, plan: &JailPlan) -> Option<Unseen> {
        let used = self.outcome.filters.get(&*plan.name)?;
        self.unseen(plan, used)
    }

    fn unseen(&self, plan: &JailPlan, used: &FilterUse) -> Option<Unseen> {
        let (_, mode, what, mend) = OTHER_MODES.iter().find(|(name, ..)| *name == used.name)?;
        let present = used.options.get("mode").map_or("", String::as_str);
        if used.mode_given || ["auth", "extra", "aggressive"].contains(&present) {
            return None;
        }
        let mut parameters = used.parameters.clone();
        parameters.push(("mode".into(), (*mode).into()));
        let name = FilterName::Stock(&used.name);
        let alone = config::filter_options(self.tree, self.base, name, &parameters, &plan.backend).ok()?;
        // The stream of a filter alone has no jail to put it in.
        let add = vec!["add".into(), "fail2ban-regex-jail".into(), plan.backend.as_str().into()];
        let stream: Vec<Command> = std::iter::once(add).chain(alone.stream).collect();
        let (other, _) = Plan::from_stream(&stream, Face::Portcullis);
        let mut other = other.jails.into_iter().next()?;
        // It reads the same log with the same eyes; only the patterns are another mode's.
        (other.datepattern, other.logtimezone) = (plan.datepattern.clone(), plan.logtimezone.clone());
        let filter = make_filter(&other).ok()?;
        Some(Unseen {
            filter,
            what: (*what).into(),
            mend: (*mend).into(),
        })
    }
}

impl Setup {
    /// Without any jail.
    pub(super) fn empty(plan: Plan, manner: Manner) -> Setup {
        Setup {
            server: plan.server.clone(),
            plan,
            arrangements: Vec::new(),
            readings: Vec::new(),
            layers: BTreeMap::new(),
            held: BTreeMap::new(),
            origins: BTreeMap::new(),
            blind: BTreeMap::new(),
            dropped: BTreeMap::new(),
            awaited: BTreeMap::new(),
            diagnostics: Vec::new(),
            filters: BTreeMap::new(),
            manner,
        }
    }

    /// The same server with another plan: the one that was in force when the daemon died.
    pub(super) fn again(self, plan: Plan) -> Setup {
        let mut setup = Setup::empty(plan, self.manner);
        setup.held = self.held;
        let is_of_files = |diagnostic: &Diagnostic| diagnostic.jail.is_none();
        setup.diagnostics = self.diagnostics.into_iter().filter(is_of_files).collect();
        resolver::allow_ipv6(&setup.server.allowipv6);
        for jail in setup.plan.jails.clone() {
            let anew = reads(&jail);
            setup.live(jail, anew, true);
        }
        setup
    }

    /// Makes one jail of files ready, or drops it with its reason.
    fn jail(&mut self, plan: JailPlan, unseen: impl FnOnce(&JailPlan) -> Option<Unseen>) {
        match reading(&plan, unseen) {
            Ok(reading) => {
                self.readings.push((reading, files(&plan)));
                self.place(plan, true);
            }
            Err(reason) => {
                let name = plan.name.to_string();
                let text = format!("not in force: {reason}");
                self.complain(&name, Diagnostic::new(Severity::Error, "jail-dropped", text));
                self.dropped.insert(name, reason);
            }
        }
    }

    /// Makes one jail ready as commands left it, with a new filter or without one. It stands, whatever is wrong with its
    /// filter.
    pub(super) fn live(&mut self, plan: JailPlan, reads_anew: bool, reloaded: bool) {
        let name = plan.name.to_string();
        let made = reads_anew.then(|| reading(&plan, |_| None));
        let failure = match made {
            Some(Ok(reading)) => {
                self.readings.push((reading, files(&plan)));
                None
            }
            Some(Err(reason)) => Some(reason),
            None => None,
        };
        self.place(plan, reloaded);
        if let Some(reason) = failure {
            let text = format!("reads nothing: {reason}");
            self.complain(&name, Diagnostic::new(Severity::Error, "jail-blind", text));
            self.blind.insert(name, format!("cannot be read with: {reason}"));
        }
    }

    fn complain(&mut self, jail: &str, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic.jail(jail));
    }

    fn place(&mut self, mut plan: JailPlan, reloaded: bool) {
        let name = plan.name.to_string();
        let kinds = self.ways(&mut plan);
        if !reads(&plan) {
            self.arrange(plan, kinds, reloaded);
            return;
        }
        if plan.actions.is_empty() {
            let text = "has no action: it bans nobody anywhere";
            self.complain(&name, Diagnostic::new(Severity::Warning, "no-action", text));
        }
        if plan.failregex.is_empty() {
            self.blind.insert(name, "has no failregex in force".into());
        } else if plan.logpath.is_empty() && !is_journal(&plan) {
            self.blind.insert(name, "has no log file to read".into());
        }
        self.arrange(plan, kinds, reloaded);
    }

    fn arrange(&mut self, mut plan: JailPlan, kinds: Kinds, reloaded: bool) {
        // Nothing that is counted by hand bans before the jail is started.
        plan.idle |= !plan.started;
        self.arrangements.push(Arrangement {
            held: self.held.get(&*plan.name).cloned(),
            plan,
            native: kinds.native,
            cloud: kinds.cloud,
            reloaded,
        });
    }

    /// The pseudo-jail of bans by hand: all ports, in the kernel.
    pub(super) fn manual(&mut self) {
        if self.arrangements.iter().any(|other| &*other.plan.name == MANUAL) {
            return;
        }
        let mut plan = manual_plan();
        let kinds = self.ways(&mut plan);
        self.arrange(plan, kinds, true);
    }
}

/// The plan of the pseudo-jail.
pub(super) fn manual_plan() -> JailPlan {
    let mut plan = JailPlan::new(MANUAL, "auto");
    plan.bantime = MANUAL_BANTIME;
    plan.started = true;
    let property = |name: &str, value: &str| (name.to_owned(), Value::from(value));
    let properties = vec![
        property("layer", "nft"),
        property("type", "allports"),
        property("protocol", "all"),
    ];
    plan.actions = vec![ActionPlan {
        name: "nft".into(),
        properties,
    }];
    plan
}

fn reading(plan: &JailPlan, unseen: impl FnOnce(&JailPlan) -> Option<Unseen>) -> Result<Reading, String> {
    let encoding = LogEncoding::named(&plan.logencoding).map_err(|error| error.to_string())?;
    let filter = make_filter(plan)?;
    let mut reading = Reading::new(Arc::clone(&plan.name), filter, encoding, unseen(plan));
    if is_journal(plan) {
        journal::excerpt(&journal::name(&plan.backend)).map_err(|wrong| wrong.to_string())?;
        reading.take_only(Matches::new(&plan.journalmatch).map_err(|error| error.to_string())?);
    }
    Ok(reading)
}

/// The files that a jail reads.
pub(super) fn files(plan: &JailPlan) -> Vec<LogPath> {
    if is_journal(plan) {
        vec![LogPath {
            path: journal::name(&plan.backend),
            tail: false,
        }]
    } else {
        plan.logpath.clone()
    }
}

/// Whether a jail reads at all.
pub(super) fn reads(plan: &JailPlan) -> bool {
    plan.started && !plan.idle
}

/// Whether two plans of a jail read the same lines in the same way, so that the one's filter and thread do for the other.
pub(super) fn read_alike(one: &JailPlan, other: &JailPlan) -> bool {
    (&one.prefregex, &one.failregex, &one.ignoreregex) == (&other.prefregex, &other.failregex, &other.ignoreregex)
        && (one.usedns, one.maxlines, one.findtime) == (other.usedns, other.maxlines, other.findtime)
        && (&one.datepattern, &one.logtimezone) == (&other.datepattern, &other.logtimezone)
        && (&one.logencoding, &one.backend) == (&other.logencoding, &other.backend)
        && (is_journal(one) || paths(one).eq(paths(other)))
        && (!is_journal(one) || one.journalmatch == other.journalmatch)
}

fn paths(plan: &JailPlan) -> impl Iterator<Item = &str> {
    plan.logpath.iter().map(|log| log.path.as_str())
}

fn make_filter(plan: &JailPlan) -> Result<Filter, String> {
    let settings = filter::Settings {
        zone: zone(),
        check_all: false,
        check_age: true,
        tell: filter::Tell::Failures,
    };
    Filter::new(plan, settings).map_err(|error| error.to_string())
}

fn is_journal(plan: &JailPlan) -> bool {
    plan.backend.to_ascii_lowercase().starts_with("systemd")
}

//! How the rules stand, found out without a daemon: from the configuration, the kept bans, the books and the API. The
//! same state machine as the daemon's plans, and nothing of what it plans is done.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use portcullis_core::cloud::books::Books;
use portcullis_core::cloud::reconcile::{Call, Host, Input, Output, Reconciler, View};
use portcullis_core::ledger::Ticket;
use portcullis_core::time::{Clock, Seconds};

use super::aims::{Aim, Aims};
use super::pace::{Pace as _, Real};
use super::reach::Line;
use super::sight::{Look, Sight};
use crate::client::Run;
use crate::control::answer::CloudView;
use crate::daemon;
use crate::enforce::gcp::api::Api;
use crate::enforce::gcp::board::{Key, Posted};
use crate::enforce::gcp::metadata::Metadata;
use crate::enforce::gcp::spared::spared;
use crate::enforce::gcp::store::{self, CloudBooks};
use crate::enforce::protect::Protected;
use crate::place::Places;
use crate::store::holder::holder;
use crate::store::{Place, Running, Settings, Store};

/// A plan that asks for more calls than so many is no plan.
const MOST_CALLS: usize = 1000;

/// The state machine's waiting times are passed over as far as this.
const WAITS: Seconds = Seconds::new(30);

/// Where things are, as the daemon would have them.
pub(super) fn places(look: &Look) -> Places {
    Places::of(&Run::beside(&look.ask.place, look.state.clone()))
}

/// The file with the books.
pub(super) fn books(places: &Places) -> PathBuf {
    places.state.join(store::FILE)
}

/// Bans in force, by jail, and the clocks that their times are of.
pub(super) struct Kept {
    pub(super) bans: Vec<(Arc<str>, Ticket)>,
    clock: Clock,
}

/// What is kept of bans, read from a copy: nothing is taken over and no table made before a daemon does that.
pub(super) fn kept(places: &Places) -> Result<Kept, String> {
    let fresh = Running::fresh().now();
    let nothing = Kept {
        bans: Vec::new(),
        clock: fresh,
    };
    let kept = places.kept_database();
    let Some(database) = kept.path().filter(|path| path.exists()) else {
        return Ok(nothing);
    };
    let shown = database.display();
    if let Some(who) = holder(database) {
        return Err(format!("{shown} is in use by {who}; give the --socket it listens on"));
    }
    let wrap = |error: &dyn std::fmt::Display| format!("the kept bans in {shown} cannot be read: {error}");
    let folder = tempfile::tempdir().map_err(|error| wrap(&error))?;
    let copy = folder.path().join("copy.sqlite3");
    std::fs::copy(database, &copy).map_err(|error| wrap(&error))?;
    let beside = |path: &std::path::Path| PathBuf::from(format!("{}-wal", path.display()));
    if beside(database).exists() {
        std::fs::copy(beside(database), beside(&copy)).map_err(|error| wrap(&error))?;
    }
    let (store, _) = Store::open(Place::File(copy), Settings::default(), fresh.wall).map_err(|error| wrap(&error))?;
    let saved = store.load().map_err(|error| wrap(&error))?;
    let clock = store.running().now();
    let is_in_force = |(_, ticket): &(Arc<str>, Ticket)| ticket.until().is_none_or(|until| until > clock.steady);
    let bans = saved.bans.into_iter().chain(saved.adopted).filter(is_in_force);
    Ok(Kept {
        bans: bans.collect(),
        clock,
    })
}

/// Looks at all rules that the configuration bans in.
///
/// # Errors
/// Nothing can be seen at all; why.
pub(super) fn look(look: &Look) -> Result<Sight, String> {
    if !look.ask.place.config.is_dir() {
        let shown = look.ask.place.config.display();
        return Err(format!(
            "no daemon runs, and there is no configuration folder {shown}; name one with -c"
        ));
    }
    let all = Aims::read(&look.ask.place);
    let mut sight = Sight {
        daemon: false,
        clouds: Vec::new(),
        problems: all.problems.clone(),
    };
    if all.aims.is_empty() {
        return Ok(sight);
    }
    let machine = Metadata::read().unwrap_or_else(|error| {
        sight.problems.push(error);
        None
    });
    let places = places(look);
    let kept = kept(&places)?;
    let books = open(&places)?;
    let mut pace = Real::new(look.ask.json);
    for (api, aims) in by_project(&all.aims, machine.as_ref(), &mut sight.problems) {
        pace.tell(&format!("reading the rules of project {}", api.project));
        let kept_books = books
            .as_ref()
            .map_or(Ok(Books::default()), |books| books.load(&api.project))?;
        let planner = Planner {
            aims: &aims,
            ignored: &all.ignored,
            machine: machine.as_ref(),
            kept: &kept,
        };
        sight.clouds.push(planner.view(&kept_books)?);
    }
    Ok(sight)
}

fn open(places: &Places) -> Result<Option<CloudBooks>, String> {
    let path = books(places);
    if path.exists() {
        CloudBooks::open(&path).map(Some)
    } else {
        Ok(None)
    }
}

/// The rules of each project; what cannot be reached is told.
fn by_project(aims: &[Aim], machine: Option<&Metadata>, problems: &mut Vec<String>) -> BTreeMap<Api, Vec<Aim>> {
    let mut projects: BTreeMap<Api, Vec<Aim>> = BTreeMap::new();
    for aim in aims {
        match Api::of(&aim.options, machine) {
            Ok(api) => projects.entry(api).or_default().push(aim.clone()),
            Err(error) => problems.push(format!("rule {}: {error}", aim.options.rule)),
        }
    }
    projects
}

/// One project, planned.
struct Planner<'a> {
    aims: &'a [Aim],
    ignored: &'a [(IpNet, String)],
    machine: Option<&'a Metadata>,
    kept: &'a Kept,
}

impl Planner<'_> {
    fn view(&self, books: &Books) -> Result<CloudView, String> {
        let Some(first) = self.aims.first() else {
            return Ok(CloudView::default());
        };
        let mut line = Line::open(&first.options, self.machine)?;
        let host = host(self.machine);
        let writer = host.writer.clone();
        let mut reconciler = Reconciler::new(host, books.clone(), Real::new(true).random());
        let (view, trouble) = drive(&mut reconciler, self.kept.clock, self.inputs(), &mut line);
        let layers = self.aims.iter().flat_map(|aim| {
            let rule = &aim.options.rule;
            aim.layers.iter().map(move |layer| (layer.clone(), rule.clone()))
        });
        let mut view = daemon::cloud_view(&Posted {
            key: Key {
                endpoint: line.client.api().endpoint.clone(),
                project: line.project().to_owned(),
            },
            writer,
            layers: layers.collect(),
            view,
            unsaved: None,
            fault: None,
            at: self.kept.clock,
        });
        view.under_way = None;
        view.trouble = view.trouble.or(trouble);
        Ok(view)
    }

    /// What the daemon would tell the state machine when it starts.
    fn inputs(&self) -> VecDeque<Input> {
        let mut protected = protected(self.machine);
        protected.extend_from_slice(self.ignored);
        let mut inputs = VecDeque::from([Input::Protect(protected)]);
        for aim in self.aims {
            for layer in &aim.layers {
                inputs.push_back(Input::Open(layer.clone(), aim.options.clone()));
                let own = self.kept.bans.iter().filter(|(jail, _)| *jail == layer.jail);
                inputs.extend(own.filter_map(|(_, ticket)| {
                    Some(Input::Ban {
                        layer: layer.clone(),
                        range: ticket.id.network()?,
                        until: ticket.until(),
                        bancount: ticket.bancount,
                    })
                }));
            }
        }
        inputs.extend([Input::Settled, Input::Review]);
        inputs
    }
}

/// Runs the state machine until it wants nothing more read. What it wants written is never answered.
fn drive(
    reconciler: &mut Reconciler,
    start: Clock,
    mut inputs: VecDeque<Input>,
    line: &mut Line,
) -> (View, Option<String>) {
    let (mut out, mut trouble) = (Vec::new(), None);
    let mut now = start;
    for _ in 0..MOST_CALLS {
        while let Some(input) = inputs.pop_front() {
            reconciler.handle(now, input, &mut out);
        }
        let calls = std::mem::take(&mut out).into_iter().filter_map(|output| match output {
            Output::Call(number, call @ (Call::Read { .. } | Call::List { .. } | Call::Follow { .. })) => {
                Some((number, call))
            }
            _ => None,
        });
        for (number, call) in calls {
            let answer = line.client.call(&call);
            if let Err(error) = answer.as_ref()
                && !reconciler.is_looking()
            {
                trouble.get_or_insert_with(|| line.explain(error));
            }
            inputs.push_back(Input::Answer(number, answer));
        }
        if inputs.is_empty() {
            // What a daemon would wait for before it reads on, nobody has to wait for who writes nothing.
            let Some(next) = reconciler.next_wake().filter(|next| *next <= start.steady + WAITS) else {
                break;
            };
            now.wall = now.wall + (next - now.steady);
            now.steady = next;
            inputs.push_back(Input::Tick);
        }
    }
    (reconciler.view(now), trouble)
}

/// The machine as the state machine wants to know it.
pub(super) fn host(machine: Option<&Metadata>) -> Host {
    machine.map_or_else(
        || Host {
            writer: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            ..Host::default()
        },
        Metadata::host,
    )
}

/// Who is never written.
fn protected(machine: Option<&Metadata>) -> Vec<(IpNet, String)> {
    let mut all: Vec<(IpNet, String)> = Protected::gather()
        .map(|all| all.entries().to_vec())
        .unwrap_or_default();
    all.extend(spared());
    all.extend(own(machine));
    all
}

/// The addresses under which the Internet reaches this machine.
pub(super) fn own(machine: Option<&Metadata>) -> Vec<(IpNet, String)> {
    let interfaces = machine.into_iter().flat_map(|machine| &machine.interfaces);
    let addresses = interfaces.flat_map(|interface| {
        let four = interface.external4.iter().map(|ip| std::net::IpAddr::from(*ip));
        four.chain(interface.external6.iter().map(|ip| std::net::IpAddr::from(*ip)))
    });
    addresses
        .map(|ip| (IpNet::from(ip), "this machine's external address".to_owned()))
        .collect()
}

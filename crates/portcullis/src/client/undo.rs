//! What shell actions have set up, taken away without a daemon: their own commands are run here, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use portcullis_core::action::{Fetched, JailFacts, Need, Values, render};
use portcullis_core::ledger::Ticket;
use portcullis_core::time::{Clock, Timestamp};

use crate::daemon;
use crate::enforce::shell::past::Past;
use crate::enforce::shell::{Level, Line, Run, ShellLayer, Surroundings};
use crate::runner::{self, Catalogue, Item, Outcome, Ran, Template, TemplateId};
use crate::store::{Boot, Running, Saved, Trace};

/// Flushes and stops what these traces tell of. What an action is to undo is in `saved`. Gives how many actions it was,
/// and what went wrong, for people.
pub(super) fn undo(traces: &[Trace], saved: &Saved, clock: &Running) -> (usize, Vec<String>) {
    let (boot, network) = (Boot::read().id, daemon::network());
    let (mut count, mut errors) = (0, Vec::new());
    for trace in traces.iter().filter(|trace| daemon::is_here(trace, &boot, &network)) {
        let bans = saved.bans.iter().chain(&saved.adopted);
        let own = bans.filter(|(jail, _)| *jail == trace.layer.jail);
        let past = daemon::past(trace, false, own.map(|(_, ticket)| ticket.clone()));
        let name = format!("action '{}' of jail '{}'", trace.layer.action, trace.layer.jail);
        match past.map(|past| clear(trace, &past, clock)) {
            Some(None) => count += 1,
            Some(Some(error)) => errors.push(format!("{name} was not undone whole: {error}")),
            None => errors.push(format!("{name}: its commands cannot be understood any more")),
        }
    }
    (count, errors)
}

/// The first thing that went wrong, if something did.
fn clear(trace: &Trace, past: &Past, clock: &Running) -> Option<String> {
    let mut catalogue = Catalogue::default();
    let templates = ShellLayer::commands_of(past, &mut catalogue);
    let known = catalogue
        .templates()
        .into_iter()
        .map(|template| (template.id, template));
    let (said, heard) = channel();
    let alone = Alone {
        clock: clock.clone(),
        said,
    };
    let mut layer = ShellLayer::new(Box::new(Here(known.collect())), Box::new(alone));
    layer.inherit(clock.now().steady, &trace.layer, past, templates);
    heard.try_iter().next()
}

/// Runs commands in this process.
struct Here(BTreeMap<TemplateId, Template>);

impl Run for Here {
    fn run(&mut self, template: TemplateId, values: &Values) -> Ran {
        match self.0.get(&template) {
            Some(template) => {
                let timeout = Duration::from_millis(template.timeout_ms);
                runner::directly(render(&template.script, values), timeout)
            }
            None => Ran::nothing(Outcome::Refused("the command is not known".to_owned())),
        }
    }

    fn batch(&mut self, _: Vec<Item>) -> Ran {
        Ran::nothing(Outcome::Refused("commands are run one by one here".to_owned()))
    }
}

/// There is nothing around but the clock.
struct Alone {
    clock: Running,
    said: Sender<String>,
}

impl Surroundings for Alone {
    fn clock(&mut self, now: Timestamp) -> Clock {
        Clock {
            steady: now,
            wall: self.clock.now().to_wall(now),
        }
    }

    fn jail(&mut self, jail: &str) -> JailFacts {
        JailFacts {
            name: jail.to_owned(),
            ..JailFacts::default()
        }
    }

    fn fetch(&mut self, _: &BTreeSet<Need>, _: &str, _: Option<&Ticket>) -> Fetched {
        Fetched::default()
    }

    fn log(&mut self, line: Line) {
        if matches!(line.level, Level::Error | Level::Critical) {
            // The receiver lives as long as the layer.
            let _ = self.said.send(line.text);
        }
    }
}

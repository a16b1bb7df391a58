//! `flush`: everybody is freed, whether a daemon runs or not (invariant 11).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::ledger::Entry;
use portcullis_core::wire::Verb;

use super::banning::report;
use super::failure::print_line;
use super::status::print;
use super::{Ask, Run, call, exit, undo};
use crate::control::answer::{Done, Failed};
use crate::enforce::nft;
use crate::place::Places;
use crate::store::holder::holder;
use crate::store::{Place, Running, Settings, Store};

/// Has the daemon free everybody; without one, empties the kernel and forgets the bans that are kept, or with
/// `until_start` leaves them to the next start, as `stop` does.
pub(crate) fn flush(state: Option<PathBuf>, until_start: bool, ask: &Ask) -> ExitCode {
    if !matches!(call::text(&ask.place, &Verb::ping()), Err(call::Error::NoDaemon { .. })) {
        return report(ask, &Verb::Flush, "freed");
    }
    let places = Places::of(&Run::beside(&ask.place, state));
    let (mut notes, mut errors) = (vec!["no daemon runs".to_owned()], Vec::new());
    match nft::flush_everything(nft::TABLE) {
        Ok(true) => notes.push("the table with all its bans is gone from the kernel".into()),
        Ok(false) => notes.push("the kernel holds nothing of us".into()),
        Err(error) => errors.push(format!("the kernel was not emptied: {error}")),
    }
    if places.books().exists() {
        let text = "what of ours is in the cloud's rules stays until the next start, or 'portcullis gcp flush'";
        notes.push(text.to_owned());
    }
    let count = forget(places.kept_database(), until_start, &mut notes, &mut errors).unwrap_or_else(|error| {
        errors.push(error);
        0
    });
    if !until_start {
        notes.push(format!("{count} kept bans are forgotten"));
    }
    tell(ask.json, count, notes, &errors)
}

/// What came of it without a daemon; both parts, where only half could be done.
#[derive(serde::Serialize)]
struct Flushed {
    #[serde(flatten)]
    done: Done,
    #[serde(flatten)]
    failed: Option<Failed>,
}

fn tell(json: bool, count: usize, notes: Vec<String>, errors: &[String]) -> ExitCode {
    for error in errors {
        eprintln!("portcullis: {error}");
    }
    let failed = (!errors.is_empty()).then(|| Failed {
        error: errors.join("; "),
        exit: exit::REFUSED,
    });
    if json {
        print_line(&Flushed {
            done: Done { count, notes },
            failed,
        });
    } else {
        print(&format!("{}\n", notes.join("; ")));
    }
    ExitCode::from(if errors.is_empty() { exit::DONE } else { exit::REFUSED })
}

/// Has shell actions undo what they did, and lifts all kept bans, so that the next start restores none. The database of
/// a daemon that runs elsewhere is left alone.
fn forget(place: Place, until_start: bool, notes: &mut Vec<String>, errors: &mut Vec<String>) -> Result<usize, String> {
    let Some(database) = place.path().filter(|path| path.exists()) else {
        return Ok(0);
    };
    let wrap =
        |error: crate::store::Error| format!("kept bans are not forgotten, the next start restores them: {error}");
    if let Some(who) = holder(database) {
        let shown = database.display();
        return Err(format!(
            "kept bans are not forgotten: {shown} is in use by {who}; give the --socket it listens on"
        ));
    }
    let wall = Running::fresh().now().wall;
    let (mut store, _) = Store::open(place, Settings::default(), wall).map_err(wrap)?;
    let saved = store.load().map_err(wrap)?;
    let traces = store.traces().unwrap_or_else(|error| {
        errors.push(format!("what shell actions did is not undone: {error}"));
        Vec::new()
    });
    let (undone, failed) = undo::undo(&traces, &saved, store.running());
    if undone > 0 {
        notes.push(format!("{undone} shell action(s) were flushed and stopped"));
    }
    // What could not be undone is tried again by the next start.
    if failed.is_empty() {
        let layers: Vec<_> = traces.into_iter().map(|trace| trace.layer).collect();
        store.unmark(&layers).map_err(wrap)?;
    }
    errors.extend(failed);
    if until_start {
        notes.push("the next start bans again".to_owned());
        return store.close().map(|()| 0).map_err(wrap);
    }
    let bans: Vec<_> = saved.bans.into_iter().chain(saved.adopted).collect();
    let jails: BTreeSet<_> = bans.iter().map(|(jail, _)| jail.clone()).collect();
    let counters = bans.iter().map(|(jail, ticket)| Entry::Count {
        jail: jail.clone(),
        id: ticket.id.clone(),
        count: None,
    });
    let mut entries: Vec<Entry> = counters.collect();
    entries.extend(jails.into_iter().map(|jail| Entry::Empty { jail }));
    let clock = store.running().now();
    store.commit(clock, &entries).map_err(wrap)?;
    store.close().map_err(wrap)?;
    Ok(bans.len())
}

//! The output of programs, and standard input, as logs.
//!
//! In goes which of them are wanted, and who gets the lines; out come the same [`Report`]s as of files. The runner
//! starts the programs; jails that name the same share one. A program outlives the groups that read it: while they are
//! rebuilt it waits, so that a reload neither starts a second one nor loses a line. What was printed and not read when
//! the daemon dies is gone, because there is no place to go back to.

mod complaints;
mod teller;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use portcullis_core::config::plan::LogPath;
use portcullis_core::ledger::Mark;
use portcullis_core::time::{Number, Timestamp};
use rustix::event::{EventfdFlags, eventfd};

use super::Report;
use super::journal::number_of;
use crate::runner::{Catalogue, Lane, Link, TemplateId};
use teller::{Spring, Teller};

/// A mark of such a log: when the newest failure was that was counted, how many there were of that moment, and in which
/// life of the program. There is no place in it.
pub(crate) fn mark(path: &str, (newest, count): (Timestamp, u64), life: u64) -> Mark {
    Mark {
        device: life,
        inode: number_of(path),
        offset: count,
        head: String::new(),
        tail: String::new(),
        read_at: newest,
    }
}

/// Who gets the reports of one log.
#[derive(Default)]
struct Seat {
    to: Option<SyncSender<Report>>,
    wide: bool,
    /// Grows with each new receiver
    turn: u64,
}

/// What a log's thread shares with whoever wants its lines.
struct Shared {
    seat: Mutex<Seat>,
    seated: Condvar,
    is_over: AtomicBool,
    wake: OwnedFd,
}

impl Shared {
    fn new() -> io::Result<Arc<Shared>> {
        Ok(Arc::new(Shared {
            seat: Mutex::default(),
            seated: Condvar::new(),
            is_over: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        }))
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn take(&self, to: Option<(SyncSender<Report>, bool)>) {
        let mut seat = self.seat();
        seat.turn += u64::from(to.is_some());
        (seat.to, seat.wide) = to.map_or((None, false), |(to, wide)| (Some(to), wide));
        drop(seat);
        self.rouse();
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.rouse();
    }

    fn rouse(&self) {
        self.seated.notify_all();
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// A log at work. Dropping it ends its program.
struct Output {
    shared: Arc<Shared>,
    template: Option<TemplateId>,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// All logs of these kinds.
pub(crate) struct Outputs {
    link: Link,
    catalogue: Catalogue,
    running: BTreeMap<Arc<str>, Output>,
}

impl Outputs {
    /// None yet.
    pub(crate) fn new(link: Link) -> Self {
        Outputs {
            link,
            catalogue: Catalogue::default(),
            running: BTreeMap::new(),
        }
    }

    /// Reads a log for this receiver from now on; its program is started where it does not run. `wide` is as
    /// [`super::Follow::wide`], `one_by_one` whether only one line is to be given out at a time, at present.
    ///
    /// # Errors
    /// When the kernel gives no thread or descriptor.
    pub(crate) fn give(
        &mut self,
        path: &Arc<str>,
        (to, wide): (SyncSender<Report>, bool),
        one_by_one: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<()> {
        if let Some(output) = self.running.get(path) {
            output.shared.take(Some((to, wide)));
            return Ok(());
        }
        let shared = Shared::new()?;
        shared.take(Some((to, wide)));
        let template = LogPath::program(path).map(|script| self.catalogue.add(script, Number::Int(0)));
        if template.is_some() {
            // Where the runner is gone, so is this process in a moment.
            let _ = self.link.learn(Lane::Logs, &self.catalogue);
        }
        let spring = template.map_or(Spring::Input, Spring::Program);
        let teller = Teller::new(
            (self.link.clone(), Arc::clone(&shared)),
            (Arc::clone(path), spring),
            Box::new(one_by_one),
        );
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || teller.run())?;
        self.running.insert(Arc::clone(path), Output { shared, template });
        Ok(())
    }

    /// Nobody gets what a log has for now; it is not read, and its program waits.
    pub(crate) fn hold(&self, path: &str) {
        if let Some(output) = self.running.get(path) {
            output.shared.take(None);
        }
    }

    /// Ends all logs but these.
    pub(crate) fn keep(&mut self, wanted: &BTreeSet<Arc<str>>) {
        let before = self.running.len();
        self.running.retain(|path, _| wanted.contains(path));
        if self.running.len() == before {
            return;
        }
        let used: BTreeSet<TemplateId> = self.running.values().filter_map(|output| output.template).collect();
        self.catalogue.keep(|template| used.contains(&template));
        let _ = self.link.learn(Lane::Logs, &self.catalogue);
    }
}

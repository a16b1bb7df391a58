//! The journal as a log: entries of systemd's journal, each as the line that Fail2Ban makes of it.
//!
//! In goes a [`Reading`](Order): which journal, from where, what all its jails together want of it; out come the same
//! [`Report`]s as of files. Entries are printed by a program that the runner starts ([`crate::runner`]); here its output
//! is taken apart, and it is started again, behind the last entry, whenever it ends. Its end is what a journal that
//! rotates, or loses its oldest files, may bring about, and nothing is lost by it. While the receiver is full nothing is
//! read, and the program waits: the journal keeps the entries.

mod entry;
mod export;
mod matches;
mod printer;
mod past;
mod spec;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

use super::Report;
use crate::runner::{Begin, Excerpt, Link};

pub(crate) use entry::Entry;
pub(crate) use export::{Damage, Export};
pub(crate) use matches::Matches;
pub(crate) use past::{Past, begin};
pub(crate) use printer::{mark, number_of};
pub(crate) use spec::{JOURNAL, excerpt, is_journal, name};

/// An order to read one journal.
pub(crate) struct Order {
    /// Its name, as [`name`] has it
    pub(crate) path: Arc<str>,
    /// Where to begin
    pub(crate) begin: Begin,
    /// What its jails want of it
    pub(crate) matches: Vec<Matches>,
    /// Who gets the reports. While it is full nothing is read; when the other end is dropped, this ends.
    pub(crate) to: SyncSender<Report>,
    /// Whether only one entry is to be given out at a time, at present
    pub(crate) one_by_one: Box<dyn Fn() -> bool + Send>,
}

/// A journal that is being read. Dropping it ends that; what was sent before stays in its channel.
pub(crate) struct Journal {
    stop: Arc<Stop>,
}

/// How the thread is told to end.
struct Stop {
    is_over: AtomicBool,
    wake: OwnedFd,
}

impl Stop {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl Journal {
    /// Reads a journal from now on.
    ///
    /// # Errors
    /// When the kernel gives no thread or descriptor.
    pub(crate) fn read(order: Order, link: Link) -> io::Result<Journal> {
        let stop = Arc::new(Stop {
            is_over: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let (path, one_by_one) = (order.path, order.one_by_one);
        let printer = printer::Printer::new(link, Arc::clone(&stop), (path, order.to), one_by_one);
        let (begin, all) = (order.begin, order.matches);
        thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let name = printer.path();
            match excerpt(&name) {
                Ok(excerpt) => printer.run(wanted(excerpt, &all, begin)),
                Err(wrong) => printer.give_up(&wrong.to_string()),
            }
        })?;
        Ok(Journal { stop })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop.is_over.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.stop.wake, &1u64.to_ne_bytes());
    }
}

/// What the program is to print, so that each of these finds its own in it.
pub(crate) fn wanted(excerpt: Excerpt, all: &[Matches], begin: Begin) -> Excerpt {
    let fields: BTreeSet<&str> = all
        .iter()
        .flat_map(Matches::fields)
        .chain(entry::FIELDS.iter().copied())
        .collect();
    Excerpt {
        matches: Matches::union(all.iter()),
        fields: fields.into_iter().map(str::to_owned).collect(),
        begin,
        ..excerpt
    }
}

/// A reader of what the program prints for an excerpt.
pub(crate) fn export(excerpt: &Excerpt) -> Export {
    Export::new(excerpt.fields.iter().map(|field| field.as_str().into()).collect())
}

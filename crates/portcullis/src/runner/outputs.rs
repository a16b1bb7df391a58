//! Programs that print for the daemon until they are told to stop: of the journal, or of a log of their own.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::execute::Running;
use super::lane::Mailbox;
use super::wire::{Answer, Outcome, Ran};

/// What runs for one daemon.
#[derive(Clone, Default)]
pub(super) struct Outputs {
    running: Arc<Mutex<BTreeMap<u64, Arc<Running>>>>,
}

impl Outputs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one, in a thread of its own; it is answered in any case, and once more when it has ended.
    pub(super) fn start(
        &self,
        number: u64,
        mailbox: &Arc<Mailbox>,
        run: impl FnOnce(&Mailbox, &Running) -> io::Result<Ran> + Send + 'static,
    ) {
        let running = Arc::new(Running::default());
        self.lock().insert(number, Arc::clone(&running));
        let (outputs, to) = (self.clone(), Arc::clone(mailbox));
        let thread = thread::Builder::new().name("output".to_owned()).spawn(move || {
            let ran = run(&to, &running).unwrap_or_else(failed);
            outputs.lock().remove(&number);
            to.send(&Answer::Hushed { number, ran });
        });
        if let Err(error) = thread {
            self.lock().remove(&number);
            let ran = failed(error);
            mailbox.send(&Answer::Hushed { number, ran });
        }
    }

    /// Ends one. It would end by itself, too, as soon as nobody can read what it prints.
    pub(super) fn stop(&self, number: u64) {
        if let Some(running) = self.lock().get(&number) {
            running.kill();
        }
    }

    /// Ends all.
    pub(super) fn stop_all(&self) {
        self.lock().values().for_each(|running| running.kill());
    }

    /// Whether none is left.
    pub(super) fn are_over(&self) -> bool {
        self.lock().is_empty()
    }

    /// Waits until none is left, at most until then.
    pub(super) fn wait(&self, until: Instant) {
        while !self.are_over() && Instant::now() < until {
            self.stop_all();
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn failed(error: io::Error) -> Ran {
    Ran::nothing(match error.kind() {
        ErrorKind::InvalidInput => Outcome::Refused(error.to_string()),
        _ => Outcome::CouldNotStart(error.to_string()),
    })
}

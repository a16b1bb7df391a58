//! Lanes: in each one command at a time, in the order of the requests.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::execute::{Running, Task, execute};
use super::passing;
use super::wire::{self, Answer, Outcome, Ran};

/// So many commands may wait in a lane; the daemon waits for its commands, so an honest one has few.
const MAX_WAITING: usize = 1024;

/// A daemon that does not read its answers for so long is as good as gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where one daemon gets its answers. It outlives the daemon; what is sent then is dropped.
pub(super) struct Mailbox {
    stream: Mutex<UnixStream>,
    gone: AtomicBool,
}

impl Mailbox {
    pub(super) fn new(stream: UnixStream) -> io::Result<Arc<Self>> {
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Arc::new(Mailbox {
            stream: Mutex::new(stream),
            gone: AtomicBool::new(false),
        }))
    }

    pub(super) fn send(&self, answer: &Answer) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // After half a frame nothing more can be said.
        if !self.is_gone() && wire::send(&mut *stream, answer).is_err() {
            self.close();
        }
    }

    /// Sends an answer together with descriptors.
    pub(super) fn send_with(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut to = passing::With::new(&stream, descriptors);
        if !self.is_gone() && wire::send(&mut to, answer).is_err() {
            self.close();
        }
    }

    pub(super) fn close(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// A command that waits for its turn.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) task: Task,
    pub(super) timeout: Duration,
    pub(super) mailbox: Arc<Mailbox>,
}

/// One lane with its thread.
pub(super) struct Queue {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    running: Arc<Running>,
    closed: Arc<AtomicBool>,
}

impl Queue {
    /// Starts the lane's thread.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let this = Queue {
            jobs,
            waiting: Arc::default(),
            running: Arc::default(),
            closed: Arc::default(),
        };
        let (waiting, running, closed) = (this.waiting.clone(), this.running.clone(), this.closed.clone());
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&queue, &waiting, &running, &closed))?;
        Ok(this)
    }

    /// Puts a command at the end of the lane; it is answered in any case.
    pub(super) fn push(&self, job: Job) {
        let refuse = |number, mailbox: &Mailbox, why: &str| {
            let ran = Ran::nothing(Outcome::Refused(why.to_owned()));
            mailbox.send(&Answer::Ran { number, ran });
        };
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            refuse(job.number, &job.mailbox, "too many commands are waiting");
        } else if let Err(back) = self.jobs.send(job) {
            refuse(back.0.number, &back.0.mailbox, "the lane has ended");
        }
    }

    /// How many commands it has, the running one included.
    pub(super) fn load(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes up no further command; gives the running one some time and then kills it.
    pub(super) fn close(&self, patience: Duration) {
        self.closed.store(true, Ordering::Release);
        let start = Instant::now();
        while self.running.is_busy() && start.elapsed() < patience {
            thread::sleep(Duration::from_millis(10));
        }
        self.running.kill();
    }
}

fn work(queue: &Receiver<Job>, waiting: &AtomicUsize, running: &Running, closed: &AtomicBool) {
    for job in queue {
        // What a dead daemon asked for, the next one asks for again if it is still right.
        if !job.mailbox.is_gone() && !closed.load(Ordering::Acquire) {
            let ran = execute(&job.task, job.timeout, running);
            job.mailbox.send(&Answer::Ran {
                number: job.number,
                ran,
            });
        }
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

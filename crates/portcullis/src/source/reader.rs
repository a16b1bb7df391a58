//! The one thread that reads all log files.
//!
//! It sleeps until inotify, a command, a time-out or the slow round over everything wakes it. Paths whose
//! receivers are full wait by themselves and are tried again shortly; the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::file::Scratch;
use super::follower::{Follower, Progress};
use super::turns::Turns;
use super::watch::Watch;
use super::{Follow, Limits};

/// How soon a path is tried again whose receiver was full.
const BLOCKED: Duration = Duration::from_millis(1);

/// An order to the thread.
#[derive(Debug)]
enum Command {
    Add(Follow),
    Remove(Arc<str>),
    Limits(Limits),
}

/// The thread, to whoever started it. Dropping it stops the thread and waits for it, at most for one chunk.
pub(crate) struct Reader {
    commands: Option<Sender<Command>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the kernel gives no thread, event or inotify descriptor.
    pub(crate) fn spawn(limits: Limits) -> io::Result<Reader> {
        let (commands, orders) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut rounds = Rounds {
            orders,
            wake: wake.clone(),
            watch: Watch::new()?,
            followers: BTreeMap::new(),
            due: BTreeMap::new(),
            turns: Turns::new(),
            limits,
            scratch: Scratch::new(),
        };
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let thread = thread.spawn(move || rounds.run())?;
        Ok(Reader {
            commands: Some(commands),
            wake,
            thread: Some(thread),
        })
    }

    /// Follows a path from now on.
    pub(crate) fn add(&self, follow: Follow) {
        self.tell(Command::Add(follow));
    }

    /// Follows a path no longer. What was sent before stays in its channel.
    pub(crate) fn remove(&self, path: Arc<str>) {
        self.tell(Command::Remove(path));
    }

    /// Changes the caps for what is read from now on.
    pub(crate) fn limit(&self, limits: Limits) {
        self.tell(Command::Limits(limits));
    }

    fn tell(&self, command: Command) {
        // A thread that is gone has nothing left to follow.
        let _ = self.commands.as_ref().map(|commands| commands.send(command));
        self.wake();
    }

    fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Rounds {
    orders: Receiver<Command>,
    wake: Arc<OwnedFd>,
    watch: Watch,
    followers: BTreeMap<Arc<str>, Follower>,
    /// The paths to be looked at, and when.
    due: BTreeMap<Arc<str>, Instant>,
    turns: Turns,
    limits: Limits,
    scratch: Scratch,
}

impl Rounds {
    fn run(&mut self) {
        let mut round = Instant::now() + self.limits.poll;
        while self.obey() {
            let now = Instant::now();
            if now >= round {
                self.look_at_all(now);
                round = now + self.limits.poll;
            }
            self.step_all(now);
            let until = self.awake().map(|(_, due)| *due).min();
            let until = until.map_or(round, |due| round.min(due));
            self.sleep(until);
        }
    }

    /// Takes all commands. Returns whether to go on.
    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Command::Add(follow)) => {
                    let path = follow.path.clone();
                    self.turns.leave(&path);
                    self.due.insert(path.clone(), Instant::now());
                    self.followers.insert(path, Follower::new(follow));
                }
                Ok(Command::Remove(path)) => self.remove(&path),
                Ok(Command::Limits(limits)) => self.limits = limits,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn remove(&mut self, path: &Arc<str>) {
        self.followers.remove(path);
        self.due.remove(path);
        self.turns.leave(path);
        self.watch.remove(path);
    }

    fn look_at_all(&mut self, now: Instant) {
        for (path, follower) in &mut self.followers {
            follower.moved = true;
            self.due.insert(path.clone(), now);
        }
    }

    /// The paths to be looked at, and when, but for those that wait for their turn.
    fn awake(&self) -> impl Iterator<Item = (&Arc<str>, &Instant)> {
        self.due.iter().filter(|(path, _)| !self.turns.must_wait(path))
    }

    /// One step for each path that is due: no file keeps the others waiting for more than a chunk.
    fn step_all(&mut self, now: Instant) {
        let due: Vec<Arc<str>> = self
            .awake()
            .filter(|(_, at)| **at <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            self.due.remove(&path);
            let Some(follower) = self.followers.get_mut(&path) else {
                continue;
            };
            let step = || follower.step(&mut self.scratch, &self.limits);
            let Ok(progress) = catch_unwind(AssertUnwindSafe(step)) else {
                // Its receiver sees the channel close; the other files are read on.
                self.remove(&path);
                continue;
            };
            if follower.moved {
                follower.moved = false;
                let directories = follower.directories();
                if self.watch.cover(&path, follower.files(), &directories) {
                    self.due.insert(path.clone(), now);
                }
            }
            if follower.is_behind() {
                self.turns.enter(&path);
            } else {
                self.turns.leave(&path);
            }
            match progress {
                Progress::More => self.at(path, now),
                Progress::Idle(Some(at)) => self.at(path, at),
                Progress::Idle(None) => {}
                Progress::Blocked => self.at(path, now + BLOCKED),
                Progress::Gone => self.remove(&path),
            }
        }
        for path in self.turns.call(now) {
            self.at(path, now);
        }
    }

    fn at(&mut self, path: Arc<str>, at: Instant) {
        let due = self.due.entry(path).or_insert(at);
        *due = at.min(*due);
    }

    /// Waits for events until `until`, and makes the paths that they concern due.
    fn sleep(&mut self, until: Instant) {
        let length = until.saturating_duration_since(Instant::now());
        let length = Timespec::try_from(length).ok();
        let mut sources = [
            PollFd::new(&self.watch.events, PollFlags::IN),
            PollFd::new(&*self.wake, PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        if poll(&mut sources, length.as_ref()).is_err() {
            return;
        }
        let [events, woken] = sources.map(|source| !source.revents().is_empty());
        if woken {
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
        if events {
            let hit = self.watch.take();
            let all = || self.followers.keys().cloned().collect::<BTreeSet<_>>();
            let now = Instant::now();
            for path in hit.unwrap_or_else(all) {
                self.at(path, now);
            }
        }
    }
}

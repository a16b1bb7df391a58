//! Matching groups: jails that share a log file, read together on one thread.
//!
//! A group takes the reader's lines, hands each to every jail that follows the file, and sends the failures to the
//! engine together with how far it came, so that both are kept in one transaction. A line that breaks the matcher is
//! recorded and skipped; the jails go on (invariant 8).

mod careful;
mod encoding;
mod jail;
mod joiner;
mod progress;
mod seen;
#[cfg(test)]
mod tests;

pub(crate) use careful::Careful;
pub(crate) use encoding::{LogEncoding, preferred};
pub(crate) use jail::{Reading, Unseen};
pub(crate) use seen::Seen;

use jail::{Found, Odd};

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_core::config::plan::LogPath;
use portcullis_core::engine::Batch;
use portcullis_core::filter::Prefilter;
use portcullis_core::ledger::Mark;
use portcullis_core::time::{Clock, Seconds, Timestamp};

use crate::source::{Chunk, From, Report, journal};
use crate::store::Running;

/// Chunks that wait for a group. A full channel stops the reader; the file keeps the lines.
pub(crate) const WAITING: usize = 2;
/// How long a group waits before it offers a batch to a busy engine again.
const BUSY: Duration = Duration::from_millis(1);

/// A skipped line is behind us for good once the engine has kept the position, which it may put off for a second.
const KEPT: Duration = Duration::from_millis(1300);

/// Fail2Ban warns so often of a file that is not in the encoding of its jail.
const DAILY: Seconds = Seconds::new(86_400);

/// What a group tells the daemon.
#[derive(Debug)]
pub(crate) enum News {
    /// Failures, and how far the files were read.
    Batch(Batch),
    /// A file's state changed.
    File {
        path: Arc<str>,
        state: String,
        /// Whether this is worth a line in the log
        loud: bool,
    },
    /// Something to be said in a jail's name.
    Said {
        logger: &'static str,
        warning: bool,
        text: String,
    },
    /// Everything sent before is to be done and kept; then this is dropped.
    Through(Sender<()>),
    /// A count to be shown in a jail's status.
    Remark {
        jail: Arc<str>,
        kind: &'static str,
        text: String,
    },
}

/// The thread of one group.
pub(crate) struct Group {
    /// Where the reader delivers
    pub(crate) to: SyncSender<Report>,
    thread: JoinHandle<Vec<Reading>>,
}

impl News {
    /// How many failures it tells of.
    pub(crate) fn failures(&self) -> usize {
        match self {
            News::Batch(batch) => batch.failures.len(),
            _ => 0,
        }
    }

    /// No news.
    pub(crate) fn nothing() -> News {
        News::Remark {
            jail: "".into(),
            kind: "",
            text: String::new(),
        }
    }
}

impl Group {
    /// Starts the thread. It ends, and gives the jails back, when every sender of reports is gone.
    pub(crate) fn spawn(
        jails: Vec<Reading>,
        clock: Running,
        careful: Option<Arc<Careful>>,
        out: impl Fn(News) -> Result<(), TrySendError<News>> + Send + 'static,
    ) -> std::io::Result<Group> {
        let (to, reports) = sync_channel(WAITING);
        let worker = Worker {
            jails,
            clock,
            careful,
            warned: BTreeMap::new(),
            prefilter: None,
            out,
        };
        let thread = thread::Builder::new()
            .name("matching".into())
            .spawn(move || worker.run(&reports))?;
        Ok(Group { to, thread })
    }

    /// Lets the thread finish what it was given.
    pub(crate) fn close(self) -> Closing {
        Closing { thread: self.thread }
    }
}

/// A group that works off the rest.
pub(crate) struct Closing {
    thread: JoinHandle<Vec<Reading>>,
}

impl Closing {
    /// Whether the rest is done.
    pub(crate) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// The jails, as far as they came.
    pub(crate) fn jails(self) -> Vec<Reading> {
        self.thread.join().unwrap_or_default()
    }
}

struct Worker<F> {
    jails: Vec<Reading>,
    clock: Running,
    careful: Option<Arc<Careful>>,
    /// Until when nothing more is said of a file's encoding
    warned: BTreeMap<Arc<str>, Timestamp>,
    /// Of all jails and what is looked for beside, in their order, once there is something to read
    prefilter: Option<Prefilter>,
    out: F,
}

impl<F: Fn(News) -> Result<(), TrySendError<News>>> Worker<F> {
    fn run(mut self, reports: &Receiver<Report>) -> Vec<Reading> {
        while let Ok(report) = reports.recv() {
            match report {
                Report::Chunk(chunk) => self.read(&chunk),
                Report::Missing { path } => self.file(path, "missing: waiting for it to appear".into(), true),
                Report::Appeared { path } => self.file(path, "reading".into(), true),
                Report::Rotated { path, reason, complete } => {
                    let lost = if complete {
                        ""
                    } else {
                        "; lines written since the last read are gone"
                    };
                    self.said_of(
                        &path,
                        format!("Log rotation detected for {path}, reason: {reason}{lost}"),
                    );
                }
                Report::Interrupted { path, why } => self.said_of(&path, format!("{path}: {why}; it is started again")),
                Report::Complaint { path, text } => {
                    self.said_of(&path, format!("{path}: it says on its error output: {text}"));
                }
                Report::Unreadable { path, error } => self.file(path, format!("cannot be read: {error}"), true),
            }
        }
        self.jails
    }

    fn read(&mut self, chunk: &Chunk) {
        let careful = self.careful.clone().filter(|careful| !careful.is_over());
        let Some(careful) = careful.filter(|_| !chunk.lines.is_empty()) else {
            let (batch, news) = self.match_lines(chunk, |_, _| false);
            return self.tell(batch, news);
        };
        let hand = careful.hand();
        let deadly = |end, jail: &str| careful.take(&hand, chunk, end, jail);
        let (mut batch, mut news) = self.match_lines(chunk, deadly);
        batch.at_once = true;
        let end = chunk.lines.last().map_or(0, |line| line.end);
        if !batch.failures.is_empty() && deadly(end, "") {
            batch.failures.clear();
            for jail in self.jails.iter_mut().filter(|jail| jail.follows(&chunk.path)) {
                jail.skip(chunk, end, &mut news);
            }
        }
        let skipped = news
            .iter()
            .any(|item| matches!(item, News::Remark { kind: "deadly", .. }));
        self.tell(batch, news);
        let (through, is_through) = channel();
        self.send(News::Through(through));
        // The other end is dropped, never used.
        let _ = is_through.recv();
        if skipped {
            thread::sleep(KEPT);
        }
        careful.put_down(&hand);
    }

    /// Hands the lines to the jails, but for those that `deadly` names.
    fn match_lines(&mut self, chunk: &Chunk, deadly: impl Fn(u64, &str) -> bool) -> (Batch, Vec<News>) {
        let clock = self.clock.now();
        let mut found = Found::default();
        let jails = &self.jails;
        let prefilter = self
            .prefilter
            .get_or_insert_with(|| Prefilter::new(jails.iter().flat_map(Reading::filters)));
        let mut first = 0;
        let numbered = self.jails.iter_mut().map(|jail| {
            let own = first;
            first += jail.filters().count();
            (own, jail)
        });
        let mut readers: Vec<(usize, &mut Reading)> = numbered.filter(|(_, jail)| jail.follows(&chunk.path)).collect();
        let (text, lines) = chunk.lines.placed();
        prefilter.begin();
        for (range, line) in lines {
            // The line of an entry is made by each jail for itself.
            if line.entry.is_none() {
                prefilter.look_in(text, range);
            }
            for (first, jail) in &mut readers {
                if deadly(line.end, jail.name()) {
                    jail.skip(chunk, line.end, &mut found.news);
                } else {
                    jail.line(clock, (chunk, line), (&mut *prefilter, *first), &mut found);
                }
            }
        }
        let (mut reads, mut sessions) = (Vec::new(), Vec::new());
        // What a stream gave it does not give again; a journal says once that its end was reached.
        let is_new = journal::is_journal(&chunk.path) && readers.iter().any(|(_, jail)| jail.is_operating(&chunk.path));
        let at_once = chunk.caught_up || is_new || LogPath::is_stream(&chunk.path);
        for (_, jail) in readers {
            reads.extend(jail.reached(chunk, &mut found.news));
            sessions.extend(jail.sessions());
            jail.tell_seen(clock.wall);
            jail.remarks(&mut found.news);
        }
        if let Some(odd) = &found.odd {
            self.warn(clock, &chunk.path, odd, &mut found.news);
        }
        let failures = found.failures;
        let batch = Batch {
            clock,
            failures,
            reads,
            sessions,
            at_once,
        };
        (batch, found.news)
    }

    /// Warns of bytes that are no characters, in Fail2Ban's words.
    fn warn(&mut self, clock: Clock, path: &Arc<str>, odd: &Odd, news: &mut Vec<News>) {
        if self.warned.get(path).is_some_and(|until| clock.steady < *until) {
            return;
        }
        self.warned.insert(Arc::clone(path), clock.steady + DAILY);
        for text in encoding::warning(path, &odd.encoding, &odd.line) {
            news.push(News::Said {
                logger: "fail2ban.filter",
                warning: true,
                text,
            });
        }
    }

    fn tell(&self, batch: Batch, news: Vec<News>) {
        if !batch.reads.is_empty() || !batch.failures.is_empty() {
            self.send(News::Batch(batch));
        }
        for item in news {
            self.send(item);
        }
    }

    fn file(&self, path: Arc<str>, state: String, loud: bool) {
        self.send(News::File { path, state, loud });
    }

    fn said_of(&self, path: &str, text: String) {
        if self.jails.iter().any(|jail| jail.follows(path)) {
            self.send(News::Said {
                logger: "fail2ban.filter",
                warning: false,
                text,
            });
        }
    }

    /// Waits for a busy engine: nothing is dropped.
    fn send(&self, mut news: News) {
        loop {
            match (self.out)(news) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => news = back,
            }
            thread::sleep(BUSY);
        }
    }
}

/// Where to begin a file that several jails read: so early that each gets what it has not had. A jail skips what it
/// has read before.
pub(crate) fn begin(path: &str, marks: Vec<Option<Mark>>) -> From {
    let file = |mark: &Mark| (mark.device, mark.inode);
    let present = fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let everybody_was_here = marks.iter().all(Option::is_some);
    let known: Vec<Mark> = marks.into_iter().flatten().collect();
    let elsewhere = known.iter().filter(|mark| Some(file(mark)) != present);
    let oldest = elsewhere.min_by_key(|mark| mark.read_at).map(file);
    // A jail that began behind the others has read later what they read before, so within a file the place tells.
    let within = |begin| {
        known
            .iter()
            .filter(|mark| file(mark) == begin)
            .min_by_key(|mark| mark.offset)
    };
    match (oldest, present.filter(|_| everybody_was_here)) {
        (Some(begin), _) | (None, Some(begin)) => within(begin).map_or(From::Start, |mark| From::Mark(mark.clone())),
        (None, None) => From::Start,
    }
}

/// Which jails must share a thread: those that share a file, directly or through others.
pub(crate) fn groups(jails: Vec<Reading>) -> Vec<Vec<Reading>> {
    let mut groups: Vec<Vec<Reading>> = Vec::new();
    for jail in jails {
        let shares = |group: &Vec<Reading>| group.iter().any(|other| other.paths().any(|path| jail.follows(path)));
        let (mut joined, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(shares);
        groups = apart;
        let mut group: Vec<Reading> = joined.drain(..).flatten().collect();
        group.push(jail);
        groups.push(group);
    }
    groups
}

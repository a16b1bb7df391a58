//! What the two processes say to each other: JSON in frames of a length (four bytes, most significant first) and
//! as many bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// No frame is longer. The longest honest ones are a ban's values (some hundred KiB) and the templates of all
/// jails together.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// A template that the runner learned. Within a daemon's life a number never means two templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TemplateId(pub(crate) u32);

/// A script in which only the tags of the moment are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    /// How it is asked for
    pub(crate) id: TemplateId,
    /// The text, tags included
    pub(crate) script: String,
    /// How long it may run
    pub(crate) timeout_ms: u64,
}

/// So many lanes there are for actions that run beside the others; with more actions, some share one.
pub(crate) const BESIDE_MOST: u8 = 8;

/// Lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Lane {
    /// Shell actions: one after the other, because many edit the same files (contract §5.3)
    Actions,
    /// Shell actions that need not wait for others (`parallel = yes`), below [`BESIDE_MOST`]
    Beside(u8),
    /// `ignorecommand`: a few at a time, so that one that hangs does not hold up all jails
    Ignore,
    /// `logcommand`: programs whose output is a log. They run until nobody wants it any more, all at a time
    Logs,
}

/// From the daemon to the runner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// These are the templates of a lane from now on, and no others.
    Learn {
        /// Which lane's
        lane: Lane,
        /// All of them
        templates: Vec<Template>,
    },
    /// Run a template with these values.
    Run {
        /// Comes back in the answer
        number: u64,
        /// Which template
        template: TemplateId,
        /// Values of tags
        tags: BTreeMap<String, String>,
        /// Values of captured fields
        fields: BTreeMap<String, String>,
        /// Where
        lane: Lane,
    },
    /// Print entries of the journal. The answer brings the end of a pipe to read them from.
    Journal {
        /// Comes back in the answers
        number: u64,
        /// Which entries
        excerpt: Excerpt,
    },
    /// Start a program whose output is a log, learned for [`Lane::Logs`]. The answer brings the ends of two pipes.
    Program {
        /// Comes back in the answers
        number: u64,
        /// Which
        template: TemplateId,
    },
    /// Hand over standard input. The answer brings it.
    Input {
        /// Comes back in the answers
        number: u64,
    },
    /// What that order brings is no longer wanted.
    Hush {
        /// The order's
        number: u64,
    },
    /// Run templates that are recognised as one batch of their program.
    Batch {
        /// Comes back in the answer
        number: u64,
        /// At most [`BATCH_MOST`]
        items: Vec<Item>,
        /// Where
        lane: Lane,
    },
    /// Look at other processes.
    Look {
        /// Comes back in the answer, which has a line for each finding
        number: u64,
        /// At what
        look: Look,
    },
    /// Tell systemd this, in the form of `sd_notify`: it listens to the main process alone.
    Tell {
        /// Lines of `NAME=VALUE`
        state: String,
    },
}

/// What a confined process is not told by the kernel, because it is about what others hold open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    /// Who is logged in over SSH: their addresses
    Visitors,
    /// Which other daemon has this database open: its name and number
    Holder(PathBuf),
    /// Which other processes have this file open
    Holders(PathBuf),
}

/// So many commands are put into one batch at most.
pub(crate) const BATCH_MOST: usize = 1024;

/// One command of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// Which template
    pub(crate) template: TemplateId,
    /// The address or network
    pub(crate) element: String,
    /// The ban time in seconds, where the template asks for it
    pub(crate) bantime: Option<i64>,
}

/// From the runner to the daemon.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A command has ended.
    Ran {
        /// The request's
        number: u64,
        /// What came of it
        ran: Ran,
    },
    /// The main process was sent a signal.
    Notice(Notice),
    /// Entries of the journal are printed, or standard input is there; with this frame comes the descriptor to read
    /// them from.
    Journal {
        /// The order's
        number: u64,
    },
    /// A program runs; with this frame come the descriptors of its output and of its error output.
    Program {
        /// The order's
        number: u64,
    },
    /// There will be no more of it, or it could not begin.
    Hushed {
        /// The order's
        number: u64,
        /// Why
        ran: Ran,
    },
}

/// Which entries of which journal are wanted. No word of it ever is an option of a program: each is a value behind one,
/// or a match of a form that is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Excerpt {
    /// The journal in this folder, not the machine's
    pub(crate) directory: Option<String>,
    /// The journal in these files, which may be patterns; their rotated files belong to them
    pub(crate) files: Vec<String>,
    /// The journal of this namespace
    pub(crate) namespace: Option<String>,
    /// Only what the system's services and the kernel wrote
    pub(crate) system: bool,
    /// Only what the own user wrote
    pub(crate) user: bool,
    /// Entries that match one of these groups of `FIELD=value`; all entries where there is none
    pub(crate) matches: Vec<Vec<String>>,
    /// The fields that are printed
    pub(crate) fields: Vec<String>,
    /// Where to begin
    pub(crate) begin: Begin,
    /// Whether to wait for more at the end
    pub(crate) follow: bool,
}

/// Where in the journal to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Begin {
    /// At its first entry
    #[default]
    Start,
    /// At the entry with this cursor, or where it would stand
    Cursor(String),
    /// At the first entry of this time, in microseconds since 1970
    Since(i64),
}

/// What a signal to the main process asks of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// SIGTERM, SIGINT: end, keeping the bans
    Quit,
    /// SIGHUP: read the configuration again
    Reload,
    /// SIGUSR1: open the log files again
    ReopenLogs,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ran {
    /// How it ended
    pub(crate) outcome: Outcome,
    /// The first 64 KiB of its output
    pub(crate) stdout: String,
    /// The first 64 KiB of its error output
    pub(crate) stderr: String,
    /// How long it took
    pub(crate) duration_ms: u64,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// By itself, with this code
    Exit(i32),
    /// By this signal
    Signal(i32),
    /// It was killed after its time, and ended with this signal or code as Python prints them; `None` if even
    /// that did not end it
    TimedOut(Option<i32>),
    /// It could not be started
    CouldNotStart(String),
    /// The runner does not know the template, or too many commands wait already
    Refused(String),
}

impl Ran {
    /// An outcome without a process.
    pub(crate) fn nothing(outcome: Outcome) -> Self {
        Ran {
            outcome,
            stdout: String::new(),
            stderr: String::new(),
            duration_ms: 0,
        }
    }

    /// Whether the command did what it should (contract §5.3).
    pub(crate) fn succeeded(&self) -> bool {
        self.outcome == Outcome::Exit(0)
    }
}

/// Writes one frame.
pub(super) fn send<M: Serialize>(to: &mut impl Write, message: &M) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_FRAME)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)
}

/// Reads one frame; `None` where the other side has closed between two.
pub(super) fn receive<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too long"));
    }
    let mut body = Vec::new();
    let read = from.take(length as u64).read_to_end(&mut body)?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

//! Commands to a server: sent, waited for, printed (contract §8.1, §8.5).

use std::io::{self, BufWriter, Stdout};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::exception::Exception;
use portcullis_core::value::Value;
use portcullis_core::wire::Reply;
use rustix::fs::{Access, access};

use super::Name;
use super::connection::{Connection, Patience, Trouble};
use super::options::Wish;
use super::reply::{arguments, refused, shown};
use super::voice::Voice;
use crate::matching;
use crate::observe::log::Level;
use crate::regex::Screen;

/// What a server is given to say that it is there.
pub(super) const SHORT: Duration = Duration::from_millis(100);
/// The first pause between two looks for a server; it doubles.
const FIRST_PAUSE: Duration = Duration::from_micros(6250);
/// The longest such pause at first, and after [`AT_FIRST`].
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
const AT_FIRST: Duration = Duration::from_millis(200);

/// Why something ends before its end.
pub(super) enum Break {
    /// Nothing can be printed any more
    Output(io::Error),
    /// What Python would raise, to be logged where it is caught
    Raised(String),
}

impl From<io::Error> for Break {
    fn from(error: io::Error) -> Self {
        Break::Output(error)
    }
}

/// Whether it was done, and all went well.
pub(super) type Done<T = bool> = Result<T, Break>;

/// A client at work.
pub(super) struct Session {
    pub(super) name: Name,
    /// The command line, behind the program's name
    pub(super) arguments: Vec<String>,
    pub(super) wish: Wish,
    pub(super) voice: Arc<Voice>,
    page: Screen<BufWriter<Stdout>>,
    /// Whether tables may be drawn with characters beyond ASCII
    boxes: bool,
}

impl Session {
    pub(super) fn new(name: Name, arguments: Vec<String>) -> Self {
        let out = io::stdout();
        let escape = io::IsTerminal::is_terminal(&out);
        Session {
            name,
            arguments,
            wish: Wish::default(),
            voice: Arc::new(Voice::bare()),
            page: Screen::new(BufWriter::with_capacity(1 << 16, out), escape),
            boxes: matching::preferred().eq_ignore_ascii_case("utf-8"),
        }
    }

    /// Prints a text; it may have several lines.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.page.line(text)
    }

    /// Hands on what was printed.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.page.flush()
    }

    /// Logs an error behind what was printed.
    pub(super) fn fail(&mut self, text: &str) -> Done {
        self.flush()?;
        self.voice.error(text);
        Ok(false)
    }

    /// Sends commands over one connection. `show` prints the replies; those to `echo` and `server-status` are always
    /// printed.
    pub(super) fn send(&mut self, commands: &[Vec<Value>], show: bool, patience: Patience) -> Done {
        let mut connection = None;
        let mut all_well = true;
        for command in commands {
            let name = command.first().and_then(Value::as_str).unwrap_or_default();
            if self.wish.verbose > 2 {
                let words = Value::List(command.clone()).repr();
                self.voice.say(Level::HeavyDebug, "fail2ban", &format!("CMD: {words}"));
            }
            match self.ask(&mut connection, command, patience) {
                Ok(Reply::Done(value)) if show || matches!(name, "echo" | "server-status") => {
                    self.show(command, &value)?;
                }
                Ok(Reply::Done(_)) => {}
                Ok(Reply::Refused(exception)) => {
                    all_well = false;
                    if !self.refuse(&exception, show)? {
                        return Ok(false);
                    }
                }
                Err(trouble) => {
                    self.lament(&trouble, name == "ping", show)?;
                    return Ok(false);
                }
            }
        }
        self.flush()?;
        Ok(all_well)
    }

    fn ask(
        &self,
        connection: &mut Option<Connection>,
        command: &[Value],
        patience: Patience,
    ) -> Result<Reply, Trouble> {
        match connection {
            Some(connection) => connection.ask(command),
            None => {
                let fresh = Connection::open(self.wish.setting("socket"), patience)?;
                connection.insert(fresh).ask(command)
            }
        }
    }

    fn show(&mut self, command: &[Value], value: &Value) -> Done<()> {
        let shown = shown(command, value, self.boxes);
        if let Some(trouble) = shown.trouble {
            self.flush()?;
            let say = |level, text| self.voice.say(level, "fail2ban.beautifier", text);
            say(Level::Warning, "Beautifier error. Please report the error");
            say(Level::Error, &trouble);
        }
        self.print(&shown.text)?;
        Ok(())
    }

    /// Tells of a refusal; false if that cannot be told.
    fn refuse(&mut self, exception: &Exception, show: bool) -> Done {
        self.fail(&format!("NOK: {}", arguments(exception).repr()))?;
        if !show {
            return Ok(true);
        }
        match refused(exception) {
            Ok(text) => self.print(&text).map(|()| true).map_err(Break::Output),
            Err(text) => self.fail(&text),
        }
    }

    /// Tells why there is no reply.
    fn lament(&mut self, trouble: &Trouble, is_ping: bool, show: bool) -> Done<()> {
        if !show && self.wish.verbose <= 1 {
            return Ok(());
        }
        let socket = self.wish.setting("socket").to_owned();
        let text = match trouble {
            Trouble::Odd(text) => text.clone(),
            Trouble::Unreachable(text) if !show && is_ping => {
                self.voice
                    .say(Level::HeavyDebug, "fail2ban", &format!(" -- ping failed -- {text}"));
                return Ok(());
            }
            Trouble::Unreachable(_) if !Path::new(&socket).exists() => {
                format!("Failed to access socket path: {socket}. Is fail2ban running?")
            }
            Trouble::Unreachable(_) if access(&socket, Access::WRITE_OK).is_err() => {
                format!("Permission denied to socket: {socket}, (you must be root)")
            }
            Trouble::Unreachable(text) if is_ping => text.clone(),
            Trouble::Unreachable(text) => format!("[{text}] Unable to contact server. Is it running?"),
        };
        self.fail(&text).map(drop)
    }

    /// Whether a server answers within so long.
    pub(super) fn ping(&mut self, patience: Patience) -> Done {
        let mut command: Vec<Value> = vec!["ping".into()];
        if let Patience::Until(length) = patience {
            command.push(Value::Float(length.as_secs_f64()));
        }
        self.send(&[command], false, patience)
    }

    /// Waits until a server is there, or is no more.
    ///
    /// # Errors
    /// If that takes longer than `--timeout` allows.
    pub(super) fn wait(&mut self, present: bool, given_up: impl Fn() -> bool) -> Done {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        while !given_up() {
            let is_there = Path::new(self.wish.setting("socket")).exists() && self.ping(Patience::Until(pause))?;
            if is_there == present {
                return Ok(true);
            }
            let waited = start.elapsed();
            if waited.as_secs_f64() >= self.wish.timeout {
                return Err(Break::Raised("Failed to start server".to_owned()));
            }
            let longest = if waited > AT_FIRST { PAUSES.1 } else { PAUSES.0 };
            pause = (pause * 2).min(longest);
            thread::sleep(pause);
        }
        Ok(false)
    }
}

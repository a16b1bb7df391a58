//! The programs of Fail2Ban's names, `fail2ban-client` and `fail2ban-server` (contract §8.1, §8.2, §8.5).
//!
//! In comes a command line, out go Fail2Ban's output and exit codes; complaints go to standard error in its log
//! format. The client reads configurations itself and sends them to the server as commands; it speaks to any server
//! that speaks Fail2Ban's protocol, and so do Fail2Ban's own client and server with ours.

mod connection;
mod getopt;
pub(super) mod help;
mod offline;
mod options;
mod orders;
mod pretty;
mod reply;
mod server;
mod session;
mod voice;

use std::ffi::OsString;
use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use session::{Break, Done, Session};
use voice::Voice;

/// Fail2Ban's exit code for everything that went wrong.
const FAILED: u8 = 255;

/// What the interactive client says first.
const GREETING: &str = "portcullis, in place of Fail2Ban's client. help lists the commands, exit ends it.\n";
const PROMPT: &str = "fail2ban> ";

/// Which program this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `fail2ban-client`
    Client,
    /// `fail2ban-server`
    Server,
}

/// Runs as one of the programs, with the arguments behind the name.
pub(crate) fn main(name: Name, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned());
    let mut session = Session::new(name, arguments.collect());
    let ended = match session.run() {
        Err(Break::Raised(text)) => session.fail(&text),
        other => other,
    };
    let ended = ended.and_then(|done| session.flush().map(|()| done).map_err(Break::Output));
    let code = match ended {
        Ok(true) => 0,
        // A reader that closes early (`| head`) is no failure.
        Err(Break::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        _ => FAILED,
    };
    session.voice.debug(&format!("Exit with code {code}"));
    ExitCode::from(code)
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Client => "fail2ban-client",
            Name::Server => "fail2ban-server",
        }
    }
}

impl Session {
    /// The whole program.
    fn run(&mut self) -> Done {
        if let Some(ended) = self.begin()? {
            let only_test = self.wish.test && self.wish.words.is_empty();
            if ended || only_test || self.name == Name::Server {
                return Ok(ended);
            }
            return Err(Break::Raised("Init of command line failed".to_owned()));
        }
        let words = self.wish.words.clone();
        let starts = words == ["start"] || words.is_empty();
        if self.name == Name::Server && starts && !self.wish.interactive {
            return server::serve(self);
        }
        // A server in the foreground takes the signals itself.
        if self.wish.background || words != ["start"] {
            end_on_signals(self.voice.clone())?;
        }
        if self.wish.interactive {
            return self.converse();
        }
        if words.is_empty() {
            self.usage()?;
            return Ok(false);
        }
        self.obey(&words)
    }

    fn usage(&mut self) -> Done<()> {
        let text = help::text(self.name);
        Ok(self.print(&text)?)
    }

    /// Asks for a line; nothing when there are no more.
    fn prompt(&mut self) -> Done<Option<String>> {
        self.flush()?;
        print!("{PROMPT}");
        io::stdout().flush()?;
        let mut line = Vec::new();
        if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.strip_suffix('\n').unwrap_or(&line).to_owned()))
    }
}

/// A signal ends the client with Fail2Ban's words and code.
fn end_on_signals(voice: Arc<Voice>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // What is being printed may hold the lock of standard output.
            let _ = rustix::io::write(rustix::stdio::stdout(), b"\n");
            voice.warning(&format!("Caught signal {signal}. Exiting"));
            std::process::exit(i32::from(FAILED));
        }
    })?;
    Ok(())
}

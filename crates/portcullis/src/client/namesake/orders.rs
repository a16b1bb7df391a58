//! What a command line orders: `start`, `restart`, `reload` and `ping` take more than one command to the server; all
//! else goes to it word by word (contract §8.1, §8.6).

use std::path::Path;
use std::time::Duration;

use portcullis_core::config::{split_line, stream_value};
use portcullis_core::value::{Value, repr_str};

use super::connection::Patience;
use super::server;
use super::session::{Break, Done, SHORT, Session};

/// Options of `reload`.
const RELOAD: [&str; 3] = ["--restart", "--unban", "--if-exists"];

impl Session {
    /// Does what the words say.
    ///
    /// # Errors
    /// What Python would raise.
    pub(super) fn obey(&mut self, words: &[String]) -> Done {
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        match texts.as_slice() {
            ["start"] => server::start(self),
            ["restart"] => self.restart(),
            ["restart", rest @ ..] => self.reload(&[&["--restart"], rest].concat()),
            ["reload", rest @ ..] => self.reload(rest),
            ["ping", timeout, ..] => {
                let patience = patience(timeout)?;
                self.send(&[command(words)], true, patience)
            }
            _ => self.send(&[command(words)], true, Patience::Endless),
        }
    }

    fn restart(&mut self) -> Done {
        let interactive = self.wish.interactive;
        let tell = |session: &mut Session, what: &str| match interactive {
            true => session.print(&format!("  ## {what} ... ")),
            false => Ok(()),
        };
        tell(self, "stop")?;
        self.obey(&["stop".to_owned()])?;
        if !self.wait(false, || false)? {
            return self.fail("Could not stop server");
        }
        if interactive {
            tell(self, "load configuration")?;
            if let Some(ended) = self.begin()? {
                return Ok(ended);
            }
        }
        tell(self, "start")?;
        self.obey(&["start".to_owned()])
    }

    /// The client reads the files and sends what they come to.
    fn reload(&mut self, words: &[&str]) -> Done {
        let count = words.iter().take_while(|word| RELOAD.contains(word)).count();
        let (options, rest) = words.split_at(count);
        if rest.len() > 1 {
            let rest: Vec<String> = rest.iter().map(|word| repr_str(word)).collect();
            return self.fail(&format!("Unexpected argument(s) for reload: [{}]", rest.join(", ")));
        }
        if !self.ping(Patience::Endless)? {
            return self.fail("Could not find server");
        }
        let jail = rest.first().copied().filter(|jail| *jail != "--all");
        let outcome = self.read(jail)?;
        if !outcome.usable {
            return Ok(false);
        }
        if self.wish.interactive {
            self.print("  ## reload ... ")?;
        }
        let options = options.iter().map(|&option| option.into()).collect();
        let command = vec![
            "reload".into(),
            jail.unwrap_or("--all").into(),
            Value::List(options),
            stream_value(outcome.stream),
        ];
        self.send(&[command], true, Patience::Endless)
    }

    /// What a server is to be sent at its start; nothing if it must not start.
    pub(super) fn prepare(&mut self) -> Done<Option<[Vec<Value>; 2]>> {
        if self.ping(Patience::Until(SHORT))? {
            self.fail("Server already running")?;
            return Ok(None);
        }
        let outcome = self.read(None)?;
        if !outcome.usable {
            return Ok(None);
        }
        if !self.wish.force && Path::new(self.wish.setting("socket")).exists() {
            self.fail("Fail2ban seems to be in unexpected state (not running but the socket exists)")?;
            return Ok(None);
        }
        Ok(Some([
            vec!["server-stream".into(), stream_value(outcome.stream)],
            vec!["server-status".into()],
        ]))
    }

    /// Configures a server that was started, once it answers.
    pub(super) fn configure(&mut self, commands: &[Vec<Value>], given_up: impl Fn() -> bool) -> Done {
        match self.wait(true, given_up) {
            Ok(true) => self.send(commands, false, Patience::Endless),
            Ok(false) => self.fail("Could not find server, waiting failed"),
            Err(Break::Raised(_)) => {
                let socket = self.wish.setting("socket");
                let text = format!(
                    "Could not start server: nobody answers at {socket}. If an old socket is left there, remove it, or \
                     start with -x"
                );
                self.fail(&text)
            }
            Err(other) => Err(other),
        }
    }

    /// The interactive client: a line, a command.
    pub(super) fn converse(&mut self) -> Done {
        let words = self.wish.words.clone();
        if !words.is_empty() && !self.obey(&words)? {
            return Ok(false);
        }
        self.print(super::GREETING)?;
        loop {
            let Some(line) = self.prompt()? else {
                self.print("")?;
                return Err(Break::Raised("EOF when reading a line".to_owned()));
            };
            match line.as_str() {
                "exit" | "quit" => return Ok(true),
                "help" => self.usage()?,
                "" => {}
                line => {
                    let obeyed = match split_line(line) {
                        Ok(words) => self.obey(&words),
                        Err(wrong) => Err(Break::Raised(wrong.to_owned())),
                    };
                    match obeyed {
                        Err(Break::Raised(text)) => drop(self.fail(&text)?),
                        other => drop(other?),
                    }
                }
            }
        }
    }
}

fn command(words: &[String]) -> Vec<Value> {
    words.iter().map(|word| word.as_str().into()).collect()
}

/// The second word of `ping`, as Python's `float` and its sockets take it.
fn patience(text: &str) -> Result<Patience, Break> {
    let raised = |text: &str| Err(Break::Raised(text.to_owned()));
    let plain = text.trim().replace('_', "");
    match plain.parse::<f64>() {
        Err(_) => raised(&format!("could not convert string to float: {}", repr_str(text))),
        Ok(-1.0) => Ok(Patience::Endless),
        Ok(seconds) if seconds.is_nan() => raised("Invalid value NaN (not a number)"),
        Ok(seconds) if seconds < 0.0 => raised("Timeout value out of range"),
        Ok(0.0) => Ok(Patience::Until(Duration::ZERO)),
        // The shortest that the system knows is a millionth of a second.
        Ok(seconds) => match Duration::try_from_secs_f64(seconds.max(1e-6)) {
            Ok(length) if seconds < 9e9 => Ok(Patience::Until(length)),
            _ => raised("timestamp too large to convert to C _PyTime_t"),
        },
    }
}

//! The programs of Fail2Ban's names, `fail2ban-client` and `fail2ban-server`: what they do without a server (contract
//! §8.1). That is to print a configuration (`-d`), to test it (`-t`), and a few small questions.
//!
//! In comes a command line, out go Fail2Ban's output and exit codes; complaints go to standard error in its log
//! format, with the file and line in question. What needs a server is refused by name.

mod getopt;
mod pretty;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use portcullis_core::config::{self, FAIL2BAN_VERSION, Face, Outcome, Request};
use portcullis_core::diagnostic::{Diagnostic, Severity};
use portcullis_core::time::{Number, parse_length};
use portcullis_core::value::{Value, repr_float, repr_str};

use crate::folder::Disk;
use crate::observe::log::{Level, Log};
use getopt::Grammar;

/// Fail2Ban's exit code for everything that went wrong.
const FAILED: u8 = 255;

const GRAMMAR: Grammar = Grammar {
    short: "hc:s:p:xfbdtviqV",
    long: &[
        "loglevel=",
        "logtarget=",
        "syslogsocket=",
        "test",
        "async",
        "conf=",
        "pidfile=",
        "pname=",
        "socket=",
        "timeout=",
        "str2sec=",
        "help",
        "version",
        "dp",
        "dump-pretty",
    ],
};

const USAGE: &str = "
Stands in for the program of this name of Fail2Ban. Without a server it can:

  -d                       print the configuration as the commands that it comes to
  --dp, --dump-pretty      the same, long commands over several lines
  -t, --test               test the configuration
  --str2sec TIME           print how many seconds a length of time has
  -V, --version            print the version, short or long
  -h, --help               print this

  -c, --conf DIR           configuration folder [/etc/fail2ban]
  -s, --socket FILE        socket, in place of the configuration's
  -p, --pidfile FILE       pid file, likewise
  --loglevel LEVEL, --logtarget TARGET, --syslogsocket auto|FILE
                           likewise
  -v, -q                   say more, say less

Not supported yet: starting a server, and commands to one. `portcullis run` starts portcullis.
";

/// Which program this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `fail2ban-client`
    Client,
    /// `fail2ban-server`
    Server,
}

/// What a command line asks for.
#[derive(Debug, Default)]
struct Wish {
    base: String,
    /// Options of the command line that win over the configuration's
    given: Vec<(String, String)>,
    dump: Option<Layout>,
    test: bool,
    interactive: bool,
    verbose: i8,
    words: Vec<String>,
}

/// How a dump looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Plain,
    Pretty,
}

/// How a run ended.
enum End {
    Done,
    Failed,
    /// Failed before it was known what to do; Fail2Ban's client says so once more.
    Unbegun,
}

/// Runs as one of the programs, with the arguments behind the name.
pub(crate) fn main(name: Name, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let ended = run(name, &arguments, &mut out).and_then(|end| out.flush().map(|()| end));
    match ended {
        Ok(End::Done) => ExitCode::SUCCESS,
        // A reader that closes early (`| head`) is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    }
}

fn run(name: Name, arguments: &[String], out: &mut impl Write) -> io::Result<End> {
    let Ok((options, words)) = GRAMMAR.parse(arguments) else {
        usage(name, out)?;
        return Ok(unbegun(name, out, None));
    };
    let mut wish = Wish {
        base: "/etc/fail2ban".to_owned(),
        verbose: 1,
        words,
        ..Wish::default()
    };
    for (option, value) in options {
        match wish.take(name, &option, value, out)? {
            None => {}
            Some(End::Unbegun) => return Ok(unbegun(name, out, None)),
            Some(end) => return Ok(end),
        }
    }
    let log = wish.log();
    match wish.offline(&log, out)? {
        Some(End::Unbegun) => Ok(unbegun(name, out, Some(&log))),
        Some(end) => Ok(end),
        None if wish.words.is_empty() && name == Name::Client && !wish.interactive => {
            usage(name, out)?;
            Ok(End::Failed)
        }
        None => {
            refuse(name, &wish.words);
            Ok(End::Failed)
        }
    }
}

/// What needs a server.
fn refuse(name: Name, words: &[String]) {
    let command = words.first().map_or("start", String::as_str);
    eprintln!(
        "portcullis does not stand in for '{} {command}' yet; its own verbs are listed by: portcullis --help",
        name.text()
    );
}

fn usage(name: Name, out: &mut impl Write) -> io::Result<()> {
    let command = if name == Name::Client { " <COMMAND>" } else { "" };
    write!(out, "Usage: {} [OPTIONS]{command}\n{USAGE}", name.text())
}

/// The client's last word on a command line that came to nothing.
fn unbegun(name: Name, out: &mut impl Write, log: Option<&Log>) -> End {
    const LAST: &str = "Init of command line failed";
    // What was printed before stands before it.
    let _ = out.flush();
    match (name, log) {
        (Name::Server, _) => {}
        (Name::Client, Some(log)) => log.write(Level::Error, "fail2ban", LAST),
        (Name::Client, None) => eprintln!("{LAST}"),
    }
    End::Failed
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Client => "fail2ban-client",
            Name::Server => "fail2ban-server",
        }
    }
}

impl Wish {
    /// Takes one option; some are answered at once.
    fn take(&mut self, name: Name, option: &str, value: String, out: &mut impl Write) -> io::Result<Option<End>> {
        match option {
            "-c" | "--conf" => self.base = value,
            "-s" => self.give("socket", value),
            "-p" => self.give("pidfile", value),
            "--socket" | "--pidfile" | "--loglevel" | "--logtarget" | "--syslogsocket" => {
                self.give(option.trim_start_matches('-'), value);
            }
            "-d" => self.dump = Some(Layout::Plain),
            "--dp" | "--dump-pretty" => self.dump = Some(Layout::Pretty),
            "-t" | "--test" => self.test = true,
            "-i" => self.interactive = true,
            "-v" => self.verbose = self.verbose.saturating_add(1),
            "-q" => self.verbose = self.verbose.saturating_sub(1),
            "--timeout" | "--str2sec" => match parse_length(&value) {
                Ok(_) if option == "--timeout" => {}
                Ok(Number::Int(seconds)) => return writeln!(out, "{seconds}").map(|()| Some(End::Done)),
                Ok(Number::Float(seconds)) => {
                    return writeln!(out, "{}", repr_float(seconds)).map(|()| Some(End::Done));
                }
                Err(error) => return writeln!(out, "ERROR: {error}").map(|()| Some(End::Unbegun)),
            },
            "-h" | "--help" => return usage(name, out).map(|()| Some(End::Done)),
            "-V" => return writeln!(out, "{FAIL2BAN_VERSION}").map(|()| Some(End::Done)),
            "--version" => return writeln!(out, "Fail2Ban v{FAIL2BAN_VERSION}").map(|()| Some(End::Done)),
            // The rest is for a server.
            _ => {}
        }
        Ok(None)
    }

    fn give(&mut self, option: &str, value: String) {
        self.given.retain(|(name, _)| name != option);
        self.given.push((option.to_owned(), value));
    }

    /// Where complaints go, and which.
    fn log(&self) -> Log {
        let threshold = match self.verbose {
            ..=0 => Level::Error,
            1 => Level::Warning,
            2 => Level::Info,
            _ => Level::Debug,
        };
        Log::to_stderr(threshold)
    }

    /// Does what can be done without a server; nothing if one is needed.
    fn offline(&self, log: &Log, out: &mut impl Write) -> io::Result<Option<End>> {
        let given: Vec<(&str, &str)> = self
            .given
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if let Err((said, diagnostics)) = config::read_early(&Disk, &self.base, &given) {
            diagnostics.iter().for_each(|told| complain(log, told));
            writeln!(out, "ERROR: {said}")?;
            return Ok(Some(self.failed()));
        }
        if self.dump.is_none() && !self.test {
            return Ok(None);
        }
        let outcome = self.read(&given, log);
        if let Some(layout) = self.dump {
            print(&outcome, layout, out)?;
        }
        if !self.test {
            return Ok(Some(if outcome.usable { End::Done } else { End::Unbegun }));
        }
        if !self.words.is_empty() {
            if !outcome.usable {
                out.flush()?;
                log.write(Level::Error, "fail2ban", "ERROR: test configuration failed");
            }
            return Ok((!outcome.usable).then_some(End::Failed));
        }
        let verdict = if outcome.usable {
            "OK: configuration test is successful"
        } else {
            "ERROR: test configuration failed"
        };
        writeln!(out, "{verdict}")?;
        Ok(Some(if outcome.usable { End::Done } else { End::Failed }))
    }

    /// A test alone says what it found, and no more.
    fn failed(&self) -> End {
        if self.test && self.words.is_empty() {
            End::Failed
        } else {
            End::Unbegun
        }
    }

    fn read(&self, given: &[(&str, &str)], log: &Log) -> Outcome {
        let mut request = Request::new(&self.base, Face::Fail2Ban, FAIL2BAN_VERSION);
        request.allow_no_files = self.dump.is_some();
        request.all_must_be_good = self.test;
        request.overrides = given;
        let mut outcome = config::read(&Disk, &request);
        let last = outcome.stream.is_empty().then(|| outcome.diagnostics.pop()).flatten();
        outcome.diagnostics.iter().for_each(|told| complain(log, told));
        if let Some(last) = last {
            log.write(
                Level::Error,
                "fail2ban",
                &format!("Failed during configuration: {last}"),
            );
        }
        let skipping = if self.test { "" } else { " Skipping..." };
        for jail in outcome.skipped.keys() {
            let text = format!("Errors in jail {}.{skipping}", repr_str(jail));
            log.write(Level::Error, "fail2ban.jailsreader", &text);
        }
        outcome
    }
}

fn print(outcome: &Outcome, layout: Layout, out: &mut impl Write) -> io::Result<()> {
    if outcome.stream.is_empty() {
        return writeln!(
            out,
            "ERROR: The configuration stream failed because of the invalid syntax."
        );
    }
    match layout {
        Layout::Plain => out.write_all(config::dump(&outcome.stream).as_bytes()),
        Layout::Pretty => outcome
            .stream
            .iter()
            .try_for_each(|command| writeln!(out, "{}", pretty::pretty(&Value::List(command.clone())))),
    }
}

fn complain(log: &Log, told: &Diagnostic) {
    let level = match told.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Note => Level::Notice,
    };
    log.write(level, "fail2ban.configreader", &told.to_string());
}

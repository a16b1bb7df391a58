//! `portcullis regex LOG REGEX [IGNOREREGEX]`: tries a filter on a log, as `fail2ban-regex` does, with its output
//! (contract §9).
//!
//! In comes a log (or a line), and a failregex, filter or jail; out goes what was matched, ignored and missed. The
//! file is read once, and of its lines only those that are printed are kept.

mod lines;
mod log;
mod options;
mod report;
mod screen;
mod subject;
mod tally;
#[cfg(test)]
mod tests;
mod token;

use std::ffi::OsString;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser};
use jiff::tz::TimeZone;
use portcullis_core::address::Id;
use portcullis_core::config::plan::JailPlan;
use portcullis_core::config::{FAIL2BAN_VERSION, Tree};
use portcullis_core::filter::{self, Filter, Identity, Settings};
use portcullis_core::time::{Clock, Timestamp};

use crate::folder;
use lines::Lines;
use log::Log;
pub(crate) use options::Options;
use report::Report;
pub(crate) use screen::{Screen, harmless};
use subject::Subject;
use tally::{Names, Tally};
use token::{Failure, Token};

/// Fail2Ban's exit code for everything that it says is wrong.
const FAILED: u8 = 255;
/// Fail2Ban's exit code where it fails itself.
const BROKEN: u8 = 1;

/// The verb under the name `fail2ban-regex`.
#[derive(Parser, Debug)]
#[command(
    name = "fail2ban-regex",
    about = "Tries a filter on a log",
    max_term_width = 100,
    override_usage = "fail2ban-regex [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]"
)]
struct Program {
    #[command(flatten)]
    options: Options,
}

/// Runs as `fail2ban-regex` with these arguments, the program's name first. The built-in stock is not seen.
pub(crate) fn fail2ban_regex(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Program::try_parse_from(arguments) {
        Ok(program) => finish(run(&program.options.settled(), &folder::Disk)),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED))
        }
    }
}

/// Runs as our own verb: the built-in stock stands behind the folder.
pub(crate) fn main(options: &Options) -> ExitCode {
    let options = &options.clone().settled();
    // A folder of filters is no configuration folder, and the stock does not stand behind it.
    if options.config.trim_end_matches('/').ends_with("filter.d") {
        return finish(run(options, &folder::Disk));
    }
    finish(folder::with(&options.config, |tree| run(options, tree)))
}

/// A reader that closes early (`| head`) ends the program quietly.
fn finish(ended: io::Result<u8>) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "ERROR: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Prints to standard output; returns the exit code.
fn run(options: &Options, tree: &dyn Tree) -> io::Result<u8> {
    let mut screen = Screen::stdout();
    let code = attempt(options, tree, &mut screen)?;
    screen.flush()?;
    Ok(code)
}

fn attempt(options: &Options, tree: &dyn Tree, screen: &mut Screen<BufWriter<StdoutLock<'static>>>) -> io::Result<u8> {
    if options.short_version {
        screen.line(FAIL2BAN_VERSION)?;
        return Ok(0);
    }
    if options.version {
        screen.line(&format!("fail2ban-regex {FAIL2BAN_VERSION}"))?;
        return Ok(0);
    }
    let errors = options.contradictions();
    if !errors.is_empty() {
        screen.line(Program::command().render_help().to_string().trim_end())?;
        screen.flush()?;
        writeln!(io::stderr(), "\n{}", errors.join("\n"))?;
        return Ok(FAILED);
    }
    if let Some(what) = options.unsupported() {
        screen.line(&format!("ERROR: {what}"))?;
        return Ok(FAILED);
    }
    let trial = Trial {
        options,
        zone: TimeZone::system(),
        look_up,
    };
    trial.run(tree, screen)
}

/// The addresses of a host name.
fn look_up(name: &str) -> Vec<Identity> {
    let addresses = dns_lookup::lookup_host(name)
        .map(Iterator::collect::<Vec<IpAddr>>)
        .unwrap_or_default();
    let mut ids: Vec<Id> = addresses
        .iter()
        .filter_map(|ip| Id::parse(&ip.to_string()).ok())
        .collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().map(Identity::Known).collect()
}

/// A run, with what it needs of the world.
struct Trial<'a> {
    options: &'a Options,
    zone: TimeZone,
    look_up: fn(&str) -> Vec<Identity>,
}

impl Trial<'_> {
    /// Everything from the first line of the output to the last; returns the exit code.
    fn run<W: Write>(&self, tree: &dyn Tree, screen: &mut Screen<W>) -> io::Result<u8> {
        let options = self.options;
        if options.out.is_none() {
            screen.line("\nRunning tests\n=============\n")?;
        }
        let mut log = match Log::new(options, &self.zone) {
            Ok(log) => log,
            Err(wrong) => return wrong.tell(screen),
        };
        let mut filter = match self.filter(tree, screen)? {
            Ok(filter) => filter,
            Err(error) => {
                screen.line(&error)?;
                return Ok(FAILED);
            }
        };
        let place = options.inputs.first().map(String::as_str).unwrap_or_default();
        let quiet = options.out.is_some();
        let opened = Lines::open(place, &options.encoding, filter.spans_lines(), quiet, screen)?;
        let lines = match opened {
            Ok(lines) => lines,
            Err(error) => {
                screen.line(&error.to_string())?;
                return Ok(FAILED);
            }
        };
        match options.out.as_deref().map(Token::parse) {
            Some(token) => self.print_failures(&token, (&mut filter, lines), &mut log, screen)?,
            None => self.count((&mut filter, lines), &mut log, screen)?,
        }
        log.ended()
    }

    /// The filter that REGEX and IGNOREREGEX stand for, or what is wrong with them.
    fn filter<W: Write>(&self, tree: &dyn Tree, screen: &mut Screen<W>) -> io::Result<Result<Filter, String>> {
        let options = self.options;
        let mut subject = Subject::new(options, tree, screen);
        if let Err(error) = subject.preset()? {
            return Ok(Err(error));
        }
        if let Err(error) = subject.read(options.inputs.get(1).map(String::as_str).unwrap_or_default())? {
            return Ok(Err(error));
        }
        let made = self.compile(&subject.plan);
        match (options.inputs.get(2), made) {
            (Some(ignore), Ok(_)) => {
                subject.ignore(ignore)?;
                Ok(self.compile(&subject.plan))
            }
            (_, made) => Ok(made),
        }
    }

    fn compile(&self, plan: &JailPlan) -> Result<Filter, String> {
        let options = self.options;
        let settings = Settings {
            zone: self.zone.clone(),
            check_all: !options.no_check_all && options.out.is_none(),
            check_age: false,
        };
        Filter::new(plan, settings).map_err(|error| match error {
            filter::Error::Pattern { error, .. } => format!("ERROR: {error}"),
            other => format!("ERROR: {other}"),
        })
    }

    fn names(&self) -> Names {
        // Where `usedns` is `no`, a name that some other tag captured is nobody's.
        let no = self
            .options
            .usedns
            .as_deref()
            .is_some_and(|usedns| usedns.eq_ignore_ascii_case("no"));
        Names::new(if no { |_| Vec::new() } else { self.look_up })
    }

    fn count<W: Write>(
        &self,
        (filter, lines): (&mut Filter, Lines),
        log: &mut Log,
        screen: &mut Screen<W>,
    ) -> io::Result<()> {
        screen.line("")?;
        let start = Instant::now();
        let mut tally = Tally::new(self.options, self.names());
        lines.each(|line| {
            if log.is_broken() {
                return Ok(());
            }
            let (before, reading) = tally.read(filter, clock(), line);
            log.note(line, &reading, screen)?;
            if !log.is_broken() {
                tally.line(self.options, filter, (before, reading), line);
            }
            Ok(())
        })?;
        if log.is_broken() {
            return Ok(());
        }
        let report = Report {
            options: self.options,
            filter,
            tally: &tally,
            zone: &self.zone,
            now: clock().wall,
            took: start.elapsed(),
        };
        report.print(screen)
    }

    /// `--out`: of each line that fails its failures, or, inverted, each line that does not.
    fn print_failures<W: Write>(
        &self,
        token: &Token,
        (filter, lines): (&mut Filter, Lines),
        log: &mut Log,
        screen: &mut Screen<W>,
    ) -> io::Result<()> {
        let mut names = self.names();
        lines.each(|line| {
            if log.is_broken() {
                return Ok(());
            }
            let reading = filter.read(clock(), false, line);
            log.note(line, &reading, screen)?;
            if log.is_broken() {
                return Ok(());
            }
            let mut failures = Vec::new();
            for hit in reading.hits.iter().filter(|hit| !hit.nofail) {
                failures.extend(names.of(hit).iter().flatten().map(|id| Failure::new(hit, id)));
            }
            match (failures.is_empty(), self.options.invert) {
                (false, false) => token.print(&failures, screen),
                (true, true) => {
                    let fields = [(
                        "fid".to_owned(),
                        Some(portcullis_core::ledger::Field::Text(String::new())),
                    )];
                    let missed = Failure {
                        id: String::new(),
                        address: None,
                        time: token::python_time(filter.last_date()),
                        fields: &fields,
                        matches: &[line.to_owned()],
                    };
                    token.print(&[missed], screen)
                }
                _ => Ok(()),
            }
        })
    }
}

fn clock() -> Clock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::at(Timestamp::from_micros(
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
    ))
}

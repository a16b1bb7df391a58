//! `portcullis regex LOG REGEX [IGNOREREGEX]`: tries a filter on a log, as `fail2ban-regex` does, with its output
//! (contract §9).
//!
//! In comes a log (or a line), and a failregex, filter or jail; out goes what was matched, ignored and missed. The
//! file is read once, and of its lines only those that are printed are kept.

mod document;
mod entries;
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
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, CommandFactory, Parser};
use jiff::tz::TimeZone;
use portcullis_core::address::Id;
use portcullis_core::config::plan::JailPlan;
use portcullis_core::config::{FAIL2BAN_VERSION, Tree};
use portcullis_core::filter::{self, Filter, Identity, Prefilter, Settings, Tell};
use portcullis_core::time::{Clock, Timestamp};

use crate::client::failure::{print_document, print_line};
use crate::folder;
use document::Document;
use lines::Lines;
use log::{Halt, Log};
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

/// The command line of `fail2ban-regex`.
pub(crate) fn command() -> clap::Command {
    Program::command()
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

/// Our own verb: Fail2Ban's options, and what is ours.
#[derive(Args, Debug)]
pub(crate) struct Asked {
    #[command(flatten)]
    options: Options,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["out", "log_level", "short_version", "version"])]
    json: bool,
}

/// Runs as our own verb: the built-in stock stands behind the folder.
pub(crate) fn main(asked: &Asked) -> ExitCode {
    let options = &Options {
        takes_input: true,
        ..asked.options.clone().settled()
    };
    let run = if asked.json { run_as_json } else { run };
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

/// Prints one document to standard output, and what is wrong to standard error as well; returns the exit code.
fn run_as_json(options: &Options, tree: &dyn Tree) -> io::Result<u8> {
    let wrong = options.contradictions().first().map(|&wrong| wrong.to_owned());
    let wrong = wrong.or_else(|| options.unsupported().map(|what| format!("ERROR: {what}")));
    let trial = Trial::new(options);
    let ended = match wrong {
        Some(wrong) => Err(Halt::new(wrong)),
        None => trial.document(tree)?,
    };
    Ok(match ended {
        Ok(document) => {
            print_line(&document);
            0
        }
        Err(halt) => {
            print_document(halt.text.trim_start_matches("ERROR: "), halt.code);
            writeln!(io::stderr(), "{}", harmless(&halt.text))?;
            halt.code
        }
    })
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
    Trial::new(options).run(tree, screen)
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

/// What came of all lines.
struct Tried {
    made: Made,
    tally: Tally,
    took: Duration,
}

/// REGEX and IGNOREREGEX, made ready.
struct Made {
    filter: Filter,
    /// Which entries of the journal are meant
    matches: Vec<String>,
    /// Whether it looks for dates: entries of the journal have theirs beside them
    looks_for_dates: bool,
}

impl Trial<'_> {
    /// With the system's zone and names.
    fn new(options: &Options) -> Trial<'_> {
        Trial {
            options,
            zone: TimeZone::system(),
            look_up,
        }
    }

    /// Everything from the first line of the output to the last; returns the exit code.
    fn run<W: Write>(&self, tree: &dyn Tree, screen: &mut Screen<W>) -> io::Result<u8> {
        let (mut log, mut made, lines) = match self.prepare(tree, screen)? {
            Ok(prepared) => prepared,
            Err(halt) => return halt.tell(screen),
        };
        match self.options.out.as_deref().map(Token::parse) {
            Some(token) => self.print_failures(&token, (&mut made.filter, lines), &mut log, screen)?,
            None => {
                screen.line("")?;
                if let Some(tried) = self.count((made, lines), &mut log, screen)? {
                    self.report(&tried).print(screen)?;
                }
            }
        }
        log.ended()
    }

    /// The same as a document; nothing is printed.
    fn document(&self, tree: &dyn Tree) -> io::Result<Result<Document, Halt>> {
        let screen = &mut Screen::nowhere();
        let (mut log, made, lines) = match self.prepare(tree, screen)? {
            Ok(prepared) => prepared,
            Err(halt) => return Ok(Err(halt)),
        };
        let tried = self.count((made, lines), &mut log, screen)?;
        Ok(match tried {
            Some(tried) => Ok(Document::new(&self.report(&tried))),
            None => Err(Halt::broken()),
        })
    }

    fn report<'t>(&'t self, tried: &'t Tried) -> Report<'t> {
        Report {
            options: self.options,
            filter: &tried.made.filter,
            looks_for_dates: tried.made.looks_for_dates,
            tally: &tried.tally,
            zone: &self.zone,
            now: clock().wall,
            took: tried.took,
        }
    }

    /// What is asked for, made ready, or why it cannot be.
    fn prepare<W: Write>(
        &self,
        tree: &dyn Tree,
        screen: &mut Screen<W>,
    ) -> io::Result<Result<(Log, Made, Lines), Halt>> {
        let options = self.options;
        if options.out.is_none() {
            screen.line("\nRunning tests\n=============\n")?;
        }
        let log = match Log::new(options, &self.zone) {
            Ok(log) => log,
            Err(wrong) => return Ok(Err(wrong.into())),
        };
        let made = match self.filter(tree, screen)? {
            Ok(made) => made,
            Err(error) => return Ok(Err(Halt::new(error))),
        };
        let place = options.inputs.first().map(String::as_str).unwrap_or_default();
        let quiet = options.out.is_some();
        if options.takes_input && place == lines::INPUT {
            let opened = Lines::input(&options.encoding, quiet, screen)?;
            return Ok(opened
                .map(|lines| (log, made, lines))
                .map_err(|error| Halt::new(error.to_string())));
        }
        let opened = Lines::open(
            (place, &made.matches),
            &options.encoding,
            made.filter.spans_lines(),
            quiet,
            screen,
        )?;
        Ok(match opened {
            Ok(lines) => Ok((log, made, lines)),
            Err(error) => Err(Halt::new(error.to_string())),
        })
    }

    /// The filter that REGEX and IGNOREREGEX stand for, or what is wrong with them.
    fn filter<W: Write>(&self, tree: &dyn Tree, screen: &mut Screen<W>) -> io::Result<Result<Made, String>> {
        let options = self.options;
        let mut subject = Subject::new(options, tree, screen);
        if let Err(error) = subject.preset()? {
            return Ok(Err(error));
        }
        if let Err(error) = subject.read(options.inputs.get(1).map(String::as_str).unwrap_or_default())? {
            return Ok(Err(error));
        }
        let made = self.compile(&subject.plan);
        let made = match (options.inputs.get(2), made) {
            (Some(ignore), Ok(_)) => {
                subject.ignore(ignore)?;
                self.compile(&subject.plan)
            }
            (_, made) => made,
        };
        // Where there are several, the last counts.
        let matches = subject.plan.journalmatch.pop().unwrap_or_default();
        let place = options.inputs.first().map(String::as_str).unwrap_or_default();
        let looks_for_dates = !entries::is_journal(place) || subject.plan.datepattern.is_some();
        Ok(made.map(|filter| Made {
            filter,
            matches,
            looks_for_dates,
        }))
    }

    fn compile(&self, plan: &JailPlan) -> Result<Filter, String> {
        let options = self.options;
        let settings = Settings {
            zone: self.zone.clone(),
            check_all: !options.no_check_all && options.out.is_none(),
            check_age: false,
            tell: if options.verbosity() > 0 {
                Tell::Prefixes
            } else {
                Tell::Hits
            },
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

    /// Nothing comes of a run that Fail2Ban would have broken off.
    fn count<W: Write>(
        &self,
        (mut made, lines): (Made, Lines),
        log: &mut Log,
        screen: &mut Screen<W>,
    ) -> io::Result<Option<Tried>> {
        let start = Instant::now();
        let mut tally = Tally::new(self.options, self.names());
        let mut prefilter = Prefilter::new([&made.filter]);
        lines.each(|line| {
            if log.is_broken() {
                return Ok(());
            }
            let (before, reading) = tally.read((&mut made.filter, &mut prefilter), clock(), line);
            let line = line.text();
            log.note(&line, &reading, screen)?;
            if !log.is_broken() {
                tally.line(self.options, &made.filter, (before, reading), &line);
            }
            Ok(())
        })?;
        let took = start.elapsed();
        Ok((!log.is_broken()).then_some(Tried { made, tally, took }))
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
        let mut prefilter = Prefilter::new([&*filter]);
        lines.each(|line| {
            if log.is_broken() {
                return Ok(());
            }
            let reading = line.read((&mut *filter, &mut prefilter), clock());
            let line = line.text();
            log.note(&line, &reading, screen)?;
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
                    let fields = vec![("fid".into(), Some(portcullis_core::ledger::Field::Text("".into())))];
                    let missed = Failure {
                        id: String::new(),
                        address: None,
                        time: token::python_time(filter.last_date()),
                        fields: &fields,
                        matches: &[line.as_ref().into()],
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

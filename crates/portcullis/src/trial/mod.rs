//! `try`: shows in a few seconds, without any set-up, that attackers are dropped.
//!
//! A daemon, this same program, runs on the built-in configuration in a folder of its own and, where the system allows
//! it, in a network of its own. Clients really dial; a mail server's log lines are written as they would be; what the
//! daemon says and what happens to packets is compared with what must come of it. Nothing outside is touched, and
//! nothing is left behind. Where there is no private network, bans are decided and shown, but not enforced.

mod attack;
mod course;
mod house;
mod sandbox;
mod show;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_usize;

use crate::client::exit;
use course::Course;
use house::House;
use sandbox::Sandbox;
use show::{Result as Report, Screen};

/// `try`
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Print the result as JSON, and nothing else
    #[arg(long)]
    json: bool,
    /// Show every log line, and all lines that led to a ban
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
    /// Leave the kernel out: decide and show bans, but drop nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep the folder with the configuration, the logs and the database
    #[arg(long)]
    keep: bool,
}

/// Why a trial ends early.
#[derive(Debug)]
enum Stop {
    /// Somebody interrupts it.
    Signal(i32),
    /// It cannot go on.
    Failed(String),
}

impl From<String> for Stop {
    fn from(text: String) -> Stop {
        Stop::Failed(text)
    }
}

/// Whether somebody wants it to end.
struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    fn catch() -> Result<Interrupt, Stop> {
        let flag = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            register_usize(signal, Arc::clone(&flag), usize::try_from(signal).unwrap_or(1))
                .map_err(|error| format!("cannot catch signals: {error}"))?;
        }
        Ok(Interrupt(flag))
    }

    fn check(&self) -> Result<(), Stop> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Stop::Signal(i32::try_from(signal).unwrap_or(SIGTERM))),
        }
    }

    /// Sleeps; a signal wakes.
    fn pause(&self, time: Duration) -> Result<(), Stop> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }
}

/// Plays it. 0: everything that was promised was seen; 1: not, and what was missing.
pub(crate) fn main(options: &Options) -> ExitCode {
    let screen = Screen::new(options.json, options.verbose);
    match play(options, &screen) {
        Ok(report) => {
            screen.result(&report);
            ExitCode::from(u8::from(!report.ok))
        }
        Err(Stop::Signal(signal)) => {
            let exit = u8::try_from(128 + signal).unwrap_or(exit::REFUSED);
            screen.interrupted(exit);
            ExitCode::from(exit)
        }
        Err(Stop::Failed(reason)) => {
            screen.failed(&reason, exit::REFUSED);
            ExitCode::from(exit::REFUSED)
        }
    }
}

fn play(options: &Options, screen: &Screen) -> Result<Report, Stop> {
    let interrupt = Interrupt::catch()?;
    let begun = Instant::now();
    let mut house = House::build(options.keep)?;
    let sandbox = if options.dry_run {
        Sandbox::Missing("as told by --dry-run".to_owned())
    } else {
        sandbox::enter()
    };
    let (has_network, ipv6) = match &sandbox {
        Sandbox::Private { ipv6, .. } => (true, *ipv6),
        Sandbox::Missing(_) => (false, true),
    };
    if has_network {
        wire::open(ipv6).map_err(|error| format!("cannot open the server's ports: {error}"))?;
    }
    let cast = attack::cast(ipv6);
    screen.opening(&sandbox, &house, &cast);
    house.start(!has_network)?;
    house.await_ready(|time| interrupt.pause(time))?;
    let folder = options.keep.then(|| house.path().display().to_string());
    let course = Course {
        house,
        cast,
        has_network,
        interrupt: &interrupt,
        screen,
        bans: Vec::new(),
        missing: Vec::new(),
    };
    let mut report = course.run()?;
    report.sandbox = show::sandbox_word(&sandbox).to_owned();
    report.folder = folder;
    report.seconds = course::rounded(begun.elapsed().as_secs_f64());
    Ok(report)
}

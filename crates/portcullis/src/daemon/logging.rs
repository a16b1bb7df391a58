//! The daemon's own log: where the configuration wants it, or where that is possible.

use std::panic;
use std::path::Path;
use std::sync::OnceLock;

use portcullis_core::config;
use portcullis_core::config::plan::Server;
use portcullis_core::diagnostic::{Diagnostic, Severity};

use crate::observe::log::{Level, Log, Target, note, unknown_facility};
use crate::sandbox;

const SERVER: &str = "fail2ban.server";
const CONFIG: &str = "fail2ban.configreader";

static LOG: OnceLock<&'static Log> = OnceLock::new();

/// Opens the log, or directs the open one anew. A target that cannot be opened is replaced by `fallback`, and that by
/// standard error, each time with a word about it.
pub(super) fn open(server: &Server, fallback: &Path) {
    let threshold = Level::threshold(&server.loglevel);
    let level = threshold
        .as_ref()
        .map_or_else(|_| Level::Info.number(), |number| *number);
    let mut complaints: Vec<String> = threshold.err().iter().map(ToString::to_string).collect();
    let file = fallback.display().to_string();
    for place in [server.logtarget.as_str(), &file, "STDERR"] {
        match direct(place, &server.syslogsocket, level) {
            Ok(complaint) => {
                complaints.extend(complaint);
                break;
            }
            Err(error) => complaints.push(error),
        }
    }
    for complaint in complaints {
        // Whoever looks where the log should be does not see this one.
        eprintln!("portcullis: {complaint}; the log goes to {}", target());
        note(Level::Error, SERVER, &complaint);
    }
}

/// Directs the log; what is said of it where not all was as it should be.
fn direct(place: &str, syslogsocket: &str, level: u8) -> Result<Option<String>, String> {
    aim(place, syslogsocket, level).map_err(|error| sandbox::explain(Path::new(place), error))
}

fn aim(place: &str, syslogsocket: &str, level: u8) -> Result<Option<String>, String> {
    let named = config::extract(place)?;
    let complaint = unknown_facility(&named.options);
    let target = Target::read(&named.name, &named.options, syslogsocket).map_err(|error| error.to_string())?;
    match LOG.get() {
        Some(log) => {
            log.set_threshold(level);
            log.retarget(target).map_err(|error| error.to_string())?;
        }
        None => {
            let log = Log::open(target, level).map_err(|error| error.to_string())?;
            let installed = log.install().map_err(|error| error.to_string())?;
            // Only this thread opens the log.
            let _ = LOG.set(installed);
        }
    }
    Ok(complaint)
}

/// Directs the open log anew.
///
/// # Errors
/// Why the target cannot be had; the former one stays.
pub(super) fn change(server: &Server) -> Result<(), String> {
    let level = Level::threshold(&server.loglevel).unwrap_or(Level::Info.number());
    let complaint = direct(&server.logtarget, &server.syslogsocket, level)?;
    if let Some(complaint) = complaint {
        note(Level::Error, SERVER, &complaint);
    }
    let text = format!(
        "Changed logging target to {} for Fail2ban v{}",
        shown_target(server),
        config::FAIL2BAN_VERSION
    );
    note(
        Level::Info,
        SERVER,
        &format!("Start Fail2ban v{}", config::FAIL2BAN_VERSION),
    );
    note(Level::Info, SERVER, &text);
    Ok(())
}

/// A target as Fail2Ban's log names it.
fn shown_target(server: &Server) -> String {
    let name = config::extract(&server.logtarget).map_or_else(|_| server.logtarget.clone(), |named| named.name);
    if name != "SYSLOG" {
        return name;
    }
    let socket = match server.syslogsocket.as_str() {
        "auto" => "/dev/log",
        other => other,
    };
    format!("{name} ({socket})")
}

/// Another `loglevel`, which was found to be one.
pub(super) fn level(name: &str) {
    if let (Some(log), Ok(number)) = (LOG.get(), Level::threshold(name)) {
        log.set_threshold(number);
    }
}

/// Whether the log can go to a target: tried, and closed again. Why not, the log says.
pub(super) fn can_log(target: &str, syslogsocket: &str) -> bool {
    let Ok(named) = config::extract(target) else {
        return false;
    };
    let target = Target::read(&named.name, &named.options, syslogsocket);
    match target.and_then(|target| Log::open(target, Level::Critical.number())) {
        Ok(_) => true,
        Err(error) => {
            let text = sandbox::explain(Path::new(&named.name), error.to_string());
            note(Level::Error, SERVER, &text);
            false
        }
    }
}

/// Where the log goes.
pub(super) fn target() -> String {
    LOG.get().map_or("nowhere".to_owned(), |log| log.place())
}

/// Closes the log and opens it again, after its file was rotated.
pub(super) fn reopen() {
    let Some(log) = LOG.get() else { return };
    match log.reopen() {
        Ok(()) => note(Level::Info, SERVER, &format!("rollover performed on {}", log.place())),
        Err(error) => note(Level::Error, SERVER, &error.to_string()),
    }
}

/// A complaint about the configuration.
pub(super) fn diagnostic(diagnostic: &Diagnostic) {
    let level = match diagnostic.severity {
        Severity::Note => Level::Info,
        Severity::Warning => Level::Warning,
        Severity::Error => Level::Error,
    };
    note(level, CONFIG, &diagnostic.to_string());
}

/// A panic is caught where it matters and told there; elsewhere it is one line in the log instead of a page on
/// standard error.
pub(super) fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or(String::new(), |location| format!(" at {location}"));
        let said = info.payload_as_str().unwrap_or("no reason given");
        note(Level::Error, SERVER, &format!("a part broke{place}: {said}"));
    }));
}

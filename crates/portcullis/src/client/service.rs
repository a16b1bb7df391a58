//! `run` and the verbs that concern the daemon as a whole.

use std::process::{Command, ExitCode};

use portcullis_core::wire::Verb;

use super::banning::report;
use super::{Ask, Run, call, exit, status::print};
use crate::{daemon, runner};

/// The main process: it starts the daemon and runs commands for it.
pub(crate) fn run(run: &Run) -> ExitCode {
    ExitCode::from(supervised(run))
}

/// The same away from the terminal: a session of its own, no folder that could not be unmounted (contract §8.2).
pub(crate) fn detached(pname: &str, run: &Run) -> ExitCode {
    // A process that leads its session already may stay where it is.
    let _ = rustix::process::setsid();
    if let Err(error) = std::env::set_current_dir("/") {
        return ExitCode::from(broken(&error));
    }
    rename(pname);
    ExitCode::from(supervised(run))
}

/// Calls the main thread by a name that `ps` and `top` show; the system keeps 15 bytes of it.
pub(crate) fn rename(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Runs the daemon until it ends for good, and returns its exit code. Must be called in the main thread.
pub(crate) fn supervised(run: &Run) -> u8 {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return broken(&error),
    };
    let words = words(run);
    let ended = runner::supervise(|deaths| {
        let mut command = Command::new(&program);
        command
            .arg("daemon")
            .args(&words)
            .arg("--deaths")
            .arg(deaths.to_string());
        command
    });
    match ended {
        Ok(code) => u8::try_from(code).unwrap_or(exit::REFUSED),
        Err(error) => broken(&error),
    }
}

fn broken(error: &std::io::Error) -> u8 {
    eprintln!("portcullis: cannot start the daemon: {error}");
    exit::REFUSED
}

/// The options of `run` as words for the daemon.
pub(crate) fn words(run: &Run) -> Vec<std::ffi::OsString> {
    let mut words = vec!["-c".into(), run.place.config.clone().into_os_string()];
    if let Some(socket) = &run.place.socket {
        words.extend(["--socket".into(), socket.clone().into_os_string()]);
    }
    if let Some(state) = &run.state {
        words.extend(["--state".into(), state.clone().into_os_string()]);
    }
    if run.dry_run {
        words.push("--dry-run".into());
    }
    if run.stream {
        words.push("--stream".into());
    }
    for given in &run.given {
        words.extend(["--given".into(), given.into()]);
    }
    words
}

/// The daemon proper.
pub(crate) fn daemon(run: &Run) -> ExitCode {
    ExitCode::from(u8::try_from(daemon::run(run)).unwrap_or(exit::REFUSED))
}

/// Has the configuration read again.
pub(crate) fn reload(ask: &Ask) -> ExitCode {
    report(ask, &Verb::Reload, "jails in force")
}

/// Frees everybody and ends the daemon.
pub(crate) fn stop(ask: &Ask) -> ExitCode {
    match call::text(&ask.place, &Verb::Stop) {
        Ok(text) if ask.json => print(&(text + "\n")),
        Ok(_) => print("everybody is freed, and the daemon has ended\n"),
        Err(error) => return error.exit(),
    }
    ExitCode::from(exit::DONE)
}

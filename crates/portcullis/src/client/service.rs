//! `run` and the verbs that concern the daemon as a whole.

use std::process::{Command, ExitCode};

use portcullis_core::wire::Verb;

use super::failure::fail;
use super::{Ask, Run, call, exit, status::print};
use crate::control::answer::{Held, Reloaded};
use crate::regex::harmless;
use crate::{daemon, runner};

/// The main process: it starts the daemon and runs commands for it.
pub(crate) fn run(run: &Run) -> ExitCode {
    // A daemon that died starts again without it; whoever starts one has mistyped it.
    if !run.stream && !run.place.config.is_dir() {
        let shown = run.place.config.display();
        let error = format!("there is no configuration folder {shown}; name one with -c (an empty one will do)");
        return fail(false, &error, exit::REFUSED);
    }
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
    let socket = match runner::activated() {
        Ok(socket) => socket,
        Err(error) => return broken(&error),
    };
    let ended = runner::supervise(socket.as_ref(), |deaths| {
        let mut command = Command::new(&program);
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(variable);
        }
        // What SQLite needs comes and goes; without these, the C library keeps it for each thread that had some. Two
        // arenas are enough for the processors that are busy at a time here. The other allocator gives back what has been
        // free for 20 ms instead of for a second (decision 0021).
        command
            .env("MIMALLOC_PURGE_DELAY", "20")
            .env("MALLOC_MMAP_THRESHOLD_", "1048576")
            .env("MALLOC_TRIM_THRESHOLD_", "1048576")
            .env("MALLOC_ARENA_MAX", "2")
            .arg("daemon")
            .args(socket.is_some().then_some("--given-socket"))
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
    if let Some(group) = &run.socket_group {
        words.extend(["--socket-group".into(), group.into()]);
    }
    if run.dry_run {
        words.push("--dry-run".into());
    }
    if run.no_sandbox {
        words.push("--no-sandbox".into());
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
    let (answer, text) = match call::json::<Reloaded>(ask, &Verb::Reload) {
        Ok(answer) => answer,
        Err(error) => return error.exit(ask.json),
    };
    if ask.json {
        print(&(text + "\n"));
    } else {
        print(&format!("jails in force: {}\n", answer.count));
        tell(&answer);
    }
    ExitCode::from(if answer.protected || answer.dry_run {
        exit::DONE
    } else {
        exit::NOT_PROTECTED
    })
}

/// What is not well after a reload, on standard error.
fn tell(answer: &Reloaded) {
    for note in &answer.notes {
        eprintln!("portcullis: {}", harmless(note));
    }
    for Held { jail, reason } in &answer.held {
        eprintln!(
            "portcullis: {}",
            harmless(&format!("jail '{jail}' is held, it may not ban: {reason}"))
        );
    }
    for reason in &answer.not_protected {
        eprintln!("portcullis: NOT PROTECTED: {}", harmless(reason));
    }
}

/// Frees everybody and ends the daemon.
pub(crate) fn stop(ask: &Ask) -> ExitCode {
    match call::text(&ask.place, &Verb::Stop) {
        Ok(text) if ask.json => print(&(text + "\n")),
        Ok(_) => print("everybody is freed, and the daemon has ended\n"),
        Err(error) => return error.exit(ask.json),
    }
    ExitCode::from(exit::DONE)
}

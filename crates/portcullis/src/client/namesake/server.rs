//! Starting a server: beside this process, which then configures it, or in its place (contract §8.1, §8.2).

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use portcullis_core::value::Value;

use super::Name;
use super::connection::Patience;
use super::session::{Break, Done, Session};
use crate::client::{Run, Where, service};

/// What the main thread is called, unless `--pname` says another.
const PNAME: &str = "fail2ban-server";

/// The client's `start`: a server in the background, started as the program of that name; or this process becomes it.
pub(super) fn start(session: &mut Session) -> Done {
    let Some(commands) = session.prepare()? else {
        return Ok(false);
    };
    if !session.wish.background {
        return foreground(session, &commands);
    }
    if let Err(error) = call_server(session) {
        session.print("")?;
        session.fail("Exception while starting server background")?;
        return session.fail(&super::connection::told(&error));
    }
    session.configure(&commands, || false)
}

/// The program `fail2ban-server` without a command, or with `start`.
pub(super) fn serve(session: &mut Session) -> Done {
    if session.wish.is_async {
        return if session.wish.background {
            detach(session).map(|()| true)
        } else {
            Ok(occupy(session))
        };
    }
    let Some(commands) = session.prepare()? else {
        return Err(Break::Raised("Async configuration of server failed".to_owned()));
    };
    if !session.wish.background {
        return foreground(session, &commands);
    }
    detach(session)?;
    session.configure(&commands, || false)
}

/// Calls the server's program as Fail2Ban's client does.
fn call_server(session: &Session) -> io::Result<()> {
    let wish = &session.wish;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(Name::Server.text()).args(["--async", "-b"]);
    command.args(["-s", wish.setting("socket"), "-p", wish.setting("pidfile")]);
    if wish.force {
        command.arg("-x");
    }
    if let Some(more) = usize::try_from(wish.verbose).ok().filter(|verbose| *verbose > 1) {
        command.arg(format!("-{}", "v".repeat(more - 1)));
    }
    for option in ["loglevel", "logtarget", "syslogsocket"] {
        command.arg(format!("--{option}")).arg(wish.setting(option));
    }
    if let Some(name) = &wish.pname {
        command.args(["--pname", name]);
    }
    // The folder of the configuration says where the state is kept.
    command.args(["-c", &wish.base]);
    command.spawn().map(drop)
}

/// Starts the daemon away from this terminal and session.
fn detach(session: &mut Session) -> Done<()> {
    let run = run(session);
    let started = clear(session).and_then(|()| {
        Command::new(std::env::current_exe()?)
            .arg("detached")
            .args(["--pname", session.wish.pname.as_deref().unwrap_or(PNAME)])
            .args(service::words(&run))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    });
    started
        .map(drop)
        .map_err(|error| Break::Raised(super::connection::told(&error)))
}

/// Becomes the server, while a thread configures it. If that fails, the server ends.
fn foreground(session: &mut Session, commands: &[Vec<Value>; 2]) -> Done {
    let mut configurer = Session::new(session.name, session.arguments.clone());
    configurer.wish = session.wish.clone();
    configurer.voice = session.voice.clone();
    let (over, configured) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (ended, done, commands) = (over.clone(), configured.clone(), commands.clone());
    let thread = thread::Builder::new().name("configure".to_owned()).spawn(move || {
        let outcome = configurer.configure(&commands, || ended.load(Ordering::Acquire));
        if matches!(outcome, Ok(true)) {
            done.store(true, Ordering::Release);
        } else if !ended.load(Ordering::Acquire) {
            let _ = configurer.send(&[vec!["stop".into()]], false, Patience::Endless);
        }
    })?;
    let ended_well = occupy(session);
    over.store(true, Ordering::Release);
    // It ends with the server, or soon after.
    let _ = thread.join();
    Ok(ended_well && configured.load(Ordering::Acquire))
}

/// Is the server until it ends.
fn occupy(session: &mut Session) -> bool {
    if let Err(error) = clear(session) {
        session.voice.error(&super::connection::told(&error));
        return false;
    }
    service::rename(session.wish.pname.as_deref().unwrap_or(PNAME));
    service::supervised(&run(session)) == 0
}

/// Makes room for the socket: with `-x`, one that is left over goes.
fn clear(session: &Session) -> io::Result<()> {
    let socket = session.wish.setting("socket");
    if !session.wish.force || std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Ok(());
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The words of the daemon.
fn run(session: &Session) -> Run {
    let wish = &session.wish;
    let given = ["pidfile", "loglevel", "logtarget", "syslogsocket"];
    Run {
        place: Where {
            config: wish.base.clone().into(),
            socket: Some(wish.setting("socket").into()),
        },
        state: None,
        dry_run: false,
        no_sandbox: false,
        socket_group: None,
        given_socket: false,
        stream: true,
        given: given.map(|name| format!("{name}={}", wish.setting(name))).to_vec(),
        deaths: 0,
    }
}

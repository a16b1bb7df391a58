//! Where things are: the configuration, the state, the socket, the database, the log.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use portcullis_core::config;
use portcullis_core::config::plan::Server;
use rustix::fs::OFlags;

use crate::client::{Run, Where};
use crate::daemon::way::Manner;
use crate::folder;
use crate::observe::log::{Level, note};
use crate::store::Place;

/// The state folder, where nothing else is said.
const STATE: &str = "/var/lib/portcullis";
/// Names the state folder, where no option does.
const STATE_VARIABLE: &str = "PORTCULLIS_STATE";
/// The socket, where `fail2ban.conf` is silent (contract §2.1).
const SOCKET: &str = "/var/run/fail2ban/fail2ban.sock";

/// All places of one daemon.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The configuration folder, absolute
    pub(crate) config: PathBuf,
    /// The state folder
    pub(crate) state: PathBuf,
    /// Whether the state folder was given on the command line and so holds everything
    pub(crate) own_state: bool,
    /// The control socket
    pub(crate) socket: PathBuf,
    /// Whether the configuration comes from a client, as with Fail2Ban's server
    pub(crate) is_stream: bool,
    /// The pid file that such a server was told to write
    given_pid: Option<PathBuf>,
    /// Whether nothing is enforced
    pub(crate) dry_run: bool,
}

/// The socket that a client asks.
pub(crate) fn socket(place: &Where) -> PathBuf {
    if let Some(socket) = &place.socket {
        return socket.clone();
    }
    let base = absolute(&place.config);
    let base = base.to_string_lossy();
    let named = folder::with(&base, |tree| config::server_option(tree, &base, "socket"));
    named.map_or_else(|| SOCKET.into(), PathBuf::from)
}

/// Writes a file whole: whoever reads it has the former one or this.
///
/// # Errors
/// As the file system has them; the former file stays.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(&new, path)
}

/// A path that does not change with the working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Writes a file, but never through a symbolic link: others may be able to make one in its folder.
fn write_here(path: &Path, text: &str) -> std::io::Result<()> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(flags);
    options.open(path)?.write_all(text.as_bytes())
}

impl Places {
    /// The books of the cloud's firewall.
    pub(crate) fn books(&self) -> PathBuf {
        self.state.join("cloud.sqlite3")
    }

    /// Who runs actions, and in earnest or not.
    pub(crate) fn manner(&self) -> Manner {
        Manner {
            dry_run: self.dry_run,
            is_own_face: !self.is_stream,
        }
    }

    /// From the command line.
    pub(crate) fn of(run: &Run) -> Places {
        let named = std::env::var_os(STATE_VARIABLE).map(PathBuf::from);
        let state = run.state.clone().or(named).unwrap_or_else(|| STATE.into());
        let pid = run.given.iter().rev().find_map(|given| given.strip_prefix("pidfile="));
        Places {
            config: absolute(&run.place.config),
            state: absolute(&state),
            // A client that names a database means that one.
            own_state: run.state.is_some() && !run.stream,
            socket: absolute(&socket(&run.place)),
            is_stream: run.stream,
            dry_run: run.dry_run,
            given_pid: pid.map(|pid| absolute(Path::new(pid))),
        }
    }

    /// Writes the main process's number where it was asked for, as Fail2Ban does; that it cannot is said and no more.
    pub(crate) fn write_pid(&self) {
        let Some(path) = &self.given_pid else { return };
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let pid = std::os::unix::process::parent_id();
        if let Err(error) = folder.and_then(|()| write_here(path, &format!("{pid}\n"))) {
            note(
                Level::Error,
                "fail2ban.server",
                &format!("Unable to create PID file: {error}"),
            );
        }
    }

    /// Removes that file.
    pub(crate) fn remove_pid(&self) {
        if let Some(Err(error)) = self.given_pid.as_ref().map(fs::remove_file) {
            note(
                Level::Error,
                "fail2ban.server",
                &format!("Unable to remove PID file: {error}"),
            );
        }
    }

    /// The files outside the state folder that are written whatever the configuration says.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        let pid = self.given_pid.clone();
        pid.into_iter()
            .chain([self.socket.clone(), self.fallback_log()])
            .collect()
    }

    /// The folder's name as the configuration reader takes it.
    pub(crate) fn base(&self) -> String {
        self.config.to_string_lossy().into_owned()
    }

    /// The database: `--state` wins over `dbfile`, and `dbfile = None` puts our part into the state folder. A dry run
    /// has one of its own: the next start, ours or Fail2Ban's, would take its bans for real ones (D-169).
    pub(crate) fn database(&self, server: &Server) -> Place {
        match &server.dbfile {
            _ if self.dry_run && !self.own_state => Place::File(self.state.join("dry-run.sqlite3")),
            Some(file) if !self.own_state && file == ":memory:" => Place::Memory,
            Some(file) if !self.own_state => Place::File(PathBuf::from(file)),
            _ => Place::File(self.state.join("fail2ban.sqlite3")),
        }
    }

    /// The database, asked from the configuration alone.
    pub(crate) fn kept_database(&self) -> Place {
        let base = self.base();
        let named = folder::with(&base, |tree| config::server_option(tree, &base, "dbfile"));
        let mut server = Server::default();
        if let Some(named) = named {
            server.dbfile = Some(named).filter(|name| name != "None");
        }
        self.database(&server)
    }

    /// The log: as `logtarget` says; where that cannot be written, a file in the state folder.
    pub(crate) fn fallback_log(&self) -> PathBuf {
        self.state.join("fail2ban.log")
    }

    /// The last configuration that was read without a fault.
    pub(crate) fn last_good(&self) -> PathBuf {
        self.state.join("last-good-stream.json")
    }

    /// What commands changed, for a daemon that follows one which died.
    pub(crate) fn live(&self) -> PathBuf {
        self.state.join("live-configuration.json")
    }

    /// The line that was in hand when the daemon died.
    pub(crate) fn line_in_hand(&self) -> PathBuf {
        self.state.join("line-in-hand.json")
    }

    /// The file that says which process is the daemon.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.state.join("portcullis.pid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(write_here(&link, "1\n").is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        write_here(&victim, "1\n").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "1\n");
    }

    #[test]
    fn which_database() {
        let kept = "/var/lib/fail2ban/fail2ban.sqlite3";
        for (own_state, dry_run, dbfile, expect) in [
            (false, false, Some(kept), kept),
            (false, false, None, "/s/fail2ban.sqlite3"),
            (true, false, Some(kept), "/s/fail2ban.sqlite3"),
            (false, true, Some(kept), "/s/dry-run.sqlite3"),
            (false, true, Some(":memory:"), "/s/dry-run.sqlite3"),
            (true, true, Some(kept), "/s/fail2ban.sqlite3"),
        ] {
            let places = Places {
                config: "/e".into(),
                state: "/s".into(),
                own_state,
                socket: "/r".into(),
                dry_run,
                is_stream: false,
                given_pid: None,
            };
            let server = Server {
                dbfile: dbfile.map(str::to_owned),
                ..Server::default()
            };
            let place = places.database(&server);
            assert_eq!(
                place.path(),
                Some(Path::new(expect)),
                "{own_state} {dry_run} {dbfile:?}"
            );
        }
    }
}

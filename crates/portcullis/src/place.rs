//! Where things are: the configuration, the state, the socket, the database, the log.

use std::path::{Path, PathBuf};

use portcullis_core::config;
use portcullis_core::config::plan::Server;

use crate::client::{Run, Where};
use crate::folder;
use crate::store::Place;

/// The state folder, where nothing else is said.
const STATE: &str = "/var/lib/portcullis";
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

/// A path that does not change with the working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Places {
    /// From the command line.
    pub(crate) fn of(run: &Run) -> Places {
        let state = run.state.as_deref().unwrap_or_else(|| Path::new(STATE));
        Places {
            config: absolute(&run.place.config),
            state: absolute(state),
            own_state: run.state.is_some(),
            socket: absolute(&socket(&run.place)),
            dry_run: run.dry_run,
        }
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

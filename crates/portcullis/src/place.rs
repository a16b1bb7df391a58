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
        }
    }

    /// The folder's name as the configuration reader takes it.
    pub(crate) fn base(&self) -> String {
        self.config.to_string_lossy().into_owned()
    }

    /// The database: `--state` wins over `dbfile`, and `dbfile = None` puts our part into the state folder.
    pub(crate) fn database(&self, server: &Server) -> Place {
        match &server.dbfile {
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

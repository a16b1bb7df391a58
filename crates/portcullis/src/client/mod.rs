//! The command line: our own verbs. Each file here holds one group of them.

pub(crate) mod banning;
pub(crate) mod call;
pub(crate) mod flush;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod stock;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Exit codes of our verbs (DESIGN §5).
pub(crate) mod exit {
    /// Done.
    pub(crate) const DONE: u8 = 0;
    /// Refused, or the input is wrong.
    pub(crate) const REFUSED: u8 = 1;
    /// Not protected, or the layers differ from what was decided.
    pub(crate) const NOT_PROTECTED: u8 = 2;
    /// No daemon answers.
    pub(crate) const NO_DAEMON: u8 = 3;
}

/// Reads service logs, recognises attacks with Fail2Ban's own configuration, and makes bans true.
#[derive(Parser, Debug)]
#[command(
    name = "portcullis",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Where the configuration and the socket are.
#[derive(Args, Debug, Clone)]
pub(crate) struct Where {
    /// Configuration folder
    #[arg(short = 'c', long = "config", value_name = "DIR", default_value = "/etc/fail2ban")]
    pub(crate) config: PathBuf,
    /// Control socket [default: as fail2ban.conf says]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// Where the daemon is, and in which form to print.
#[derive(Args, Debug, Clone)]
pub(crate) struct Ask {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `run` is told.
#[derive(Args, Debug, Clone)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) place: Where,
    /// State folder: database, pid file, last good configuration [default: /var/lib/portcullis]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Decide and log, but enforce nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How often the daemon died in a row (told by the runner)
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) deaths: u32,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Follow the logs and ban, in the foreground
    Run(Run),
    /// The daemon proper; started by `run`
    #[command(hide = true)]
    Daemon(Run),
    /// Show how things stand, in all jails or in one
    Status {
        /// Only this jail, with its bans
        jail: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// List who is banned
    Banned {
        /// Only in this jail
        #[arg(long)]
        jail: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Ban addresses or networks by hand
    Ban(banning::Ban),
    /// Lift bans
    Unban(banning::Unban),
    /// Read the configuration again; bans and counters stay
    Reload(Ask),
    /// Free everybody and end the daemon
    Stop(Ask),
    /// Free everybody, also when the daemon is down
    Flush {
        /// The daemon's state folder, where it is down [default: /var/lib/portcullis]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        #[command(flatten)]
        ask: Ask,
    },
    /// List the built-in configuration files, or print one
    Stock {
        /// The file, such as filter.d/postfix.conf
        file: Option<String>,
    },
}

/// Runs the program that the command line asks for.
pub(crate) fn main() -> ExitCode {
    // A reader that closes early (`| head`) ends the program quietly, as other tools do.
    match Cli::parse().verb {
        Verb::Run(run) => service::run(&run),
        Verb::Daemon(run) => service::daemon(&run),
        Verb::Status { jail, ask } => status::status(jail, &ask),
        Verb::Banned { jail, ask } => status::banned(jail, &ask),
        Verb::Ban(ban) => banning::ban(ban),
        Verb::Unban(unban) => banning::unban(unban),
        Verb::Reload(ask) => service::reload(&ask),
        Verb::Stop(ask) => service::stop(&ask),
        Verb::Flush { state, ask } => flush::flush(state, &ask),
        Verb::Stock { file } => stock::main(file.as_deref()),
    }
}

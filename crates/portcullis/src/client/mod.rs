//! The command line: our own verbs. Each file here holds one group of them.

pub(crate) mod banning;
pub(crate) mod bridge;
pub(crate) mod call;
mod doctor;
pub(crate) mod failure;
mod finding;
pub(crate) mod flush;
#[cfg(feature = "gcp")]
pub(crate) mod gcp;
mod ink;
pub(crate) mod namesake;
mod pages;
pub(crate) mod probe;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod stock;
pub(crate) mod verify;
mod undo;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
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
    after_help = "Exit codes: 0 done, 1 refused, 2 not protected or the layers differ from what was decided, 3 no daemon \
                  answers; doctor, check, regex, try, client and server have their own.",
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
    /// Keep all rights of whoever starts it; PORTCULLIS_SANDBOX=off in the environment does the same
    #[arg(long)]
    pub(crate) no_sandbox: bool,
    /// Begin without a configuration and take it from the socket, as fail2ban-server does
    #[arg(long, hide = true)]
    pub(crate) stream: bool,
    /// Options of the server that win over those of the stream, each as NAME=VALUE: loglevel, logtarget,
    /// syslogsocket, pidfile
    #[arg(long, hide = true, value_name = "NAME=VALUE")]
    pub(crate) given: Vec<String>,
    /// Members of this group may look (status, banned, get), and change nothing [default: root alone may ask]
    #[arg(long, value_name = "NAME")]
    pub(crate) socket_group: Option<String>,
    /// Whether the runner hands over a socket (told by the runner)
    #[arg(long, hide = true)]
    pub(crate) given_socket: bool,
    /// How often the daemon died in a row (told by the runner)
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) deaths: u32,
}

impl Run {
    /// What a daemon with this configuration and this state folder would be told: where its things are.
    pub(crate) fn beside(place: &Where, state: Option<PathBuf>) -> Run {
        Run {
            place: place.clone(),
            state,
            dry_run: false,
            no_sandbox: false,
            stream: false,
            given: Vec::new(),
            socket_group: None,
            given_socket: false,
            deaths: 0,
        }
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Follow the logs and ban, in the foreground
    Run(Run),
    /// `run` in the background; started by `fail2ban-server`
    #[command(hide = true)]
    Detached {
        /// What the main thread is called
        #[arg(long)]
        pname: String,
        #[command(flatten)]
        run: Run,
    },
    /// The daemon proper; started by `run`
    #[command(hide = true)]
    Daemon(Run),
    /// Keep out whom a server has banned, until another that takes its seat has them; for the package's scripts
    #[command(hide = true)]
    Bridge(bridge::Options),
    /// Write the man pages and the completions of the shells, for a package
    #[command(hide = true)]
    Pages(pages::Options),
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
    /// Compare what is decided with what the layers hold
    Verify {
        /// Ban an address of a network of our own for a moment, and see that its packets are dropped
        #[arg(long)]
        probe: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// Read the configuration again; bans and counters stay
    Reload(Ask),
    /// Free everybody and end the daemon
    Stop(Ask),
    /// Free everybody, also when the daemon is down
    Flush {
        /// The daemon's state folder, where it is down [default: /var/lib/portcullis]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Where the daemon is down: leave the bans in the database, so that the next start puts them up again
        #[arg(long)]
        until_start: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// Rules of the cloud's firewall: what is in them, what is to be written, what is in the way
    #[cfg(feature = "gcp")]
    #[command(subcommand)]
    Gcp(gcp::Gcp),
    /// Rules of the cloud's firewall: this program was built without them
    #[cfg(not(feature = "gcp"))]
    #[command(hide = true, disable_help_flag = true)]
    Gcp {
        /// Anything
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Look whether attacks would be seen and bans be in force: logs, jails, firewall, versions, clock; each finding with
    /// its mend. Changes nothing. Exit 0 well, 1 something to look at, 2 not protected
    Doctor(doctor::Options),
    /// Check a configuration folder: what is wrong, where, and what to do about it
    Check(crate::check::Options),
    /// Try a filter on a log, as fail2ban-regex does
    Regex(crate::regex::Asked),
    /// Be fail2ban-client: commands to a server, in Fail2Ban's words
    #[command(disable_help_flag = true)]
    Client {
        /// As for fail2ban-client
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Be fail2ban-server: start in the background, or with -f in the foreground
    #[command(disable_help_flag = true)]
    Server {
        /// As for fail2ban-server
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Show in under a minute, without any set-up, that attackers are dropped
    Try(crate::trial::Options),
    /// List the built-in configuration files, or print one
    Stock {
        /// The file, such as filter.d/postfix.conf
        file: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program that the command line asks for, or that it was started as.
pub(crate) fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("fail2ban-regex") => return crate::regex::fail2ban_regex(std::env::args_os()),
        Some("fail2ban-client") => return namesake::main(namesake::Name::Client, std::env::args_os().skip(1)),
        Some("fail2ban-server") => return namesake::main(namesake::Name::Server, std::env::args_os().skip(1)),
        _ => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, &std::env::args_os().skip(1).collect::<Vec<_>>()),
    };
    match cli.verb {
        Verb::Run(run) => service::run(&run),
        Verb::Detached { pname, run } => service::detached(&pname, &run),
        Verb::Daemon(run) => service::daemon(&run),
        Verb::Bridge(options) => bridge::main(&options),
        Verb::Pages(options) => pages::main(&options),
        Verb::Status { jail, ask } => status::status(jail, &ask),
        Verb::Banned { jail, ask } => status::banned(jail, &ask),
        Verb::Ban(ban) => banning::ban(ban),
        Verb::Unban(unban) => banning::unban(unban),
        Verb::Verify { probe, ask } => verify::verify(&ask, probe),
        Verb::Reload(ask) => service::reload(&ask),
        Verb::Stop(ask) => service::stop(&ask),
        Verb::Flush {
            state,
            until_start,
            ask,
        } => flush::flush(state, until_start, &ask),
        #[cfg(feature = "gcp")]
        Verb::Gcp(gcp) => gcp::main(&gcp),
        #[cfg(not(feature = "gcp"))]
        Verb::Gcp { arguments } => {
            let json = arguments.iter().any(|word| word == "--json");
            let error = crate::enforce::gcp::available().err().unwrap_or_default();
            failure::fail(json, error, exit::REFUSED)
        }
        Verb::Doctor(options) => doctor::main(&options),
        Verb::Check(options) => crate::check::main(&options),
        Verb::Regex(asked) => crate::regex::main(&asked),
        Verb::Client { arguments } => namesake::main(namesake::Name::Client, arguments),
        Verb::Server { arguments } => namesake::main(namesake::Name::Server, arguments),
        Verb::Try(options) => crate::trial::main(&options),
        Verb::Stock { file, json } => stock::main(file.as_deref(), json),
    }
}

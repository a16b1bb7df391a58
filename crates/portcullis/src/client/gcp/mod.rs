//! `gcp`: what bans in a rule of the cloud's firewall come to, asked of the daemon where one runs, and found out by
//! ourselves where none does.
//!
//! [`sight`] is how the rules stand, for [`plan`] and [`status`]; [`offline`] finds that out without a daemon.
//! [`doctor`] looks whether bans can come to be at all. [`edit`] and [`flush`] write, by [`amend`], over a [`session`]
//! with the API; [`selftest`] tries what the API does, on a rule that meets nobody.

mod aims;
mod amend;
mod doctor;
mod edit;
mod flush;
mod lock;
mod offline;
mod pace;
mod plan;
mod reach;
mod roles;
mod selftest;
mod session;
mod sight;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

/// The verbs of `portcullis gcp`.
#[derive(Subcommand, Debug)]
pub(crate) enum Gcp {
    /// Show what would be written to the rules: + in, - out, = stays. Exit 2 when changes are pending
    #[command(after_help = EXITS)]
    Plan(plan::Options),
    /// Show how the rules stand, and with --list what is in them. Exit 2 unless they hold what they shall
    #[command(after_help = EXITS)]
    Status(status::Options),
    /// Look whether bans can come to be in the rules: token, scopes, permissions, network, priority, what stands
    /// above; each finding with its mend. Exit 0 well, 1 something to look at, 2 bans do not come to be
    Doctor(doctor::Options),
    /// Take everything that is ours out of the rules, while no daemon runs; what is somebody else's stays
    #[command(
        after_help = "A daemon that runs would write its bans again, so this is refused then: portcullis flush frees \
                            everybody in every layer, portcullis unban IP one."
    )]
    Flush(flush::Options),
    /// Put addresses or networks into a rule, by hand or from a script; needs no daemon and no configuration
    #[command(after_help = EDITING)]
    Add(edit::Options),
    /// Take addresses or networks out of a rule, by hand or from a script; needs no daemon and no configuration
    #[command(after_help = EDITING)]
    Remove(edit::Options),
    /// Try what the API does, on a rule of its own that no machine meets, and print a report that can be shared
    #[command(after_help = TESTING)]
    Selftest(selftest::Options),
}

const EXITS: &str = "Where a daemon runs, it is asked; else the configuration, the kept bans and the rules themselves are read. \
                     Exit codes: 0 as it shall be, 1 refused, 2 changes are pending or something is wrong.";
const EDITING: &str = "The list is read, changed, written whole and read back; it never becomes empty, because a deny rule without \
                       sources denies everybody. To a daemon that runs, these entries are somebody else's: it leaves them where \
                       they are. Exit codes: 0 done (also where nothing was to do), 1 refused.";
const TESTING: &str = "It makes two rules portcullis-selftest-…, which the guide's binding does not permit: that is to the name of \
                       your rule. Where it is refused, the command is printed that binds the same role to these names for an \
                       hour. --rule NAME makes none, and is content with the guide's binding; it tries less. \
                       Exit codes: 0 done, 1 refused or not finished.";

/// Runs one of them.
pub(crate) fn main(gcp: &Gcp) -> ExitCode {
    match gcp {
        Gcp::Plan(options) => plan::main(options),
        Gcp::Status(options) => status::main(options),
        Gcp::Doctor(options) => doctor::main(options),
        Gcp::Flush(options) => flush::main(options),
        Gcp::Add(options) => edit::main(options, edit::Verb::Add),
        Gcp::Remove(options) => edit::main(options, edit::Verb::Remove),
        Gcp::Selftest(options) => selftest::main(options),
    }
}

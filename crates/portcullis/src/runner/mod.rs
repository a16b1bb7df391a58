//! Two processes: the runner starts commands, the daemon decides which.
//!
//! The runner is the parent and the service's main process. It starts the daemon with one end of a socket pair as
//! its standard input, starts it again when it dies, and runs what it asks for: a template that it learned at
//! (re)load, filled with values by the same function of the core that the daemon uses. A finished command line is
//! never taken, so that a daemon in the wrong hands can only ban and unban. Many commands that are recognised here, too,
//! it makes into one batch of their program, of templates and addresses in the same way. It also starts the program that
//! prints the journal and those whose output is a log, and passes on the ends of their pipes, or its own standard input. The daemon itself never forks
//! and can be locked up, while users' actions keep what they need.
//!
//! [`supervise`] is the parent's whole life; [`Link`] is the daemon's end of the socket.

mod execute;
mod find;
mod handover;
mod journal;
mod lane;
mod link;
mod outputs;
mod passing;
mod program;
mod serve;
mod supervise;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use handover::{activated, given_socket};
pub(crate) use journal::print;
pub(crate) use link::{Catalogue, Event, Feed, Link};
pub(crate) use supervise::{pause, supervise};
pub(crate) use wire::{
    BATCH_MOST, BESIDE_MOST, Begin, Excerpt, Item, Lane, Notice, Outcome, Ran, Template, TemplateId,
};

use std::time::Duration;

use portcullis_core::action::Command;

/// Runs a command in this process, to its end or to the end of its time: where there is no runner.
pub(crate) fn directly(command: Command, timeout: Duration) -> Ran {
    let task = execute::Task::Shell(command);
    execute::execute(&task, timeout, &execute::Running::default())
}

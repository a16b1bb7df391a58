//! `gcp doctor`: whether bans can come to be in the cloud's rules, and what to do where they cannot.
//!
//! [`visit`] asks; [`machine`], [`rights`], [`rule`], [`ports`] and [`above`] judge what was answered, and know nothing
//! of a network.

mod above;
mod machine;
mod ports;
mod rights;
mod rule;
mod visit;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use portcullis_core::wire::Verb;

pub(super) use self::ports::Door;

use super::reach::Reach;
use super::sight::Look;
use crate::client::call;
use crate::client::failure::print_line;
use crate::client::finding::Document;
use crate::client::ink::Ink;
use crate::client::status::print;

/// `gcp doctor`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Look at this rule [default: those that the configuration bans in]
    rule: Option<String>,
    /// Only what can be looked at without the API
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    look: Look,
}

/// Looks at everything and says what it found.
pub(super) fn main(options: &Options) -> ExitCode {
    let asked = call::text(&options.look.ask.place, &Verb::ping());
    let daemon = !matches!(asked, Err(call::Error::NoDaemon { .. }));
    let document = Document::new(daemon, "rule", visit::visit(options));
    if options.look.ask.json {
        print_line(&document.json());
    } else {
        print(&document.page(Ink::on(std::io::stdout().is_terminal())));
    }
    ExitCode::from(document.exit())
}

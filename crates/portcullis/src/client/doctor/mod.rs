//! `doctor`: whether attacks would be seen and bans be in force on this machine, and what to do where not.
//!
//! [`scene`] gathers once what all looks need: the configuration, what the daemon says, what the last lines of the logs
//! come to ([`tail`]). Each look judges one area and gives its findings; another area is another entry of [`LOOKS`].
//! Nothing is changed and nothing is started.

mod clock;
mod disk;
mod firewall;
mod layers;
mod logs;
mod program;
mod scene;
mod server;
mod setting;
mod sight;
mod tail;
mod unit;
mod visitor;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use self::scene::Scene;
use super::Ask;
use super::failure::print_line;
use super::finding::{Document, Finding, Level};
use super::ink::Ink;
use super::status::print;

/// What `doctor` is told.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    ask: Ask,
    /// The daemon's state folder [default: /var/lib/portcullis]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// A look at one area.
type Look = fn(&Scene) -> Vec<Finding>;

/// All of them, in the order in which they are told.
const LOOKS: [Look; 10] = [
    server::look,
    setting::look,
    logs::look,
    sight::look,
    layers::look,
    firewall::look,
    disk::look,
    clock::look,
    unit::look,
    visitor::look,
];

/// Looks at everything and says what it found.
pub(crate) fn main(options: &Options) -> ExitCode {
    let scene = Scene::gather(&options.ask.place, options.state.clone());
    let found = once(LOOKS.iter().flat_map(|look| look(&scene)).collect());
    let document = Document::new(scene.daemon.answers(), "subject", found);
    if options.ask.json {
        print_line(&document.json());
    } else {
        print(&document.page(Ink::on(std::io::stdout().is_terminal())));
    }
    ExitCode::from(document.exit())
}

/// What one look told with more to say is not told again by another.
fn once(found: Vec<Finding>) -> Vec<Finding> {
    let is_told = |weaker: &Finding| {
        found.iter().any(|other| {
            let is_other = other.subject == weaker.subject && other.code != weaker.code;
            is_other
                && match weaker.code {
                    "jail-dropped" => other.level == Level::Bad,
                    "misses-logins" => other.code == "unseen",
                    _ => false,
                }
        })
    };
    found.iter().filter(|finding| !is_told(finding)).cloned().collect()
}

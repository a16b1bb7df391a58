//! The rules as they stand and as they shall be: from the daemon, or, where none runs, found out by ourselves.

use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::wire::Verb;

use super::offline;
use crate::client::failure::fail;
use crate::client::{Ask, call, exit};
use crate::control::answer::{CloudView, Clouds};

/// Where to look.
#[derive(clap::Args, Debug, Clone)]
pub(super) struct Look {
    /// The daemon's state folder, where it is down [default: /var/lib/portcullis]
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    #[command(flatten)]
    pub(super) ask: Ask,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// Whether a daemon was asked
    pub(super) daemon: bool,
    pub(super) clouds: Vec<CloudView>,
    /// What could not be seen, and why, one sentence each
    pub(super) problems: Vec<String>,
}

/// Looks at all rules, or at one with those that are a part of it. What goes wrong is told already.
///
/// # Errors
/// The exit code.
pub(super) fn look(look: &Look, rule: Option<&str>) -> Result<Sight, ExitCode> {
    let json = look.ask.json;
    let mut sight = match call::json::<Clouds>(&look.ask, &Verb::Cloud { review: false }) {
        Ok((clouds, _)) => Sight {
            daemon: true,
            clouds: clouds.projects,
            problems: Vec::new(),
        },
        Err(call::Error::NoDaemon { .. }) => offline::look(look).map_err(|error| fail(json, &error, exit::REFUSED))?,
        Err(error) => return Err(error.exit(json)),
    };
    if let Some(rule) = rule {
        for view in &mut sight.clouds {
            view.rules.retain(|other| other.name == rule || other.base == rule);
        }
        sight.clouds.retain(|view| !view.rules.is_empty());
        if sight.clouds.is_empty() {
            let nobody = format!(
                "no jail that is switched on bans in a rule '{rule}'; give one action = gcp-firewall[rule=NAME], or look at a rule without that: portcullis gcp doctor NAME"
            );
            return Err(fail(json, &sight.reason(nobody), exit::REFUSED));
        }
    } else if sight.clouds.is_empty() {
        let nobody = "no jail that is switched on bans in a rule of the cloud's firewall; give one \
                      action = gcp-firewall[rule=block-ip]";
        return Err(fail(json, &sight.reason(nobody.to_owned()), exit::REFUSED));
    }
    Ok(sight)
}

impl Sight {
    /// Why nothing is seen: what is in the way, or else that there is nothing.
    fn reason(&self, nothing: String) -> String {
        if self.problems.is_empty() {
            nothing
        } else {
            self.problems.join("; ")
        }
    }
}

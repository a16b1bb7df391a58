//! How an action is done: in the kernel, in the cloud's firewall, by its commands, by mail, or not at all.

use std::path::Path;

use portcullis_core::action::Action;
use portcullis_core::cloud::gcloud::{self, Recognised};
use portcullis_core::cloud::options::Options;
use portcullis_core::config::plan::ActionPlan;
use portcullis_core::mail::Mail;
use portcullis_core::value::Value;

use super::resolver;
use crate::enforce::nft::{Blocktype, Scope};
use crate::enforce::ports::{Ports, Services, protocols};
use crate::enforce::protect::Spares;
use crate::enforce::{gcp, mail};

/// The layer of the cloud's firewall.
pub(crate) const GCP: &str = "gcp-firewall";

/// Options of an action of that layer that are its twin's in the kernel.
const TWINS_OWN: [&str; 4] = ["blocktype", "protect", "kill_sessions", "spare_sessions"];

/// Where service names are written down.
const SERVICES: &str = "/etc/services";

/// Who runs the actions, and in earnest or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Nothing is enforced: `--dry-run`
    pub(crate) dry_run: bool,
    /// Under our own name; under Fail2Ban's a command that Fail2Ban would run is run
    pub(crate) is_own_face: bool,
}

/// An action that bans in a rule of the cloud's firewall.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cloud {
    /// Where, and how
    pub(crate) options: Options,
    /// What is said of commands of gcloud's that are done by ourselves; none for an action of our own
    pub(crate) said: Option<String>,
}

/// How an action is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Way {
    /// In the kernel by ourselves
    Nft(Scope, Spares),
    /// In a rule of the cloud's firewall by ourselves
    Cloud(Box<Cloud>),
    /// By its own commands
    Shell(Box<Action>),
    /// A mail for each ban: Fail2Ban's `smtp.py`
    Mail(Box<Mail>),
    /// By its own commands, which wait for nobody else's: `parallel = yes`
    Beside(Box<Action>),
    /// Not at all: `--dry-run`
    Dry {
        /// Whether it would be a native layer
        native: bool,
    },
}

impl Way {
    /// [`Way::word`] of an action that is not done at all
    pub(crate) const DRY: &str = "dry";
    /// [`Way::word`] of one that bans in the cloud
    pub(crate) const CLOUD: &str = "cloud";

    /// Whether what it holds can be read back.
    pub(crate) fn is_verifiable(&self) -> bool {
        matches!(self, Way::Nft(..))
    }

    pub(crate) fn is_native(&self) -> bool {
        matches!(self, Way::Nft(..) | Way::Dry { native: true })
    }

    /// What it does in the cloud, if it does anything there.
    pub(crate) fn cloud(&self) -> Option<&Cloud> {
        match self {
            Way::Cloud(cloud) => Some(cloud),
            _ => None,
        }
    }

    /// As status shows it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Way::Nft(..) => "native",
            Way::Cloud(_) => Way::CLOUD,
            Way::Shell(action) | Way::Beside(action) if action.is_recognised() => "batch",
            Way::Shell(_) | Way::Beside(_) => "shell",
            Way::Mail(_) => "mail",
            Way::Dry { .. } => Way::DRY,
        }
    }
}

/// Finds out how an action is done: its option `layer` says that it is ours, all others run their commands, unless these
/// are gcloud's and known.
pub(crate) fn way(plan: &ActionPlan, manner: Manner) -> Result<Way, String> {
    let layer = plan.property("layer");
    let way = match layer.as_deref() {
        Some("nft") => Way::Nft(scope(plan)?, spares(plan)?),
        Some(GCP) => {
            gcp::available()?;
            let options = Options::of(plan)?;
            Way::Cloud(Box::new(Cloud { options, said: None }))
        }
        Some(other) => return Err(format!("there is no layer '{other}' (there are: nft, {GCP})")),
        None if plan.property(ActionPlan::FILE).is_some() => Way::Mail(Box::new(mail::of(plan)?)),
        None => match gcloud(plan, manner) {
            Some(Ok(found)) => {
                let said = Some(found.said());
                let options = found.options;
                Way::Cloud(Box::new(Cloud { options, said }))
            }
            _ => commands(plan)?,
        },
    };
    Ok(if manner.dry_run {
        Way::Dry {
            native: way.is_native(),
        }
    } else {
        way
    })
}

/// What gcloud's commands in an action come to, if there are any: what we do in their place, or why they are left to the
/// shell.
pub(crate) fn gcloud(plan: &ActionPlan, manner: Manner) -> Option<Result<Recognised, String>> {
    let given = |name: &str| std::env::var(name).ok();
    let found = gcloud::of_action(plan, given).transpose()?;
    if !manner.is_own_face {
        return Some(Err(
            "under Fail2Ban's name its commands are run as they stand".to_owned()
        ));
    }
    match option(plan, "native") {
        Ok(Some(false)) => Some(Err("native = no".to_owned())),
        Err(reason) => Some(Err(reason)),
        _ => Some(found.and_then(|found| gcp::available().map(|()| found).map_err(str::to_owned))),
    }
}

/// An action in the kernel, which bans whom one in the cloud bans: at once, on all ports, and with an end to what is open.
pub(crate) fn twin(plan: &ActionPlan) -> ActionPlan {
    let property = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
    let wanted = [
        ("layer", "nft"),
        ("type", "allports"),
        ("protocol", "all"),
        ("kill_sessions", "yes"),
        ("spare_sessions", "yes"),
    ];
    let mut properties: Vec<_> = wanted.into_iter().map(property).collect();
    // In an action of commands these words mean something to the commands.
    if plan.property("layer").is_some() {
        let given = plan
            .properties
            .iter()
            .filter(|(name, _)| TWINS_OWN.contains(&name.as_str()));
        properties.extend(given.cloned());
    }
    ActionPlan {
        name: format!("{}-local", plan.name).into(),
        properties,
    }
}

fn commands(plan: &ActionPlan) -> Result<Way, String> {
    let action = Action::compile(plan, resolver::ipv6_is_allowed());
    let mut action = Box::new(action.map_err(|error| error.to_string())?);
    if option(plan, "native")? != Some(false) {
        action = Box::new(action.recognised());
    }
    Ok(match option(plan, "parallel")? {
        Some(true) => Way::Beside(action),
        _ => Way::Shell(action),
    })
}

/// An option that is a yes or a no; a slip of the pen must not be read as either.
pub(crate) fn option(plan: &ActionPlan, name: &str) -> Result<Option<bool>, String> {
    let Some(text) = plan.property(name) else {
        return Ok(None);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(Some(true)),
        word if no(word) => Ok(Some(false)),
        _ => Err(format!("{name} = '{text}' is neither yes nor no")),
    }
}

fn no(text: &str) -> bool {
    ["no", "false", "off", "0"].contains(&text.to_ascii_lowercase().as_str())
}

fn spares(plan: &ActionPlan) -> Result<Spares, String> {
    if plan.property("protect").is_some_and(|text| no(&text)) {
        return Ok(Spares::Nobody);
    }
    Ok(match option(plan, "spare_sessions")? {
        Some(true) => Spares::Visitors,
        _ => Spares::Machine,
    })
}

fn scope(plan: &ActionPlan) -> Result<Scope, String> {
    let text = |name: &str, default: &str| plan.property(name).unwrap_or_else(|| default.to_owned());
    let blocktype = match text("blocktype", "drop").to_ascii_lowercase().as_str() {
        "drop" => Blocktype::Drop,
        "reject" => Blocktype::Reject,
        other => return Err(format!("blocktype '{other}' is neither drop nor reject")),
    };
    let protocols = protocols(&text("protocol", "tcp")).map_err(|error| error.to_string())?;
    let ports = if text("type", "multiport") == "allports" {
        Ports::All
    } else {
        // Without the file, the names that are built in must do.
        let services = Services::read(Path::new(SERVICES)).unwrap_or_else(|_| Services::parse(""));
        Ports::parse(&text("port", "0:65535"), &services).map_err(|error| error.to_string())?
    };
    Ok(Scope {
        ports,
        protocols,
        blocktype,
        kill_sessions: option(plan, "kill_sessions")?.unwrap_or(false),
    })
}

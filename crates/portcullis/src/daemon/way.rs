//! How an action is done: in the kernel, by its commands, by mail, or not at all.

use std::path::Path;

use portcullis_core::action::Action;
use portcullis_core::config::plan::ActionPlan;
use portcullis_core::mail::Mail;

use super::resolver;
use crate::enforce::mail;
use crate::enforce::nft::{Blocktype, Scope};
use crate::enforce::ports::{Ports, Services, protocols};

/// Where service names are written down.
const SERVICES: &str = "/etc/services";

/// How an action is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Way {
    /// In the kernel by ourselves; whether protected addresses are spared
    Nft(Scope, bool),
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

    /// Whether what it holds can be read back.
    pub(crate) fn is_verifiable(&self) -> bool {
        matches!(self, Way::Nft(..))
    }

    pub(crate) fn is_native(&self) -> bool {
        matches!(self, Way::Nft(..) | Way::Dry { native: true })
    }

    /// As status shows it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Way::Nft(..) => "native",
            Way::Shell(action) | Way::Beside(action) if action.is_recognised() => "batch",
            Way::Shell(_) | Way::Beside(_) => "shell",
            Way::Mail(_) => "mail",
            Way::Dry { .. } => Way::DRY,
        }
    }
}

/// Finds out how an action is done: its option `layer` says that it is ours, all others run their commands.
pub(crate) fn way(plan: &ActionPlan, dry_run: bool) -> Result<Way, String> {
    let layer = plan.property("layer");
    let way = match layer.as_deref() {
        Some("nft") => Way::Nft(scope(plan)?, !plan.property("protect").is_some_and(|text| no(&text))),
        Some(other) => return Err(format!("there is no layer '{other}' (there is: nft)")),
        None if plan.property(ActionPlan::FILE).is_some() => Way::Mail(Box::new(mail::of(plan)?)),
        None => {
            let action = Action::compile(plan, resolver::ipv6_is_allowed());
            let mut action = Box::new(action.map_err(|error| error.to_string())?);
            if option(plan, "native")? != Some(false) {
                action = Box::new(action.recognised());
            }
            match option(plan, "parallel")? {
                Some(true) => Way::Beside(action),
                _ => Way::Shell(action),
            }
        }
    };
    Ok(if dry_run {
        Way::Dry {
            native: way.is_native(),
        }
    } else {
        way
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

//! The actions of the configuration that ban in the cloud: which rules, for which jails, at which ports.

use std::path::Path;

use ipnet::IpNet;
use portcullis_core::cloud::options::Options;
use portcullis_core::config::plan::{ActionPlan, JailPlan, Plan};
use portcullis_core::config::{self, Face, Request};
use portcullis_core::ledger::LayerId;

use super::doctor::Door;
use crate::client::Where;
use crate::daemon::ignored;
use crate::daemon::way::{GCP, Manner, Way, way};
use crate::enforce::ports::{Ports, Services, protocols};
use crate::{folder, place};

/// Where the names of ports are.
const SERVICES: &str = "/etc/services";

/// A rule that jails ban in.
#[derive(Clone, Debug)]
pub(super) struct Aim {
    /// Of all of them together
    pub(super) options: Options,
    pub(super) layers: Vec<LayerId>,
    pub(super) doors: Vec<Door>,
}

/// What a configuration says about the cloud.
#[derive(Clone, Debug, Default)]
pub(super) struct Aims {
    pub(super) aims: Vec<Aim>,
    /// Networks that jails ignore, and which jail
    pub(super) ignored: Vec<(IpNet, String)>,
    /// Actions that cannot be used, and why
    pub(super) problems: Vec<String>,
}

impl Aims {
    /// Reads a configuration folder. One that is not there aims at nothing.
    pub(super) fn read(place: &Where) -> Aims {
        let base = place::absolute(&place.config).to_string_lossy().into_owned();
        let request = Request::new(&base, Face::Portcullis, config::FAIL2BAN_VERSION);
        let outcome = folder::with(&base, |tree| config::read(tree, &request));
        let (plan, _) = Plan::from_stream(&outcome.stream, Face::Portcullis);
        let mut aims = Aims {
            ignored: ignored(&plan),
            ..Aims::default()
        };
        for jail in &plan.jails {
            for action in &jail.actions {
                match options(action) {
                    Ok(Some(options)) => aims.add(jail, action, options),
                    Ok(None) => {}
                    Err(error) => aims
                        .problems
                        .push(format!("action '{}' of jail '{}': {error}", action.name, jail.name)),
                }
            }
        }
        aims
    }

    /// The options of a rule, where a jail bans in it.
    pub(super) fn of(&self, rule: &str) -> Option<&Options> {
        self.aims
            .iter()
            .map(|aim| &aim.options)
            .find(|options| options.rule == rule)
    }

    fn add(&mut self, jail: &JailPlan, action: &ActionPlan, options: Options) {
        let layer = LayerId {
            jail: jail.name.clone(),
            action: action.name.clone(),
        };
        let door = door(jail, action);
        let same = |aim: &&mut Aim| {
            (&aim.options.rule, &aim.options.project, &aim.options.endpoint)
                == (&options.rule, &options.project, &options.endpoint)
        };
        match self.aims.iter_mut().find(same) {
            None => self.aims.push(Aim {
                options,
                layers: vec![layer],
                doors: vec![door],
            }),
            Some(aim) => {
                match aim.options.merge(&options) {
                    Ok(notes) => self.problems.extend(notes),
                    Err(error) => self
                        .problems
                        .push(format!("action '{}' of jail '{}': {error}", action.name, jail.name)),
                }
                aim.layers.push(layer);
                aim.doors.push(door);
            }
        }
    }
}

/// The options of an action that bans in the cloud; `None` of any other, and of one that is left to the shell.
fn options(action: &ActionPlan) -> Result<Option<Options>, String> {
    let manner = Manner {
        dry_run: false,
        is_own_face: true,
    };
    match way(action, manner) {
        Ok(Way::Cloud(cloud)) => Ok(Some(cloud.options)),
        Err(error) if action.property("layer").as_deref() == Some(GCP) => Err(error),
        // What is wrong with the others is a matter of `check`.
        _ => Ok(None),
    }
}

/// What a jail guards: its ports stand in the action, because Fail2Ban hands them to every action.
fn door(jail: &JailPlan, action: &ActionPlan) -> Door {
    let others = || [action].into_iter().chain(&jail.actions);
    let property = |name: &str| others().find_map(|action| action.property(name));
    let services = Services::read(Path::new(SERVICES)).unwrap_or_default();
    let is_all = property("type").as_deref() == Some("allports");
    let port = property("port").filter(|text| !is_all && !text.is_empty());
    let known = port.and_then(|text| Ports::parse(&text, &services).ok());
    Door {
        jail: jail.name.to_string(),
        protocols: protocols(&property("protocol").unwrap_or_else(|| "tcp".to_owned())).unwrap_or_default(),
        ports: known.unwrap_or(Ports::All),
    }
}

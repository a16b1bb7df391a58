//! How each action of a jail is done, and the twins in the kernel of those that ban in the cloud.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::config::parse_bool;
use portcullis_core::config::plan::{ActionPlan, JailPlan};
use portcullis_core::diagnostic::{Diagnostic, Severity};
use portcullis_core::ledger::LayerId;

use super::Setup;
use crate::daemon::way::{self, Way};

/// Complaints about actions that ban in the cloud.
pub(in crate::daemon) const GCLOUD: &str = "gcloud";
pub(in crate::daemon) const ALONE: &str = "cloud-alone";

/// Which of a jail's actions are what.
#[derive(Default)]
pub(super) struct Kinds {
    pub(super) native: BTreeSet<Arc<str>>,
    pub(super) cloud: BTreeSet<Arc<str>>,
}

impl Setup {
    /// Finds out how each action is done; those that cannot be are left out. The first that bans in the cloud gets a twin
    /// in the kernel, unless it wants none.
    pub(super) fn ways(&mut self, plan: &mut JailPlan) -> Kinds {
        let mut kinds = Kinds::default();
        let actions = std::mem::take(&mut plan.actions);
        let names: BTreeSet<Arc<str>> = actions.iter().map(|action| Arc::clone(&action.name)).collect();
        for action in actions {
            let way = match way::way(&action, self.manner) {
                Ok(way) => way,
                Err(reason) => {
                    self.drop_action(plan, &action, reason);
                    continue;
                }
            };
            self.say_of_gcloud(plan, &action);
            if let Some(cloud) = way.cloud() {
                self.say_of_restored(plan, &action);
                if !cloud.options.local {
                    self.complain(&plan.name, alone(&action));
                } else if kinds.cloud.is_empty() {
                    self.add_twin((plan, &mut kinds), &action, &names);
                }
                kinds.cloud.insert(Arc::clone(&action.name));
            }
            self.add_way((plan, &mut kinds), action, way);
        }
        kinds
    }

    fn add_way(&mut self, (plan, kinds): (&mut JailPlan, &mut Kinds), action: ActionPlan, way: Way) {
        if way.is_native() {
            kinds.native.insert(Arc::clone(&action.name));
        }
        let id = LayerId {
            jail: Arc::clone(&plan.name),
            action: Arc::clone(&action.name),
        };
        self.layers.insert(id, way);
        plan.actions.push(action);
    }

    /// What the kernel holds while the cloud takes its time, and for sessions that are open.
    fn add_twin(
        &mut self,
        (plan, kinds): (&mut JailPlan, &mut Kinds),
        action: &ActionPlan,
        names: &BTreeSet<Arc<str>>,
    ) {
        let twin = way::twin(action);
        if names.contains(&twin.name) {
            let reason = format!(
                "its twin in the kernel would be '{}', which there is already",
                twin.name
            );
            return self.drop_action(plan, &twin, reason);
        }
        match way::way(&twin, self.manner) {
            Ok(way) => self.add_way((plan, kinds), twin, way),
            Err(reason) => self.drop_action(plan, &twin, reason),
        }
    }

    /// `norestored` says that a restart tells nothing again. To a rule nothing is told twice in any case: it holds who is
    /// banned, and a restart finds it so.
    fn say_of_restored(&mut self, plan: &JailPlan, action: &ActionPlan) {
        if action.property("norestored").is_some_and(|text| parse_bool(&text)) {
            let text = format!(
                "action '{}': norestored has no effect on a rule in the cloud, which holds whoever is banned, also after a restart",
                action.name
            );
            self.complain(&plan.name, Diagnostic::new(Severity::Note, GCLOUD, text));
        }
    }

    fn drop_action(&mut self, plan: &JailPlan, action: &ActionPlan, reason: String) {
        let text = format!("action '{}' is not in force: {reason}", action.name);
        let mut diagnostic = Diagnostic::new(Severity::Error, "action-dropped", text);
        let place = (plan.name.to_string(), format!("addaction@{}", action.name));
        diagnostic.position = self.origins.get(&place).cloned();
        self.complain(&plan.name, diagnostic);
        self.dropped.insert(format!("{}/{}", plan.name, action.name), reason);
    }

    /// What becomes of gcloud's commands is said once.
    fn say_of_gcloud(&mut self, plan: &JailPlan, action: &ActionPlan) {
        let (severity, text) = match way::gcloud(action, self.manner) {
            None => return,
            Some(Ok(found)) => (Severity::Note, format!("action '{}': {}", action.name, found.said())),
            Some(Err(reason)) => {
                let text = format!("action '{}' is left to the shell and gcloud: {reason}", action.name);
                (Severity::Warning, text)
            }
        };
        self.complain(&plan.name, Diagnostic::new(severity, GCLOUD, text));
    }
}

/// What a ban is without a twin in the kernel.
fn alone(action: &ActionPlan) -> Diagnostic {
    let text = format!(
        "action '{}' bans in the cloud alone (local = no): a ban takes some seconds to be in force, longer when the API is \
         slow, and connections that are open go on",
        action.name
    );
    Diagnostic::new(Severity::Warning, ALONE, text).mend("leave local away, and the kernel bans at once, too")
}

//! What is said of a command that cannot be applied to a plan.

use crate::diagnostic::Diagnostic;
use crate::exception::{Class, Exception};
use crate::value::repr_str;

/// Why a command cannot be applied. The plan is then as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command, or one that is no matter of the plan; its words.
    #[error("unknown command {0}")]
    Unknown(String),
    /// Too few words, or words of another kind than the command takes.
    #[error("{0} lacks what it needs, or has it in another form")]
    Malformed(String),
    /// The jail is not there.
    #[error("there is no jail of the name {}", repr_str(.0))]
    NoJail(String),
    /// The jail is there already.
    #[error("the jail {} is there already", repr_str(.0))]
    JailTwice(String),
    /// The action is not there.
    #[error("jail {} has no action of the name {}", repr_str(.jail), repr_str(.action))]
    NoAction {
        /// The jail
        jail: String,
        /// The action
        action: String,
    },
    /// The action is there already.
    #[error("jail {} has an action of the name {} already", repr_str(.jail), repr_str(.action))]
    ActionTwice {
        /// The jail
        jail: String,
        /// The action
        action: String,
    },
    /// An action written in Python.
    #[error("action {} of jail {} is written in Python ({path}), which is not supported", repr_str(.action), repr_str(.jail))]
    Python {
        /// The jail
        jail: String,
        /// The action
        action: String,
        /// The file
        path: String,
    },
    /// A value that the option does not take.
    #[error("{option} cannot be {value}: {reason}")]
    Value {
        /// The option
        option: String,
        /// The value, as Python prints it
        value: String,
        /// What is wrong with it
        reason: String,
    },
}

impl CommandError {
    /// The option whose value is refused, if it is about one.
    #[must_use]
    pub fn option(&self) -> Option<&str> {
        match self {
            CommandError::Value { option, .. } => Some(option),
            _ => None,
        }
    }
}

/// As Fail2Ban's server answers it, where it has the same complaint.
impl From<CommandError> for Exception {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NoJail(name) => Exception::no_jail(name),
            CommandError::JailTwice(name) => Exception::new(Class::DuplicateJail, name),
            CommandError::NoAction { action, .. } => Exception::key(format!("Invalid Action name: {action}")),
            CommandError::ActionTwice { action, .. } => Exception::value(format!("Action {action} already exists")),
            other => Exception::from(other.to_string()),
        }
    }
}

/// A part of the stream that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The option, where the complaint is about the value of one; the jail is the diagnostic's
    pub option: Option<String>,
    /// The complaint
    pub diagnostic: Diagnostic,
}

impl From<Diagnostic> for Refusal {
    fn from(diagnostic: Diagnostic) -> Self {
        Refusal {
            option: None,
            diagnostic,
        }
    }
}

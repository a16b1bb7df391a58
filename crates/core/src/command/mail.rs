//! What commands see of a mail action, `smtp.py`: the attributes of its object in Fail2Ban, and its methods (contract
//! §5.6, §8.5).

use super::action::{Class, Method};
use crate::config::plan::ActionPlan;
use crate::json::to_value;
use crate::mail::Mail;
use crate::value::Value;

/// Attributes, in the order of their names.
pub(super) const ATTRIBUTES: [&str; 10] = [
    "fromaddr",
    "fromname",
    "host",
    "matches",
    MESSAGE_VALUES,
    "norestored",
    "password",
    "ssl",
    "toaddr",
    "user",
];
/// The one that cannot be given: it calls for the name of the machine at each mail.
pub(super) const MESSAGE_VALUES: &str = "message_values";

const OWN: &str = "smtp.SMTPAction";
const INHERITED: &str = "fail2ban.server.action.ActionBase";
/// The class of a mail action.
pub(super) const CLASS: Class = Class {
    name: "SMTPAction",
    methods: &[
        Method::new(OWN, "ban", Some("aInfo")),
        Method::new(INHERITED, "reban", Some("aInfo")).calling("ban"),
        Method::new(OWN, "start", None),
        Method::new(OWN, "stop", None),
        Method::new(INHERITED, "unban", Some("aInfo")),
    ],
};

/// Whether an action is Fail2Ban's one in Python; whether its file is that of a release is known to who reads it.
pub(super) fn is_mail(action: &ActionPlan) -> bool {
    let file = action.property(ActionPlan::FILE);
    file.is_some_and(|file| file.rsplit('/').next() == Some("smtp.py"))
}

/// An attribute that was not set: the option's value, or what it is without one.
pub(super) fn attribute(action: &ActionPlan, name: &str) -> Option<Value> {
    if name == "norestored" {
        return Some(1.into());
    }
    let option = Mail::option(name)?;
    let given = action.property(ActionPlan::OPTIONS).and_then(|text| {
        let mut options: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).ok()?;
        options.remove(option)
    });
    Some(given.map_or_else(|| default(option), |given| to_value(&given)))
}

fn default(option: &str) -> Value {
    match option {
        "ssl" => false.into(),
        "host" => "localhost".into(),
        "sendername" => "Fail2Ban".into(),
        "sender" => "fail2ban".into(),
        "dest" => "root".into(),
        _ => Value::None,
    }
}

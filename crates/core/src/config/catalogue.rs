//! The options that are known by name, from the tables that they are read by: for whoever writes about them, such as
//! the man page.

use super::action::ACTION_OPTIONS;
use super::definition::{Fallback, JAIL_OPTIONS, Kind, Known};
use super::filter::FILTER_OPTIONS;
use super::plan::{JailPlan, UseDns};
use super::server;

/// What has options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A jail, or `[DEFAULT]` of `jail.conf`
    Jail,
    /// `fail2ban.conf`
    Server,
    /// `[Definition]` of a filter
    Filter,
    /// `[Definition]` of an action
    Action,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Any text; how it is read further depends on the option
    Text,
    /// A whole number
    Number,
    /// True for `1`, `on`, `true`, `yes` in any case, else false
    Truth,
}

/// An option that is known by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name
    pub name: &'static str,
    /// What it takes
    pub takes: Takes,
    /// What holds where it is not set; nothing where it then does nothing
    pub unset: Option<String>,
}

/// The options of a place, in the order in which they are read.
#[must_use]
pub fn catalogue(place: Place) -> Vec<Entry> {
    let known: Vec<Known> = match place {
        Place::Jail => JAIL_OPTIONS.to_vec(),
        Place::Server => server::options().collect(),
        Place::Filter => FILTER_OPTIONS.to_vec(),
        Place::Action => ACTION_OPTIONS.to_vec(),
    };
    known.into_iter().map(|option| entry(place, option)).collect()
}

fn entry(place: Place, (name, kind, fallback): Known) -> Entry {
    let takes = match kind {
        Kind::Text => Takes::Text,
        Kind::Int => Takes::Number,
        Kind::Bool => Takes::Truth,
    };
    let unset = match fallback {
        Fallback::Text(text) => Some(text.to_owned()).filter(|text| !text.is_empty()),
        Fallback::Bool(truth) => Some(truth.to_string()),
        Fallback::None if matches!(place, Place::Jail | Place::Filter) => of_a_new_jail(name),
        Fallback::None => None,
    };
    Entry { name, takes, unset }
}

/// What a jail has that nobody told anything.
fn of_a_new_jail(name: &str) -> Option<String> {
    let plan = JailPlan::new("", "");
    Some(match name {
        "maxretry" => plan.maxretry.to_string(),
        "maxmatches" => plan.maxmatches.to_string(),
        "findtime" => plan.findtime.whole().to_string(),
        "bantime" => plan.bantime.whole().to_string(),
        "bantime.increment" | "bantime.overalljails" => "false".to_owned(),
        "ignoreself" => plan.ignoreself.to_string(),
        "logencoding" => plan.logencoding,
        "maxlines" => plan.maxlines.to_string(),
        "usedns" if plan.usedns == UseDns::Warn => "warn".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_what_holds_without_them() {
        let check = |place, name: &str, takes, unset: Option<&str>| {
            let all = catalogue(place);
            let found = all.iter().find(|entry| entry.name == name);
            let got = found.map(|entry| (entry.takes, entry.unset.as_deref()));
            assert_eq!(got, Some((takes, unset)), "{name}");
        };
        check(Place::Jail, "enabled", Takes::Truth, Some("false"));
        check(Place::Jail, "bantime", Takes::Text, Some("600"));
        check(Place::Jail, "maxretry", Takes::Number, Some("3"));
        check(Place::Jail, "usedns", Takes::Text, Some("warn"));
        check(Place::Jail, "filter", Takes::Text, None);
        check(Place::Server, "dbpurgeage", Takes::Text, Some("1d"));
        check(
            Place::Server,
            "socket",
            Takes::Text,
            Some("/var/run/fail2ban/fail2ban.sock"),
        );
        check(Place::Filter, "maxlines", Takes::Number, Some("1"));
        check(Place::Action, "norestored", Takes::Truth, None);
    }
}

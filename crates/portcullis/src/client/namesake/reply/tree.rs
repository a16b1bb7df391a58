//! The trees of `status`: branches of `|-`, a last one of `` `- ``, a tab before each value (contract §8.5).

use portcullis_core::value::Value;

use super::object::{at, length, listed, parted};

/// The lines that were made, and the reply as far as it was not used yet, when something in it did not fit.
pub(super) struct Torn {
    pub(super) lines: Vec<String>,
    pub(super) reply: Value,
}

/// What `status` prints; `words` are the command's.
pub(super) fn status(words: &[Value], reply: &Value) -> Result<Vec<String>, Torn> {
    match words.get(1) {
        Some(jail) if jail.as_str() != Some("--all") => {
            let mut lines = vec![format!("Status for the jail: {jail}")];
            match branches(reply, "", &mut lines) {
                Some(()) => Ok(lines),
                None => Err(Torn {
                    lines,
                    reply: reply.clone(),
                }),
            }
        }
        all => overview(all.is_some(), reply),
    }
}

/// The server's status, and with `--all` that of each jail, which stands last in the reply.
fn overview(all: bool, reply: &Value) -> Result<Vec<String>, Torn> {
    let (reply, jails) = if all {
        match parted(reply) {
            (Some(rest), Some(last)) => (rest, Some(last)),
            // Python has the message before it fails: the reply itself.
            _ => return Err(Torn::untouched(reply)),
        }
    } else {
        (reply.clone(), None)
    };
    let jails = jails.filter(Value::is_true);
    let mut lines = vec!["Status".to_owned()];
    let done = heads(&reply, jails.is_some(), &mut lines).and_then(|()| match &jails {
        Some(jails) => each_jail(jails, &mut lines),
        None => Some(()),
    });
    match done {
        Some(()) => Ok(lines),
        None => Err(Torn { lines, reply }),
    }
}

impl Torn {
    fn untouched(reply: &Value) -> Torn {
        Torn {
            lines: Vec::new(),
            reply: reply.clone(),
        }
    }
}

fn heads(reply: &Value, more_follows: bool, lines: &mut Vec<String>) -> Option<()> {
    let items = reply.each()?;
    for (index, item) in items.iter().enumerate() {
        let is_last = !more_follows && index + 1 == items.len();
        let value = listed(&at(item, 1)?);
        lines.push(format!("{} {}:\t{value}", corner(is_last), at(item, 0)?));
    }
    Some(())
}

fn each_jail(jails: &Value, lines: &mut Vec<String>) -> Option<()> {
    lines.push("`- Status for the jails:".to_owned());
    let Value::Dict(jails) = jails else { return None };
    for (index, (name, status)) in jails.iter().enumerate() {
        let is_last = index + 1 == jails.len();
        lines.push(format!("   {} Jail: {name}", corner(is_last)));
        branches(status, if is_last { "      " } else { "   |  " }, lines)?;
    }
    Some(())
}

/// The two levels below a jail.
fn branches(status: &Value, margin: &str, lines: &mut Vec<String>) -> Option<()> {
    let parts = status.each()?;
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        lines.push(format!("{margin}{} {}", corner(is_last), at(part, 0)?));
        let values = at(part, 1)?;
        let deeper = if is_last { "   " } else { "|  " };
        let rows = values.each()?;
        for (row, pair) in rows.iter().enumerate() {
            let is_last = Some(row + 1) == length(&values);
            let value = listed(&at(pair, 1)?);
            lines.push(format!(
                "{margin}{deeper}{} {}:\t{value}",
                corner(is_last),
                at(pair, 0)?
            ));
        }
    }
    Some(())
}

fn corner(is_last: bool) -> &'static str {
    if is_last { "`-" } else { "|-" }
}

//! `ban` and `unban`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use portcullis_core::address::Id;
use portcullis_core::time::{Seconds, parse_length};
use portcullis_core::wire::Verb;

use super::failure::fail;
use super::{Ask, call, exit, status::print};
use crate::control::answer::Done;
use crate::regex::harmless;

/// `ban`
#[derive(Args, Debug)]
pub(crate) struct Ban {
    /// Addresses or networks
    #[arg(value_name = "IP", required_unless_present = "file")]
    ips: Vec<String>,
    /// Read more of them from a file, one a line; `#` begins a comment; `-` is standard input
    #[arg(long, value_name = "LIST")]
    file: Option<PathBuf>,
    /// In this jail; else in `manual`, on all ports
    #[arg(long)]
    jail: Option<String>,
    /// For so long, such as 3d, 1h30m; -1 for ever [default: the jail's bantime]
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true)]
    bantime: Option<String>,
    /// Why, for the log
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

/// `unban`
#[derive(Args, Debug)]
pub(crate) struct Unban {
    /// Addresses or networks; a network frees every banned address within it
    #[arg(value_name = "IP", required_unless_present = "all")]
    ips: Vec<String>,
    /// Everybody
    #[arg(long, conflicts_with = "ips")]
    all: bool,
    /// Only in this jail
    #[arg(long)]
    jail: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

/// Bans by hand.
pub(crate) fn ban(ban: Ban) -> ExitCode {
    let request = addresses(&ban.ips, ban.file.as_deref()).and_then(|ids| Ok((ids, length(ban.bantime.as_deref())?)));
    let (ids, bantime) = match request {
        Ok(request) => request,
        Err(error) => return fail(ban.ask.json, &error, exit::REFUSED),
    };
    report(
        &ban.ask,
        &Verb::Ban {
            ids,
            jail: ban.jail,
            bantime,
            reason: ban.reason,
        },
        "newly banned",
    )
}

/// Lifts bans.
pub(crate) fn unban(unban: Unban) -> ExitCode {
    let ids = match addresses(&unban.ips, None) {
        Ok(ids) => (!unban.all).then_some(ids),
        Err(error) => return fail(unban.ask.json, &error, exit::REFUSED),
    };
    report(&unban.ask, &Verb::Unban { ids, jail: unban.jail }, "freed")
}

/// Sends a request that changes something and says what came of it.
pub(super) fn report(ask: &Ask, verb: &Verb, done: &str) -> ExitCode {
    match call::json::<Done>(ask, verb) {
        Ok((_, text)) if ask.json => print(&(text + "\n")),
        Ok((answer, _)) => {
            print(&format!("{done}: {}\n", answer.count));
            for note in &answer.notes {
                eprintln!("portcullis: {}", harmless(note));
            }
        }
        Err(error) => return error.exit(ask.json),
    }
    ExitCode::from(exit::DONE)
}

fn length(text: Option<&str>) -> Result<Option<Seconds>, String> {
    text.map(|text| {
        parse_length(text)
            .map(|number| number.seconds())
            .map_err(|e| e.to_string())
    })
    .transpose()
}

/// Addresses from the command line and from a list. Unlike Fail2Ban's `banip`, which takes any text, these must be
/// addresses: a slip of the pen would ban nobody and look done.
fn addresses(words: &[String], list: Option<&std::path::Path>) -> Result<Vec<Id>, String> {
    let mut ids = Vec::new();
    for word in words {
        ids.push(address(word)?);
    }
    let Some(path) = list else { return Ok(ids) };
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    for (number, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if !word.is_empty() {
            ids.push(address(word).map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?);
        }
    }
    if ids.is_empty() {
        Err(format!("{} names nobody", path.display()))
    } else {
        Ok(ids)
    }
}

fn address(word: &str) -> Result<Id, String> {
    match Id::parse(word) {
        Ok(Id::Raw(text)) => Err(format!(
            "'{text}' is no address and no network (192.0.2.7, 192.0.2.0/24, 2001:db8::/64)"
        )),
        Ok(id) => Ok(id),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_the_line_at_fault() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "192.0.2.1 # one\n\n# none\n2001:db8::/64\nnobody\n").unwrap();
        let error = addresses(&[], Some(file.path())).unwrap_err();
        assert!(error.contains(":5: 'nobody' is no address"), "{error}");
        std::fs::write(file.path(), "192.0.2.1 # one\n2001:db8::/64\n").unwrap();
        assert_eq!(addresses(&["198.51.100.1".into()], Some(file.path())).unwrap().len(), 3);
    }
}

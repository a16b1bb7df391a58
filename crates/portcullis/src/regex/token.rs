//! `--out`: what of each failure is printed, and nothing else (contract §9).

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::address::Id;
use portcullis_core::filter::{Captured, Hit, Identity};
use portcullis_core::ledger::Field;
use portcullis_core::time::Timestamp;
use portcullis_core::value::{repr_float, repr_str};

use super::screen::Screen;

/// Stands for the matched line until all else is filled in; cannot come out of a log, where NUL is escaped.
const LINE: &str = "\0msg\0";

/// A way to print failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// `id`, `fid`
    Id,
    /// `ip`
    Ip,
    /// `msg`
    Lines,
    /// `row`
    Row,
    /// Any other word: the captured field of that name
    Field(String),
    /// A text with tags
    Template(String),
}

/// One failure as it is printed.
pub(crate) struct Failure<'h> {
    /// Whose, as text
    pub(crate) id: String,
    /// The address, where there is one
    pub(crate) address: Option<Id>,
    /// When, as Python prints the number
    pub(crate) time: String,
    /// What was captured
    pub(crate) fields: &'h Captured,
    /// The lines that it is made of
    pub(crate) matches: &'h [Arc<str>],
}

/// A time as Python prints it.
pub(crate) fn python_time(time: Option<(Timestamp, bool)>) -> String {
    match time {
        None => "None".to_owned(),
        Some((at, true)) => (at.micros() / 1_000_000).to_string(),
        Some((at, false)) => repr_float(at.as_f64()),
    }
}

impl<'h> Failure<'h> {
    /// A match with the id that it came to.
    pub(crate) fn new(hit: &'h Hit, id: &Identity) -> Self {
        Failure {
            id: id.to_string(),
            address: match id {
                Identity::Known(id) => Some(id.clone()),
                Identity::Name(_) => None,
            },
            time: python_time(hit.time.map(|time| (time, hit.whole))),
            fields: &hit.fields,
            matches: &hit.matches,
        }
    }

    fn field(&self, name: &str) -> Option<&Option<Field>> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, field)| field)
    }

    /// `<ip>`: the address where the id is another.
    fn ip(&self) -> String {
        self.field("ip").map_or_else(|| self.id.clone(), text)
    }

    fn row(&self) -> String {
        let pairs: Vec<String> = self
            .fields
            .iter()
            .map(|(name, field)| format!("{}: {}", repr_str(name), repr(field)))
            .collect();
        format!("[{},\t{},\t{{{}}}],", repr_str(&self.id), self.time, pairs.join(", "))
    }

    /// What a tag stands for; nothing for one that is unknown.
    fn tag(&self, name: &str) -> Option<String> {
        let id = match self.field("ip") {
            Some(_) => Id::parse(&self.ip()).ok(),
            None => self.address.clone(),
        };
        let ip = match id {
            Some(Id::Ip(ip)) => Some(ip),
            _ => None,
        };
        Some(match name {
            "ip" => self.ip(),
            "fid" => self.id.clone(),
            "family" => id
                .and_then(|id| id.family())
                .map_or_else(|| "None".to_owned(), |family| family.to_string()),
            "ip-rev" => ip.map(reversed).unwrap_or_default(),
            "ip-host" => ip
                .and_then(|ip| dns_lookup::lookup_addr(&ip).ok())
                .unwrap_or_else(|| "None".to_owned()),
            "failures" | "bancount" | "restored" => "0".to_owned(),
            // A ticket without a time is one of now.
            "time" if self.time == "None" => python_time(Some((super::clock().wall, false))),
            "time" => self.time.clone(),
            "matches" | "ipmatches" | "ipjailmatches" => self.matches.join("\n"),
            "br" => "\n".to_owned(),
            _ => return None,
        })
    }
}

/// Python's `str()` of a field.
fn text(field: &Option<Field>) -> String {
    match field {
        Some(field) => field.to_string(),
        None => "None".to_owned(),
    }
}

fn repr(field: &Option<Field>) -> String {
    match field {
        None => "None".to_owned(),
        Some(field) => field.to_value().repr(),
    }
}

fn reversed(ip: IpAddr) -> String {
    let labels: Vec<String> = match ip {
        IpAddr::V4(v4) => v4.octets().iter().map(u8::to_string).collect(),
        IpAddr::V6(v6) => format!("{:032x}", v6.to_bits()).chars().map(String::from).collect(),
    };
    labels.iter().rev().map(|label| format!("{label}.")).collect()
}

impl Token {
    /// Reads the value of `--out`.
    pub(crate) fn parse(text: &str) -> Token {
        match text {
            "id" | "fid" => Token::Id,
            "ip" => Token::Ip,
            "msg" => Token::Lines,
            "row" => Token::Row,
            text if text.contains('<') => Token::Template(text.to_owned()),
            text => Token::Field(text.to_owned()),
        }
    }

    /// Prints the failures of one line.
    pub(crate) fn print<W: Write>(&self, failures: &[Failure<'_>], screen: &mut Screen<W>) -> io::Result<()> {
        if let Token::Template(template) = self {
            return print_template(template, failures, screen);
        }
        for failure in failures {
            match self {
                Token::Id => screen.line(&failure.id)?,
                Token::Ip => screen.line(&failure.ip())?,
                Token::Lines => failure.matches.iter().try_for_each(|line| screen.line(line))?,
                Token::Row => screen.line(&failure.row())?,
                Token::Field(name) => screen.line(&text(failure.field(name).unwrap_or(&None)))?,
                Token::Template(_) => {}
            }
        }
        Ok(())
    }
}

/// Prints a template; where it names the line and a failure has several, once for each line, after all others.
fn print_template<W: Write>(template: &str, failures: &[Failure<'_>], screen: &mut Screen<W>) -> io::Result<()> {
    let mut several = false;
    let mut later = Vec::new();
    for failure in failures {
        let filled = fill(template, |name| match name {
            "msg" if !several && failure.matches.len() <= 1 => Some(failure.matches.concat()),
            "msg" => {
                several = true;
                Some(LINE.to_owned())
            }
            name => failure.tag(name).map(|value| value.replace('\0', "\\x00")),
        });
        let filled = fill(&filled, |name| captured(failure, name));
        if several {
            later.push((failure, filled));
        } else {
            screen.line(&filled)?;
        }
    }
    for (failure, filled) in later {
        for line in failure.matches {
            screen.line(&filled.replace(LINE, line))?;
        }
    }
    Ok(())
}

/// `F-USER` → the field `user`; an unknown one is empty.
fn captured(failure: &Failure<'_>, tag: &str) -> Option<String> {
    let name = tag.strip_prefix("F-")?;
    let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if name.is_empty() || !name.chars().all(known) {
        return None;
    }
    let name = match name.to_lowercase().as_str() {
        "id" => "fid".to_owned(),
        "port" => "fport".to_owned(),
        name => name.to_owned(),
    };
    // A ticket holds only what took part.
    let known = failure.field(&name).filter(|field| field.is_some());
    Some(known.map(text).unwrap_or_default().replace('\0', "\\x00"))
}

/// Replaces `<tag>`s, once each; `None` leaves a tag as it is.
fn fill(template: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('<') {
        let (head, tail) = rest.split_at(open);
        out.push_str(head);
        let inner = tail.get(1..).unwrap_or_default();
        let end = inner
            .find([' ', '<', '>'])
            .filter(|&end| end > 0 && inner[end..].starts_with('>'));
        let replaced = end.and_then(|end| Some((value(&inner[..end])?, end)));
        match replaced {
            Some((text, end)) => {
                out.push_str(&text);
                rest = &inner[end + 1..];
            }
            None => {
                out.push('<');
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out
}

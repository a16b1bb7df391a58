//! The templates of a jail: what `datepattern` asks for, or the default list (contract §3.7).

use std::collections::BTreeSet;

use super::Error;
use super::letter;
use super::template::{self, Template};

/// Fail2Ban's default patterns in its order.
const DEFAULTS: [&str; 17] = [
    r"%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?",
    r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?",
    r"%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S",
    r"%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?",
    r"%m/%d/%ExY:%H:%M:%S",
    r"%m-%d-%ExY %k:%M:%S(?:\.%f)?",
    r"EPOCH",
    r"{^LN-BEG}%H:%M:%S",
    r"^<%m/%d/%Exy@%H:%M:%S>",
    r"%Exy%Exm%Exd  ?%H:%M:%S",
    r"%b %d, %ExY %I:%M:%S %p",
    r"^%b-%d-%Exy %k:%M:%S",
    r"%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?",
    r"(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    r"(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    r"TAI64N",
];

/// What hits of the line-bound copies of the default patterns count: they are to rise above all others.
const BOUND_WEIGHT: f64 = 100.0;

/// The templates of a `datepattern`, none if it is empty; `last_year` is the latest that `%ExY` accepts.
///
/// # Errors
/// A pattern that is none, or two templates of one name.
pub(super) fn read(value: &str, last_year: i16) -> Result<Vec<Template>, Error> {
    let mut roster = Roster {
        templates: Vec::new(),
        known: BTreeSet::new(),
        last_year,
    };
    let patterns = value.split('\n').map(|line| line.trim_matches(letter::is_space));
    for pattern in patterns.filter(|pattern| !pattern.is_empty()) {
        roster.append(pattern)?;
    }
    Ok(roster.templates)
}

/// The default list: line-bound copies of the patterns that are not bound by themselves, then all.
///
/// # Errors
/// None in practice; the patterns are fixed.
pub(super) fn defaults(last_year: i16) -> Result<Vec<Template>, Error> {
    let mut bound = Vec::new();
    let mut all = Vec::new();
    for pattern in DEFAULTS {
        let template = build(pattern, last_year)?;
        if !template.name.starts_with("{^LN-BEG}") && !template.name.starts_with('^') {
            let mut copy = build(&format!("{{^LN-BEG}}{pattern}"), last_year)?;
            copy.weight = BOUND_WEIGHT;
            bound.push(copy);
        }
        all.push(template);
    }
    bound.append(&mut all);
    Ok(bound)
}

fn build(pattern: &str, last_year: i16) -> Result<Template, Error> {
    Template::new(pattern, last_year).map_err(|bad| Error::Token {
        pattern: pattern.to_owned(),
        token: bad.0,
    })
}

struct Roster {
    templates: Vec<Template>,
    known: BTreeSet<String>,
    last_year: i16,
}

impl Roster {
    fn append(&mut self, pattern: &str) -> Result<(), Error> {
        let key = if pattern.contains('%') {
            pattern.to_owned()
        } else {
            pattern.to_uppercase()
        };
        let more = !self.templates.is_empty();
        match key.as_str() {
            "{^LN-BEG}" => {
                let bound = defaults(self.last_year)?
                    .into_iter()
                    .filter(|template| template.line_begin);
                self.add(bound.collect(), more, true)
            }
            // Fail2Ban adds nothing here; alone, it leaves the list empty, which stands for the default list.
            "{DEFAULT}" => Ok(()),
            _ if key.contains("{DATE}") => {
                let wrapped = DEFAULTS.iter().map(|inner| {
                    let inner = Template::unbound(inner);
                    // Fail2Ban fills in the name, where a template has no pattern.
                    let inner = if inner == "EPOCH" { "Epoch" } else { inner };
                    build(&template::replace_mark(pattern, "{DATE}", inner), self.last_year)
                });
                let wrapped = wrapped.collect::<Result<_, _>>()?;
                self.add(wrapped, more, false)
            }
            _ => {
                let template = build(pattern, self.last_year)?;
                self.add(vec![template], false, false)
            }
        }
    }

    /// Names are unique; a list that follows other patterns leaves out what is there already. The fixed patterns are
    /// trusted to compile, at their first use.
    fn add(&mut self, templates: Vec<Template>, skip_known: bool, trusted: bool) -> Result<(), Error> {
        for mut template in templates {
            if !self.known.insert(template.name.clone()) {
                if skip_known {
                    // In Fail2Ban both are the same object, so that the weight of the list's counts for both.
                    let earlier = self.templates.iter_mut().find(|known| known.name == template.name);
                    earlier.into_iter().for_each(|known| known.weight = template.weight);
                    continue;
                }
                return Err(Error::Duplicate(template.name));
            }
            if !trusted && let Err(reason) = template.compile().map(drop) {
                return Err(Error::Regex {
                    regex: template.regex,
                    reason,
                });
            }
            self.templates.push(template);
        }
        Ok(())
    }
}

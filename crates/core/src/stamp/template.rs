//! One date template: from a pattern to the regex that looks for it (contract §3.7).
//!
//! In goes a line of `datepattern` or of the default list, out comes its name, its regex as Fail2Ban shows it, and
//! what its match means. Boundaries are added unless the pattern brings its own.

use super::mask::Witness;
use super::program::Scratch;
use super::search::{Engine, Exhausted};
use super::token::{self, BadToken};

/// What the groups of a match mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Named groups are parts of a date.
    Date,
    /// A group holds seconds since the epoch; a long one may hold milli- or microseconds.
    Epoch { group: usize, long: bool },
    /// A TAI64N label.
    Tai,
}

/// A template, not yet ranked.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) name: String,
    /// The pattern, for templates that are made of one.
    pub(super) pattern: Option<String>,
    /// The regex as Fail2Ban would show it.
    pub(super) regex: String,
    pub(super) kind: Kind,
    /// Bound to the start or the end of the line.
    pub(super) anchored: bool,
    pub(super) line_begin: bool,
    /// What its hits count in the ranking.
    pub(super) weight: f64,
    /// What the match is made with where that is simpler than, and equal to, the shown regex.
    simpler: Option<String>,
    engine: Option<Engine>,
}

/// Where a boundary goes in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Open,
    Word,
    Line,
}

const EPOCH: &str = r"\d{10,11}\b(?:\.\d{3,6})?";
const LONG_EPOCH: &str = r"\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?";

impl Template {
    /// The template of one pattern; `last_year` is the latest that `%ExY` accepts.
    ///
    /// # Errors
    /// [`BadToken`] for a `%` that starts no token.
    pub(super) fn new(pattern: &str, last_year: i16) -> Result<Template, BadToken> {
        let key = if pattern.contains('%') {
            pattern.to_owned()
        } else {
            pattern.to_uppercase()
        };
        if key == "{NONE}" {
            return Template::date("{UNB}^", last_year);
        }
        if key.contains("EPOCH")
            && let Some(template) = Template::with_epoch(pattern, &key)
        {
            return Ok(template);
        }
        let long = key.contains("LEPOCH");
        match bare(&key) {
            ("EPOCH" | "LEPOCH", bound) => Ok(Template::epoch(bound, long)),
            ("TAI64N", bound) => {
                let front = if bound { Front::Line } else { Front::Open };
                Ok(Template::bounded("TAI64N", "@[0-9a-f]{24}", Kind::Tai, (front, true)))
            }
            _ => Template::date(pattern, last_year),
        }
    }

    /// A pattern of tokens.
    fn date(pattern: &str, last_year: i16) -> Result<Template, BadToken> {
        let (inner, ends) = match pattern.strip_prefix("{UNB}") {
            Some(inner) => (inner, (Front::Open, false)),
            None => match pattern.strip_prefix("{^LN-BEG}") {
                Some(inner) => (inner, (Front::Line, true)),
                None => (pattern, (Front::Word, true)),
            },
        };
        let expanded = token::expand(inner, last_year)?;
        let flags = if has_names(inner) { "(?iu)" } else { "" };
        let regex = format!("{flags}{}", expanded.regex);
        let mut template = Template::bounded(&expanded.words, &regex, Kind::Date, ends);
        template.pattern = Some(pattern.to_owned());
        Ok(template)
    }

    /// Seconds at the start of the line, or after what SELinux writes before them.
    ///
    /// The conditions of the shown regexes ask for what must follow the bracket or the word; as each of them can
    /// also be passed by, they decide nothing, and the match is made without them.
    fn epoch(bound: bool, long: bool) -> Template {
        let (name, digits) = if long {
            ("LongEpoch", LONG_EPOCH)
        } else {
            ("Epoch", EPOCH)
        };
        let kind = Kind::Epoch { group: 1, long };
        let (shown, simpler, ends) = if bound {
            (
                format!(r"((?P<square>(?<=^\[))?{digits})(?(square)(?=\]))"),
                format!(r"^(?:\W{{0,2}})?({digits})(?=\b|\W|$)"),
                (Front::Line, true),
            )
        } else {
            let places = r"(?:^|(?P<square>(?<=^\[))|(?P<selinux>(?<=\baudit\()))";
            (
                format!(r"({places}{digits})(?:(?(selinux)(?=:\d+\)))|(?(square)(?=\])))"),
                format!(r"((?:^|(?<=^\[)|(?<=\baudit\()){digits})(?=\b|\W|$)"),
                (Front::Open, true),
            )
        };
        let mut template = Template::bounded(name, &shown, kind, ends);
        template.simpler = Some(simpler);
        template
    }

    /// A pattern with `{EPOCH}` or `{LEPOCH}` inside.
    fn with_epoch(pattern: &str, key: &str) -> Option<Template> {
        let long = key.contains("LEPOCH");
        let digits = format!("({})", if long { LONG_EPOCH } else { EPOCH });
        let mut regex = replace_mark(pattern, "{LEPOCH}", &digits);
        regex = replace_mark(&regex, "{EPOCH}", &digits);
        if regex == pattern {
            return None;
        }
        if !has_plain_group(pattern) {
            regex = format!("({regex})");
        }
        Some(Template::bounded(
            pattern,
            &regex,
            Kind::Epoch { group: 2, long },
            (Front::Word, true),
        ))
    }

    fn bounded(name: &str, regex: &str, kind: Kind, (front, bound_end): (Front, bool)) -> Template {
        let (flags, body) = take_flags(regex.trim_matches(super::letter::is_space));
        let bound_begin = front != Front::Open && !opens_itself(&body);
        let bound_end = bound_end && !closes_itself(&body);
        let body = if has_plain_group(&body) { body } else { grouped(&body) };
        let mut name = name.to_owned();
        let mut line_begin = false;
        let mut body = match front {
            Front::Line if bound_begin => {
                line_begin = true;
                if !name.starts_with("{^LN-BEG}") {
                    name.insert_str(0, "{^LN-BEG}");
                }
                format!(r"^(?:\W{{0,2}})?{body}")
            }
            Front::Word if bound_begin => format!(r"(?=^|\b|\W){body}"),
            _ => body,
        };
        if bound_end {
            body.push_str(r"(?=\b|\W|$)");
        }
        line_begin |= starts_at_line(&body);
        let anchored = line_begin || ends_at_line(&body);
        let regex = format!("{flags}{}", without_stars(&body));
        Template {
            name,
            pattern: None,
            regex,
            kind,
            anchored,
            line_begin,
            weight: 1.0,
            simpler: None,
            engine: None,
        }
    }

    /// Compiles the regex, if that was not done yet.
    ///
    /// # Errors
    /// The reason, as text.
    pub(super) fn compile(&mut self) -> Result<&Engine, String> {
        if self.engine.is_none() {
            self.engine = Some(Engine::new(self.simpler.as_ref().unwrap_or(&self.regex))?);
        }
        self.engine.as_ref().ok_or_else(String::new)
    }

    /// Searches with the compiled regex; one that does not compile finds nothing.
    pub(super) fn search(
        &mut self,
        text: &str,
        from: usize,
        scratch: &mut Scratch,
        witness: &mut impl Witness,
    ) -> Result<bool, Exhausted> {
        let engine = self.compile().map_err(|_| Exhausted)?;
        engine.search(text, from, scratch, witness)
    }

    /// The compiled regex, after the first search.
    pub(super) fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Takes the boundary marks off a pattern that goes into another (contract §3.7, `{DATE}`).
    pub(super) fn unbound(pattern: &str) -> &str {
        let inner = pattern.strip_prefix("{UNB}").unwrap_or(pattern);
        inner.strip_prefix("{^LN-BEG}").unwrap_or(inner)
    }
}

/// A special word without the mark that binds it to the start of the line.
fn bare(key: &str) -> (&str, bool) {
    let inner = key.strip_prefix("{^LN-BEG}").or_else(|| key.strip_prefix('^'));
    (inner.unwrap_or(key), inner.is_some())
}

/// Replaces a mark in any case, unless a backslash stands before it.
pub(super) fn replace_mark(text: &str, mark: &str, with: &str) -> String {
    let mut out = String::with_capacity(text.len() + with.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let here = rest
            .get(..mark.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(mark));
        if here && !out.ends_with('\\') {
            out.push_str(with);
            rest = rest.get(mark.len()..).unwrap_or_default();
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

/// Names of days, months and halves of the day are read in either case.
fn has_names(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    (0..bytes.len()).any(|at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        bytes.get(at) == Some(&b'%')
            && before != Some(&b'%')
            && bytes.get(at + 1).is_some_and(|token| b"aAbBpc".contains(token))
    })
}

/// Cuts the first group of flags, `(?iu)`, out of the regex.
fn take_flags(regex: &str) -> (String, String) {
    for (at, _) in regex.match_indices("(?") {
        let (head, tail) = regex.split_at(at);
        let Some((inside, after)) = tail.get(2..).and_then(|tail| tail.split_once(')')) else {
            break;
        };
        let flags = !inside.is_empty() && inside.bytes().all(|b| b.is_ascii_lowercase());
        if flags && !head.ends_with('\\') {
            return (format!("(?{inside})"), format!("{head}{after}"));
        }
    }
    (String::new(), regex.to_owned())
}

/// The regex without a leading `(?iu)`.
fn after_flags(regex: &str) -> &str {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    match regex.strip_prefix("(?").and_then(|tail| tail.split_once(')')) {
        Some((inside, after)) if !inside.is_empty() && inside.chars().all(word) => after,
        _ => regex,
    }
}

/// Whether the regex says itself where it may start: `^`, `(^`, `(?:^` or `**`, within brackets or not.
fn opens_itself(regex: &str) -> bool {
    let says = |text: &str| {
        let inner = after_flags(text);
        [inner, text].iter().any(|text| {
            text.starts_with('^')
                || text.trim_start_matches('(').starts_with("**")
                || text.starts_with("(^")
                || text.starts_with("(?:^")
        })
    };
    let opening = regex.len() - regex.trim_start_matches('(').len();
    (0..=opening).any(|skip| regex.get(skip..).is_some_and(says))
}

/// Whether the regex says itself where it may end: `$`, `\b`, `\s` or `**`.
fn closes_itself(regex: &str) -> bool {
    let unescaped = |tail: &str| regex.strip_suffix(tail).is_some_and(|head| !head.ends_with('\\'));
    let stars = regex.trim_end_matches(')').strip_suffix("**");
    ["$", "$)", r"\b", r"\s"].into_iter().any(unescaped) || stars.is_some_and(|head| !head.ends_with('\\'))
}

/// Whether there is a `(` that captures without a name.
fn has_plain_group(regex: &str) -> bool {
    regex.match_indices('(').any(|(at, _)| {
        let (head, tail) = regex.split_at(at);
        !tail.starts_with("(?") && !head.ends_with('\\') && !head.ends_with("(?")
    })
}

/// Puts everything but the anchors into group 1.
fn grouped(regex: &str) -> String {
    let mut inner = after_flags(regex);
    inner = inner.strip_prefix('^').unwrap_or(inner);
    inner = after_flags(inner);
    let head = regex.strip_suffix(inner).unwrap_or_default();
    let (body, tail) = inner.strip_suffix('$').map_or((inner, ""), |body| (body, "$"));
    format!("{head}({body}){tail}")
}

fn starts_at_line(regex: &str) -> bool {
    let says = |text: &str| {
        let group = text.strip_prefix("(?:^").or_else(|| text.strip_prefix("(^"));
        text.starts_with('^') || group.is_some_and(|tail| !tail.starts_with('|'))
    };
    says(regex) || says(after_flags(regex))
}

fn ends_at_line(regex: &str) -> bool {
    let head = regex.strip_suffix("$)").or_else(|| regex.strip_suffix('$'));
    head.is_some_and(|head| !head.ends_with(['\\', '|']))
}

/// Takes `**` off both ends.
fn without_stars(regex: &str) -> String {
    let opening = regex.len() - regex.trim_start_matches('(').len();
    let (head, tail) = regex.split_at(opening);
    let regex = format!("{head}{}", tail.strip_prefix("**").unwrap_or(tail));
    let closing = regex.trim_end_matches(')').len();
    let (body, tail) = regex.split_at(closing);
    let open = body.strip_suffix("**").filter(|head| !head.ends_with('\\'));
    format!("{}{tail}", open.unwrap_or(body))
}

//! The `%` tokens of a date pattern: what each matches, and the word it is displayed by (contract §3.7).

use std::collections::BTreeSet;

/// A `%` in a pattern that starts no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadToken(pub(super) String);

/// A pattern with its tokens replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    /// By regexes.
    pub(super) regex: String,
    /// By words.
    pub(super) words: String,
}

/// Token, regex, word. `%ExY` is made from the year.
const TOKENS: [(&str, &str, &str); 37] = [
    ("%", "%", "%"),
    ("ExY", "", "ExYear"),
    ("Exy", r"(?P<y>\d{2})", "ExYear2"),
    ("Exm", r"(?P<m>0[1-9]|1[0-2])", "ExMonth"),
    ("Exd", r"(?P<d>[1-2]\d|0[1-9]|3[0-1])", "ExDay"),
    ("ExH", r"(?P<H>[0-1]\d|2[0-3])", "Ex24hour"),
    ("Exk", r" ?(?P<H>[0-1]?\d|2[0-3])", "Ex%k"),
    ("Exl", r" ?(?P<I>1[0-2]|\d)", "Ex%l"),
    ("ExM", r"(?P<M>[0-5]\d)", "ExMinute"),
    ("ExS", r"(?P<S>[0-5]\d|6[0-1])", "ExSecond"),
    ("ExZ", r"(?P<Z>[A-Z](?:[A-Z]{2,4})?)", "ExZone name"),
    (
        "Exz",
        r"(?P<z>(?:[A-Z](?:[A-Z]{2,4})?)?[+-][01]\d(?::?\d{2})?|[A-Z](?:[A-Z]{2,4})?)",
        "ExZone offset",
    ),
    ("Y", r"(?P<Y>\d{4})", "Year"),
    ("y", r"(?P<y>\d\d)", "Year2"),
    ("m", r"(?P<m>0?[1-9]|1[0-2])", "Month"),
    ("d", r"(?P<d>[1-2]\d|[0 ]?[1-9]|3[0-1])", "Day"),
    ("H", r"(?P<H>[0-1]?\d|2[0-3])", "24hour"),
    ("k", r" ?(?P<H>[0-2]?\d)", "%k"),
    ("I", r"(?P<I>1[0-2]|0[1-9]|[1-9])", "12hour"),
    ("l", r" ?(?P<I>1?\d)", "%l"),
    ("M", r"(?P<M>[0-5]?\d)", "Minute"),
    ("S", r"(?P<S>[0-5]?\d|6[0-1])", "Second"),
    ("f", r"(?P<f>[0-9]{1,6})", "Microseconds"),
    ("p", r"(?P<p>am|pm)", "AMPM"),
    ("a", r"(?P<a>mon|tue|wed|thu|fri|sat|sun)", "DAY"),
    (
        "A",
        r"(?P<A>wednesday|thursday|saturday|tuesday|monday|friday|sunday)",
        "DAYNAME",
    ),
    ("b", r"(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", "MON"),
    (
        "B",
        r"(?P<B>september|february|november|december|january|october|august|march|april|june|july|may)",
        "MONTH",
    ),
    (
        "j",
        r"(?P<j>36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9])",
        "Yearday",
    ),
    ("U", r"(?P<U>5[0-3]|[0-4]\d|\d)", "Yearweek"),
    ("W", r"(?P<W>5[0-3]|[0-4]\d|\d)", "Yearweek"),
    ("w", r"(?P<w>[0-6])", "Weekday"),
    ("z", r"(?P<z>Z|UTC|GMT|[+-][01]\d(?::?\d{2})?)", "Zone offset"),
    ("Z", r"(?P<Z>Z|[A-Z]{3,5})", "Zone name"),
    ("G", r"(?P<G>\d\d\d\d)", "%G"),
    ("u", r"(?P<u>[1-7])", "%u"),
    ("V", r"(?P<V>5[0-3]|0[1-9]|[1-4]\d|\d)", "%V"),
];

/// `%c`, `%x` and `%X` in the C locale, by the day, month, hour, minute and second of Python itself, which
/// differ from Fail2Ban's in the order of their alternatives only where a token stands alone.
const COMPOSITES: [(&str, &str); 3] = [
    ("c", r"%a\s+%b\s+|d|\s+|t|\s+(?P<Y>\d\d\d\d)"),
    ("x", r"(?P<m>1[0-2]|0[1-9]|[1-9])/|d|/(?P<y>\d\d)"),
    ("X", "|t|"),
];
const PYTHON_DAY: &str = r"(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])";
const PYTHON_TIME: &str = r"(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)";

/// Replaces the tokens of a pattern; `last_year` is the latest that `%ExY` accepts.
///
/// # Errors
/// [`BadToken`] names a `%` that starts no token (a literal one is written `%%`).
pub(super) fn expand(pattern: &str, last_year: i16) -> Result<Expanded, BadToken> {
    let mut out = Expanded {
        regex: String::with_capacity(pattern.len() * 8),
        words: String::new(),
    };
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        out.regex.push_str(before);
        out.words.push_str(before);
        let (after, closing) = in_brackets(after);
        if let Some((token, regex, word)) = TOKENS.iter().find(|(token, ..)| after.starts_with(token)) {
            if *token == "ExY" {
                out.regex.push_str(&format!("(?P<Y>{}\\d)", decades(last_year)));
            } else {
                out.regex.push_str(regex);
            }
            out.words.push_str(word);
            rest = after.get(token.len() + closing..).unwrap_or_default();
        } else if let Some((token, parts)) = COMPOSITES.iter().find(|(token, _)| after.starts_with(token)) {
            out.regex.push_str(&composite(parts));
            out.words.push_str(&format!("%{token}"));
            rest = after.get(token.len() + closing..).unwrap_or_default();
        } else {
            return Err(BadToken(format!("%{}", after.chars().take(3).collect::<String>())));
        }
    }
    out.regex.push_str(rest);
    out.words.push_str(rest);
    Ok(out)
}

/// A token may be written `%(Y)s`: what follows the bracket then, and the length of what closes it.
fn in_brackets(after: &str) -> (&str, usize) {
    let inner = after.strip_prefix('(').unwrap_or_default();
    let end = inner.find(")s").unwrap_or_default();
    let known = inner.get(..end).is_some_and(|name| {
        TOKENS.iter().any(|(token, ..)| *token == name) || COMPOSITES.iter().any(|(token, _)| *token == name)
    });
    if known { (inner, ")s".len()) } else { (after, 0) }
}

fn composite(parts: &str) -> String {
    let plain = |token: &str| {
        TOKENS
            .iter()
            .find(|(known, ..)| *known == token)
            .map_or("", |(_, regex, _)| regex)
    };
    parts
        .replace("%a", plain("a"))
        .replace("%b", plain("b"))
        .replace("|d|", PYTHON_DAY)
        .replace("|t|", PYTHON_TIME)
}

/// The first three digits of the years from 2000 to the last, in Fail2Ban's notation; years of a clock that
/// was never set (before 2001) give the decades around it, as in Fail2Ban.
fn decades(last: i16) -> String {
    let last = last.clamp(1004, 9999);
    let mut set: BTreeSet<i16> = [(last - 4) / 10, last / 10].into();
    set.extend((2000..=last).step_by(3).map(|year| year / 10));
    grouped(&set.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Writes numbers of one length as a regex: what they begin with, then the alternatives.
fn grouped(numbers: &[String]) -> String {
    let Some(first) = numbers.first().filter(|_| numbers.len() > 1) else {
        return numbers.concat();
    };
    let all_but_one = first.len() - 1;
    for shared in [all_but_one, usize::from(all_but_one > 0)] {
        let Some(prefix) = first.get(..shared).filter(|prefix| !prefix.is_empty()) else {
            continue;
        };
        if numbers.iter().all(|number| number.starts_with(prefix)) {
            let rests: Vec<String> = numbers
                .iter()
                .filter_map(|n| n.get(shared..))
                .map(str::to_owned)
                .collect();
            return format!("{prefix}{}", grouped(&rests));
        }
    }
    if first.len() > 1 {
        format!("(?:{})", numbers.join("|"))
    } else {
        format!("[{}]", numbers.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_of_the_century() {
        for (last, expect) in [
            (2008, "200"),
            (2010, "20[01]"),
            (2029, "20[012]"),
            (2030, "20[0123]"),
            (2101, "2(?:00|01|02|03|04|05|06|07|08|09|10)"),
        ] {
            assert_eq!(decades(last), expect, "{last}");
        }
    }

    #[test]
    fn tokens_become_regexes_and_words() {
        let expanded = expand("%%%ExY-%k", 2029).unwrap();
        assert_eq!(expanded.regex, r"%(?P<Y>20[012]\d)- ?(?P<H>[0-2]?\d)");
        assert_eq!(expanded.words, "%ExYear-%k");
        assert_eq!(expand("%(ExM)s%(x)sx", 2029).unwrap().words, "ExMinute%xx");
        assert_eq!(expand("50% of", 2029), Err(BadToken("% of".to_owned())));
        assert!(expand("%s", 2029).is_err());
        assert!(expand("%", 2029).is_err());
    }
}

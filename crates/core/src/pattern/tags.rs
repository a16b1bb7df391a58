//! Fail2Ban's tags in a regex, and its rewrite of wrapped global flags: text in, Python regex text out.
//!
//! Only what the contract lists (§3.2) is replaced; every other `<…>` stays literal text. The replacement is
//! what `get <jail> failregex` prints, so it is Fail2Ban's spelling to the letter; what the engines make of it is
//! decided elsewhere.

use std::collections::BTreeSet;

const IP4: &str = r"(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})";
const IP6: &str = r"(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):))";
const DNS: &str = r"(?P<dns>[\w\-.^_]*\w)";
const CIDR: &str = r"(?P<cidr>\d+)";

/// Replaces every known tag. With `host_is_addr`, `<HOST>` takes addresses only, as under `usedns = no`.
pub(super) fn expand(source: &str, host_is_addr: bool) -> String {
    let mut out = String::with_capacity(source.len() * 2);
    let mut state = Open::default();
    let mut rest = source;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match tag_length(from) {
            Some(length) => {
                let (tag, after) = from.split_at(length);
                out.push_str(&state.replace(tag, host_is_addr));
                rest = after;
            }
            None => {
                out.push('<');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

/// The length in bytes of the tag at the start of `text`: `<`, an optional `/`, word characters and hyphens, an
/// optional `/`, `>`.
fn tag_length(text: &str) -> Option<usize> {
    let body = text.strip_prefix('<')?;
    let body = body.strip_prefix('/').unwrap_or(body);
    let name_end = body
        .find(|c: char| !(c == '-' || c == '_' || c.is_alphanumeric()))
        .filter(|&end| end > 0)?;
    let tail = body.get(name_end..)?;
    let tail = tail.strip_prefix('/').unwrap_or(tail);
    tail.starts_with('>').then(|| text.len() - tail.len() + 1)
}

/// What one regex's tags have to remember: the names opened so far, and how many `<SKIPLINES>` there were.
#[derive(Default)]
struct Open {
    names: BTreeSet<String>,
    skiplines: usize,
}

impl Open {
    fn replace(&mut self, tag: &str, host_is_addr: bool) -> String {
        let name = tag.get(1..tag.len() - 1).unwrap_or_default();
        if name == "SKIPLINES" {
            let n = self.skiplines;
            self.skiplines += 1;
            return format!(r"\n(?P<skiplines{n}>(?:(?:.*\n)*?))");
        }
        if let Some(fixed) = fixed(name, host_is_addr) {
            return fixed;
        }
        self.named(name).unwrap_or_else(|| tag.to_owned())
    }

    /// `F-NAME` and `/F-NAME`: the two ends of a named group. A close without an open before it stays text.
    fn named(&mut self, name: &str) -> Option<String> {
        let close = name.strip_prefix('/');
        let bare = close.unwrap_or(name).strip_prefix("F-")?;
        if bare.is_empty()
            || !bare
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_-".contains(&b))
        {
            return None;
        }
        if close.is_some() {
            return self.names.contains(bare).then(|| ")".to_owned());
        }
        self.names.insert(bare.to_owned());
        let group = match bare {
            "ID" => "fid".to_owned(),
            "PORT" => "fport".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        Some(format!("(?P<{group}>"))
    }
}

/// The tags that stand for a whole expression.
fn fixed(name: &str, host_is_addr: bool) -> Option<String> {
    Some(match name {
        "HOST" if host_is_addr => addr(),
        "HOST" => format!("(?:{}|{DNS})", addr()),
        "IP4" | "F-IP4/" => IP4.to_owned(),
        "IP6" | "F-IP6/" => IP6.to_owned(),
        "ADDR" | "F-ADDR/" => addr(),
        "DNS" | "F-DNS/" => DNS.to_owned(),
        "CIDR" | "F-CIDR/" => CIDR.to_owned(),
        "SUBNET" | "F-SUBNET/" => format!(r"\[?(?:{IP4}|{IP6})(?:/{CIDR})?\]?"),
        "F-ID/" => r"(?P<fid>\S+)".to_owned(),
        "F-PORT/" => r"(?P<fport>\w+)".to_owned(),
        _ => return None,
    })
}

fn addr() -> String {
    format!(r"\[?(?:{IP4}|{IP6})\]?")
}

/// Fail2Ban's rewrite before it compiles: `((?i)x)` and `(?:(?i)x)` become `(?i:x)`, whatever the lower-case
/// letters, unless the parenthesis is escaped (contract §3.1). The capturing parenthesis is lost on the way.
pub(super) fn localise_flags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut escaped = false;
    while let Some(c) = rest.chars().next() {
        match wrapped_flags(rest).filter(|_| !escaped) {
            Some((letters, after)) => {
                out.push_str("(?");
                out.push_str(letters);
                out.push(':');
                rest = after;
                escaped = false;
            }
            None => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                // One backslash before the parenthesis is enough, itself escaped or not.
                escaped = c == '\\';
            }
        }
    }
    out
}

fn wrapped_flags(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('(')?;
    let inner = inner.strip_prefix("?:").unwrap_or(inner).strip_prefix("(?")?;
    let (letters, after) = inner.split_once(')')?;
    let plain = !letters.is_empty() && letters.bytes().all(|b| b.is_ascii_lowercase());
    plain.then_some((letters, after))
}

#[cfg(test)]
mod tests {
    use super::{expand, localise_flags};

    fn check(source: &str, expect: &str) {
        assert_eq!(expand(source, false), expect, "{source}");
    }

    #[test]
    fn tags_become_groups() {
        check("<F-ID/>", r"(?P<fid>\S+)");
        check("<F-ID>x</F-ID>", "(?P<fid>x)");
        check("<F-PORT>x</F-PORT> <F-USER>y</F-USER>", "(?P<fport>x) (?P<user>y)");
        check("<F-A-B>x</F-A-B>", "(?P<a-b>x)");
        check("<F-IP4>x</F-IP4>", "(?P<ip4>x)");
        check(
            r"a<SKIPLINES>b<SKIPLINES>",
            r"a\n(?P<skiplines0>(?:(?:.*\n)*?))b\n(?P<skiplines1>(?:(?:.*\n)*?))",
        );
        check(r"<CIDR>", r"(?P<cidr>\d+)");
    }

    #[test]
    fn other_tags_stay_text() {
        for text in [
            "</F-USER>",
            "<F-NOFAIL/>",
            "<host>",
            "<F-user>",
            "<>",
            "<<",
            "<a b>",
            "</HOST>",
            "<HOST",
            "<F->",
            "é<é>",
        ] {
            check(text, text);
        }
        check("<<F-X>", "<(?P<x>");
    }

    #[test]
    fn host_follows_usedns() {
        assert_eq!(expand("<HOST>", true), expand("<ADDR>", false));
        assert_eq!(
            expand("<HOST>", false),
            format!("(?:{}|{})", expand("<ADDR>", false), expand("<DNS>", false))
        );
        assert!(expand("<SUBNET>", false).ends_with(r"(?:/(?P<cidr>\d+))?\]?"));
    }

    #[test]
    fn wrapped_global_flags_become_local() {
        for (from, to) in [
            ("((?i)x)", "(?i:x)"),
            ("(?:(?is)x)y", "(?is:x)y"),
            ("a((?i)x|((?s).))", "a(?i:x|(?s:.))"),
            (r"\((?i)x)", r"\((?i)x)"),
            ("((?I)x)", "((?I)x)"),
            ("(?i)x", "(?i)x"),
            ("((?)x)", "((?)x)"),
        ] {
            assert_eq!(localise_flags(from), to, "{from}");
        }
    }
}

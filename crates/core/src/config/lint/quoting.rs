//! Where a value of a ban stands in a command outside of double quotes.
//!
//! In goes an action and one of its commands, out comes the first tag that a shell would split into words. Tags that
//! other options fill are followed, because what encloses a tag may stand in one option and the tag in another.

use super::super::expand::next_tag;
use super::super::plan::ActionPlan;

/// Tags whose text the log's writers choose, beside the captured fields.
const LOG_TAGS: [&str; 5] = ["matches", "ipmatches", "ipjailmatches", "raw-ticket", "ip-host"];

/// Options that name each other are followed so deep.
const DEEPEST: usize = 10;

/// So much of a command is looked at, in characters.
const MOST: usize = 256 * 1024;

/// A tag in no quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loose {
    /// The tag, with its brackets
    pub(super) tag: String,
    /// The option whose text it stands in
    pub(super) option: String,
}

/// The first tag with log text that is in no quotes. With `any_name` the address of a ban is log text, too.
/// Here-documents and what stands behind a variable's `=` are no words to be split.
pub(super) fn loose_tag(action: &ActionPlan, option: &str, any_name: bool) -> Option<Loose> {
    let mut scan = Scan {
        action,
        any_name,
        inside: Vec::new(),
        word: String::new(),
        begins: true,
        before: ' ',
        delimiter: None,
        room: MOST,
        found: None,
    };
    scan.read(&action.property(option)?, option, 0);
    scan.found
}

/// What encloses a place in a shell command.
#[derive(Clone, PartialEq, Eq)]
enum Inside {
    Double,
    Single,
    Command,
    Backticks,
    /// A here-document, up to a line with this word
    Document(String),
}

struct Scan<'a> {
    action: &'a ActionPlan,
    any_name: bool,
    inside: Vec<Inside>,
    /// The word so far
    word: String,
    /// Whether no word of the present command has ended but for assignments
    begins: bool,
    before: char,
    /// The word that ends the here-document that begins with the next line
    delimiter: Option<String>,
    room: usize,
    found: Option<Loose>,
}

impl Scan<'_> {
    /// Reads the text of an option.
    fn read(&mut self, text: &str, option: &str, depth: usize) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if self.found.is_some() || self.room == 0 {
                return;
            }
            self.room -= 1;
            let width = match tag(rest) {
                Some(tag) => self.tag(tag, option, depth),
                None => self.character(c, rest),
            };
            rest = rest.get(width..).unwrap_or_default();
        }
    }

    /// A tag: what another option puts there is read in its place.
    fn tag(&mut self, tag: &str, option: &str, depth: usize) -> usize {
        let name = tag.trim_start_matches('<').trim_end_matches('>');
        if let Some(text) = self.action.property(name).filter(|_| depth < DEEPEST) {
            self.read(&text, name, depth + 1);
        } else {
            let is_text =
                LOG_TAGS.contains(&name) || name.starts_with("F-") || self.any_name && ["ip", "fid"].contains(&name);
            if is_text && self.is_split() {
                self.found = Some(Loose {
                    tag: tag.to_owned(),
                    option: option.to_owned(),
                });
            }
            self.word.push('x');
            self.before = '>';
        }
        tag.len()
    }

    fn is_split(&self) -> bool {
        let is_bare = matches!(self.inside.last(), None | Some(Inside::Command | Inside::Backticks));
        let variable = self
            .word
            .strip_suffix('=')
            .filter(|name| self.begins && !name.is_empty());
        let is_assigned = variable.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
        is_bare && !is_assigned
    }

    /// Any other character; how many bytes were read.
    fn character(&mut self, c: char, rest: &str) -> usize {
        let mut width = c.len_utf8();
        let innermost = self.inside.last().cloned();
        let is_bare = matches!(innermost, None | Some(Inside::Command | Inside::Backticks));
        match (c, innermost) {
            ('\'', Some(Inside::Single))
            | ('"', Some(Inside::Double))
            | (')', Some(Inside::Command))
            | ('`', Some(Inside::Backticks)) => {
                self.inside.pop();
            }
            (_, Some(Inside::Single)) => {}
            ('\\', _) => width += rest.chars().nth(1).map_or(0, char::len_utf8),
            ('`', _) => self.inside.push(Inside::Backticks),
            ('(', innermost) if self.before == '$' || innermost == Some(Inside::Command) => {
                self.inside.push(Inside::Command);
            }
            ('\n', Some(Inside::Document(end))) => {
                if rest.get(1..).and_then(|rest| rest.lines().next()).map(str::trim) == Some(end.as_str()) {
                    self.inside.pop();
                }
            }
            (_, Some(Inside::Document(_))) => {}
            ('"', _) => self.inside.push(Inside::Double),
            ('\'', _) if is_bare => self.inside.push(Inside::Single),
            ('<', _) if is_bare && rest.starts_with("<<") => {
                let end = rest.trim_start_matches(['<', '-', ' ']);
                let end = end.split(['\n', ' ', ';', ')', '|']).next().unwrap_or_default();
                self.delimiter = Some(end.trim_matches(['"', '\'']).to_owned());
                width = 2;
            }
            ('\n', _) if is_bare => self.inside.extend(self.delimiter.take().map(Inside::Document)),
            _ => {}
        }
        if is_bare && [';', '|', '&', '(', '\n'].contains(&c) {
            self.word.clear();
            self.begins = true;
        } else if is_bare && c.is_whitespace() {
            self.begins &= self.word.is_empty() || self.word.contains('=');
            self.word.clear();
        } else if self.word.len() < 64 {
            self.word.push(c);
        }
        self.before = c;
        width
    }
}

/// The tag that a text begins with.
fn tag(text: &str) -> Option<&str> {
    if !text.starts_with('<') || text.starts_with("<<") {
        return None;
    }
    let (start, end) = next_tag(text, 0)?;
    text.get(..end).filter(|_| start == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(properties: &[(&str, &str)]) -> ActionPlan {
        let properties = properties
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).into()));
        ActionPlan {
            name: "a".into(),
            properties: properties.collect(),
        }
    }

    #[test]
    fn tags_in_double_quotes_are_not_loose() {
        let cases = [
            ("echo <matches>", Some("<matches>")),
            ("echo \"<matches>\"", None),
            ("echo \"$(echo <matches>)\"", Some("<matches>")),
            ("echo \"$(echo \"<matches>\")\"", None),
            ("echo \"`echo <matches>`\"", Some("<matches>")),
            ("echo \"`date +\"%d\"` <matches>\"", None),
            ("echo 'a' <F-USER>", Some("<F-USER>")),
            ("echo \\\"<matches>", Some("<matches>")),
            ("text=<matches>; echo \"$text\"", None),
            ("a=1 text=<matches> mail", None),
            ("curl -d text=<matches>", Some("<matches>")),
            ("cat <<E\n<matches>\nE", None),
            ("cat <<'E'\n<matches>\nE\necho <matches>", Some("<matches>")),
            ("cat <<E >f\nit's\nE\necho \"<matches>\"", None),
            ("ban <ip> <bantime>", None),
            ("echo '<matches>'", None),
        ];
        for (text, expect) in cases {
            let found = loose_tag(&action(&[("actionban", text)]), "actionban", false);
            assert_eq!(found.as_ref().map(|loose| loose.tag.as_str()), expect, "{text}");
        }
    }

    #[test]
    fn other_options_are_followed() {
        let found = |properties: &[(&str, &str)], any_name| loose_tag(&action(properties), "actionban", any_name);
        let quoted = [("actionban", "mail \"<text>\""), ("text", "of <matches>")];
        assert_eq!(found(&quoted, false), None);
        let bare = [("actionban", "mail <text>"), ("text", "\"of\" <matches>")];
        let place = Loose {
            tag: "<matches>".into(),
            option: "text".into(),
        };
        assert_eq!(found(&bare, false), Some(place));
        assert_eq!(found(&[("actionban", "<a>"), ("a", "<a>")], false), None);
        let address = [("actionban", "iptables -s <ip>")];
        assert_eq!(found(&address, false), None);
        assert_eq!(found(&address, true).map(|loose| loose.tag), Some("<ip>".to_owned()));
    }
}

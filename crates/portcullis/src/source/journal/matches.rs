//! `journalmatch`: which entries are a jail's (contract §6.6).

use portcullis_core::config::is_journal_match;

use super::entry::Entry;

/// The matches of one jail: an entry is the jail's if one of the groups holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matches {
    groups: Vec<Group>,
}

/// For each field the values of which it must have one.
type Group = Vec<(Box<str>, Vec<Box<[u8]>>)>;

/// A term that is no match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its journalmatch has {0:?}, which is not FIELD=value")]
pub(crate) struct NoMatch(String);

impl Matches {
    /// Of the lines of `journalmatch`, each taken apart into words, among them `+` between groups.
    ///
    /// # Errors
    /// For a word that is no match.
    pub(crate) fn new(lines: &[Vec<String>]) -> Result<Self, NoMatch> {
        let mut groups = Vec::new();
        for terms in lines.iter().flat_map(|line| line.split(|term| term == "+")) {
            let mut group = Group::new();
            for term in terms {
                let known = term.split_once('=').filter(|_| is_journal_match(term));
                let (name, value) = known.ok_or_else(|| NoMatch(term.clone()))?;
                let value: Box<[u8]> = value.as_bytes().into();
                match group.iter_mut().find(|(other, _)| **other == *name) {
                    Some((_, values)) => values.push(value),
                    None => group.push((name.into(), vec![value])),
                }
            }
            if !group.is_empty() {
                groups.push(group);
            }
        }
        Ok(Matches { groups })
    }

    /// Whether there are none, so that every entry is the jail's.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether an entry is the jail's.
    pub(crate) fn take(&self, entry: &Entry) -> bool {
        let holds = |group: &Group| {
            let mut fields = group.iter();
            fields.all(|(name, values)| values.iter().any(|value| entry.has(name, value)))
        };
        self.is_empty() || self.groups.iter().any(holds)
    }

    /// The fields that they ask for.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flatten().map(|(name, _)| &**name)
    }

    /// The groups as words, each once; nothing where one of the jails takes every entry.
    pub(crate) fn union<'m>(all: impl Iterator<Item = &'m Matches>) -> Vec<Vec<String>> {
        let mut union = Vec::new();
        for matches in all {
            if matches.is_empty() {
                return Vec::new();
            }
            for group in &matches.groups {
                let term = |name: &str, value: &[u8]| format!("{name}={}", String::from_utf8_lossy(value));
                let terms = group
                    .iter()
                    .flat_map(|(name, values)| values.iter().map(move |value| term(name, value)));
                let terms: Vec<String> = terms.collect();
                if !union.contains(&terms) {
                    union.push(terms);
                }
            }
        }
        union
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::export::Field;
    use super::*;

    fn matches(lines: &[&str]) -> Matches {
        let words = |line: &&str| line.split(' ').map(str::to_owned).collect();
        Matches::new(&lines.iter().map(words).collect::<Vec<_>>()).unwrap()
    }

    fn entry(text: &str) -> Entry {
        let known = ["__CURSOR=s", "__REALTIME_TIMESTAMP=1"].into_iter();
        let field = |term: &str| {
            let (name, value) = term.split_once('=').unwrap();
            Field {
                name: name.into(),
                value: value.as_bytes().into(),
                is_cut: false,
            }
        };
        let fields = known.chain(text.split(' ')).map(field).collect();
        Entry::new(fields, &TimeZone::UTC).unwrap()
    }

    #[test]
    fn which_entries_are_whose() {
        for (lines, text, expect) in [
            (&[][..], "A=1", true),
            (&["A=1"], "A=1", true),
            (&["A=1"], "A=10", false),
            (&["A=1"], "B=1", false),
            (&["A=1 A=2"], "A=2", true),
            (&["A=1 B=2"], "A=1 B=3", false),
            (&["A=1 B=2"], "A=1 B=2", true),
            (&["A=1 A=3 B=2"], "A=3 B=2", true),
            (&["A=1 + B=2"], "B=2", true),
            (&["A=1", "B=2"], "B=2", true),
            (&["A=1 C=1", "B=2"], "A=1 B=1", false),
            (&["A=1"], "A=0 A=1", true),
            (&["A=a=b"], "A=a=b", true),
            (&["+ A=1 +"], "A=2", false),
        ] {
            assert_eq!(matches(lines).take(&entry(text)), expect, "{lines:?} {text}");
        }
    }

    #[test]
    fn one_reader_for_all_jails() {
        let union = |all: &[&Matches]| Matches::union(all.iter().copied());
        let (one, two) = (matches(&["A=1 B=2 A=3"]), matches(&["C=1 + A=1", "C=1"]));
        assert_eq!(
            union(&[&one, &two]),
            [vec!["A=1", "A=3", "B=2"], vec!["C=1"], vec!["A=1"]]
        );
        assert_eq!(union(&[&one, &Matches::default()]), [] as [Vec<String>; 0]);
        for term in ["A", "a=1", "=1", "__CURSOR=1", "/usr/bin/x", "-f", "--file=x", "A=\0"] {
            assert!(Matches::new(&[vec![term.to_owned()]]).is_err(), "{term}");
        }
    }
}

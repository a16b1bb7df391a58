//! `backend = systemd[…]`: which journal a jail reads (contract §6.6).

use std::fmt;

use portcullis_core::config;

use crate::runner::Excerpt;

/// The name under which Fail2Ban keeps how far a journal was read.
pub(crate) const JOURNAL: &str = "systemd-journal";
/// Fail2Ban's variable for `journalflags`.
const FLAGS: &str = "F2B_SYSTEMD_DEFAULT_FLAGS";

const RUNTIME_ONLY: i64 = 2;
const SYSTEM_ONLY: i64 = 4;
const CURRENT_USER: i64 = 8;
/// All flags that there are; 1, the own machine's journals only, is not looked at (D-209).
const ALL_FLAGS: i64 = 15;

/// Where journals are that are gone after a start of the machine.
const RUNTIME: &str = "/run/log/journal";

/// A journal that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the journal that a backend asks for: options that are written alike name the same. It stands for a path
/// wherever a log has one.
pub(crate) fn name(backend: &str) -> String {
    let options = backend.find('[').map_or("", |at| backend.get(at..).unwrap_or_default());
    format!("{JOURNAL}{options}")
}

/// Whether a path is a journal's name.
pub(crate) fn is_journal(path: &str) -> bool {
    path.strip_prefix(JOURNAL)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
}

/// What is to be read of the journal with this name: nothing yet but where it is.
///
/// # Errors
/// For an option that is none, or has a value that it cannot have.
pub(crate) fn excerpt(name: &str) -> Result<Excerpt, Wrong> {
    let named = config::extract(name).map_err(|error| Wrong(format!("{name}: {error}")))?;
    let mut excerpt = Excerpt::default();
    let mut flags = None;
    let mut rotated = false;
    for (option, value) in named.options {
        match option.as_str() {
            "journalpath" => excerpt.directory = Some(value),
            "journalfiles" => {
                let words = value.split([',', ' ', '\n', '\t', '\r']);
                excerpt.files = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
            }
            "journalflags" => flags = Some(flags_of(&value)?),
            "namespace" => excerpt.namespace = Some(value),
            "rotated" => rotated = config::parse_bool(&value),
            _ => return Err(Wrong(format!("backend systemd has no option {option:?}"))),
        }
    }
    if flags.is_none() && excerpt.files.is_empty() && excerpt.directory.is_none() {
        let set = std::env::var(FLAGS).ok().filter(|value| !value.is_empty());
        flags = set.map(|value| flags_of(&value)).transpose()?;
        flags = flags.or(rotated.then_some(SYSTEM_ONLY));
    }
    apply(&mut excerpt, flags.unwrap_or(0));
    Ok(excerpt)
}

fn flags_of(value: &str) -> Result<i64, Wrong> {
    let flags = config::parse_int(value).filter(|flags| (0..=ALL_FLAGS).contains(flags));
    flags.ok_or_else(|| Wrong(format!("journalflags is {value:?}, no number from 0 to {ALL_FLAGS}")))
}

fn apply(excerpt: &mut Excerpt, flags: i64) {
    excerpt.system = flags & SYSTEM_ONLY != 0;
    excerpt.user = flags & CURRENT_USER != 0;
    let is_somewhere = excerpt.directory.is_some() || !excerpt.files.is_empty();
    if flags & RUNTIME_ONLY != 0 && !is_somewhere {
        excerpt.directory = Some(RUNTIME.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_journal_a_backend_asks_for() {
        let machine = Excerpt::default();
        for (backend, expect) in [
            ("systemd", machine.clone()),
            ("SYSTEMD[rotated=no]", machine.clone()),
            (
                "systemd[rotated=yes]",
                Excerpt {
                    system: true,
                    ..machine.clone()
                },
            ),
            (
                "systemd[journalpath=/j, journalflags=8]",
                Excerpt {
                    directory: Some("/j".into()),
                    user: true,
                    ..machine.clone()
                },
            ),
            (
                "systemd[journalfiles=\"/a.journal, /b*.journal /c\"]",
                Excerpt {
                    files: ["/a.journal", "/b*.journal", "/c"].map(str::to_owned).into(),
                    ..machine.clone()
                },
            ),
            (
                "systemd[journalflags=7]",
                Excerpt {
                    directory: Some(RUNTIME.into()),
                    system: true,
                    ..machine.clone()
                },
            ),
            (
                "systemd[namespace=mail]",
                Excerpt {
                    namespace: Some("mail".into()),
                    ..machine
                },
            ),
        ] {
            let name = name(backend);
            assert!(is_journal(&name));
            assert_eq!(excerpt(&name), Ok(expect), "{backend}");
        }
        for backend in [
            "systemd[journalflags=x]",
            "systemd[journalflags=16]",
            "systemd[jornalpath=/j]",
        ] {
            assert!(excerpt(&name(backend)).is_err(), "{backend}");
        }
        assert!(!is_journal("/var/log/systemd-journal") && !is_journal("systemd-journals"));
    }
}

//! The filters, jails and actions that portcullis ships, embedded in the binary.
//!
//! In goes a file name below the configuration folder (`filter.d/postfix.conf`), out comes its text. A
//! configuration folder without a `jail.conf` stands on these files, and `portcullis stock` shows them.

use std::fmt;

/// Longest name that is compared with the known ones when looking for what could have been meant, in bytes.
const LONGEST_NAME: usize = 128;

/// Most differences (letters put in, left out or exchanged) with which a file still counts as meant.
const MOST_DIFFERENCES: usize = 2;

macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../stock/", $name)))),*]
    };
}

/// Every file of the stock as (name, text), ordered by name. Names are relative to the configuration folder and
/// use `/`.
pub(crate) fn files() -> &'static [(&'static str, &'static str)] {
    embed![
        "action.d/gcp-firewall.conf",
        "action.d/nft.conf",
        "fail2ban.conf",
        "filter.d/common.conf",
        "filter.d/dovecot.conf",
        "filter.d/postfix.conf",
        "filter.d/sshd.conf",
        "jail.conf",
    ]
}

/// The names of the stock, one a line: what `portcullis stock` prints.
pub(crate) fn list() -> String {
    files().iter().flat_map(|(name, _)| [name, "\n"]).collect()
}

/// The text of one file: what `portcullis stock FILE` prints.
///
/// # Errors
/// [`NotInStock`] when there is no such file, with the names that could have been meant.
pub(crate) fn text(name: &str) -> Result<&'static str, NotInStock> {
    match files().iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok(text),
        None => Err(NotInStock {
            name: name.to_owned(),
            near: near(name),
        }),
    }
}

/// A name that no file of the stock has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotInStock {
    name: String,
    /// Names that could have been meant, the likeliest first.
    pub(crate) near: Vec<&'static str>,
}

impl fmt::Display for NotInStock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no file {:?} in the stock", self.name)?;
        match self.near.as_slice() {
            [] => write!(f, " (`portcullis stock` lists what there is)"),
            near => write!(f, "; is it {}?", near.join(" or ")),
        }
    }
}

impl std::error::Error for NotInStock {}

/// The files whose bare name (`postfix` of `filter.d/postfix.conf`) is nearest to that of `name`.
fn near(name: &str) -> Vec<&'static str> {
    if name.len() > LONGEST_NAME {
        return Vec::new();
    }
    let wanted = bare(name);
    let mut found: Vec<(usize, &'static str)> = files()
        .iter()
        .map(|(known, _)| (differences(&wanted, &bare(known)), *known))
        .filter(|(differences, _)| *differences <= MOST_DIFFERENCES)
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, known)| known).collect()
}

/// A file's name without folders and ending, in small letters.
fn bare(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = file
        .strip_suffix(".conf")
        .or_else(|| file.strip_suffix(".local"))
        .unwrap_or(file);
    stem.to_ascii_lowercase()
}

/// The Levenshtein distance of two words.
fn differences(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (done, in_a) in a.chars().enumerate() {
        let mut next = vec![done + 1];
        for (column, in_b) in b.iter().enumerate() {
            let exchanged = row[column] + usize::from(in_a != *in_b);
            next.push(exchanged.min(row[column + 1] + 1).min(next[column] + 1));
        }
        row = next;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn below(folder: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                below(&entry.path(), &format!("{name}/"), names);
            } else {
                names.push(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let mut names = Vec::new();
        below(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stock"),
            "",
            &mut names,
        );
        names.sort();
        let embedded: Vec<&str> = files().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, embedded);
    }

    /// Look-around, conditionals and back-references would take a line out of the linear engine.
    #[test]
    fn every_expression_is_regular() {
        for (name, text) in files() {
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                for irregular in ["(?=", "(?!", "(?<", "(?(", "(?P=", r"\1"] {
                    assert!(!line.contains(irregular), "{name}: {irregular} in {line}");
                }
            }
        }
    }

    #[test]
    fn list_names_every_file_on_its_own_line() {
        let list = list();
        assert_eq!(list.lines().count(), files().len());
        assert!(
            list.starts_with("action.d/gcp-firewall.conf\naction.d/nft.conf\n") && list.ends_with("jail.conf\n"),
            "{list}"
        );
    }

    #[test]
    fn text_is_the_file() {
        assert!(text("jail.conf").unwrap().contains("[postfix]"));
        assert!(text("filter.d/postfix.conf").unwrap().contains("\nmode = extra\n"));
    }

    #[test]
    fn an_unknown_name_brings_up_what_could_have_been_meant() {
        let check = |name: &str, expect: &[&str]| assert_eq!(text(name).unwrap_err().near, expect, "{name}");
        check("postfix", &["filter.d/postfix.conf"]);
        check("/etc/fail2ban/filter.d/dovecot.local", &["filter.d/dovecot.conf"]);
        check("posfix.conf", &["filter.d/postfix.conf"]);
        check("SSHD", &["filter.d/sshd.conf"]);
        check("apache-auth", &[]);
        check("", &[]);
        check(&"sshd".repeat(1000), &[]);
    }

    #[test]
    fn the_error_says_what_to_do() {
        assert_eq!(
            text("sshd").unwrap_err().to_string(),
            "no file \"sshd\" in the stock; is it filter.d/sshd.conf?"
        );
        assert_eq!(
            text("exim").unwrap_err().to_string(),
            "no file \"exim\" in the stock (`portcullis stock` lists what there is)"
        );
    }
}

//! `logencoding`: which encoding a jail's option names, and what is said of a line that is not in it (contract §3.3).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use portcullis_core::encoding::{Encoding, Unsupported};
use portcullis_core::value::repr_bytes;

/// Where the C library keeps the locales.
const LOCALES: &str = "/usr/lib/locale";

/// An encoding, as an option names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEncoding {
    pub(crate) encoding: Encoding,
    /// As it was written; of `auto`, what it stands for
    pub(crate) name: Arc<str>,
}

impl LogEncoding {
    /// By the value of the option.
    ///
    /// # Errors
    /// For what is not read; the text names it.
    pub(crate) fn named(name: &str) -> Result<Self, Unsupported> {
        let preferred = name.eq_ignore_ascii_case("auto").then(preferred);
        let name = preferred.as_deref().unwrap_or(name);
        Ok(LogEncoding {
            encoding: Encoding::named(name)?,
            name: name.into(),
        })
    }
}

/// What `auto` stands for: the encoding of the locale in the environment, as Python names it.
pub(crate) fn preferred() -> String {
    preferred_of(|name| std::env::var(name).ok(), Path::new(LOCALES))
}

/// A locale that is not installed counts for nothing, as with the C library, and without one Python takes UTF-8. A
/// locale that does not name its encoding, such as `de_DE`, counts as one of UTF-8, too.
fn preferred_of(variable: impl Fn(&str) -> Option<String>, locales: &Path) -> String {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(set)
        .unwrap_or_default();
    let Some((language, rest)) = locale.split_once('.') else {
        return "utf-8".to_owned();
    };
    let (charset, modifier) = rest.find('@').map_or((rest, ""), |at| rest.split_at(at));
    // So the C library names its locales.
    let plain: String = charset.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    let is_builtin = language == "C" && plain == "utf8";
    let name = full_name(&plain);
    let is_known = Encoding::named(&name).is_ok();
    if is_known && (is_builtin || is_installed(&format!("{language}.{plain}{modifier}"), locales)) {
        name
    } else {
        "utf-8".to_owned()
    }
}

/// The name of a character set that a locale abbreviates.
fn full_name(plain: &str) -> String {
    let parted = ["utf", "iso8859", "koi8", "euc"].into_iter().find_map(|family| {
        let member = plain.strip_prefix(family)?;
        Some(format!("{family}-{member}").replace("iso8859", "iso-8859"))
    });
    parted.unwrap_or_else(|| plain.to_owned()).to_ascii_uppercase()
}

/// Whether the C library has a locale. The names of all that `locale-archive` holds stand in it as text.
fn is_installed(name: &str, locales: &Path) -> bool {
    let archive = || fs::read(locales.join("locale-archive")).unwrap_or_default();
    let text = format!("\0{name}\0");
    let is_folder = !name.contains('/') && locales.join(name).is_dir();
    is_folder || memchr::memmem::find(&archive(), text.as_bytes()).is_some()
}

/// What Fail2Ban says of a line with bytes that are no characters.
pub(super) fn warning(path: &str, encoding: &str, line: &[u8]) -> [String; 2] {
    let mut line = line.to_vec();
    if !line.ends_with(b"\n") && !line.ends_with(b"\n\0") {
        line.push(b'\n');
    }
    [
        format!("Error decoding line from '{path}' with '{encoding}'."),
        format!(
            "Consider setting logencoding to appropriate encoding for this jail. Continuing to process line ignoring \
             invalid characters: {}",
            repr_bytes(&line)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_auto_stands_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("ru_RU.koi8r")).unwrap();
        fs::write(
            folder.path().join("locale-archive"),
            b"x\0de_DE.iso885915@euro\0en_US.euckr\0",
        )
        .unwrap();
        let check = |variables: &[(&str, &str)], expect: &str| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(set, _)| *set == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(preferred_of(variable, folder.path()), expect, "{variables:?}");
        };
        check(&[], "utf-8");
        check(&[("LANG", "C")], "utf-8");
        check(&[("LC_ALL", ""), ("LANG", "C.UTF-8")], "UTF-8");
        check(&[("LC_ALL", "ru_RU.KOI8-R"), ("LANG", "C.UTF-8")], "KOI8-R");
        check(&[("LANG", "de_DE.ISO-8859-15@euro")], "ISO-8859-15");
        check(&[("LANG", "de_DE.iso885915@euro")], "ISO-8859-15");
        check(&[("LANG", "en_US.eucKR")], "EUC-KR");
        check(&[("LANG", "de_DE.ISO-8859-15")], "utf-8");
        check(&[("LANG", "en_US.UTF-8")], "utf-8");
        check(&[("LC_CTYPE", "../x.KOI8-R")], "utf-8");
    }

    #[test]
    fn the_warning() {
        let line = warning("/log", "ascii", b"it's\t\xff\\\x00")[1].clone();
        let quoted = r#"b"it's\t\xff\\\x00\n""#;
        assert!(line.ends_with(&format!(" characters: {quoted}")), "{line}");
        assert_eq!(repr_bytes(b"'\""), r#"b'\'"'"#);
    }
}

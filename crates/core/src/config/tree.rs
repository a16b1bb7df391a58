//! How a configuration sees files: through [`Tree`], and through nothing else.
//!
//! The daemon brings a tree of the disk; tests and the embedded stock are a [`MemoryTree`]; [`Layered`] lays a
//! folder over the stock.

use std::collections::BTreeMap;

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is none of that name.
    #[error("no such file")]
    NotFound,
    /// Something else; the text says what.
    #[error("{0}")]
    Other(String),
}

/// The only way to see files. Paths are `/`-separated, with or without a leading slash.
pub trait Tree {
    /// The bytes of a file. An implementation may refuse a file above 16 MiB; what it hands over above that is
    /// refused here.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if there is none, [`ReadError::Other`] for a folder or a refusal of the system.
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError>;

    /// The names of the entries of a folder, sorted bytewise; empty if there is no such folder.
    fn list(&self, dir: &str) -> Vec<String>;

    /// Whether it is a folder.
    fn is_dir(&self, path: &str) -> bool;

    /// Whether it is a regular file (links followed).
    fn is_file(&self, path: &str) -> bool {
        self.read(path).is_ok()
    }

    /// Whether there is anything of that name (links followed).
    fn exists(&self, path: &str) -> bool {
        self.is_file(path) || self.is_dir(path)
    }

    /// The files that a `logpath` stands for: itself if it exists, or what its `*`, `?` and `[…]` match, in the
    /// order of [`Tree::list`] (contract §6.1).
    fn glob(&self, pattern: &str) -> Vec<String> {
        glob(self, pattern)
    }
}

/// The most paths that one glob gives.
const GLOB_CAP: usize = 100_000;

fn glob<T: Tree + ?Sized>(tree: &T, pattern: &str) -> Vec<String> {
    if !has_magic(pattern) {
        return if tree.exists(pattern) {
            vec![pattern.to_owned()]
        } else {
            Vec::new()
        };
    }
    let mut found = vec![String::new()];
    for (index, part) in pattern.split('/').enumerate() {
        let separator = if index == 0 { "" } else { "/" };
        let mut next = Vec::new();
        for base in &found {
            if !has_magic(part) {
                next.push(format!("{base}{separator}{part}"));
                continue;
            }
            let dir = match (base.as_str(), index) {
                ("", 0) => ".",
                ("", _) => "/",
                (dir, _) => dir,
            };
            let names = tree.list(dir).into_iter().filter(|name| name_matches(part, name));
            next.extend(names.map(|name| format!("{base}{separator}{name}")));
            if next.len() > GLOB_CAP {
                break;
            }
        }
        next.truncate(GLOB_CAP);
        found = next;
    }
    found.retain(|path| tree.exists(path));
    found
}

/// Whether a path has wildcards.
pub(crate) fn has_magic(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Shell matching of one name: `*`, `?`, `[…]`, `[!…]`; a leading dot is matched by a leading dot only.
fn name_matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('?') => Some(p + 1),
            Some('[') => match_class(&pattern, p, name.get(n).copied()),
            Some(c) if Some(c) == name.get(n) => Some(p + 1),
            _ => None,
        };
        match (step, retry) {
            (Some(next), _) => {
                p = next;
                n += 1;
            }
            (None, Some((after_star, from))) => {
                retry = Some((after_star, from + 1));
                p = after_star;
                n = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|&c| c == '*'))
}

/// Matches one character against the class that opens at `open`; gives the place behind the class. A bracket that
/// is never closed stands for itself.
fn match_class(pattern: &[char], open: usize, c: Option<char>) -> Option<usize> {
    let c = c?;
    let mut at = open + 1;
    let negated = pattern.get(at) == Some(&'!');
    if negated {
        at += 1;
    }
    let first = at;
    let close = (first + 1..pattern.len()).find(|&index| pattern.get(index) == Some(&']'));
    let Some(close) = close else {
        return (c == '[').then_some(open + 1);
    };
    let class = pattern.get(first..close)?;
    let mut hit = false;
    let mut index = 0;
    while let Some(&low) = class.get(index) {
        if class.get(index + 1) == Some(&'-')
            && let Some(&high) = class.get(index + 2)
        {
            hit |= (low..=high).contains(&c);
            index += 3;
        } else {
            hit |= low == c;
            index += 1;
        }
    }
    (hit != negated).then_some(close + 1)
}

/// Files in memory, by path.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree(pub BTreeMap<String, Vec<u8>>);

impl MemoryTree {
    /// A tree of the files given: path and text.
    #[must_use]
    pub fn new(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        MemoryTree(files.collect())
    }
}

impl Tree for MemoryTree {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.0.get(path).cloned().ok_or(ReadError::NotFound)
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let prefix = match dir {
            "" | "." => String::new(),
            dir => format!("{}/", dir.trim_end_matches('/')),
        };
        let below = self
            .0
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix));
        let names = below.filter_map(|(path, _)| path.get(prefix.len()..)?.split('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn is_dir(&self, path: &str) -> bool {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let next = self.0.range(prefix.clone()..).next();
        next.is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    fn is_file(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

/// How much of the stock shows through.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'t> {
    /// Every file that the folder does not have.
    Everything,
    /// Only these, named as in the stock (`action.d/nft.conf`).
    Only(&'t [&'t str]),
}

/// A folder over a stock: a file that the folder lacks comes from the stock (see ARCHITECTURE: the daemon).
pub struct Layered<'t> {
    /// The disk, or what stands for it; all paths outside of `base` are its own.
    pub over: &'t dyn Tree,
    /// The stock; its paths are relative (`filter.d/sshd.conf`).
    pub under: &'t dyn Tree,
    /// The folder of the configuration in `over`, without a trailing slash.
    pub base: &'t str,
    /// How much of the stock shows through.
    pub scope: Scope<'t>,
}

impl Layered<'_> {
    fn relative<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.base)?.strip_prefix('/')
    }

    fn shown(&self, relative: &str) -> bool {
        match self.scope {
            Scope::Everything => true,
            Scope::Only(names) => names.contains(&relative),
        }
    }
}

impl Tree for Layered<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        match (self.over.read(path), self.relative(path)) {
            (Err(ReadError::NotFound), Some(relative)) if self.shown(relative) => self.under.read(relative),
            (read, _) => read,
        }
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let mut names = self.over.list(dir);
        let relative = if dir == self.base { Some("") } else { self.relative(dir) };
        if let Some(relative) = relative {
            let below = self.under.list(relative).into_iter();
            names.extend(below.filter(|name| match self.scope {
                Scope::Everything => true,
                Scope::Only(_) if relative.is_empty() => self.shown(name),
                Scope::Only(_) => self.shown(&format!("{relative}/{name}")),
            }));
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn is_dir(&self, path: &str) -> bool {
        self.over.is_dir(path)
            || matches!(self.scope, Scope::Everything)
                && (path == self.base || self.relative(path).is_some_and(|relative| self.under.is_dir(relative)))
    }

    fn is_file(&self, path: &str) -> bool {
        self.over.is_file(path)
            || !self.over.exists(path)
                && self
                    .relative(path)
                    .is_some_and(|relative| self.shown(relative) && self.under.is_file(relative))
    }

    fn exists(&self, path: &str) -> bool {
        self.over.exists(path) || self.is_file(path) || self.is_dir(path)
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        self.over.glob(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        let cases = [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "a.local", false),
            ("mail?.log*", "mail1.log.1", true),
            ("[a-c]*x", "bbbx", true),
            ("[!a-c]*x", "bbbx", false),
            ("a[", "a[", true),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("*a*b*c", "xxaxxbxxbd", false),
        ];
        for (pattern, name, expect) in cases {
            assert_eq!(name_matches(pattern, name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn globs_walk_folders() {
        let tree = MemoryTree::new(&[("/v/a/x.log", ""), ("/v/b/x.log", ""), ("/v/b/y.log", ""), ("/v/c", "")]);
        assert_eq!(tree.glob("/v/*/x.log"), ["/v/a/x.log", "/v/b/x.log"]);
        assert_eq!(tree.glob("/v/b/[y]*"), ["/v/b/y.log"]);
        assert_eq!(tree.glob("/v/c"), ["/v/c"]);
        assert!(tree.glob("/v/d").is_empty());
    }

    #[test]
    fn a_folder_lies_over_the_stock_file_by_file() {
        let over = MemoryTree::new(&[("/e/jail.local", "mine"), ("/e/filter.d/postfix.local", "mine")]);
        let under = MemoryTree::new(&[
            ("jail.conf", "stock"),
            ("jail.local", "stock"),
            ("filter.d/postfix.conf", "s"),
        ]);
        let mut tree = Layered {
            over: &over,
            under: &under,
            base: "/e",
            scope: Scope::Everything,
        };
        assert_eq!(tree.read("/e/jail.local"), Ok(b"mine".to_vec()));
        assert_eq!(tree.read("/e/jail.conf"), Ok(b"stock".to_vec()));
        assert_eq!(tree.list("/e/filter.d"), ["postfix.conf", "postfix.local"]);
        assert_eq!(tree.list("/e"), ["filter.d", "jail.conf", "jail.local"]);
        tree.scope = Scope::Only(&["filter.d/postfix.conf"]);
        assert_eq!(tree.read("/e/jail.conf"), Err(ReadError::NotFound));
        assert!(tree.is_file("/e/filter.d/postfix.conf"));
        assert_eq!(tree.list("/e"), ["filter.d", "jail.local"]);
    }
}

//! A configuration folder on disk, over the built-in stock.

use std::fs;
use std::io;
use std::path::Path;

use portcullis_core::config::{Layered, MemoryTree, ReadError, Scope, Tree};
use portcullis_core::diagnostic::Diagnostic;

use crate::stock;

/// Files above this are no configuration.
const LARGEST: u64 = 16 << 20;
/// Our own actions are to be had in every folder.
pub(crate) const OUR_ACTIONS: &[&str] = &["action.d/gcp-firewall.conf", "action.d/nft.conf"];

/// The disk as the configuration sees it.
pub(crate) struct Disk;

impl Tree for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let metadata = fs::metadata(path).map_err(refused)?;
        if !metadata.is_file() {
            return Err(ReadError::Other("is no regular file".into()));
        }
        if metadata.len() > LARGEST {
            return Err(ReadError::Other(format!("is larger than {} MiB", LARGEST >> 20)));
        }
        fs::read(path).map_err(refused)
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(dir) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    fn is_dir(&self, path: &str) -> bool {
        Path::new(path).is_dir()
    }

    fn is_file(&self, path: &str) -> bool {
        Path::new(path).is_file()
    }
}

fn refused(error: io::Error) -> ReadError {
    if error.kind() == io::ErrorKind::NotFound {
        ReadError::NotFound
    } else {
        ReadError::Other(error.to_string())
    }
}

/// Shows a folder as our own verbs see it: without a `jail.conf` the whole stock shows through, with one only our own
/// actions do (DESIGN §5).
pub(crate) fn with<T>(base: &str, look: impl FnOnce(&dyn Tree) -> T) -> T {
    let stock = stock_tree();
    let has_jails = Disk.is_file(&format!("{base}/jail.conf"));
    let scope = if has_jails {
        Scope::Only(OUR_ACTIONS)
    } else {
        Scope::Everything
    };
    look(&Layered {
        over: &Disk,
        under: &stock,
        base,
        scope,
    })
}

/// The built-in files.
pub(crate) fn stock_tree() -> MemoryTree {
    MemoryTree::new(stock::files())
}

/// Files that are not on the disk are the stock's, and are named so that nobody looks for them.
pub(crate) fn name_stock(diagnostics: &mut [Diagnostic], base: &str) {
    for position in diagnostics
        .iter_mut()
        .filter_map(|diagnostic| diagnostic.position.as_mut())
    {
        let inside = position
            .file
            .strip_prefix(base)
            .map(|name| name.trim_start_matches('/'));
        if let Some(name) = inside.filter(|_| !Path::new(&*position.file).exists()) {
            position.file = format!("(stock) {name}").into();
        }
    }
}

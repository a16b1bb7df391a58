//! Where a program is that reads a batch: the folder in which a shell finds the one that the command names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use portcullis_core::action::{Invocation, Tool};

/// Where a shell looks that was given no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program to start.
///
/// # Errors
/// If there is none, or it is not of the same make as the one that the command names.
pub(super) fn program(invocation: &Invocation) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    program_in(invocation, &path)
}

/// The same in these folders.
pub(super) fn program_in(invocation: &Invocation, path: &OsStr) -> Result<PathBuf> {
    let named = named(&invocation.named, path)?;
    match invocation.tool {
        Tool::Nft | Tool::Ipset => Ok(named),
        Tool::Iptables | Tool::Ip6tables => sibling(&named, &invocation.program),
    }
}

/// What a shell would start.
fn named(name: &str, path: &OsStr) -> Result<PathBuf> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let mut places = env::split_paths(path).map(|folder| folder.join(name));
    places.find(|place| is_program(place)).ok_or_else(|| not_found(name))
}

/// The program that restores rules for the same kind of `iptables`: both are names of one file, which is either that for
/// nftables or that for the older tables. Rules of the one are not seen by the other.
fn sibling(named: &Path, program: &str) -> Result<PathBuf> {
    let name = Path::new(program).file_name().unwrap_or_default();
    let program = named.with_file_name(name);
    if fs::canonicalize(named)? == fs::canonicalize(&program)? {
        return Ok(program);
    }
    let text = format!("{} is no other name of {}", program.display(), named.display());
    Err(Error::new(ErrorKind::NotFound, text))
}

fn is_program(place: &Path) -> bool {
    fs::metadata(place).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn not_found(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{name} is not found"))
}

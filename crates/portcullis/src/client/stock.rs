//! `stock`: the built-in configuration files.

use std::process::ExitCode;

use serde::Serialize;

use super::failure::{fail, print_line};
use super::{exit, status::print};
use crate::stock;

/// `stock --json`
#[derive(Serialize)]
struct List {
    /// Names below the configuration folder
    files: Vec<&'static str>,
}

/// `stock FILE --json`
#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    text: &'static str,
}

/// Lists the files, or prints one.
pub(crate) fn main(file: Option<&str>, json: bool) -> ExitCode {
    match (file, file.map(stock::text)) {
        (_, Some(Err(error))) => return fail(json, &error.to_string(), exit::REFUSED),
        (Some(name), Some(Ok(text))) if json => print_line(&File { name, text }),
        (_, Some(Ok(text))) => print(text),
        (_, None) if json => print_line(&List {
            files: stock::files().iter().map(|(name, _)| *name).collect(),
        }),
        (_, None) => print(&stock::list()),
    }
    ExitCode::from(exit::DONE)
}

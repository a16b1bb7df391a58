//! `stock`: the built-in configuration files.

use std::process::ExitCode;

use super::{exit, status::print};
use crate::stock;

/// Lists the files, or prints one.
pub(crate) fn main(file: Option<&str>) -> ExitCode {
    let Some(name) = file else {
        print(&stock::list());
        return ExitCode::from(exit::DONE);
    };
    match stock::text(name) {
        Ok(text) => print(text),
        Err(error) => {
            eprintln!("portcullis: {error}");
            return ExitCode::from(exit::REFUSED);
        }
    }
    ExitCode::from(exit::DONE)
}

//! `gcp selftest`: what the API really does, tried on a deny rule of its own whose target tag no machine has.

use std::process::ExitCode;

/// `gcp selftest`
#[derive(clap::Args, Debug)]
pub(super) struct Options {}

pub(super) fn main(_options: &Options) -> ExitCode {
    ExitCode::SUCCESS
}

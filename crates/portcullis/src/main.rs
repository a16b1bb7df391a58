//! portcullis: reads service logs, recognises attacks with Fail2Ban's own configuration, and makes bans true.

#![forbid(unsafe_code)]
#![expect(dead_code, reason = "the parts are joined in the next step")]

mod check;
mod enforce;
mod folder;
mod observe;
mod runner;
mod source;
mod stock;

use clap::Parser;

#[derive(Parser)]
#[command(name = "portcullis", version)]
enum Verb {
    /// Look for what is wrong in a configuration folder
    Check(check::Options),
}

fn main() -> std::process::ExitCode {
    match Verb::parse() {
        Verb::Check(options) => check::main(&options),
    }
}

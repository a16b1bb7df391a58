//! portcullis: reads service logs, recognises attacks with Fail2Ban's own configuration, and makes bans true.

#![forbid(unsafe_code)]
#![expect(dead_code, reason = "the parts are joined in the next step")]

mod folder;
mod regex;
mod stock;

use clap::Parser;

#[derive(Parser)]
#[command(name = "portcullis", version)]
enum Cli {
    /// Try a filter on a log, as fail2ban-regex does
    Regex(regex::Options),
}

fn main() -> std::process::ExitCode {
    match Cli::parse() {
        Cli::Regex(options) => regex::main(&options),
    }
}

//! portcullis: reads service logs, recognises attacks with Fail2Ban's own configuration, and makes bans true.

#![forbid(unsafe_code)]

mod check;
mod client;
mod control;
mod daemon;
mod enforce;
mod fault;
mod folder;
mod matching;
mod namespace;
mod observe;
mod place;
mod regex;
mod runner;
mod sandbox;
mod source;
mod stock;
mod store;
mod trial;
mod visitors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    client::main()
}

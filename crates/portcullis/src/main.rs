//! x
#[expect(dead_code, reason = "the daemon that drives the layers is not wired in yet")]
mod enforce;

fn main() {}

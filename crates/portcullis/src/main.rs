//! x

#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the daemon that uses it is not joined yet")
)]
mod runner;

fn main() {}

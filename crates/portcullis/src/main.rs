//! portcullis: reads service logs, recognises attacks with Fail2Ban's own configuration, and makes bans true.

#![forbid(unsafe_code)]
#![expect(dead_code, reason = "the parts are joined in the next step")]

mod enforce;
mod observe;
mod runner;
mod source;
mod stock;
mod store;

fn main() {}

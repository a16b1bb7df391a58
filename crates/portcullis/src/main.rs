//! x
#[expect(dead_code, reason = "the daemon that uses it comes with the next part")]
mod observe;
#[expect(dead_code, reason = "the daemon that uses it comes with the next part")]
mod store;
fn main() {}

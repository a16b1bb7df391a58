//! Names, addresses and who is ignored.

mod addresses;
mod dns;
mod timeline;

use crate::chance::Chance;

/// Numbers that look random and are the same in every run.
fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut chance = Chance(seed);
    move |below| chance.below(below)
}

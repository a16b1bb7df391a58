//! Random cases that are the same in every run, and how many of them there are.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Random numbers from a seed (`SplitMix64`).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// From 0 up to, not including, `end`.
    pub(crate) fn below<N>(&mut self, end: N) -> N
    where
        N: TryInto<u64, Error: Debug> + TryFrom<u64, Error: Debug>,
    {
        N::try_from(self.next() % end.try_into().unwrap()).unwrap()
    }

    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        first + self.below(last - first + 1)
    }

    /// Whether one of so many in a hundred.
    pub(crate) fn percent(&mut self, many: u64) -> bool {
        self.below(100) < many
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// One of several.
    pub(crate) fn pick<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }
}

/// How long a fuzz run shall last at the least: the minutes that `COMPLIANCE_MINUTES` says.
pub(crate) fn patience() -> Duration {
    let minutes = std::env::var("COMPLIANCE_MINUTES").map_or(0, |text| text.parse().unwrap());
    Duration::from_secs(60 * minutes)
}

/// Rounds of a fuzz run: at least `least`, and more for as long as [`patience`] lasts.
pub(crate) fn rounds(least: u64) -> impl Iterator<Item = u64> {
    let (length, start) = (patience(), Instant::now());
    (0..).take_while(move |round| *round < least || start.elapsed() < length)
}

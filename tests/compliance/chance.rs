//! Random cases that are the same in every run, and how many of them there are.

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
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        first + i64::try_from(self.below(u64::try_from(last - first + 1).unwrap())).unwrap()
    }

    /// Whether one of so many in a hundred.
    pub(crate) fn percent(&mut self, many: u64) -> bool {
        self.below(100) < many
    }

    pub(crate) fn pick<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

/// Rounds of a fuzz run: at least `least`, and more for as many minutes as `COMPLIANCE_MINUTES` says.
pub(crate) fn rounds(least: u64) -> impl Iterator<Item = u64> {
    let minutes = std::env::var("COMPLIANCE_MINUTES")
        .ok()
        .and_then(|text| text.parse().ok());
    let length = Duration::from_secs(60 * minutes.unwrap_or(0));
    let start = Instant::now();
    (0..).take_while(move |round| *round < least || start.elapsed() < length)
}

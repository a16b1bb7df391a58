//! Numbers that nobody foresees, all from one seed: ids of requests, and jitter.

use crate::time::{Seconds, Timestamp};

/// Where such numbers come from (splitmix64, by Steele, Lea and Flood 2014): the same seed and times give the same.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Takes in a time as well, so that a seed that was used before does not bring ids that were used before.
    pub(super) fn stir(&mut self, time: Timestamp) {
        self.0 ^= time.micros().cast_unsigned().rotate_left(17);
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A UUID of version 4 (RFC 9562).
    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = (self.roll(), self.roll());
        let high = (high & !0xf000) | 0x4000;
        let low = (low & (u64::MAX >> 2)) | (1 << 63);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// From the one length up to the other.
    pub(super) fn between(&mut self, least: Seconds, most: Seconds) -> Seconds {
        let span = (most.micros() - least.micros()).max(0).unsigned_abs();
        let part = self.roll() % (span + 1);
        Seconds::from_micros(least.micros() + i64::try_from(part).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_4_and_differ() {
        let mut dice = Dice::new(1);
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| dice.uuid()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(
                parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
                [8, 4, 4, 4, 12],
                "{id}"
            );
            assert!(
                parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
                "{id}"
            );
        }
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let mut dice = Dice::new(2);
        for _ in 0..1000 {
            let length = dice.between(Seconds::new(1), Seconds::new(5));
            assert!((Seconds::new(1)..=Seconds::new(5)).contains(&length));
        }
    }

    #[test]
    fn the_same_seed_at_another_time_gives_other_ids() {
        let at = |seconds| {
            let mut dice = Dice::new(3);
            dice.stir(Timestamp::from_seconds(seconds));
            dice.uuid()
        };
        assert_ne!(at(1), at(2));
        assert_eq!(at(1), at(1));
    }
}

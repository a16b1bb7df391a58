//! Sets of code points as ordered ranges, which is what every class of a regex comes down to.

use super::tree::Code;

/// The last code point.
pub(super) const CODE_MAX: Code = 0x10_FFFF;

/// Code points: ranges in order that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(Vec<(Code, Code)>);

impl Set {
    /// Of ranges in any order.
    pub(super) fn of(mut ranges: Vec<(Code, Code)>) -> Set {
        ranges.sort_unstable();
        let mut out: Vec<(Code, Code)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match out.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => out.push((low, high)),
            }
        }
        Set(out)
    }

    pub(super) fn one(code: Code) -> Set {
        Set(vec![(code, code)])
    }

    pub(super) fn ranges(&self) -> &[(Code, Code)] {
        &self.0
    }

    pub(super) fn contains(&self, code: Code) -> bool {
        within(&self.0, code)
    }

    pub(super) fn union(&self, other: &Set) -> Set {
        Set::of(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(super) fn complement(&self) -> Set {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        let mut next = 0;
        for &(low, high) in &self.0 {
            if low > next {
                out.push((next, low - 1));
            }
            next = high.saturating_add(1);
        }
        if next <= CODE_MAX {
            out.push((next, CODE_MAX));
        }
        Set(out)
    }

    pub(super) fn intersection(&self, other: &Set) -> Set {
        self.complement().union(&other.complement()).complement()
    }

    /// The characters of the set; surrogates are in no text.
    pub(super) fn characters(&self) -> impl Iterator<Item = (char, char)> {
        let parts = |&(low, high): &(Code, Code)| [(low, high.min(0xd7ff)), (low.max(0xe000), high)];
        let chars = |(low, high)| char::from_u32(low).zip(char::from_u32(high));
        self.0
            .iter()
            .flat_map(parts)
            .filter(|(low, high)| low <= high)
            .filter_map(chars)
    }
}

/// Whether a code point is in one of the ordered ranges.
pub(super) fn within(ranges: &[(Code, Code)], code: Code) -> bool {
    let at = ranges.partition_point(|&(_, high)| high < code);
    ranges.get(at).is_some_and(|&(low, _)| low <= code)
}

#[cfg(test)]
mod tests {
    use super::Set;

    #[test]
    fn ranges_are_merged_and_turned_round() {
        let set = Set::of(vec![(5, 9), (0, 3), (4, 6), (20, 0x10_ffff)]);
        assert_eq!(set.ranges(), [(0, 9), (20, 0x10_ffff)]);
        assert_eq!(set.complement().ranges(), [(10, 19)]);
        assert_eq!(set.complement().complement(), set);
        assert_eq!(Set::default().complement().ranges(), [(0, 0x10_ffff)]);
        assert!(set.contains(9) && !set.contains(10) && set.contains(0x10_ffff));
        assert_eq!(set.intersection(&Set::of(vec![(8, 21)])).ranges(), [(8, 9), (20, 21)]);
        assert_eq!(
            Set::of(vec![(0xd000, 0xdfff)]).characters().collect::<Vec<_>>(),
            [('\u{d000}', '\u{d7ff}')]
        );
    }
}

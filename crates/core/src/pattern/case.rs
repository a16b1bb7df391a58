//! Upper and lower case as CPython's matching sees them.
//!
//! A caseless character is compared after it was put into lower case; some lower-case characters count as one
//! because they have the same upper case (`KIN`).

use super::set::Set;
use super::tables::{KIN, LOWER, UPPER};
use super::tree::{Case, Code};

type Shift = (Code, Code, Code, i32);

/// The simple lower case.
pub(super) fn lower(code: Code) -> Code {
    shifted(LOWER, code)
}

/// The lower case that a way of comparing uses.
pub(super) fn folded(case: Case, code: Code) -> Code {
    match case {
        Case::Exact => code,
        Case::Ascii if (0x41..=0x5a).contains(&code) => code + 0x20,
        Case::Ascii => code,
        Case::Unicode => lower(code),
    }
}

/// Whether the character has another case.
pub(super) fn is_cased(case: Case, code: Code) -> bool {
    match case {
        Case::Exact => false,
        Case::Ascii => code < 0x80 && char::from_u32(code).is_some_and(|c| c.is_ascii_alphabetic()),
        Case::Unicode => lower(code) != code || shifted(UPPER, code) != code,
    }
}

/// The other lower-case characters that match this one.
pub(super) fn kin(code: Code) -> impl Iterator<Item = Code> {
    let from = KIN.partition_point(|&(one, _)| one < code);
    let all = KIN.get(from..).unwrap_or_default().iter();
    all.take_while(move |&&(one, _)| one == code).map(|&(_, other)| other)
}

/// Adds the lower case of every character of a range.
pub(super) fn fold_range(case: Case, (low, high): (Code, Code), ranges: &mut Vec<(Code, Code)>) {
    let range = Set::of(vec![(low, high)]);
    let changed: Vec<_> = shifts_of(case)
        .iter()
        .flat_map(moved)
        .filter(|&(code, _)| range.contains(code))
        .collect();
    let unchanged = Set::of(changed.iter().map(|&(code, _)| (code, code)).collect()).complement();
    let mut folded = range.intersection(&unchanged).ranges().to_vec();
    folded.extend(changed.iter().map(|&(_, lower)| (lower, lower)));
    let folded = Set::of(folded);
    ranges.extend(folded.ranges());
    if case == Case::Unicode {
        let others = KIN.iter().filter(|&&(one, _)| folded.contains(one));
        ranges.extend(others.map(|&(_, other)| (other, other)));
    }
}

/// Whether a character of the range has another case.
pub(super) fn has_cased(case: Case, (low, high): (Code, Code)) -> bool {
    let own = |&(code, _): &(Code, Code)| (low..=high).contains(&code);
    match case {
        Case::Exact => false,
        Case::Ascii => (low..=high.min(0x7f)).any(|code| is_cased(case, code)),
        Case::Unicode => LOWER.iter().chain(UPPER).flat_map(moved).any(|code| own(&code)),
    }
}

fn shifts_of(case: Case) -> &'static [Shift] {
    match case {
        Case::Exact => &[],
        Case::Ascii => &[(0x41, 0x5a, 1, 0x20)],
        Case::Unicode => LOWER,
    }
}

/// Every character whose lower case is in the set.
pub(super) fn unfolded(case: Case, folded: &Set) -> Set {
    let shifts = shifts_of(case);
    let changed = Set::of(shifts.iter().flat_map(moved).map(|(code, _)| (code, code)).collect());
    let members = shifts.iter().flat_map(moved).filter(|&(_, to)| folded.contains(to));
    let members = Set::of(members.map(|(code, _)| (code, code)).collect());
    folded.intersection(&changed.complement()).union(&members)
}

/// The set, and every character whose upper case is in it.
pub(super) fn with_lower(set: &Set) -> Set {
    let members = UPPER.iter().flat_map(moved).filter(|&(_, upper)| set.contains(upper));
    set.union(&Set::of(members.map(|(code, _)| (code, code)).collect()))
}

/// The characters that one entry changes, with what they become.
fn moved(&(first, last, step, shift): &Shift) -> impl Iterator<Item = (Code, Code)> {
    let step = usize::try_from(step).unwrap_or(1).max(1);
    (first..=last)
        .step_by(step)
        .map(move |code| (code, code.saturating_add_signed(shift)))
}

fn shifted(shifts: &[Shift], code: Code) -> Code {
    let at = shifts.partition_point(|&(_, last, ..)| last < code);
    match shifts.get(at) {
        Some(&(first, _, step, shift)) if first <= code && (code - first).is_multiple_of(step) => {
            code.saturating_add_signed(shift)
        }
        _ => code,
    }
}

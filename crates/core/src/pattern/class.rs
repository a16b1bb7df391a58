//! What a class of Python's dialect matches, with its case, as a set of code points.
//!
//! It follows CPython to the letter, also where that is odd: above U+FFFF a caseless class compares single
//! characters as they are written, and ranges with the upper case as well.

use super::case::{fold_range, folded, has_cased, is_cased, kin, unfolded, with_lower};
use super::set::Set;
use super::tables::{DIGIT, SPACE, WORD};
use super::tree::{Case, Category, Class, Code, Item};

const BMP_MAX: Code = 0xffff;

/// The code points that a single character stands for.
pub(super) fn literal(code: Code, case: Case) -> Set {
    if !is_cased(case, code) {
        return Set::one(code);
    }
    let mut members = Vec::new();
    add_folded(case, code, &mut members);
    unfolded(case, &Set::of(members))
}

/// The code points that a class matches.
pub(super) fn members(class: &Class) -> Set {
    let matched = match class.items.as_slice() {
        [Item::One(code)] => literal(*code, class.case),
        items => several(class, items),
    };
    if class.negated { matched.complement() } else { matched }
}

fn several(class: &Class, items: &[Item]) -> Set {
    let mut ranges = Vec::new();
    let mut others = Set::default();
    let mut cased = false;
    for item in items {
        match *item {
            Item::One(code) if class.case != Case::Exact && code <= BMP_MAX => {
                add_folded(class.case, code, &mut ranges);
                cased |= is_cased(class.case, code);
            }
            Item::One(code) => {
                ranges.push((code, code));
                cased |= class.case != Case::Exact;
            }
            Item::Range(low, high) if class.case != Case::Exact => {
                if low <= BMP_MAX {
                    fold_range(class.case, (low, high.min(BMP_MAX)), &mut ranges);
                }
                if high > BMP_MAX {
                    others = others.union(&with_lower(&Set::of(vec![(low, high)])));
                    cased = true;
                } else {
                    cased |= has_cased(class.case, (low, high));
                }
            }
            Item::Range(low, high) => ranges.push((low, high)),
            Item::Category { kind, negated } => others = others.union(&category(kind, negated, class.ascii)),
        }
    }
    let matched = others.union(&Set::of(ranges));
    if cased { unfolded(class.case, &matched) } else { matched }
}

fn add_folded(case: Case, code: Code, ranges: &mut Vec<(Code, Code)>) {
    let low = folded(case, code);
    ranges.push((low, low));
    if case == Case::Unicode {
        ranges.extend(kin(low).map(|other| (other, other)));
    }
}

fn category(kind: Category, negated: bool, ascii: bool) -> Set {
    let members: &[(Code, Code)] = match (kind, ascii) {
        (Category::Digit, false) => DIGIT,
        (Category::Space, false) => SPACE,
        (Category::Word, false) => WORD,
        (Category::Digit, true) => &[(0x30, 0x39)],
        (Category::Space, true) => &[(0x09, 0x0d), (0x20, 0x20)],
        (Category::Word, true) => &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)],
    };
    let members = Set::of(members.to_vec());
    if negated { members.complement() } else { members }
}

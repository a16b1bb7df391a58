//! Encodings by table: a byte for a character, and the Korean ones with up to eight.

use std::borrow::Cow;
use std::ops::Range;

/// Written by `tables.py`, which says what is in it.
static TABLES: &[u8; 2 * (SINGLE * HALF + ROW * ROW)] = include_bytes!("tables.bin");
/// How many single-byte encodings there are.
const SINGLE: usize = 28;
/// Characters of the upper half of one.
const HALF: usize = 128;
/// Rows of KS X 1001, and characters in one.
const ROW: usize = 94;

/// The first Hangul syllable; they stand in the order of their parts.
const SYLLABLES: u16 = 0xac00;
/// How many there are.
const ALL_SYLLABLES: usize = 11_172;
/// How many of them KS X 1001 has not. Unified Hangul Code, which is cp949, puts those into the room beside it.
const UNIFIED: usize = 8822;
/// A make-up sequence gives a syllable's first, middle and last part after this byte each,
const JAMO: u8 = 0xa4;
/// and begins with it and a filler, which also stands for a last part that is not there.
const FILLER: u8 = 0xd4;
/// The consonants of KS X 1001 from A4A1 on; the vowels follow them.
const CONSONANTS: &str = "ㄱㄲㄳㄴㄵㄶㄷㄸㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅃㅄㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ";
/// Those that begin a syllable, in the order of the syllables.
const FIRST: &str = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ";
/// Those that end one.
const LAST: &str = "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ";

/// The syllables that KS X 1001 has not.
static REST: [u16; UNIFIED] = rest();

/// Decodes a single-byte encoding: each byte that it has not becomes U+FFFD.
pub(super) fn single(bytes: &[u8], table: usize) -> (Cow<'_, str>, Option<Range<usize>>) {
    each(bytes, |rest| {
        let byte = rest.first().copied().unwrap_or_default();
        let upper = usize::from(byte).checked_sub(HALF);
        let found = upper.map_or(Some(char::from(byte)), |index| number(table * HALF + index));
        (found, 1)
    })
}

/// Decodes EUC-KR or, `unified`, cp949: each byte that begins no character becomes U+FFFD. A make-up sequence that
/// the end cuts short becomes one together, unless something follows that belongs to no such sequence: `ended`.
pub(super) fn korean(bytes: &[u8], unified: bool, ended: bool) -> (Cow<'_, str>, Option<Range<usize>>) {
    each(bytes, |rest| match rest {
        [byte @ 0..=0x7f, ..] => (Some(char::from(*byte)), 1),
        [JAMO, FILLER, ..] if !unified => match (made_up(rest), rest.len() < 8 && !ended) {
            (Some(syllable), _) => (Some(syllable), 8),
            (None, true) => (None, rest.len()),
            (None, false) => (None, 1),
        },
        [lead, trail, ..] => {
            let found = standard(*lead, *trail).or_else(|| unified.then(|| beside(*lead, *trail)).flatten());
            (found, if found.is_some() { 2 } else { 1 })
        }
        _ => (None, 1),
    })
}

/// Decodes from front to back. `next` says what stands at the beginning of the rest, and in how many bytes.
fn each(bytes: &[u8], next: impl Fn(&[u8]) -> (Option<char>, usize)) -> (Cow<'_, str>, Option<Range<usize>>) {
    if bytes.is_ascii() {
        return (String::from_utf8_lossy(bytes), None);
    }
    let (mut text, mut wrong, mut at) = (String::with_capacity(bytes.len() * 2), None, 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (character, length) = next(rest);
        if character.is_none() && wrong.is_none() {
            wrong = Some(at..at + length);
        }
        text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        at += length;
    }
    (Cow::Owned(text), wrong)
}

/// The character at a place in the tables.
fn number(index: usize) -> Option<char> {
    let pair = [*TABLES.get(2 * index)?, *TABLES.get(2 * index + 1)?];
    char::from_u32(u32::from(u16::from_le_bytes(pair))).filter(|found| *found != char::REPLACEMENT_CHARACTER)
}

/// A character of KS X 1001.
fn standard(lead: u8, trail: u8) -> Option<char> {
    let place = |byte: u8| byte.checked_sub(0xa1).map(usize::from).filter(|place| *place < ROW);
    number(SINGLE * HALF + place(lead)? * ROW + place(trail)?)
}

/// A syllable that Unified Hangul Code has beside KS X 1001: in the rows before it with all trail bytes, later with
/// those that it leaves.
fn beside(lead: u8, trail: u8) -> Option<char> {
    let place = match trail {
        0x41..=0x5a => trail - 0x41,
        0x61..=0x7a => trail - 0x61 + 26,
        0x81..=0xfe => trail - 0x81 + 52,
        _ => return None,
    };
    let (row, place) = (usize::from(lead), usize::from(place));
    let index = match lead {
        0x81..=0xa0 => (row - 0x81) * 178 + place,
        0xa1..=0xfe if place < 84 => 32 * 178 + (row - 0xa1) * 84 + place,
        _ => return None,
    };
    char::from_u32(u32::from(*REST.get(index)?))
}

/// The syllable of a make-up sequence.
fn made_up(rest: &[u8]) -> Option<char> {
    let [JAMO, FILLER, JAMO, first, JAMO, middle, JAMO, last, ..] = rest else {
        return None;
    };
    let consonant = |byte: u8| CONSONANTS.chars().nth(usize::from(byte.checked_sub(0xa1)?));
    let place = |list: &str, byte: u8| list.chars().position(|one| Some(one) == consonant(byte));
    let first = place(FIRST, *first)?;
    let middle = middle.checked_sub(0xbf).filter(|middle| *middle < 21)?;
    let last = if *last == FILLER { 0 } else { place(LAST, *last)? + 1 };
    char::from_u32(u32::try_from((first * 21 + usize::from(middle)) * 28 + last).ok()? + u32::from(SYLLABLES))
}

#[expect(
    clippy::indexing_slicing,
    reason = "it runs in the compiler, where it would be an error"
)]
const fn rest() -> [u16; UNIFIED] {
    let mut has = [false; ALL_SYLLABLES];
    let mut at = 2 * SINGLE * HALF;
    while at < TABLES.len() {
        let found = u16::from_le_bytes([TABLES[at], TABLES[at + 1]]);
        if found >= SYLLABLES && ((found - SYLLABLES) as usize) < ALL_SYLLABLES {
            has[(found - SYLLABLES) as usize] = true;
        }
        at += 2;
    }
    let (mut rest, mut length, mut syllable) = ([0; UNIFIED], 0, 0);
    while syllable < ALL_SYLLABLES {
        if !has[syllable] {
            rest[length] = SYLLABLES + syllable as u16;
            length += 1;
        }
        syllable += 1;
    }
    rest
}

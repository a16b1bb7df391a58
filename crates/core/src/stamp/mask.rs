//! What a search asked about a text, kept so that the next text need not be searched.
//!
//! The small machine decides by the answers to its questions only: is the byte at this place in that set. [`Asked`]
//! writes down, for each place, which bytes would have given the same answers. A text that holds such a byte at each of
//! these places is searched in the same steps, with the same groups at the same places; a [`Mask`] finds
//! that out with one comparison. Lines of a log have their dates in one format, so nearly all of them pass.

use super::program::Scratch;

/// The bytes that are looked at, from the first; dates are shorter.
const WIDTH: usize = 96;

/// How far before the start of a search its conditions may look.
const BACK: usize = 8;

/// Who hears what a search asks.
pub(super) trait Witness {
    /// The byte at a place, and a set of ASCII characters against which it was tested.
    fn asked(&mut self, at: usize, byte: u8, set: u128);
    /// The length of the text decided.
    fn end(&mut self);
    /// Something decided that is not written down.
    fn lost(&mut self);
    /// Whether it is worth telling.
    fn listens(&self) -> bool;
}

/// A witness who forgets.
pub(super) struct Nobody;

impl Witness for Nobody {
    #[inline(always)]
    fn asked(&mut self, _: usize, _: u8, _: u128) {}
    #[inline(always)]
    fn end(&mut self) {}
    #[inline(always)]
    fn lost(&mut self) {}
    #[inline(always)]
    fn listens(&self) -> bool {
        false
    }
}

/// The questions of one search.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    base: usize,
    /// The ASCII characters at each place that would have given the same answers; none where nothing was asked.
    classes: Vec<Option<u128>>,
    end: bool,
    lost: bool,
}

impl Asked {
    /// Makes ready for a search from a byte on.
    pub(super) fn begin(&mut self, from: usize) {
        self.base = from.saturating_sub(BACK);
        self.classes.clear();
        (self.end, self.lost) = (false, false);
    }
}

impl Witness for Asked {
    fn asked(&mut self, at: usize, byte: u8, set: u128) {
        let Some(place) = at.checked_sub(self.base).filter(|&place| place < WIDTH && byte < 128) else {
            self.lost = true;
            return;
        };
        if self.classes.len() <= place {
            self.classes.resize(place + 1, None);
        }
        if let Some(class) = self.classes.get_mut(place) {
            let same = if set >> byte & 1 == 1 { set } else { !set };
            *class = Some(class.map_or(same, |class| class & same));
        }
    }

    fn end(&mut self) {
        self.end = true;
    }

    fn lost(&mut self) {
        self.lost = true;
    }

    fn listens(&self) -> bool {
        !self.lost
    }
}

/// A search that found something, and all texts for which it would have gone the same way.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    /// The template that was searched for.
    pub(super) template: usize,
    /// The byte that the search began at.
    pub(super) from: usize,
    /// Tells this mask from all others of the detector, the forgotten ones too.
    pub(super) serial: u64,
    /// The groups of the match.
    pub(super) slots: Vec<usize>,
    base: usize,
    /// The least byte allowed at each place, and how many more are.
    least: Vec<u8>,
    more: Vec<u8>,
    /// The length that the text must have, if that mattered.
    length: Option<usize>,
}

impl Mask {
    /// The mask of a search of `text` that ended well; none if what decided it was not written down.
    /// The template, where the search began and the number of the mask stand in that order.
    pub(super) fn new(
        (template, from, serial): (usize, usize, u64),
        text: &str,
        asked: &Asked,
        scratch: &Scratch,
    ) -> Option<Mask> {
        if asked.lost {
            return None;
        }
        let window = text.as_bytes().get(asked.base..asked.base + asked.classes.len())?;
        let (mut least, mut more) = (Vec::new(), Vec::new());
        for (&byte, &class) in window.iter().zip(&asked.classes) {
            let (low, high) = neighbours(byte, class);
            least.push(low);
            more.push(high - low);
        }
        Some(Mask {
            template,
            from,
            serial,
            slots: scratch.slots().to_vec(),
            base: asked.base,
            least,
            more,
            length: asked.end.then_some(text.len()),
        })
    }

    /// Whether a search of this text, from the same byte on, goes the same way.
    #[inline]
    pub(super) fn fits(&self, text: &[u8]) -> bool {
        let Some(window) = text.get(self.base..self.base + self.least.len()) else {
            return false;
        };
        let allowed = self.least.iter().zip(&self.more);
        let fits = window.iter().zip(allowed).fold(true, |fits, (byte, (least, more))| {
            fits & (byte.wrapping_sub(*least) <= *more)
        });
        fits && self.length.is_none_or(|length| length == text.len())
    }

    /// Start and end of a group.
    pub(super) fn group(&self, group: usize) -> Option<(usize, usize)> {
        super::program::pair(&self.slots, group)
    }
}

/// The bytes around one that belong to its class with all between them; every byte where nothing was asked.
fn neighbours(byte: u8, class: Option<u128>) -> (u8, u8) {
    let Some(class) = class else { return (0, u8::MAX) };
    let inside = |other: u8| other < 128 && class >> other & 1 == 1;
    let (mut low, mut high) = (byte, byte);
    while low > 0 && inside(low - 1) {
        low -= 1;
    }
    while inside(high + 1) {
        high += 1;
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_of_one_class() {
        let digits = 0x3ff << b'0';
        assert_eq!(neighbours(b'3', Some(digits)), (b'0', b'9'));
        assert_eq!(neighbours(b'3', Some(digits & !(1 << b'5'))), (b'0', b'4'));
        assert_eq!(neighbours(b'3', Some(1 << b'3')), (b'3', b'3'));
        assert_eq!(neighbours(b'x', Some(!digits)), (b':', 127));
        assert_eq!(neighbours(0, Some(!digits)), (0, b'/'));
        assert_eq!(neighbours(b'x', Some(u128::MAX)), (0, 127));
        assert_eq!(neighbours(b'x', None), (0, 255));
    }
}

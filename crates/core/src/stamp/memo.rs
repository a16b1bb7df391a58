//! The last date that was read, and what it says of the next one.
//!
//! Most lines of a busy log have the day of the line before and another time of day. Where the search went the same
//! way (see [`super::mask`]), the parts of both dates stand at the same places: if those of the day are equal, the new
//! time is the old midnight and a new time of day. Everything else is read anew.

use super::reckon::{self, Day};
use super::template::Kind;
use super::{Found, Read, Reading};
use crate::time::Timestamp;

/// The last date read, with all that it was read from.
#[derive(Clone, Debug)]
pub(crate) struct Memo {
    template: usize,
    seen: String,
    at: Timestamp,
    whole: bool,
    /// The clock at which it is read so.
    from: Timestamp,
    until: Timestamp,
    dial: Option<Dial>,
}

/// A group of a match: its name, empty if it has none, and its place in the line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'n> {
    pub(super) name: &'n str,
    pub(super) place: Option<(usize, usize)>,
}

/// How dates are read that were found by the same mask.
#[derive(Clone, Debug)]
struct Dial {
    mask: u64,
    hand: Hand,
}

#[derive(Clone, Debug)]
enum Hand {
    /// The bytes of a number of seconds.
    Epoch {
        start: usize,
        end: usize,
        long: bool,
    },
    Day(Face),
}

/// The parts of a date by their places.
#[derive(Clone, Debug)]
struct Face {
    day: Day,
    /// Where what follows begins in the line.
    start: usize,
    /// The text of the day, and which of its bits must be the same.
    text: Vec<u8>,
    cares: Vec<u8>,
    /// First byte and length of hour, minute and second; the length is 0 for those that the date does not have.
    hands: [(usize, usize); 3],
}

impl Memo {
    /// Keeps what was read; none if that is no time.
    pub(super) fn new(line: &str, found: &Found, read: &Read, wall: Timestamp) -> Option<Memo> {
        let Reading::At(at) = read.reading else { return None };
        Some(Memo {
            template: found.template,
            seen: found.seen(line).to_owned(),
            at,
            whole: read.whole,
            from: wall,
            until: read.until,
            dial: None,
        })
    }

    /// The same, for all dates that are found by one mask.
    pub(super) fn with_dial(
        self,
        line: &str,
        (mask, kind): (u64, Kind),
        places: &[Part<'_>],
        day: Option<Day>,
    ) -> Memo {
        let hand = match kind {
            Kind::Epoch { group, long } => places
                .get(group)
                .and_then(|part| part.place)
                .map(|(start, end)| Hand::Epoch { start, end, long }),
            Kind::Date => day.and_then(|day| Face::new(line, places, day)).map(Hand::Day),
            Kind::Tai => None,
        };
        let dial = hand.map(|hand| Dial { mask, hand });
        Memo { dial, ..self }
    }

    /// What reading the date would come to, if that is known.
    pub(super) fn recall(&self, line: &str, found: &Found, wall: Timestamp) -> Option<(Timestamp, bool)> {
        if found.beyond_end || found.template != self.template || wall < self.from {
            return None;
        }
        if let Some(dial) = self.dial.as_ref().filter(|dial| dial.mask == found.mask) {
            return dial.read(line, wall).map(|at| (at, self.whole));
        }
        (wall < self.until && self.seen == found.seen(line)).then_some((self.at, self.whole))
    }
}

impl Dial {
    fn read(&self, line: &str, wall: Timestamp) -> Option<Timestamp> {
        match &self.hand {
            Hand::Epoch { start, end, long } => reckon::epoch(line.get(*start..*end), *long).ok(),
            Hand::Day(face) => face.read(line.as_bytes(), wall),
        }
    }
}

impl Face {
    fn new(line: &str, parts: &[Part<'_>], day: Day) -> Option<Face> {
        let mut hands = [(0, 0); 3];
        let mut fixed = Vec::new();
        for part in parts {
            let Some((start, end)) = part.place else { continue };
            let hand = match part.name {
                "H" => hands.first_mut(),
                "M" => hands.get_mut(1),
                "S" => hands.get_mut(2),
                // The hour of half a day is not in this form.
                "I" => return None,
                name if reckon::counts(name) => {
                    fixed.push((start, end));
                    continue;
                }
                _ => continue,
            };
            *hand? = (start, end.checked_sub(start).filter(|length| matches!(length, 1 | 2))?);
        }
        let start = fixed.iter().map(|(start, _)| *start).min()?;
        let end = fixed.iter().map(|(_, end)| *end).max()?;
        let text = line.as_bytes().get(start..end)?.to_vec();
        let inside = |at: usize| fixed.iter().any(|(from, to)| (*from..*to).contains(&at));
        let moving = hands.iter().flat_map(|(from, length)| *from..from + length);
        if moving.clone().any(inside) {
            return None;
        }
        let cares = (start..end).map(|at| if inside(at) { u8::MAX } else { 0 }).collect();
        Some(Face {
            day,
            start,
            text,
            cares,
            hands,
        })
    }

    fn read(&self, line: &[u8], wall: Timestamp) -> Option<Timestamp> {
        let text = line.get(self.start..self.start + self.text.len())?;
        let cares = self.text.iter().zip(&self.cares);
        let other = text
            .iter()
            .zip(cares)
            .fold(0, |other, (byte, (known, care))| other | ((byte ^ known) & care));
        if other != 0 {
            return None;
        }
        let [hour, minute, second] = self.hands.map(|hand| number(line, hand));
        self.day.at((hour?, minute?, second?), wall)
    }
}

/// The number that one or two digits stand for.
fn number(line: &[u8], (start, length): (usize, usize)) -> Option<i64> {
    let digits = line.get(start..start + length)?;
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

//! Where each jail begins in a journal that several read: who begins later passes over what comes before its place.

use portcullis_core::ledger::Mark;
use portcullis_core::time::Timestamp;

use super::Entry;
use super::printer::number_of;
use crate::runner::Begin;

/// What a jail has had, or is not for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// All up to this entry, and with it
    Entry(String),
    /// The same of an entry of a time that is still to come, because the clock was put back: its time tells nothing
    Ahead(String),
    /// All that was written up to this time, as another program kept it that knows no entries
    Until(Timestamp),
    /// All that the journal took before this time
    Before(Timestamp),
}

impl Past {
    /// Where a jail begins that came so far in the journal of this name: there, or at `oldest`, before which nothing
    /// counts any more (contract §6.6).
    pub(crate) fn of(done: Option<&Mark>, path: &str, (oldest, now): (Timestamp, Timestamp)) -> Past {
        match done {
            Some(mark) if mark.read_at < oldest => Past::Before(oldest),
            // Nothing that is still to be written is past.
            Some(mark) if mark.tail.is_empty() || mark.inode != number_of(path) => Past::Until(mark.read_at.min(now)),
            Some(mark) if Place::of(&mark.tail).time > now.micros() => Past::Ahead(mark.tail.clone()),
            Some(mark) => Past::Entry(mark.tail.clone()),
            None => Past::Before(oldest),
        }
    }

    /// Whether an entry belongs to it. Those behind the first that does not are new all.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        match self {
            Past::Entry(cursor) => !is_later(&entry.cursor, cursor, true),
            Past::Ahead(cursor) => !is_later(&entry.cursor, cursor, false),
            Past::Until(time) => entry.at <= *time,
            Past::Before(time) => entry.taken < *time,
        }
    }

    /// Whether an entry is the last one of it.
    pub(crate) fn ends_with(&self, entry: &Entry) -> bool {
        matches!(self, Past::Entry(cursor) | Past::Ahead(cursor) if **cursor == *entry.cursor)
    }

    fn time(&self) -> Timestamp {
        match self {
            Past::Entry(cursor) | Past::Ahead(cursor) => Timestamp::from_micros(Place::of(cursor).time),
            Past::Until(time) | Past::Before(time) => *time,
        }
    }
}

/// Where to begin a journal so that each jail gets what it has not had.
pub(crate) fn begin<'p>(all: impl Iterator<Item = &'p Past>) -> Begin {
    // Of equal times the one that names no entry begins further up.
    let first = all.min_by_key(|past| (past.time(), matches!(past, Past::Entry(_) | Past::Ahead(_))));
    match first {
        None => Begin::Start,
        Some(Past::Entry(cursor) | Past::Ahead(cursor)) => Begin::Cursor(cursor.clone()),
        Some(past) => Begin::Since(past.time().micros()),
    }
}

/// What of a cursor tells its order: the series of numbers, the number in it, the time. The text is systemd's own
/// and not promised to anybody; what is not as expected orders by what is left.
struct Place<'c> {
    series: &'c str,
    number: u64,
    time: i64,
}

impl<'c> Place<'c> {
    fn of(cursor: &'c str) -> Self {
        let part = |name: &str| {
            let mut parts = cursor.split(';');
            parts.find_map(|part| part.strip_prefix(name)).unwrap_or_default()
        };
        Place {
            series: part("s="),
            number: u64::from_str_radix(part("i="), 16).unwrap_or(0),
            time: i64::from_str_radix(part("t="), 16).unwrap_or(0),
        }
    }
}

/// Whether the entry at `one` was written after the one at `other`. Within one machine's journal the numbers tell;
/// between those of several machines only the time does, if that.
fn is_later(one: &str, other: &str, by_time: bool) -> bool {
    let (one, other) = (Place::of(one), Place::of(other));
    if one.series == other.series {
        one.number > other.number
    } else {
        !by_time || one.time > other.time
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::export::Field;
    use super::*;

    fn entry(cursor: &str, taken: i64, written: i64) -> Entry {
        let field = |(name, value): (&str, String)| Field {
            name: name.into(),
            value: value.into_bytes().into(),
            is_cut: false,
        };
        let fields = [
            ("__CURSOR", cursor.to_owned()),
            ("__REALTIME_TIMESTAMP", taken.to_string()),
            ("_SOURCE_REALTIME_TIMESTAMP", written.to_string()),
        ];
        Entry::new(fields.map(field).into(), &TimeZone::UTC).unwrap()
    }

    fn mark(tail: &str, path: &str, micros: i64) -> Mark {
        Mark {
            device: 0,
            inode: number_of(path),
            offset: 0,
            head: String::new(),
            tail: tail.to_owned(),
            read_at: Timestamp::from_micros(micros),
        }
    }

    #[test]
    fn where_a_jail_begins() {
        let at = Timestamp::from_micros;
        let of = |mark: Option<Mark>| Past::of(mark.as_ref(), "j", (at(100), at(200)));
        assert_eq!(of(None), Past::Before(at(100)));
        assert_eq!(of(Some(mark("c", "j", 99))), Past::Before(at(100)));
        assert_eq!(of(Some(mark("c", "j", 100))), Past::Entry("c".into()));
        assert_eq!(of(Some(mark("c", "other", 150))), Past::Until(at(150)));
        assert_eq!(of(Some(mark("", "j", 150))), Past::Until(at(150)));
        assert_eq!(of(Some(mark("", "j", 250))), Past::Until(at(200)));
        assert_eq!(of(Some(mark("s=a;t=c9", "j", 150))), Past::Ahead("s=a;t=c9".into()));
    }

    #[test]
    fn what_is_past() {
        let at = Timestamp::from_micros;
        let cursor = Past::Entry("s=a;i=10;t=20".into());
        let ahead = Past::Ahead("s=a;i=10;t=20".into());
        for (past, other, expect) in [
            (&cursor, entry("s=a;i=f;t=99", 0, 0), true),
            (&cursor, entry("s=a;i=10;t=20", 0, 0), true),
            (&cursor, entry("s=a;i=11;t=1", 0, 0), false),
            (&cursor, entry("s=b;i=99;t=19", 0, 0), true),
            (&cursor, entry("s=b;i=1;t=21", 0, 0), false),
            (&ahead, entry("s=a;i=f;t=99", 0, 0), true),
            (&ahead, entry("s=b;i=99;t=19", 0, 0), false),
            (&Past::Until(at(50)), entry("c", 60, 50), true),
            (&Past::Until(at(50)), entry("c", 60, 51), false),
            (&Past::Before(at(50)), entry("c", 49, 60), true),
            (&Past::Before(at(50)), entry("c", 50, 40), false),
        ] {
            assert_eq!(past.has(&other), expect, "{past:?} {other:?}");
        }
        assert!(cursor.ends_with(&entry("s=a;i=10;t=20", 0, 0)));
    }

    #[test]
    fn the_journal_begins_where_the_first_does() {
        let at = Timestamp::from_micros;
        let (entry, until, before) = (
            Past::Entry("s=a;i=1;t=20".into()),
            Past::Until(at(33)),
            Past::Before(at(32)),
        );
        let begin = |all: &[&Past]| super::begin(all.iter().copied());
        assert_eq!(begin(&[]), Begin::Start);
        assert_eq!(begin(&[&entry, &until]), Begin::Cursor("s=a;i=1;t=20".into()));
        assert_eq!(begin(&[&until, &before]), Begin::Since(32));
        assert_eq!(begin(&[&entry, &before]), Begin::Since(32));
        let late = Past::Before(at(40));
        assert_eq!(begin(&[&entry, &late]), Begin::Cursor("s=a;i=1;t=20".into()));
    }
}

//! The journal's export format, taken apart: bytes in pieces of any size go in, fields of whole entries come out.
//!
//! A field is a line `NAME=value`, or, where the value has bytes that a line cannot have, a line `NAME`, the length as
//! eight bytes (the least significant first), the value, and a newline; an empty line ends the entry (systemd's *Journal
//! Export Formats*). Only the fields that are wanted are kept, each up to a cap: what whoever writes to the journal can
//! make long is passed over without being held.

use memchr::memchr;
use portcullis_core::config::is_journal_field;

/// A longer value is cut here. A line of a log file has the same cap.
pub(crate) const LONGEST: usize = 64 << 10;
/// A field may be there many times; so many are kept of an entry, all fields together.
const FIELDS_MOST: usize = 128;
/// No entry keeps more.
const ENTRY_MOST: usize = 256 << 10;
/// The journal takes no longer field (systemd's `DATA_SIZE_MAX` is 768 MiB), so that this is no length.
const NO_LENGTH: u64 = 1 << 30;
/// The name of a field, and what is read to find one.
const NAME_MOST: usize = 64;

/// A field of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name
    pub(crate) name: Box<str>,
    /// Its value, cut where it was too long
    pub(crate) value: Box<[u8]>,
    /// Whether it was cut
    pub(crate) is_cut: bool,
}

/// What cannot come from a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// A line begins with what is no name
    #[error("a field has a name that none can have")]
    Name,
    /// A length that no field has
    #[error("a field is longer than any can be")]
    Length,
    /// No newline after a value
    #[error("a field does not end where it should")]
    End,
}

/// The reader, with what it has of an entry that is not whole.
pub(crate) struct Export {
    wanted: Vec<Box<str>>,
    state: State,
    fields: Vec<Field>,
    /// Bytes kept of the entry
    held: usize,
    any: bool,
}

enum State {
    /// In a name, as far as it is known
    Name(Vec<u8>),
    /// In the value of a line
    Text(Value),
    /// In the length of a value
    Length(Box<str>, Vec<u8>),
    /// In a value of which so many bytes are to come
    Binary(Value, u64),
    /// Before the newline after a value
    End,
}

struct Value {
    /// Nothing where the field is not wanted
    name: Option<Box<str>>,
    kept: Vec<u8>,
    room: usize,
    is_cut: bool,
}

impl Value {
    fn take(&mut self, bytes: &[u8]) {
        if self.name.is_none() {
            return;
        }
        let fits = self.room.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..fits).unwrap_or_default());
        self.is_cut |= fits < bytes.len();
    }
}

impl Export {
    /// A reader at the beginning of a stream, which keeps these fields.
    pub(crate) fn new(wanted: Vec<Box<str>>) -> Self {
        Export {
            wanted,
            state: State::Name(Vec::new()),
            fields: Vec::new(),
            held: 0,
            any: false,
        }
    }

    /// Takes the next bytes; every entry that is whole with them goes to `take`.
    ///
    /// # Errors
    /// For what cannot come from a journal. Nothing that comes after it can be understood.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Vec<Field>)) -> Result<(), Damage> {
        while !bytes.is_empty() {
            bytes = self.step(bytes, &mut take)?;
        }
        Ok(())
    }

    /// Takes some bytes; returns the rest.
    fn step<'b>(&mut self, bytes: &'b [u8], take: &mut impl FnMut(Vec<Field>)) -> Result<&'b [u8], Damage> {
        let rest = |from: usize| bytes.get(from..).unwrap_or_default();
        match &mut self.state {
            State::Name(name) => {
                let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'='));
                let (part, after) = bytes.split_at(end.unwrap_or(bytes.len()));
                if name.len() + part.len() > NAME_MOST {
                    return Err(Damage::Name);
                }
                name.extend_from_slice(part);
                let Some(end) = after.first() else {
                    return Ok(&[]);
                };
                let name = std::mem::take(name);
                self.named(name, *end == b'=', take)?;
                Ok(rest(part.len() + 1))
            }
            State::Text(value) => {
                let end = memchr(b'\n', bytes);
                value.take(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
                let Some(end) = end else { return Ok(&[]) };
                self.keep(State::Name(Vec::new()));
                Ok(rest(end + 1))
            }
            State::Length(name, digits) => {
                let missing = 8usize.saturating_sub(digits.len()).min(bytes.len());
                digits.extend_from_slice(bytes.get(..missing).unwrap_or_default());
                if let Ok(length) = <[u8; 8]>::try_from(digits.as_slice()) {
                    let (name, length) = (std::mem::take(name), u64::from_le_bytes(length));
                    self.state = self.binary(name, length)?;
                }
                Ok(rest(missing))
            }
            State::Binary(value, left) => {
                let part = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                value.take(bytes.get(..part).unwrap_or_default());
                *left -= part as u64;
                if *left == 0 {
                    self.keep(State::End);
                }
                Ok(rest(part))
            }
            State::End => {
                if bytes.first() != Some(&b'\n') {
                    return Err(Damage::End);
                }
                self.state = State::Name(Vec::new());
                Ok(rest(1))
            }
        }
    }

    /// A name is whole.
    fn named(&mut self, name: Vec<u8>, is_text: bool, take: &mut impl FnMut(Vec<Field>)) -> Result<(), Damage> {
        if name.is_empty() && !is_text {
            let fields = std::mem::take(&mut self.fields);
            self.held = 0;
            if std::mem::take(&mut self.any) {
                take(fields);
            }
            return Ok(());
        }
        let name = String::from_utf8(name).ok().filter(|name| is_journal_field(name));
        let name: Box<str> = name.ok_or(Damage::Name)?.into();
        self.any = true;
        self.state = if is_text {
            State::Text(self.value(name))
        } else {
            State::Length(name, Vec::new())
        };
        Ok(())
    }

    fn binary(&self, name: Box<str>, length: u64) -> Result<State, Damage> {
        match length {
            0 => Ok(State::End),
            length if length >= NO_LENGTH => Err(Damage::Length),
            length => Ok(State::Binary(self.value(name), length)),
        }
    }

    fn value(&self, name: Box<str>) -> Value {
        let is_kept = self.wanted.contains(&name) && self.fields.len() < FIELDS_MOST;
        Value {
            name: is_kept.then_some(name),
            kept: Vec::new(),
            room: LONGEST.min(ENTRY_MOST.saturating_sub(self.held)),
            is_cut: false,
        }
    }

    /// Ends the value.
    fn keep(&mut self, next: State) {
        if let State::Text(value) | State::Binary(value, _) = std::mem::replace(&mut self.state, next)
            && let Some(name) = value.name
        {
            self.held += value.kept.len();
            self.fields.push(Field {
                name,
                value: value.kept.into(),
                is_cut: value.is_cut,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted() -> Vec<Box<str>> {
        ["MESSAGE", "_PID", "__CURSOR"].map(Box::from).into()
    }

    type Plain = Vec<Vec<(String, Vec<u8>)>>;

    fn read(pieces: &[&[u8]]) -> Result<Plain, Damage> {
        let (mut export, mut entries) = (Export::new(wanted()), Vec::new());
        for piece in pieces {
            export.push(piece, |fields| {
                entries.push(
                    fields
                        .into_iter()
                        .map(|field| (field.name.into(), field.value.into()))
                        .collect(),
                );
            })?;
        }
        Ok(entries)
    }

    /// An entry as the format has it; values that a line cannot have in the other form.
    fn written(fields: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in fields {
            bytes.extend_from_slice(name.as_bytes());
            if value.iter().all(|byte| *byte >= b' ' || *byte == b'\t') {
                bytes.push(b'=');
            } else {
                bytes.push(b'\n');
                bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
            }
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        bytes
    }

    #[test]
    fn entries_of_both_forms() {
        let text = b"__CURSOR=s=1;i=2\n_PID=7\nOTHER=x\nMESSAGE\n\x05\0\0\0\0\0\0\0a\nb=\n\n\n\n_PID=\nMESSAGE=a=b\n\n_PID=8\n";
        let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let expect = vec![
            vec![
                field("__CURSOR", "s=1;i=2"),
                field("_PID", "7"),
                field("MESSAGE", "a\nb=\n"),
            ],
            vec![field("_PID", ""), field("MESSAGE", "a=b")],
        ];
        assert_eq!(read(&[text]), Ok(expect));
    }

    #[test]
    fn what_no_journal_prints() {
        for (text, damage) in [
            (&b"=x\n"[..], Damage::Name),
            (b"lower=x\n", Damage::Name),
            (b"A B=x\n", Damage::Name),
            (&[b'A'; 65], Damage::Name),
            (b"MESSAGE\n\0\0\0\x40\0\0\0\0", Damage::Length),
            (b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff", Damage::Length),
            (b"MESSAGE\n\x01\0\0\0\0\0\0\0ab", Damage::End),
            (b"MESSAGE\n\0\0\0\0\0\0\0\0a", Damage::End),
        ] {
            assert_eq!(read(&[text]), Err(damage), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn long_and_many_fields_are_cut() {
        let mut text = b"MESSAGE=".to_vec();
        text.resize(3 * LONGEST, b'x');
        text.extend_from_slice(b"\n_PID=1\n\n");
        let (mut export, mut seen) = (Export::new(wanted()), Vec::new());
        export.push(&text, |fields| seen = fields).unwrap();
        let shape =
            |fields: &[Field]| -> Vec<_> { fields.iter().map(|field| (field.value.len(), field.is_cut)).collect() };
        assert_eq!(shape(&seen), [(LONGEST, true), (1, false)]);
        let text = [b"MESSAGE=".to_vec(), b"x".repeat(LONGEST), b"\n".to_vec()]
            .concat()
            .repeat(9);
        export.push(&text, |_| ()).unwrap();
        export.push(&b"_PID=1\n".repeat(1000), |_| ()).unwrap();
        export.push(b"\n", |fields| seen = fields).unwrap();
        assert_eq!(seen.len(), FIELDS_MOST);
        assert!(seen.iter().map(|field| field.value.len()).sum::<usize>() <= ENTRY_MOST);
    }

    fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let name = prop::sample::select(vec!["MESSAGE", "_PID", "__CURSOR"]).prop_map(str::to_owned);
        let value = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[a-z =]{0,40}".prop_map(String::into_bytes)
        ];
        prop::collection::vec((name, value), 1..6)
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            entries in prop::collection::vec(fields(), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text: Vec<u8> = entries.iter().flat_map(|fields| written(fields)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&pieces), Ok(entries.clone()));
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            prop_assert_eq!(read(&bytes), Ok(entries));
        }

        #[test]
        fn rubbish_is_harmless(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = read(&pieces);
        }

        #[test]
        fn a_damaged_stream_gives_no_other_entries_before_the_damage(
            entries in prop::collection::vec(fields(), 1..5), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let whole: Vec<Vec<u8>> = entries.iter().map(|fields| written(fields)).collect();
            let mut text = whole.concat();
            let at = at.index(text.len());
            text[at] = byte;
            let (mut export, mut seen) = (Export::new(wanted()), Vec::new());
            let _ = export.push(&text, |fields| seen.push(fields));
            let (mut end, mut sound) = (0, 0);
            for one in &whole {
                end += one.len();
                sound += usize::from(end <= at);
            }
            prop_assert!(seen.len() >= sound);
        }
    }
}

//! An entry of the journal, and the line that Fail2Ban makes of it (contract §6.6).

use std::borrow::Cow;

use jiff::tz::TimeZone;
use portcullis_core::encoding::Encoding;
use portcullis_core::time::Timestamp;
use portcullis_core::value::repr_bytes;

use super::export::Field;

/// The fields of which the line is made, and those that tell where and when.
pub(super) const FIELDS: &[&str] = &[
    "MESSAGE",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_PID",
    "_COMM",
    "_HOSTNAME",
    "_PID",
    "_SOURCE_MONOTONIC_TIMESTAMP",
    "_SOURCE_REALTIME_TIMESTAMP",
    "__CURSOR",
    "__MONOTONIC_TIMESTAMP",
    "__REALTIME_TIMESTAMP",
];

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it stands
    pub(crate) cursor: Box<str>,
    /// When the journal took it
    pub(crate) taken: Timestamp,
    /// When it was written, as far as its writer's word for that is known
    pub(crate) at: Timestamp,
    /// That time as Fail2Ban shows it, with a blank behind it
    pub(crate) date: Box<str>,
    /// Whether a field of it was too long, and was cut
    pub(crate) is_cut: bool,
    fields: Vec<Field>,
}

impl Entry {
    /// The entry with these fields; nothing where it has no place or no time, which no entry of a journal lacks.
    pub(crate) fn new(fields: Vec<Field>, zone: &TimeZone) -> Option<Self> {
        let text = |name: &str| first(&fields, name).and_then(|value| std::str::from_utf8(value).ok());
        let micros = |name: &str| text(name)?.parse::<i64>().ok();
        let cursor = text("__CURSOR")?.into();
        let taken = micros("__REALTIME_TIMESTAMP")?;
        let at = micros("_SOURCE_REALTIME_TIMESTAMP").unwrap_or(taken);
        Some(Entry {
            cursor,
            taken: Timestamp::from_micros(taken),
            at: Timestamp::from_micros(at),
            date: date(at, zone).into(),
            is_cut: fields.iter().any(|field| field.is_cut),
            fields,
        })
    }

    /// Whether a field has this value.
    pub(crate) fn has(&self, name: &str, value: &[u8]) -> bool {
        let is_it = |field: &&Field| *field.name == *name && *field.value == *value && !field.is_cut;
        self.fields.iter().any(|field| is_it(&field))
    }

    /// The line, for a jail with this encoding.
    pub(crate) fn line(&self, encoding: Encoding) -> String {
        let mut parts: Vec<Cow<'_, str>> = Vec::new();
        parts.extend(self.get("_HOSTNAME").map(|host| decoded(host, encoding)));
        if let Some(who) = self.get("SYSLOG_IDENTIFIER").or_else(|| self.get("_COMM")) {
            let mut who = decoded(who, encoding).into_owned();
            let process = self.process("SYSLOG_PID").or_else(|| self.process("_PID"));
            if let Some(process) = process {
                who = format!("{who}[{process}]");
            }
            who.push(':');
            let is_kernel = who == "kernel:";
            parts.push(who.into());
            parts.extend(is_kernel.then(|| self.uptime().into()));
        }
        let message: Vec<_> = self.all("MESSAGE").map(|text| decoded(text, encoding)).collect();
        parts.push(message.join(" ").into());
        parts.join(" ").replace('\n', "\\n")
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self.fields.iter().filter(move |field| *field.name == *name);
        fields.map(|field| &*field.value)
    }

    /// The value of a field, if it has one.
    fn get(&self, name: &str) -> Option<&[u8]> {
        first(&self.fields, name).filter(|value| !value.is_empty())
    }

    /// The number of a process as Python shows it; 0 is none. A client may write there what it likes.
    fn process(&self, name: &str) -> Option<String> {
        let value = self.get(name)?;
        let text = std::str::from_utf8(value).unwrap_or_default();
        let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        let (sign, text) = match text.strip_prefix(['-', '+']) {
            Some(rest) if text.starts_with('-') => ("-", rest),
            Some(rest) => ("", rest),
            None => ("", text),
        };
        if let Some(digits) = digits(text, 10) {
            let number = digits.trim_start_matches('0');
            return (!number.is_empty()).then(|| format!("{sign}{number}"));
        }
        let other = [("0x", 16), ("0o", 8), ("0b", 2)]
            .into_iter()
            .find_map(|(prefix, radix)| {
                let head = text.get(..2).filter(|head| head.eq_ignore_ascii_case(prefix))?;
                let rest = text.strip_prefix(head)?;
                let digits = digits(rest.strip_prefix('_').unwrap_or(rest), radix)?;
                u128::from_str_radix(&digits, radix).ok()
            });
        let other = other.map(|number| {
            if number == 0 {
                "0".to_owned()
            } else {
                format!("{sign}{number}")
            }
        });
        Some(other.unwrap_or_else(|| repr_bytes(value)))
    }

    /// The time since the start of the machine, as the kernel's log shows it.
    fn uptime(&self) -> String {
        let micros =
            |name| first(&self.fields, name).and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok());
        let micros = micros("_SOURCE_MONOTONIC_TIMESTAMP").or_else(|| micros("__MONOTONIC_TIMESTAMP"));
        let micros = micros.unwrap_or(0);
        format!("[{:>5}.{:06}]", micros / 1_000_000, micros % 1_000_000)
    }
}

/// The digits of a number in Python's writing, in which one underscore may stand between two.
fn digits(text: &str, radix: u32) -> Option<String> {
    let mut parts = text.split('_');
    parts
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_digit(radix)))
        .then(|| text.replace('_', ""))
}

fn first<'f>(fields: &'f [Field], name: &str) -> Option<&'f [u8]> {
    fields
        .iter()
        .find(|field| *field.name == *name)
        .map(|field| &*field.value)
}

/// What is UTF-8 is read as that, whatever the jail's encoding.
fn decoded(bytes: &[u8], encoding: Encoding) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => encoding.decode(bytes).text,
    }
}

/// A time in the form of Python's `isoformat`, in the zone of the machine.
fn date(micros: i64, zone: &TimeZone) -> String {
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
    let form = if micros.rem_euclid(1_000_000) == 0 {
        "%Y-%m-%dT%H:%M:%S%:z "
    } else {
        "%Y-%m-%dT%H:%M:%S.%6f%:z "
    };
    time.to_zoned(zone.clone()).strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &[u8])]) -> Entry {
        let field = |(name, value): &(&str, &[u8])| Field {
            name: (*name).into(),
            value: (*value).into(),
            is_cut: false,
        };
        let known: [(&str, &[u8]); 2] = [("__CURSOR", b"s=1"), ("__REALTIME_TIMESTAMP", b"1700000000000000")];
        let fields = known.iter().chain(fields).map(field).collect();
        Entry::new(fields, &TimeZone::UTC).unwrap()
    }

    #[test]
    fn lines_as_fail2ban_makes_them() {
        let check = |fields: &[(&str, &[u8])], expect: &str| {
            let utf8 = Encoding::named("utf-8").unwrap();
            assert_eq!(entry(fields).line(utf8), expect, "{fields:?}");
        };
        let host: (&str, &[u8]) = ("_HOSTNAME", b"mail");
        let message: (&str, &[u8]) = ("MESSAGE", b"hello");
        check(&[message], "hello");
        check(&[], "");
        check(
            &[host, message, ("SYSLOG_IDENTIFIER", b"sshd"), ("_PID", b"12")],
            "mail sshd[12]: hello",
        );
        check(
            &[host, message, ("SYSLOG_IDENTIFIER", b""), ("_COMM", b"c")],
            "mail c: hello",
        );
        check(&[message, ("_PID", b"12")], "hello");
        let both: [(&str, &[u8]); 3] = [("_COMM", b"c"), ("SYSLOG_PID", b"007"), ("_PID", b"12")];
        check(&both, "c[7]: ");
        check(&[("_COMM", b"c"), ("SYSLOG_PID", b"0"), ("_PID", b"12")], "c[12]: ");
        check(&[("_COMM", b"c"), ("SYSLOG_PID", b"0x1F")], "c[31]: ");
        check(&[("_COMM", b"c"), ("SYSLOG_PID", b"x\n1")], "c[b'x\\n1']: ");
        let kernel: [(&str, &[u8]); 2] = [("SYSLOG_IDENTIFIER", b"kernel"), ("__MONOTONIC_TIMESTAMP", b"5004321")];
        check(&kernel, "kernel: [    5.004321] ");
        check(&[("MESSAGE", b"a\nb"), ("MESSAGE", b"c")], "a\\nb c");
        check(&[("MESSAGE", b"\xff")], "\u{fffd}");
    }

    #[test]
    fn times_as_python_shows_them() {
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        for (micros, zone, expect) in [
            (1_700_000_000_000_000, TimeZone::UTC, "2023-11-14T22:13:20+00:00 "),
            (1_700_000_000_000_001, seoul, "2023-11-15T07:13:20.000001+09:00 "),
        ] {
            assert_eq!(date(micros, &zone), expect);
        }
        let late = entry(&[("_SOURCE_REALTIME_TIMESTAMP", b"1699999999000000")]);
        assert_eq!(
            (late.at.seconds(), late.taken.seconds()),
            (1_699_999_999, 1_700_000_000)
        );
    }

    #[test]
    fn without_a_place_or_a_time_it_is_none() {
        for name in ["__CURSOR", "__REALTIME_TIMESTAMP"] {
            let fields = entry(&[]).fields.into_iter().filter(|field| &*field.name != name);
            assert_eq!(Entry::new(fields.collect(), &TimeZone::UTC), None);
        }
    }
}

//! Numbers and texts as the protocols spell them.

use super::Error;

/// A text that was understood.
pub(super) enum Text {
    /// As it is
    Plain(String),
    /// It holds surrogates that stand for bytes, and with these it is no UTF-8
    NoUtf8,
}

/// A little-endian two's complement number of up to eight bytes, longer only by repeating its sign.
pub(super) fn signed(bytes: &[u8]) -> Option<i64> {
    let Some(last) = bytes.last() else { return Some(0) };
    let fill = if last & 0x80 == 0 { 0 } else { 0xff };
    let (near, far) = bytes.split_at(bytes.len().min(8));
    if far.iter().any(|byte| *byte != fill) {
        return None;
    }
    let mut wide = [fill; 8];
    for (to, from) in wide.iter_mut().zip(near) {
        *to = *from;
    }
    let number = i64::from_le_bytes(wide);
    // Nine bytes may change the sign of the first eight.
    (far.is_empty() || (number < 0) == (fill == 0xff)).then_some(number)
}

/// A whole number in decimal digits.
pub(super) fn whole(digits: &str, at: usize) -> Result<i64, Error> {
    let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::Malformed(at));
    }
    digits.parse().map_err(|_| Error::Number(at))
}

/// A protocol 0 byte string in its quotes, which Python 3 reads as ASCII.
pub(super) fn quoted(line: &[u8]) -> Option<String> {
    let [quote @ (b'\'' | b'"'), inner @ .., last] = line else {
        return None;
    };
    if quote != last {
        return None;
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let byte = if *first == b'\\' {
            escaped(&mut rest, &mut out)?
        } else {
            Some(*first)
        };
        if let Some(byte) = byte {
            out.push(char::from(byte).is_ascii().then_some(char::from(byte))?);
        }
    }
    Some(out)
}

/// What stands behind a backslash in a byte string: `None` for what was put out as it stands.
#[expect(clippy::option_option, reason = "a wrong escape is neither a byte nor none")]
fn escaped(rest: &mut &[u8], out: &mut String) -> Option<Option<u8>> {
    let [kind, tail @ ..] = *rest else { return None };
    *rest = tail;
    Some(Some(match kind {
        b'\\' | b'\'' | b'"' => *kind,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'v' => 11,
        b'\n' => return Some(None),
        b'x' => u8::try_from(digits(rest, 2, 16)?).ok()?,
        b'0'..=b'7' => {
            let more = tail.iter().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
            let more_digits = if more == 0 { 0 } else { digits(rest, more, 8)? };
            let shifted = u32::from(kind - b'0') << (3 * more);
            u8::try_from((shifted + more_digits) & 0xff).ok()?
        }
        other => {
            out.push('\\');
            *other
        }
    }))
}

fn digits(rest: &mut &[u8], count: usize, base: u32) -> Option<u32> {
    let (digits, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    let value = |sum: u32, byte: &u8| Some(sum * base + char::from(*byte).to_digit(base)?);
    digits.iter().try_fold(0, value)
}

/// A protocol 0 text: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn unescape(line: &[u8]) -> Option<Text> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let mut code = u32::from(*first);
        if *first == b'\\'
            && let [kind, tail @ ..] = rest
        {
            rest = tail;
            match kind {
                b'u' => code = digits(&mut rest, 4, 16)?,
                b'U' => code = digits(&mut rest, 8, 16)?,
                other => {
                    out.push(b'\\');
                    code = u32::from(*other);
                }
            }
        }
        push(code, &mut out)?;
    }
    match String::from_utf8(out) {
        Ok(text) => Some(Text::Plain(text)),
        Err(error) => restored(error.as_bytes()),
    }
}

/// A code point in UTF-8, surrogates included.
fn push(code: u32, out: &mut Vec<u8>) -> Option<()> {
    match char::from_u32(code) {
        Some(c) => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        None if (0xd800..0xe000).contains(&code) => {
            let low = |shift: u32| u8::try_from(code >> shift & 0x3f).unwrap_or_default() | 0x80;
            out.extend([0xed, low(6), low(0)]);
        }
        None => return None,
    }
    Some(())
}

/// UTF-8 with surrogates in which Python keeps bytes that it could not decode (`surrogateescape`): the bytes are put
/// back, and with them it may be UTF-8 after all, as where the client's locale was not. `None`: it was none before.
pub(super) fn restored(bytes: &[u8]) -> Option<Text> {
    let (mut out, mut plain) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = match rest {
            [0xed, high @ (0xb2 | 0xb3), low @ 0x80..=0xbf, tail @ ..] => {
                out.push(0x80 | (high & 1) << 6 | low & 0x3f);
                plain.push(b'?');
                tail
            }
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, tail @ ..] => {
                out.push(0xff);
                plain.push(b'?');
                tail
            }
            _ => {
                out.push(*first);
                plain.push(*first);
                tail
            }
        };
    }
    str::from_utf8(&plain).ok()?;
    Some(String::from_utf8(out).map_or(Text::NoUtf8, Text::Plain))
}

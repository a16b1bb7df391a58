//! Replies in the shape that Fail2Ban's clients expect: `(0, value)` or `(1, exception)` (contract §8.3).

use super::{END, pickle};
use crate::exception::Exception;
use crate::value::Value;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done; the value.
    Done(Value),
    /// Refused; the exception that a Python client will raise.
    Refused(Exception),
}

impl Reply {
    /// The bytes on the wire, with the end marker.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0x80, 4];
        match self {
            Reply::Done(value) => {
                pickle::write(&Value::Int(0), &mut out);
                pickle::write(value, &mut out);
            }
            Reply::Refused(exception) => {
                pickle::write(&Value::Int(1), &mut out);
                let (module, name) = exception.class.path();
                out.extend(format!("c{module}\n{name}\n").bytes());
                // What it is made of, and the call that makes it.
                pickle::write(&Value::Tuple(exception.arguments.clone()), &mut out);
                out.push(b'R');
            }
        }
        out.extend([0x86, b'.']);
        out.extend(END);
        out
    }

    /// Reads a reply. Only the exception's first text is taken from it; nothing is ever called.
    ///
    /// # Errors
    /// Where the bytes are neither shape.
    pub fn from_bytes(bytes: &[u8]) -> Result<Reply, pickle::Error> {
        let body = bytes.strip_suffix(END).unwrap_or(bytes);
        match pickle::decode(body) {
            Ok(Value::Tuple(items)) => match items.as_slice() {
                [Value::Int(0), value] => Ok(Reply::Done(value.clone())),
                [_, value] => Ok(Reply::Refused(value.to_string().into())),
                _ => Err(pickle::Error::Malformed(0)),
            },
            Ok(Value::Str(text)) => Ok(Reply::Refused(text.into())),
            Ok(_) => Err(pickle::Error::Malformed(0)),
            Err(pickle::Error::Forbidden(..)) => Ok(Reply::Refused(exception_text(body).into())),
            Err(error) => Err(error),
        }
    }
}

/// The last text of a pickled exception: its message.
fn exception_text(body: &[u8]) -> String {
    let after = body
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(body, |at| body.get(at + 1..).unwrap_or_default());
    let text = match after {
        [b'(', 0x8c, length, rest @ ..] => rest.get(..usize::from(*length)),
        [b'(', 0x8d, rest @ ..] => rest
            .get(8..)
            .map(|text| text.strip_suffix(&[b't', b'R', 0x86, b'.']).unwrap_or(text)),
        _ => None,
    };
    String::from_utf8_lossy(text.unwrap_or(b"refused, and the reason cannot be read")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_round_trip() {
        for reply in [
            Reply::Done("pong".into()),
            Reply::Done(Value::List(vec![1.into(), "a\nb".into()])),
            Reply::Refused("Sorry but the jail 'x' does not exist".into()),
            Reply::Refused("long ".repeat(100).into()),
        ] {
            assert_eq!(Reply::from_bytes(&reply.to_bytes()), Ok(reply));
        }
    }
}

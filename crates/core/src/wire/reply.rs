//! Replies in the shape that Fail2Ban's clients expect: `(0, value)` or `(1, exception)` (contract §8.3).

use std::fmt;

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

    /// Reads a reply, of our daemon or of a Fail2Ban server, with or without the end marker. Exceptions keep their class
    /// and what they were made of; addresses, which Fail2Ban pickles as a call, are texts. A bare text is a refusal, and so is
    /// a list of one.
    ///
    /// # Errors
    /// Where the bytes are neither shape, or import or call something that is not known by its name. Nothing is ever
    /// called.
    pub fn from_bytes(bytes: &[u8]) -> Result<Reply, pickle::Error> {
        let body = bytes.strip_suffix(END).unwrap_or(bytes);
        Ok(match pickle::decode_reply(body, pickle::Limits::REPLY)? {
            Ok(value) => Reply::Done(value),
            Err(exception) => Reply::Refused(exception),
        })
    }
}

/// The answer to a request that could not be read, with the end marker: a bare text, as Fail2Ban gives it.
#[must_use]
pub fn unreadable(why: impl fmt::Display) -> Vec<u8> {
    let mut out = pickle::encode(&Value::Str(format!("ERROR: {why}")));
    out.extend(END);
    out
}

/// The answer to every request once the server ends, with the end marker: a list of one word, as Fail2Ban gives it.
#[must_use]
pub fn over() -> Vec<u8> {
    let mut out = pickle::encode(&Value::List(vec!["SHUTDOWN".into()]));
    out.extend(END);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exception::Class;

    #[test]
    fn both_shapes_round_trip() {
        let os = Exception {
            class: Class::Builtin("FileNotFoundError"),
            arguments: vec![2.into(), "No such file".into(), "/x".into()],
        };
        for reply in [
            Reply::Done("pong".into()),
            Reply::Done(Value::List(vec![1.into(), "a\nb".into()])),
            Reply::Refused("Sorry but the jail 'x' does not exist".into()),
            Reply::Refused("long ".repeat(100).into()),
            Reply::Refused(Exception::no_jail("x")),
            Reply::Refused(os),
        ] {
            assert_eq!(Reply::from_bytes(&reply.to_bytes()), Ok(reply));
        }
        let text = Reply::from_bytes(&unreadable("why"));
        assert_eq!(text, Ok(Reply::Refused("ERROR: why".into())));
        assert_eq!(Reply::from_bytes(&over()), Ok(Reply::Refused("SHUTDOWN".into())));
    }

    /// As CPython writes them, with protocols 0 and 5.
    #[test]
    fn what_fail2ban_answers() {
        let address = b"\x80\x05\x95\x2b\x00\x00\x00\x00\x00\x00\x00K\x00]\x94\x8c\x08builtins\x94\x8c\x03str\x94\x93\x94\x8c\x09192.0.2.1\x94\x85\x94R\x94a\x86\x94.";
        assert_eq!(
            Reply::from_bytes(address),
            Ok(Reply::Done(Value::List(vec!["192.0.2.1".into()])))
        );
        let old = b"(I1\ncexceptions\nKeyError\np0\n(Vno\np1\ntp2\nRp3\ntp4\n.";
        assert_eq!(Reply::from_bytes(old), Ok(Reply::Refused(Exception::key("no"))));
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_by_name() {
        let reply = b"\x80\x04K\x01cposix\nsystem\n(\x8c\x02idtR\x86.";
        let error = Reply::from_bytes(reply).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GLOBAL (posix.system) at byte 4 imports or calls something: refused"
        );
    }
}

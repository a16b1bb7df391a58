//! Asking the daemon.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use portcullis_core::value::Value;
use portcullis_core::wire::{END, Reply, Verb, pickle};
use serde::de::DeserializeOwned;

use super::failure::fail;
use super::{Ask, Where, exit};
use crate::place;

/// Replies are read up to this size; a list of a million bans fits.
const LONGEST_REPLY: u64 = 1 << 30;
/// A daemon that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(70);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody listens.
    #[error("no daemon answers at {path} ({error}); start one with: portcullis run")]
    NoDaemon {
        /// The socket
        path: PathBuf,
        /// Why
        error: std::io::Error,
    },
    /// Somebody may listen, but not to us.
    #[error("the daemon at {path} may not be asked by this user: {error}; ask as root")]
    Forbidden {
        /// The socket
        path: PathBuf,
        /// Why
        error: std::io::Error,
    },
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
    /// The answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

impl Error {
    /// Prints it, also as JSON where that is asked for, and gives the exit code.
    pub(crate) fn exit(&self, json: bool) -> ExitCode {
        let code = match self {
            Error::NoDaemon { .. } => exit::NO_DAEMON,
            Error::Forbidden { .. } | Error::Refused(_) | Error::Unreadable(_) => exit::REFUSED,
        };
        fail(json, &self.to_string(), code)
    }
}

/// Sends one request and returns the JSON text of the answer.
pub(crate) fn text(place: &Where, verb: &Verb) -> Result<String, Error> {
    value(place, verb).map(into_text)
}

/// The same for somebody who waits so long for each piece of the answer.
pub(crate) fn text_within(place: &Where, verb: &Verb, patience: Duration) -> Result<String, Error> {
    value_within(place, verb, patience).map(into_text)
}

fn into_text(value: Value) -> String {
    match value {
        Value::Str(text) => text,
        other => other.to_string(),
    }
}

/// Sends one request and returns the answer as it is.
pub(crate) fn value(place: &Where, verb: &Verb) -> Result<Value, Error> {
    let patience = if *verb == Verb::Stop { PATIENCE * 60 } else { PATIENCE };
    value_within(place, verb, patience)
}

fn value_within(place: &Where, verb: &Verb, patience: Duration) -> Result<Value, Error> {
    let path = place::socket(place);
    let wrap = |error: std::io::Error| match error.kind() {
        ErrorKind::PermissionDenied => Error::Forbidden { path, error },
        _ => Error::NoDaemon { path, error },
    };
    let bytes = exchange(&place::socket(place), verb, patience).map_err(wrap)?;
    match Reply::from_bytes(&bytes).map_err(|error| Error::Unreadable(error.to_string()))? {
        Reply::Done(value) => Ok(value),
        Reply::Refused(exception) => Err(Error::Refused(exception.to_string())),
    }
}

/// Sends one request and reads the answer's JSON.
pub(crate) fn json<T: DeserializeOwned>(ask: &Ask, verb: &Verb) -> Result<(T, String), Error> {
    let text = text(&ask.place, verb)?;
    let value = serde_json::from_str(&text).map_err(|error| Error::Unreadable(error.to_string()))?;
    Ok((value, text))
}

/// Sends a request; the bytes of the reply.
fn exchange(path: &Path, verb: &Verb, patience: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))?;
    let mut request = pickle::encode(&verb.to_value());
    request.extend(END);
    stream.write_all(&request)?;
    let mut reply = Vec::new();
    let mut limited = stream.take(LONGEST_REPLY);
    let mut chunk = [0; 64 << 10];
    while !reply.ends_with(END) {
        match limited.read(&mut chunk)? {
            0 => {
                return Err(std::io::Error::other(
                    "the connection was closed before the answer was complete",
                ));
            }
            count => reply.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    Ok(reply)
}

//! One connection to a server, as Fail2Ban's client keeps it: commands out, replies in, each framed by its end marker
//! (contract §8.3).

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use portcullis_core::value::Value;
use portcullis_core::wire::{CLOSE, END, Reply, pickle};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::observe::words_of;

/// Replies are read up to this size; a list of a million bans fits.
const LONGEST_REPLY: usize = 1 << 30;

/// How long to wait for a server that is there and says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Patience {
    /// For ever
    Endless,
    /// So long, not at all if it is nothing
    Until(Duration),
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody there, or nobody who answers: what the system says, in Python's form
    Unreachable(String),
    /// What came is no reply.
    Odd(String),
}

/// An open connection.
pub(super) struct Connection {
    stream: UnixStream,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Unreachable(told(&error))
    }
}

/// A system's error as Python prints it: `[Errno 111] Connection refused`.
pub(super) fn told(error: &io::Error) -> String {
    match error.raw_os_error() {
        None => error.to_string(),
        Some(number) => format!("[Errno {number}] {}", words_of(error)),
    }
}

impl Connection {
    /// Connects to a socket.
    pub(super) fn open(path: &str, patience: Patience) -> Result<Self, Trouble> {
        let Ok(address) = SocketAddrUnix::new(path) else {
            return Err(Trouble::Unreachable("AF_UNIX path too long".to_owned()));
        };
        // A server that does not take connections would block one that waits.
        let flags = match patience {
            Patience::Endless => SocketFlags::CLOEXEC,
            Patience::Until(_) => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        };
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io::Error::from)?;
        connect(&socket, &address).map_err(io::Error::from)?;
        let stream = UnixStream::from(socket);
        match patience {
            Patience::Endless => {}
            Patience::Until(Duration::ZERO) => stream.set_nonblocking(true)?,
            Patience::Until(length) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(length))?;
                stream.set_write_timeout(Some(length))?;
            }
        }
        Ok(Connection { stream })
    }

    /// Sends one command and waits for its reply.
    pub(super) fn ask(&mut self, command: &[Value]) -> Result<Reply, Trouble> {
        let request = pickle::encode(&Value::List(command.to_vec()));
        self.stream.write_all(&request).map_err(|error| self.late(error))?;
        self.stream.write_all(END).map_err(|error| self.late(error))?;
        let reply = self.receive().map_err(|error| self.late(error))?;
        read(&reply)
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut reply = Vec::new();
        let mut chunk = [0; 32 << 10];
        while !reply.ends_with(END) {
            let count = match (&self.stream).read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if count == 0 {
                return Err(rustix::io::Errno::CONNRESET.into());
            }
            reply.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if reply.len() > LONGEST_REPLY {
                return Err(io::Error::other("the reply is too long"));
            }
        }
        Ok(reply)
    }

    /// A time-out is told in Python's words.
    fn late(&self, error: io::Error) -> Trouble {
        let waited = matches!(self.stream.read_timeout(), Ok(Some(_)));
        match error.kind() {
            io::ErrorKind::WouldBlock if waited => Trouble::Unreachable("timed out".to_owned()),
            _ => error.into(),
        }
    }
}

/// A reply of two parts; what else comes is told as Python tells it.
fn read(bytes: &[u8]) -> Result<Reply, Trouble> {
    match pickle::decode(bytes.strip_suffix(END).unwrap_or(bytes)) {
        // A server that ends answers every request with a list of one word.
        Ok(Value::List(items)) if items.len() < 2 => Err(Trouble::Odd("list index out of range".to_owned())),
        Ok(Value::Str(text)) => Err(Trouble::Odd(text)),
        _ => Reply::from_bytes(bytes).map_err(|error| Trouble::Odd(error.to_string())),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.stream.write_all(&[CLOSE, END].concat());
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

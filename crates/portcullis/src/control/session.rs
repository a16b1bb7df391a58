//! One connection: requests in, replies out, until the client is done.
//!
//! Each has a thread that yields to the engine's. Whatever a client does, it holds up nobody but itself: a request must
//! be complete and a reply be read within a minute, and both take their memory from what all sessions have together.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portcullis_core::exception::{Class, Exception};
use portcullis_core::value::Value;
use portcullis_core::wire::{CLOSE, END, LONGEST_REQUEST, Reply, Verb, over, pickle, unreadable};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use super::Asked;
use super::peer::Role;
use super::room::{Lease, Place};
use crate::observe::log::{Level, note};

/// From the first byte of a request to its last, and so long for a reply to be read.
const PATIENCE: Duration = Duration::from_secs(60);
/// A client that sends nothing for this long is disconnected.
const IDLE: Duration = Duration::from_secs(3600);
/// While the engine works, it is looked so often whether the client is still there.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;
/// So many bytes of a command that failed are logged.
const LONGEST_LOGGED: usize = 2000;
/// Requests above this are read one after the other.
const LARGE: usize = 256 << 10;
/// The longest request of somebody who may only look.
const LONGEST_OF_GUESTS: usize = 64 << 10;
/// What such a request may come to.
const GUEST: pickle::Limits = pickle::Limits {
    depth: 32,
    objects: 10_000,
    memory: 1 << 20,
};
/// The threads of sessions are this much nicer than the engine's.
const NICE: i32 = 10;

/// Serves one client.
pub(super) fn run(place: &Place, engine: &impl Fn(Asked) -> bool) {
    // Where it is not allowed, the thread is as important as the others.
    let _ = setpriority_process(Some(gettid()), NICE);
    let mut incoming = Incoming::new(place);
    loop {
        place.waits();
        let Ok(Some(message)) = incoming.next() else { return };
        place.works();
        if message == CLOSE {
            return;
        }
        let answer = match &incoming.over {
            Some(why) => Some(unreadable(why)),
            None => reply(place, &message, engine),
        };
        let Some(bytes) = answer else { return };
        drop(message);
        // A client that keeps its connection keeps no memory of what it asked.
        incoming.settle(0);
        let mut lease = place.lease();
        let bytes = if lease.more(bytes.len()) {
            bytes
        } else {
            unreadable(pickle::Error::Busy)
        };
        place.replies();
        if send(&place.stream, &bytes).is_err() || incoming.over.is_some() {
            return;
        }
    }
}

/// What comes in, cut into messages.
struct Incoming<'p> {
    place: &'p Place,
    longest: usize,
    buffer: Vec<u8>,
    lease: Lease,
    /// Why nothing more is read
    over: Option<String>,
}

impl<'p> Incoming<'p> {
    fn new(place: &'p Place) -> Self {
        Incoming {
            place,
            longest: if place.role == Role::Owner {
                LONGEST_REQUEST
            } else {
                LONGEST_OF_GUESTS
            },
            buffer: Vec::new(),
            lease: place.lease(),
            over: None,
        }
    }

    /// The bytes up to the next end marker; `None` at the end of the connection. After a message that is too long, of
    /// which nothing is kept, nothing is read any more.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        let mut since = None;
        loop {
            let end = find(&self.buffer, END, searched);
            if end.unwrap_or(self.buffer.len().saturating_sub(END.len())) > self.longest {
                self.over = Some(format!("no request is longer than {} bytes", self.longest));
            } else if let Some(at) = end {
                return Ok(Some(self.cut(at)));
            } else if !self.has_room() {
                self.over = Some(pickle::Error::Busy.to_string());
            }
            if self.over.is_some() {
                self.buffer = Vec::new();
                self.lease = self.place.lease();
                return Ok(Some(Vec::new()));
            }
            searched = self.buffer.len().saturating_sub(END.len() - 1);
            if !self.buffer.is_empty() {
                since.get_or_insert_with(Instant::now);
            }
            let patience = since.map_or(IDLE, |since| PATIENCE.saturating_sub(since.elapsed()));
            self.place
                .stream
                .set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
            let mut chunk = [0; CHUNK];
            let count = (&*self.place.stream).read(&mut chunk)?;
            if count == 0 || since.is_some_and(|since| since.elapsed() >= PATIENCE) {
                return Ok(None);
            }
            self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }

    /// Takes the message before the marker at this place.
    fn cut(&mut self, at: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(at + END.len());
        let mut message = std::mem::replace(&mut self.buffer, rest);
        message.truncate(at);
        self.settle(message.capacity());
        message
    }

    /// Makes room for a chunk, out of the memory of all sessions.
    fn has_room(&mut self) -> bool {
        let (length, capacity) = (self.buffer.len(), self.buffer.capacity());
        if capacity - length >= CHUNK {
            return true;
        }
        // The longest request fits, with its end and whatever else came in one piece with that.
        let wanted = (2 * capacity)
            .max(2 * CHUNK)
            .min(self.longest + 2 * CHUNK)
            .max(length + CHUNK);
        if !self.lease.more(wanted - capacity) {
            return false;
        }
        self.buffer.reserve_exact(wanted - length);
        true
    }

    /// From now on the memory of the buffer is what it has, and of a message that was taken out of it.
    fn settle(&mut self, message: usize) {
        self.lease = self.place.lease();
        // It was had a moment ago; where another session was faster, this one is a little beyond.
        let _ = self.lease.more(message + self.buffer.capacity());
    }
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(haystack.get(from..)?, needle).map(|at| at + from)
}

/// The bytes of the answer; none if the client has gone.
fn reply(place: &Place, message: &[u8], engine: &impl Fn(Asked) -> bool) -> Option<Vec<u8>> {
    let limits = match place.role {
        Role::Owner => pickle::Limits::REQUEST,
        Role::Reader => GUEST,
        Role::Stranger => return Some(denied("only root may ask, and whoever the daemon runs as").to_bytes()),
    };
    let mut lease = place.lease();
    let read = {
        let _turn = (message.len() > LARGE).then(|| place.turn());
        pickle::decode_within(message, limits, &mut |bytes| lease.more(bytes))
    };
    let request = match read {
        Ok(request) => request,
        Err(error) => return Some(unreadable(error)),
    };
    let verb = match Verb::parse(&request) {
        Ok(verb) => verb,
        Err(error) => return Some(Reply::Refused(error.into()).to_bytes()),
    };
    if place.role != Role::Owner && !verb.is_read_only() {
        return Some(denied("your group may look, and change nothing; only root may").to_bytes());
    }
    let answer = ask(&place.stream, verb, engine);
    // Whoever may only look cannot fill the log.
    if let (Answer::Reply(Reply::Refused(exception)), Role::Owner) = (&answer, place.role) {
        log_refusal(&request, exception);
    }
    match answer {
        Answer::Reply(reply) => Some(reply.to_bytes()),
        Answer::Over => Some(over()),
        Answer::Nobody => None,
    }
}

/// What comes of a request.
enum Answer {
    Reply(Reply),
    /// The daemon ends.
    Over,
    /// The client has gone.
    Nobody,
}

/// Says which command failed, in the words that are searched for in Fail2Ban's log.
fn log_refusal(request: &Value, exception: &Exception) {
    let mut command = request.repr();
    let end = command.floor_char_boundary(LONGEST_LOGGED);
    if end < command.len() {
        command.truncate(end);
        command += " ...";
    }
    let text = format!("Command {command} has failed. Received {}", exception.repr());
    note(Level::Error, "fail2ban.transmitter", &text);
}

fn denied(text: &str) -> Reply {
    Reply::Refused(Exception::new(Class::Builtin("PermissionError"), text))
}

/// Has the engine answer. Some requests last: `stop` frees everybody, one command after the other.
fn ask(stream: &UnixStream, verb: Verb, engine: &impl Fn(Asked) -> bool) -> Answer {
    let (reply, replied) = channel();
    if !engine(Asked { verb, reply }) {
        return Answer::Over;
    }
    loop {
        match replied.recv_timeout(LOOK) {
            Ok(reply) => return Answer::Reply(reply),
            Err(RecvTimeoutError::Disconnected) => return Answer::Over,
            Err(RecvTimeoutError::Timeout) if has_gone(stream) => return Answer::Nobody,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn has_gone(stream: &UnixStream) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::HUP)];
    let looked = poll(&mut watched, Some(&Timespec::default()));
    looked.is_ok() && watched.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
}

/// Writes a reply, for as long as the client has to read it.
fn send(mut stream: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut rest = bytes;
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.write(rest)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => rest = rest.get(count..).unwrap_or_default(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! One connection: requests in, replies out, until the client is done.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use portcullis_core::wire::{CLOSE, END, LONGEST_REQUEST, Reply, Verb, pickle};
use rustix::net::sockopt::socket_peercred;

use super::Asked;

/// A reply that takes longer means that the engine hangs; the client is told instead of kept waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// A client that sends nothing for this long is disconnected.
const IDLE: Duration = Duration::from_secs(300);

/// Serves one client.
pub(super) fn run(mut stream: &UnixStream, engine: &impl Fn(Asked) -> bool) {
    let _ = stream.set_read_timeout(Some(IDLE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let mut buffer = Vec::new();
    while let Some(message) = next_message(stream, &mut buffer) {
        if message.ends_with(CLOSE) {
            return;
        }
        let reply = if may_ask(stream) {
            answer(&message, engine)
        } else {
            Reply::Refused("only root may ask".into())
        };
        if stream.write_all(&reply.to_bytes()).is_err() {
            return;
        }
    }
}

/// Root, and whoever the daemon itself runs as.
fn may_ask(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == own)
}

/// The bytes up to the next end marker; `None` at the end of the connection or when no request is this long.
fn next_message(mut stream: &UnixStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut searched = 0;
    loop {
        if let Some(at) = find(buffer, END, searched) {
            let rest = buffer.split_off(at + END.len());
            let mut message = std::mem::replace(buffer, rest);
            message.truncate(at);
            return Some(message);
        }
        searched = buffer.len().saturating_sub(END.len());
        if buffer.len() > LONGEST_REQUEST {
            let text = format!("no request is longer than {LONGEST_REQUEST} bytes");
            let _ = stream.write_all(&Reply::Refused(text.into()).to_bytes());
            return None;
        }
        let mut chunk = [0; 16 << 10];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(chunk.get(..count)?),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    haystack
        .get(from..)?
        .windows(needle.len())
        .position(|window| window == needle)
        .map(|at| at + from)
}

fn answer(message: &[u8], engine: &impl Fn(Asked) -> bool) -> Reply {
    let verb = match pickle::decode(message) {
        Ok(request) => Verb::parse(&request),
        Err(error) => return Reply::Refused(format!("ERROR: {error}").into()),
    };
    let verb = match verb {
        Ok(verb) => verb,
        Err(error) => return Reply::Refused(error.to_string().into()),
    };
    // Freeing everybody may mean thousands of commands, one after the other.
    let patience = if verb == Verb::Stop { PATIENCE * 60 } else { PATIENCE };
    let (reply, replied) = channel();
    if !engine(Asked { verb, reply }) {
        return Reply::Refused("SHUTDOWN".into());
    }
    replied
        .recv_timeout(patience)
        .unwrap_or_else(|_| Reply::Refused("the daemon did not answer in time".into()))
}

//! A listening socket on its way from systemd to the daemon (contract §8.4).
//!
//! systemd opens the socket and starts the runner with it. The runner keeps it for as long as it lives, so that nobody
//! is turned away while a daemon that died is started again, and sends it to each daemon as the first thing over the
//! socket between the two. It is closed on exec all the time: no command of a user's action ever has it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// The name of our socket among those that systemd passes on (`FileDescriptorName=`).
const NAME: &str = "fail2ban";

/// The socket that this process was started with, if it was.
///
/// # Errors
/// If what was passed on is no listening Unix stream socket.
pub(crate) fn activated() -> io::Result<Option<UnixListener>> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != std::process::id().to_string() {
        return Ok(None);
    }
    let mut passed = ListenFd::from_env();
    let Some(last) = passed.len().checked_sub(1) else {
        return Ok(None);
    };
    let place = place_of(NAME, &variable("LISTEN_FDNAMES")).min(last);
    let Some(socket) = passed.take_unix_listener(place)? else {
        return Ok(None);
    };
    if !socket_acceptconn(&socket)? {
        return Err(io::Error::other("the socket that was passed on does not listen"));
    }
    Ok(Some(socket))
}

/// Where a name stands in `LISTEN_FDNAMES`; the first place if it does not.
fn place_of(name: &str, names: &str) -> usize {
    names.split(':').position(|other| other == name).unwrap_or(0)
}

/// Sends the socket to the daemon at the other end of the link.
pub(super) fn give(link: &UnixStream, socket: &UnixListener) -> io::Result<()> {
    let descriptors = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    // Descriptors travel with at least one byte.
    sendmsg(link, &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The socket that the runner has sent, if it does. This must come before anything else is read from standard input.
///
/// # Errors
/// A sentence, if none was sent.
pub(crate) fn given_socket(is_sent: bool) -> Result<Option<UnixListener>, String> {
    let given = is_sent.then(|| receive(io::stdin().as_fd())).transpose();
    given.map_err(|error| format!("cannot take over the socket: {error}"))
}

fn receive(link: impl AsFd) -> io::Result<UnixListener> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        link,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let sent = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    sent.map(UnixListener::from)
        .ok_or_else(|| io::Error::other("the runner has sent no socket"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_socket_arrives_before_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        give(&ours, &listener).unwrap();
        (&ours).write_all(b"more").unwrap();
        let taken = receive(&theirs).unwrap();
        drop(listener);
        let _client = UnixStream::connect(&path).unwrap();
        taken.accept().unwrap();
        let mut rest = [0; 4];
        theirs.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"more");
        (&ours).write_all(b"x").unwrap();
        assert!(receive(&theirs).is_err());
    }

    #[test]
    fn ours_is_known_by_its_name() {
        assert_eq!(place_of(NAME, "web:fail2ban"), 1);
        assert_eq!(place_of(NAME, "unknown"), 0);
        assert_eq!(place_of(NAME, ""), 0);
    }
}

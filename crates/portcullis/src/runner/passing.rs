//! Descriptors on their way from the runner to the daemon: each travels with the first bytes of the frame that tells of
//! it, so that their order is the order of these frames.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// No message of ours brings more: what a program prints, and what it complains of.
const MOST: usize = 2;

/// The reading end: bytes as from the socket, and the descriptors that came with them.
pub(super) struct Passing {
    stream: UnixStream,
    waiting: VecDeque<OwnedFd>,
}

impl Passing {
    pub(super) fn new(stream: UnixStream) -> Self {
        Passing {
            stream,
            waiting: VecDeque::new(),
        }
    }

    /// The descriptor that came first of those not taken yet.
    pub(super) fn next(&mut self) -> Option<OwnedFd> {
        self.waiting.pop_front()
    }
}

impl Read for Passing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(buffer)];
        let came = recvmsg(&self.stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.waiting.extend(descriptors);
            }
        }
        Ok(came.bytes)
    }
}

/// The writing end, for one frame.
pub(super) struct With<'a> {
    stream: &'a UnixStream,
    /// None once they are on their way
    descriptors: &'a [BorrowedFd<'a>],
}

impl<'a> With<'a> {
    /// At most [`MOST`] descriptors.
    pub(super) fn new(stream: &'a UnixStream, descriptors: &'a [BorrowedFd<'a>]) -> Self {
        With { stream, descriptors }
    }
}

impl Write for With<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.descriptors.is_empty() {
            return self.stream.write(bytes);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(self.descriptors));
        let sent = sendmsg(self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        self.descriptors = &[];
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufReader;
    use std::os::fd::AsFd;

    use super::super::wire::{self, Answer, Notice};
    use super::*;

    #[test]
    fn each_descriptor_comes_with_its_frame() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for number in 0..3 {
            let (read, write) = io::pipe().unwrap();
            File::from(OwnedFd::from(write)).write_all(&[number]).unwrap();
            wire::send(&mut (&ours), &Answer::Notice(Notice::Reload)).unwrap();
            let number = u64::from(number);
            wire::send(&mut With::new(&ours, &[read.as_fd()]), &Answer::Journal { number }).unwrap();
        }
        drop(ours);
        let mut answers = BufReader::new(Passing::new(theirs));
        let mut seen = Vec::new();
        while let Some(answer) = wire::receive::<Answer>(&mut answers).unwrap() {
            let Answer::Journal { number } = answer else { continue };
            let mut byte = [9];
            let descriptor = answers.get_mut().next().unwrap();
            File::from(descriptor).read_exact(&mut byte).unwrap();
            assert_eq!(u64::from(byte[0]), number);
            seen.push(number);
        }
        assert_eq!(seen, [0, 1, 2]);
    }
}

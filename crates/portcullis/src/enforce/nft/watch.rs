//! Who else touches our table: the kernel's messages about every change of its ruleset.
//!
//! A thread listens on a socket of its own and looks at headers, the table's name and who it was; which change it was
//! does not matter, because the whole is read back anyway. Messages about our own transactions carry our transaction
//! socket's number. What was lost for want of room may have been about us, and counts as if it were.
//!
//! The kernel makes one message of some kilobytes for each element, so listening while 100,000 elements are added would
//! cost more than adding them. For large transactions of our own the ear is closed, and the number of the ruleset's
//! generation says afterwards whether anybody else's came in between.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::time::Seconds;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SocketFlags, netlink};
use rustix::pipe::{PipeFlags, pipe_with};

use super::attributes::{number, text, value};
use super::socket;
use crate::enforce::netlink::{open, split, widen};

/// `NFNLGRP_NFTABLES` is the seventh group.
const GROUP: u32 = 1 << 6;

/// The message that closes a transaction: who made it.
const NEW_GENERATION: u8 = 15;
const GENERATION_PROCESS: u16 = 2;
const GENERATION_NAME: u16 = 3;

/// The attribute with the table's name, the same in all messages; and the number of family inet.
const TABLE: u16 = 1;
const INET: u8 = 1;

/// Room for what comes while the thread is not running. Other programs' large transactions fill it.
const ROOM: usize = 8 << 20;

/// Somebody else touched our table, or may have.
#[derive(Clone, Debug)]
pub(crate) struct Stir {
    at: Instant,
    /// Program and process, where that is known
    pub by: Option<String>,
}

impl Stir {
    /// Somebody had us do it, just now.
    pub(super) fn by_hand() -> Stir {
        Stir {
            at: Instant::now(),
            by: Some("a command".to_owned()),
        }
    }

    /// How long ago.
    pub(super) fn ago(&self) -> Seconds {
        Seconds::from_micros(i64::try_from(self.at.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

/// Wakes whoever is to look.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The listening thread, seen from the layer.
pub(super) struct Watch {
    ear: Arc<OwnedFd>,
    port: u32,
    noticed: Arc<Noticed>,
    /// Its end ends the thread
    _line: OwnedFd,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

struct Noticed {
    stir: Mutex<Option<Stir>>,
    change: Condvar,
    wake: Wake,
}

impl Noticed {
    /// Notes it; the first since the last look wakes.
    fn note(&self, by: Option<String>) {
        let mut stir = self.stir.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *stir {
            Some(stir) => stir.by = stir.by.take().or(by),
            None => {
                *stir = Some(Stir { at: Instant::now(), by });
                self.change.notify_all();
                (self.wake)();
            }
        }
    }
}

impl Watch {
    /// Starts to listen for changes of `table` that are not made through the socket `own`.
    ///
    /// # Errors
    /// No socket or no thread.
    pub(super) fn start(table: &str, own: u32, wake: Wake) -> std::io::Result<Watch> {
        let ear = open(netlink::NETFILTER, SocketFlags::NONBLOCK)?;
        widen(&ear, ROOM)?;
        rustix::net::bind(&ear, &SocketAddrNetlink::new(0, GROUP))?;
        let port = SocketAddrNetlink::try_from(rustix::net::getsockname(&ear)?)?.pid();
        let (end, line) = pipe_with(PipeFlags::CLOEXEC)?;
        let noticed = Arc::new(Noticed {
            stir: Mutex::new(None),
            change: Condvar::new(),
            wake,
        });
        let ear = Arc::new(ear);
        let mut listener = Listener {
            ear: Arc::clone(&ear),
            table: table.to_owned(),
            own,
            noticed: Arc::clone(&noticed),
            is_ours: false,
        };
        thread::Builder::new()
            .name("nft-watch".into())
            .spawn(move || listener.listen(&end))?;
        Ok(Watch {
            ear,
            port,
            noticed,
            _line: line,
        })
    }

    /// What was noticed since the last time, or comes within this time.
    pub(super) fn take(&self, patience: Duration) -> Option<Stir> {
        let stir = self.noticed.stir.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .noticed
            .change
            .wait_timeout_while(stir, patience, |stir| stir.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Listens no more, or again.
    pub(super) fn hear(&self, is_open: bool) -> Result<(), Errno> {
        let groups = if is_open { GROUP } else { 0 };
        rustix::net::bind(&*self.ear, &SocketAddrNetlink::new(self.port, groups))
    }

    /// Something may have been missed.
    pub(super) fn doubt(&self) {
        self.noticed.note(None);
    }
}

struct Listener {
    ear: Arc<OwnedFd>,
    table: String,
    own: u32,
    noticed: Arc<Noticed>,
    /// Whether the transaction whose messages come now is about our table
    is_ours: bool,
}

impl Listener {
    fn listen(&mut self, end: &OwnedFd) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let ear = Arc::clone(&self.ear);
            let mut ends = [PollFd::new(&*ear, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
            match poll(&mut ends, None) {
                Ok(_) if !ends[1].revents().is_empty() => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    log::warn!("changes of the packet filter are noticed only by regular looks from now on: {errno}");
                    return;
                }
            }
            loop {
                match rustix::net::recv(&*ear, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                    Ok((_, length)) => self.hear(buffer.get(..length).unwrap_or_default()),
                    Err(Errno::NOBUFS) => self.noticed.note(None),
                    Err(_) => break,
                }
            }
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        for message in split(datagram) {
            let (Some(verb), Some((family, body))) = (socket::verb(&message), socket::body(&message)) else {
                continue;
            };
            if message.port == self.own {
                continue;
            }
            if verb == NEW_GENERATION {
                if std::mem::take(&mut self.is_ours) {
                    self.noticed.note(who(body));
                }
            } else if family == INET && value(body, TABLE).map(text) == Some(self.table.as_str()) {
                self.is_ours = true;
            }
        }
    }
}

/// Program and process, as `nft (pid 4711)`. A program names itself, so only what prints plainly is kept.
fn who(body: &[u8]) -> Option<String> {
    let process = number(value(body, GENERATION_PROCESS)?);
    let name = text(value(body, GENERATION_NAME).unwrap_or_default());
    let name: String = name.chars().filter(char::is_ascii_graphic).take(16).collect();
    let name = if name.is_empty() { "a program" } else { &name };
    Some(format!("{name} (pid {process})"))
}

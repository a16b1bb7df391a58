//! `kill_sessions = yes`: what a banned address has open ends with its ban.
//!
//! In come [`Victim`]s, who are banned in the kernel already, so that nothing new gets in meanwhile. What they have
//! open is looked up in one list of each kind for all that wait: sockets of this machine, and flows that it tracks
//! for others. Nothing comes out: the ban holds without this, so that a failure is a remark in the log.
//!
//! It has a thread of its own. A list takes a millisecond for each thousand of connections, and bans do not wait for
//! it; those that are made while one is read share the next.

mod flows;
mod sockets;
#[cfg(test)]
mod tests;
mod victims;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;

use ipnet::IpNet;
use rustix::io::Errno;

use self::flows::{Flows, Landing};
use self::sockets::Sockets;
pub(crate) use self::victims::Cover;
use self::victims::Victims;
use super::netlink::{Netlink, Request};
use super::ports::Protocol;

/// Where the remarks stand in the log.
const LOGGER: &str = "fail2ban.actions";

/// Somebody who is banned.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    /// The address, or the network
    pub net: IpNet,
    /// What the ban covers
    pub cover: Arc<Cover>,
}

/// The way to the thread that ends sessions; it starts with the first victim, and ends when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Option<Sender<Vec<Victim>>>);

impl Sessions {
    /// Ends the sessions of these soon, in the caller's network namespace; returns at once.
    pub(crate) fn end(&mut self, victims: Vec<Victim>) {
        if victims.is_empty() {
            return;
        }
        let unsent = match &self.0 {
            None => victims,
            Some(way) => match way.send(victims) {
                Ok(()) => return,
                // The thread is gone, which it should not be.
                Err(SendError(victims)) => victims,
            },
        };
        match start() {
            Ok(way) => {
                let _ = way.send(unsent);
                self.0 = Some(way);
            }
            Err(error) => log::warn!(target: LOGGER, "kill_sessions: no thread for it: {error}; the bans hold"),
        }
    }
}

fn start() -> std::io::Result<Sender<Vec<Victim>>> {
    let (way, inbox) = channel();
    let name = "sessions".to_owned();
    thread::Builder::new().name(name).spawn(move || run(&inbox))?;
    Ok(way)
}

fn run(inbox: &Receiver<Vec<Victim>>) {
    let mut end = End::default();
    while let Ok(mut victims) = inbox.recv() {
        victims.extend(inbox.try_iter().flatten());
        end.all(&Victims::new(victims));
    }
}

/// What was ended of some victims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ended {
    sockets: usize,
    flows: usize,
}

/// The work, and what was said of it.
#[derive(Debug, Default)]
struct End {
    /// Attempts that failed, ever
    failed: usize,
    /// What this machine does not have, said once
    absent: BTreeSet<&'static str>,
}

impl End {
    /// Ends all that these have open.
    fn all(&mut self, victims: &Victims) -> Ended {
        let mut flows = self.expect("tracked flows", Flows::open()).flatten();
        let found = flows.as_mut().map(|flows| flows.find(victims));
        let found = found
            .and_then(|found| self.expect("tracked flows", found))
            .unwrap_or_default();
        let landed: HashSet<_> = found.iter().filter_map(|flow| flow.landing).collect();
        // The sockets come first: what they say to the client in the end has to be translated still.
        let mut ended = Ended {
            sockets: self.sockets(victims, &landed),
            flows: 0,
        };
        if let Some(mut flows) = flows {
            let orders: Vec<Request> = found.into_iter().map(|flow| flow.order).collect();
            ended.flows = self.count("tracked flows", orders.len(), flows.delete(&orders));
        }
        if ended != Ended::default() {
            let Ended { sockets, flows } = ended;
            log::info!(
                target: LOGGER,
                "kill_sessions: ended {sockets} sockets and {flows} tracked flows after bans of {} addresses",
                victims.count()
            );
        }
        ended
    }

    fn sockets(&mut self, victims: &Victims, landed: &HashSet<Landing>) -> usize {
        let Some(mut sockets) = self.expect("sockets", Sockets::open()) else {
            return 0;
        };
        let mut ended = 0;
        for (protocol, what) in [(Protocol::Tcp, "TCP sockets"), (Protocol::Udp, "UDP sockets")] {
            if victims.concern(protocol) {
                let orders = self
                    .expect(what, sockets.find(protocol, victims, landed))
                    .unwrap_or_default();
                ended += self.count(what, orders.len(), sockets.destroy(&orders));
            }
        }
        ended
    }

    /// What was asked for; without it a remark.
    fn expect<T>(&mut self, what: &'static str, result: Result<T, Errno>) -> Option<T> {
        let errno = match result {
            Ok(value) => return Some(value),
            Err(errno) => errno,
        };
        if is_absence(errno) {
            if self.absent.insert(what) {
                log::info!(target: LOGGER, "kill_sessions: the kernel shows no {what} here ({errno}); none are ended");
            }
        } else {
            self.fail(1, what, errno);
        }
        None
    }

    /// How many of so many orders were carried out.
    fn count(&mut self, what: &'static str, orders: usize, refused: Result<Vec<Errno>, Errno>) -> usize {
        let Some(refused) = self.expect(what, refused) else {
            return 0;
        };
        if let Some(errno) = refused.first() {
            self.fail(refused.len(), what, *errno);
        }
        orders - refused.len()
    }

    /// Notes failures; of many it tells when their number has doubled.
    fn fail(&mut self, times: usize, what: &str, errno: Errno) {
        let before = self.failed;
        self.failed += times;
        if before.leading_zeros() != self.failed.leading_zeros() {
            let so_far = self.failed;
            log::warn!(target: LOGGER, "kill_sessions: cannot end {what}: {errno} (failures so far: {so_far}); the bans hold");
        }
    }
}

/// Whether the kernel has no such part, or shows it to others only.
fn is_absence(errno: Errno) -> bool {
    [
        Errno::NOENT,
        Errno::PERM,
        Errno::INVAL,
        Errno::PROTONOSUPPORT,
        Errno::AFNOSUPPORT,
    ]
    .contains(&errno)
}

/// Gives the orders; gives what they were refused with, but for what is gone already.
fn carry_out(socket: &mut Netlink, orders: &[Request]) -> Result<Vec<Errno>, Errno> {
    let refused = socket.each(orders)?;
    Ok(refused
        .into_iter()
        .map(|(_, errno)| errno)
        .filter(|errno| *errno != Errno::NOENT)
        .collect())
}

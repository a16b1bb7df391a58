//! The kernel's packet filter, by nftables over netlink: `table inet portcullis`.
//!
//! In come changes for *scopes* — one for each action of each jail, with its ports, protocols and blocktype —
//! out go answers that the kernel has confirmed. All that concerns addresses goes in batches, one transaction
//! each; a batch with something in it that the kernel refuses is split until only that is left out.
//!
//! What was confirmed is remembered ([`wish`]), so that the kernel can be held against it and mended ([`mend`]) as soon
//! as somebody else touches the table ([`watch`]). What the kernel holds outlives us: starting a scope takes in its
//! elements, and rewrites the rules around them in one transaction, so there is no moment without the bans. Nothing
//! here runs a program.

mod attributes;
mod batch;
mod build;
mod elements;
mod glance;
mod kill;
mod mend;
mod rules;
mod sets;
mod settle;
mod socket;
mod survey;
#[cfg(test)]
mod tests;
mod watch;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use portcullis_core::address::Id;
use portcullis_core::ledger::{Applied, Change, LayerId, Order, Reading, Standing};
use portcullis_core::time::{Seconds, Timestamp};
use rustix::io::Errno;

use self::batch::Pending;
pub(crate) use self::build::flush_everything;
pub(crate) use self::glance::{Part, glance};
use self::sets::SetKey;
use self::socket::{Message, Refusal, Reply, Socket};
pub(crate) use self::watch::Wake;
use self::watch::Watch;
use self::wish::{Moment, Wish};
use super::ports::{Ports, Protocol};
use super::sessions::Sessions;
use super::{Error, Held, Layer, answer};
use crate::fault;

/// The table's usual name.
pub(crate) const TABLE: &str = "portcullis";

/// From this many bytes on a transaction of our own is not listened to.
const LOUD: usize = 32 << 10;

/// What happens to a packet of a banned address (Fail2Ban's `blocktype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocktype {
    /// Nothing comes back.
    Drop,
    /// "Port unreachable" comes back.
    Reject,
}

/// A `blocktype` that is not done natively.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("blocktype '{0}' is not supported by the nft action (drop, reject)")]
pub(crate) struct BadBlocktype(pub String);

impl FromStr for Blocktype {
    type Err = BadBlocktype;

    fn from_str(text: &str) -> Result<Blocktype, BadBlocktype> {
        match text.trim().to_ascii_lowercase().as_str() {
            "drop" => Ok(Blocktype::Drop),
            "reject" => Ok(Blocktype::Reject),
            _ => Err(BadBlocktype(text.to_owned())),
        }
    }
}

/// What the bans of one layer cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The ports that the client dialled, before any translation
    pub ports: Ports,
    /// The protocols; empty for all
    pub protocols: Vec<Protocol>,
    /// What happens to the packets
    pub blocktype: Blocktype,
    /// Whether what a banned address has open ends, too
    pub kill_sessions: bool,
}

/// The nftables layer.
#[derive(Debug)]
pub(crate) struct Nft {
    socket: Socket,
    table: String,
    scopes: BTreeMap<LayerId, Scope>,
    /// What the kernel is to hold, for each scope that was set up
    wishes: BTreeMap<LayerId, Wish>,
    /// Whether the kernel knows deletion that is content where there is nothing (6.3)
    can_destroy: bool,
    /// Where the sessions of the banned end, in scopes with `kill_sessions`
    sessions: Sessions,
    watch: Option<Watch>,
    /// Layers that were stopped and could not be removed yet
    leaving: BTreeSet<LayerId>,
    /// What was mended in the middle of other work, and not told yet
    findings: Vec<Reading>,
    /// Whether the kernel may differ from the wish
    is_suspect: bool,
    /// Whether that is because of an order that was given by hand
    by_hand: bool,
    /// Transactions sent
    #[cfg(test)]
    sent: usize,
}

/// What was wished of a layer.
#[derive(Debug)]
pub(crate) struct Kept(LayerId, Wish);

type Result<T, E = Error> = std::result::Result<T, E>;

impl Nft {
    /// Opens the way to the kernel; changes nothing there. `table` is [`TABLE`] but for tests.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where nothing can be enforced: no nf_tables in the kernel, no right to use it.
    pub(crate) fn open(table: &str) -> Result<Nft> {
        let mut socket = Socket::open()?;
        // An empty transaction already needs the right and the kernel's module.
        socket.transact(&[]).map_err(|refusals| unavailable(&refusals))?;
        // Of an unknown verb the kernel says "invalid argument", of an unknown set "no such file".
        let nobody = LayerId {
            jail: "probe".into(),
            action: "probe".into(),
        };
        let probe = elements::remove(table, &nobody, SetKey::ADDRESSES[0], &[], false);
        let can_destroy = match socket.transact(&[probe]) {
            Err(refusals) => refusals.iter().all(|refusal| refusal.errno == Errno::NOENT),
            Ok(()) => true,
        };
        Ok(Nft {
            can_destroy,
            ..Nft::bare(socket, table)
        })
    }

    fn bare(socket: Socket, table: &str) -> Nft {
        Nft {
            socket,
            table: table.to_owned(),
            scopes: BTreeMap::new(),
            wishes: BTreeMap::new(),
            can_destroy: false,
            sessions: Sessions::default(),
            watch: None,
            leaving: BTreeSet::new(),
            findings: Vec::new(),
            is_suspect: false,
            by_hand: false,
            #[cfg(test)]
            sent: 0,
        }
    }

    /// Has `wake` called when somebody else touches the table: [`Layer::mend`] is due then.
    ///
    /// # Errors
    /// There is no listening; then only regular mending notices.
    pub(crate) fn listen(&mut self, wake: Wake) -> std::io::Result<()> {
        self.watch = Some(Watch::start(&self.table, self.socket.port()?, wake)?);
        Ok(())
    }

    /// Says what a layer covers: before its [`Order::Start`], and again before [`Order::Reload`].
    pub(crate) fn configure(&mut self, layer: LayerId, scope: Scope) {
        if self.scopes.get(&layer) != Some(&scope) {
            if let Some(wish) = self.wishes.get_mut(&layer) {
                wish.is_current = false;
            }
            self.scopes.insert(layer, scope);
        }
    }

    /// Removes from the kernel all layers but the known ones; gives those removed.
    ///
    /// # Errors
    /// The kernel cannot be read, or refuses.
    pub(crate) fn remove_orphans(&mut self, known: &BTreeSet<LayerId>) -> Result<Vec<LayerId>> {
        let survey = self.survey()?;
        let strangers: Vec<LayerId> = survey.layers().difference(known).cloned().collect();
        let mut removed = Ok(());
        for layer in &strangers {
            removed = removed.and(self.stop(layer));
        }
        removed.map(|()| strangers)
    }

    /// All bans of the start were ordered: what a former run left and nobody ordered goes with the next mending.
    pub(crate) fn complete(&mut self) {
        for wish in self.wishes.values_mut() {
            wish.is_complete = true;
        }
        self.is_suspect |= self.wishes.values().any(Wish::has_strays);
    }

    /// Whether the kernel may differ from what it was told, so that mending is due.
    pub(crate) fn is_suspect(&self) -> bool {
        self.is_suspect || !self.findings.is_empty()
    }

    /// Before an order that somebody gave by hand, of which the ledger knows nothing: what is wished of the layer, where
    /// the order takes something away.
    pub(crate) fn keep(&self, change: &Change) -> Option<Kept> {
        let takes = matches!(
            change.order,
            Order::Stop | Order::Flush | Order::Vacate | Order::Unban(_)
        );
        let wish = self.wishes.get(&change.layer).filter(|_| takes)?;
        Some(Kept(change.layer.clone(), wish.clone()))
    }

    /// After it: what it took away is still wished, and the next mending puts it back.
    pub(crate) fn put_back(&mut self, kept: Option<Kept>) {
        if let Some(Kept(layer, wish)) = kept {
            self.wishes.insert(layer, wish);
            self.is_suspect = true;
            self.by_hand = true;
        }
    }

    fn dump(&mut self, request: &Message, what: &str) -> Result<Vec<Reply>> {
        let table = &self.table;
        self.socket
            .dump(request)
            .map_err(|errno| refusal(format!("{what} of table inet {table}"), errno))
    }

    fn transact(&mut self, messages: &[Message], what: &str) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        self.send(messages).map_err(|refusals| {
            let first = refusals.first();
            let part = first
                .and_then(|refusal| messages.get(refusal.at?))
                .map(|message| message.about.clone());
            let what = match part {
                Some(part) => format!("{what} in table inet {} ({part})", self.table),
                None => format!("{what} in table inet {}", self.table),
            };
            refusal(what, first.map_or(Errno::PROTO, |refusal| refusal.errno))
        })
    }

    /// Sends one transaction; a large one with the ear closed.
    fn send(&mut self, messages: &[Message]) -> Result<(), Vec<Refusal>> {
        #[cfg(test)]
        {
            self.sent += 1;
        }
        let size: usize = messages.iter().map(|message| message.body.len()).sum();
        let Some(watch) = self.watch.as_ref().filter(|_| size > LOUD) else {
            return self.socket.transact(messages);
        };
        let before = self.socket.generation();
        let closed = watch.hear(false);
        let result = self.socket.transact(messages);
        let opened = watch.hear(true);
        let after = self.socket.generation();
        let own = u32::from(result.is_ok());
        let is_alone = matches!((before, after), (Ok(before), Ok(after)) if after == before.wrapping_add(own));
        if !is_alone || closed.is_err() || opened.is_err() {
            watch.doubt();
        }
        result
    }

    fn read_back(&mut self) -> Result<Vec<Held>> {
        let survey = self.survey()?;
        let mut out = Vec::new();
        if survey.is_foreign() {
            return Ok(out);
        }
        for layer in survey.layers() {
            // Nor does one that packets come past.
            if self.leaks(&layer, &survey) {
                self.is_suspect = true;
                continue;
            }
            for (key, is_sound) in survey.sets_of(&layer) {
                // A set that no packet reaches holds nobody.
                if !is_sound || !survey.is_enforced(&layer, key) {
                    self.is_suspect = true;
                    continue;
                }
                // Counted from zero, the end is what remains.
                let zero = Moment::new(Timestamp::from_micros(0));
                self.elements(zero, (&layer, key), |ip, end| {
                    let remaining = end.map(|end| Seconds::from_micros(end.micros().max(0)));
                    let id = elements::id(key, ip);
                    out.extend(id.map(|id| Held {
                        layer: layer.clone(),
                        id,
                        remaining,
                    }));
                })?;
            }
        }
        Ok(out)
    }
}

impl Layer for Nft {
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        let moment = Moment::new(now);
        let mut answers = vec![None; changes.len()];
        let mut pending = Pending::default();
        for (at, change) in changes.iter().enumerate() {
            let layer = &change.layer;
            let done = match change.order.ticket() {
                Some(ticket) => {
                    match change.order {
                        Order::Unban(_) => fault::reach(fault::Step::Unban),
                        Order::Prolong(_) => fault::reach(fault::Step::Prolong),
                        _ => {}
                    }
                    pending.put(now, at, layer, (change.order.kind(), ticket))
                }
                None => {
                    self.settle(moment, std::mem::take(&mut pending), &mut answers);
                    let result = match change.order {
                        Order::Stop => self.stop(layer),
                        Order::Flush | Order::Vacate => self.flush(layer),
                        _ => self.start(moment, layer, &BTreeSet::new()),
                    };
                    Some(result.map(|()| Standing::Applied).map_err(|error| error.to_string()))
                }
            };
            if let (Some(place), Some(done)) = (answers.get_mut(at), done) {
                *place = Some(done);
            }
        }
        self.settle(moment, pending, &mut answers);
        self.sessions.end(kill::victims(&self.scopes, changes, &answers));
        let unanswered = || Err("the kernel gave no answer".to_owned());
        changes
            .iter()
            .zip(answers)
            .map(|(change, result)| answer(change, result.unwrap_or_else(unanswered)))
            .collect()
    }

    fn held(&mut self) -> Option<Result<Vec<Held>>> {
        Some(self.read_back())
    }

    fn mend(&mut self, now: Timestamp) -> Option<Result<Vec<Reading>>> {
        Some(self.mend_now(Moment::new(now)))
    }

    fn holds(&mut self, bans: &[(LayerId, Id)]) -> Option<Result<Vec<bool>>> {
        Some(self.look_up(bans))
    }
}

fn unavailable(refusals: &[Refusal]) -> Error {
    let errno = refusals.first().map_or(Errno::PROTO, |refusal| refusal.errno);
    Error::Unavailable(match errno {
        Errno::PERM | Errno::ACCESS => {
            "no right to change the packet filter (CAP_NET_ADMIN is missing): nothing can be banned with nftables; run \
             as root, or give the service that capability"
                .to_owned()
        }
        Errno::OPNOTSUPP | Errno::INVAL => {
            "this kernel has no nf_tables (or may not load it): nothing can be banned with nftables; try `modprobe \
             nf_tables`, or use a shell action"
                .to_owned()
        }
        errno => format!("the kernel refuses an empty nftables transaction: {errno}"),
    })
}

/// What the kernel refused, and what to do about it where that is known.
fn refusal(what: String, errno: Errno) -> Error {
    let advice = match errno {
        Errno::NFILE => "the set is full: somebody gave it a limit; it is made again without one",
        Errno::NOMEM | Errno::NOBUFS => {
            "the kernel has no memory for it: free some (`nft list ruleset` shows what else is there); it is tried again"
        }
        Errno::PERM | Errno::ACCESS => {
            "no right to change the packet filter: give the service CAP_NET_ADMIN, and see that no other program owns \
             the table"
        }
        _ => return Error::Refused { what, errno },
    };
    Error::Answer {
        what,
        reason: format!("{errno}: {advice}"),
    }
}

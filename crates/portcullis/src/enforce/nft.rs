//! The kernel's packet filter, by nftables over netlink: `table inet portcullis`.
//!
//! In come changes for *scopes* — one for each action of each jail, with its ports, protocols and blocktype —
//! out go answers that the kernel has confirmed. All that concerns addresses goes in batches, one transaction
//! each; a batch with something in it that the kernel refuses is split until only that is left out.
//!
//! What the kernel holds outlives us: starting a scope keeps its elements, and rewrites the rules around them in
//! one transaction, so there is no moment without the bans. Nothing here runs a program.

mod batch;
mod elements;
mod kill;
mod rules;
mod sets;
mod socket;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use portcullis_core::ledger::{Applied, Change, LayerId, Order, Standing};
use portcullis_core::time::Timestamp;
use rustix::io::Errno;

use self::batch::{Chunk, Outcome, Pending, batches};
use self::elements::Element;
use self::sets::SetKey;
use self::socket::{Message, Refusal, Reply, Socket};
use self::survey::Survey;
use super::ports::{Ports, Protocol};
use super::sessions::Sessions;
use super::{Error, Held, Layer, answer};

/// The table's usual name.
pub(crate) const TABLE: &str = "portcullis";

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
    /// Scopes that were set up, and the sets they have in the kernel
    present: BTreeMap<LayerId, BTreeSet<SetKey>>,
    /// Whether the kernel knows deletion that is content where there is nothing (6.3)
    can_destroy: bool,
    /// Where the sessions of the banned end, in scopes with `kill_sessions`
    sessions: Sessions,
}

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
            socket,
            table: table.to_owned(),
            scopes: BTreeMap::new(),
            present: BTreeMap::new(),
            can_destroy,
            sessions: Sessions::default(),
        })
    }

    /// Says what a layer covers: before its [`Order::Start`], and again before [`Order::Reload`].
    pub(crate) fn configure(&mut self, layer: LayerId, scope: Scope) {
        if self.scopes.get(&layer) != Some(&scope) {
            self.present.remove(&layer);
            self.scopes.insert(layer, scope);
        }
    }

    /// Removes from the kernel all layers but the known ones; gives those removed.
    ///
    /// # Errors
    /// The kernel cannot be read, or refuses.
    pub(crate) fn remove_orphans(&mut self, known: &BTreeSet<LayerId>) -> Result<Vec<LayerId>> {
        let strangers = self.strangers(known)?;
        for layer in &strangers {
            self.stop(layer)?;
        }
        Ok(strangers)
    }

    fn strangers(&mut self, known: &BTreeSet<LayerId>) -> Result<Vec<LayerId>> {
        let survey = self.survey()?;
        Ok(survey.sets.into_keys().filter(|layer| !known.contains(layer)).collect())
    }

    fn survey(&mut self) -> Result<Survey> {
        let mut survey = Survey::default();
        for set in self.dump(&sets::list(&self.table), "list the sets")? {
            if let Some(set) = set.read().and_then(|set| sets::known(&set, &self.table)) {
                survey.sets.entry(set.layer).or_default().insert(set.key, set.is_sound);
            }
        }
        let chains = self.dump(&rules::list_chains(), "list the chains")?;
        survey.chains = chains
            .iter()
            .filter_map(|chain| rules::chain_name(&chain.read()?, &self.table))
            .collect();
        let rules = self.dump(&rules::list_rules(&self.table), "list the rules")?;
        survey.rules = rules.iter().filter_map(|rule| rules::known(&rule.read()?)).collect();
        Ok(survey)
    }

    fn dump(&mut self, request: &Message, what: &str) -> Result<Vec<Reply>> {
        self.socket.dump(request).map_err(|errno| Error::Refused {
            what: format!("{what} of table inet {}", self.table),
            errno,
        })
    }

    fn transact(&mut self, messages: &[Message], what: &str) -> Result<()> {
        self.socket.transact(messages).map_err(|refusals| {
            let first = refusals.first();
            let part = first
                .and_then(|refusal| messages.get(refusal.at?))
                .map(|message| message.about.clone());
            Error::Refused {
                what: match part {
                    Some(part) => format!("{what} in table inet {} ({part})", self.table),
                    None => format!("{what} in table inet {}", self.table),
                },
                errno: first.map_or(Errno::PROTO, |refusal| refusal.errno),
            }
        })
    }

    /// Makes a layer's sets, chain and rules what the configuration says, whatever is there, elements kept.
    fn start(&mut self, layer: &LayerId, keys: &BTreeSet<SetKey>) -> Result<()> {
        let scope = self.scopes.get(layer).cloned().ok_or_else(|| Error::Answer {
            what: format!("start action '{}' of jail '{}'", layer.action, layer.jail),
            reason: "its ports were never configured".to_owned(),
        })?;
        let survey = self.survey()?;
        let none = BTreeMap::new();
        let there = survey.sets.get(layer).unwrap_or(&none);
        let wanted: BTreeSet<SetKey> = SetKey::ADDRESSES
            .iter()
            .chain(keys)
            .chain(there.keys())
            .copied()
            .collect();
        let chain = sets::scope_name(layer);
        let mut messages = rules::create_base(&self.table).to_vec();
        // Rules go before sets may go, and the old jumps before the new ones come.
        messages.extend(rules::create_chain(&self.table, &chain));
        messages.extend(
            survey
                .jumps_to(&chain)
                .map(|handle| rules::delete_rule(&self.table, handle)),
        );
        for key in sets::in_reading_order(&wanted) {
            if there.get(&key) == Some(&false) {
                messages.push(sets::delete(&self.table, layer, key));
            }
            messages.push(sets::create(&self.table, layer, key)?);
            messages.push(rules::lookup_rule(&self.table, &chain, key, scope.blocktype));
        }
        let note = format!("jail {}, action {}", layer.jail, layer.action);
        messages.extend(rules::jumps(&self.table, &chain, &scope, &note));
        self.transact(&messages, &format!("set up {chain}"))?;
        self.present.insert(layer.clone(), wanted);
        Ok(())
    }

    /// Takes a layer out of the kernel, and the table with the last of them.
    fn stop(&mut self, layer: &LayerId) -> Result<()> {
        self.present.remove(layer);
        let survey = self.survey()?;
        let chain = sets::scope_name(layer);
        let is_last = survey.sets.keys().all(|other| other == layer);
        if is_last {
            return delete_table(&mut self.socket, &self.table).map(drop);
        }
        let mut messages: Vec<Message> = survey
            .jumps_to(&chain)
            .map(|handle| rules::delete_rule(&self.table, handle))
            .collect();
        if survey.chains.contains(&chain) {
            messages.push(rules::delete_chain(&self.table, &chain));
        }
        let keys = survey.sets.get(layer).into_iter().flat_map(BTreeMap::keys);
        messages.extend(keys.map(|key| sets::delete(&self.table, layer, *key)));
        if messages.is_empty() {
            return Ok(());
        }
        self.transact(&messages, &format!("remove {chain}"))
    }

    /// Empties a layer's sets.
    fn flush(&mut self, layer: &LayerId) -> Result<()> {
        let survey = self.survey()?;
        let keys = survey.sets.get(layer).into_iter().flat_map(BTreeMap::keys);
        let messages: Vec<Message> = keys.map(|key| elements::clear(&self.table, layer, *key)).collect();
        if messages.is_empty() {
            return Ok(());
        }
        self.transact(&messages, &format!("empty {}", sets::scope_name(layer)))
    }

    /// Does the collected work; answers every change it stands for.
    fn settle(&mut self, pending: Pending, answers: &mut [Option<Outcome>]) {
        let mut chunks = pending.chunks();
        self.prepare(&mut chunks, answers);
        let mut queue = batches(chunks);
        let mut may_heal = true;
        while let Some(mut batch) = queue.pop() {
            let (messages, owners) = self.messages(&batch);
            let Err(refusals) = self.socket.transact(&messages) else {
                batch
                    .iter()
                    .for_each(|chunk| chunk.answer(&Ok(Standing::Applied), answers));
                continue;
            };
            // Somebody else emptied the ruleset: build ours again, once, and say it all again.
            if may_heal && refusals.iter().any(|refusal| refusal.errno == Errno::NOENT) {
                may_heal = false;
                log::warn!(
                    "table inet {} was changed by somebody else; setting it up again",
                    self.table
                );
                self.present.clear();
                self.prepare(&mut batch, answers);
                queue.push(batch);
                continue;
            }
            queue.extend(self.split(batch, &refusals, &owners, answers));
        }
    }

    /// Sees to it that the sets are there; drops the chunks for which they cannot or need not be.
    fn prepare(&mut self, chunks: &mut Vec<Chunk>, answers: &mut [Option<Outcome>]) {
        let layers: BTreeSet<LayerId> = chunks.iter().map(|chunk| chunk.layer.clone()).collect();
        for layer in layers {
            let bans = chunks.iter().filter(|chunk| chunk.layer == layer && chunk.is_ban());
            let needed = bans.map(|chunk| chunk.key).collect();
            let sets = self.sets_with(&layer, &needed).map_err(|error| error.to_string());
            chunks.retain(|chunk| {
                let done = match &sets {
                    _ if chunk.layer != layer => return true,
                    Ok(sets) if sets.contains(&chunk.key) => return true,
                    // Where there is no set there is nobody to free.
                    Ok(_) => Ok(Standing::Applied),
                    Err(error) => Err(error.clone()),
                };
                chunk.answer(&done, answers);
                false
            });
        }
    }

    /// The sets that a layer has in the kernel, after making those that are needed.
    fn sets_with(&mut self, layer: &LayerId, needed: &BTreeSet<SetKey>) -> Result<BTreeSet<SetKey>> {
        match self.present.get(layer) {
            Some(present) if needed.is_subset(present) => return Ok(present.clone()),
            None if needed.is_empty() => {
                let sets = self.survey()?.sets.remove(layer).unwrap_or_default();
                return Ok(sets.into_keys().collect());
            }
            _ => self.start(layer, needed)?,
        }
        Ok(self.present.get(layer).cloned().unwrap_or_default())
    }

    /// The messages of a batch, and for each the chunk it came from.
    fn messages(&self, batch: &[Chunk]) -> (Vec<Message>, Vec<usize>) {
        let (mut messages, mut owners) = (Vec::new(), Vec::new());
        for (at, chunk) in batch.iter().enumerate() {
            let elements: Vec<Element> = chunk.works.iter().map(|work| work.element).collect();
            let add = || elements::add(&self.table, &chunk.layer, chunk.key, &elements);
            // An element that is there already keeps its old end on older kernels when it is added again, so it
            // goes first; and what need not be there is deleted by adding it before where the kernel is older still.
            if !self.can_destroy {
                messages.push(add());
            }
            messages.push(elements::remove(
                &self.table,
                &chunk.layer,
                chunk.key,
                &elements,
                !self.can_destroy,
            ));
            if chunk.is_ban() {
                messages.push(add());
            }
            owners.resize(messages.len(), at);
        }
        (messages, owners)
    }

    /// What to try next after a refusal: what was not refused as it is, what was refused in halves, and a single
    /// element not at all.
    fn split(
        &self,
        batch: Vec<Chunk>,
        refusals: &[Refusal],
        owners: &[usize],
        answers: &mut [Option<Outcome>],
    ) -> Vec<Vec<Chunk>> {
        let guilty: BTreeSet<usize> = refusals.iter().filter_map(|r| owners.get(r.at?).copied()).collect();
        let errno = refusals.first().map_or(Errno::PROTO, |refusal| refusal.errno);
        if guilty.is_empty() {
            // The transaction as a whole was refused; without the right to it no part will fare better.
            let length = batch.len();
            if errno != Errno::PERM && length > 1 {
                let mut first = batch;
                let second = first.split_off(length / 2);
                return vec![second, first];
            }
        }
        let (mut innocent, mut halves) = (Vec::new(), Vec::new());
        for (at, chunk) in batch.into_iter().enumerate() {
            if !guilty.is_empty() && !guilty.contains(&at) {
                innocent.push(chunk);
            } else if chunk.works.len() > 1 && errno != Errno::PERM {
                halves.extend(chunk.halves());
            } else {
                let errno = refusals
                    .iter()
                    .find(|r| r.at.and_then(|m| owners.get(m)) == Some(&at))
                    .map_or(errno, |r| r.errno);
                chunk.answer(&Err(self.complaint(&chunk, errno)), answers);
            }
        }
        [halves, innocent]
            .into_iter()
            .filter(|chunks| !chunks.is_empty())
            .collect()
    }

    fn complaint(&self, chunk: &Chunk, errno: Errno) -> String {
        let who = match chunk.works.as_slice() {
            [work] if chunk.key.is_addresses() => work.element.ip.to_string(),
            [work] => format!("{}/{}", work.element.ip, chunk.key.prefix),
            works => format!("{} addresses", works.len()),
        };
        let verb = if chunk.is_ban() { "add" } else { "delete" };
        let set = chunk.key.name(&sets::scope_name(&chunk.layer));
        let what = format!("{verb} element {who} of set {set} in table inet {}", self.table);
        Error::Refused { what, errno }.to_string()
    }

    fn read_back(&mut self) -> Result<Vec<Held>> {
        let survey = self.survey()?;
        let mut out = Vec::new();
        for (layer, keys) in &survey.sets {
            for key in keys.keys() {
                // A set that no packet reaches holds nobody.
                if !survey.is_enforced(layer, *key) {
                    self.present.remove(layer);
                    continue;
                }
                let request = elements::list(&self.table, layer, *key);
                for message in self.dump(&request, &format!("list set {}", key.name(&sets::scope_name(layer))))? {
                    elements::held(&message, layer, *key, &mut out);
                }
            }
        }
        Ok(out)
    }
}

impl Layer for Nft {
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        let mut answers = vec![None; changes.len()];
        let mut pending = Pending::default();
        for (at, change) in changes.iter().enumerate() {
            let layer = &change.layer;
            let done = match &change.order {
                Order::Ban(ticket) | Order::Prolong(ticket) | Order::Again(ticket) => {
                    pending.put(at, layer, ticket, Some(now))
                }
                Order::Unban(ticket) => pending.put(at, layer, ticket, None),
                order => {
                    self.settle(std::mem::take(&mut pending), &mut answers);
                    let result = match order {
                        Order::Stop => self.stop(layer),
                        Order::Flush | Order::Vacate => self.flush(layer),
                        _ => self.start(layer, &BTreeSet::new()),
                    };
                    Some(result.map(|()| Standing::Applied).map_err(|error| error.to_string()))
                }
            };
            if let (Some(place), Some(done)) = (answers.get_mut(at), done) {
                *place = Some(done);
            }
        }
        self.settle(pending, &mut answers);
        self.sessions.end(kill::victims(&self.scopes, changes, &answers));
        let unanswered = || Err("the kernel gave no answer".to_owned());
        changes
            .iter()
            .zip(answers)
            .map(|(change, result)| answer(change, result.unwrap_or_else(unanswered)))
            .collect()
    }

    fn held(&mut self) -> Option<std::result::Result<Vec<Held>, Error>> {
        Some(self.read_back())
    }
}

/// Deletes the table with every ban in it, for `portcullis flush` while no daemon runs. Says whether there was one.
///
/// # Errors
/// [`Error::Unavailable`], or the kernel refuses.
pub(crate) fn flush_everything(table: &str) -> Result<bool> {
    delete_table(&mut Socket::open()?, table)
}

fn delete_table(socket: &mut Socket, table: &str) -> Result<bool> {
    let refused = |errno| Error::Refused {
        what: format!("delete table inet {table}"),
        errno,
    };
    let tables = socket.dump(&rules::list_tables()).map_err(refused)?;
    if !tables
        .iter()
        .filter_map(Reply::read)
        .any(|message| rules::is_table(&message, table))
    {
        return Ok(false);
    }
    match socket.transact(&[rules::delete_table(table)]) {
        Ok(()) => Ok(true),
        Err(refusals) => Err(refused(refusals.first().map_or(Errno::PROTO, |refusal| refusal.errno))),
    }
}

fn unavailable(refusals: &[Refusal]) -> Error {
    let errno = refusals.first().map_or(Errno::PROTO, |refusal| refusal.errno);
    Error::Unavailable(match errno {
        Errno::PERM | Errno::ACCESS => {
            "no right to change the packet filter (CAP_NET_ADMIN is missing): nothing can be banned with nftables"
                .to_owned()
        }
        Errno::OPNOTSUPP | Errno::INVAL => {
            "this kernel has no nf_tables (or may not load it): nothing can be banned with nftables".to_owned()
        }
        errno => format!("the kernel refuses an empty nftables transaction: {errno}"),
    })
}

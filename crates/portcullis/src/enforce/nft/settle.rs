//! Bans and unbans on their way into the kernel: as few transactions as there can be, each change answered, and only
//! what the kernel refuses left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portcullis_core::ledger::{LayerId, Standing};
use rustix::io::Errno;

use super::batch::{Chunk, Outcome, Pending, Step, Work, batches, chunks};
use super::elements::{self, Element};
use super::sets::{self, SetKey};
use super::socket::{Message, Refusal};
use super::wish::Moment;
use super::{Nft, Result, refusal};
use crate::fault;

type Groups = BTreeMap<(LayerId, SetKey), Vec<Work>>;

impl Nft {
    /// Does the collected work; answers every change it stands for.
    pub(super) fn settle(&mut self, now: Moment, pending: Pending, answers: &mut [Option<Outcome>]) {
        let mut groups = pending.groups();
        self.prepare(now, &mut groups, answers);
        let mut queue = batches(self.sort(groups, answers));
        let mut may_heal = true;
        while let Some(batch) = queue.pop() {
            let (messages, owners) = self.messages(now, &batch);
            fault::reach(fault::Step::Transaction);
            let Err(refusals) = self.send(&messages) else {
                fault::reach(fault::Step::Confirmed);
                for chunk in &batch {
                    self.confirm(chunk);
                    chunk.answer(&Ok(Standing::Applied), answers);
                }
                continue;
            };
            // Somebody else took away what is written to, or gave it a limit: once it is mended and all said again.
            let is_gone = |refusal: &Refusal| matches!(refusal.errno, Errno::NOENT | Errno::NFILE);
            if may_heal && refusals.iter().any(is_gone) {
                may_heal = false;
                self.heal(now);
                queue.push(batch);
                continue;
            }
            queue.extend(self.split(batch, &refusals, &owners, answers));
        }
    }

    /// Sees to it that the sets are there; drops the groups for which they cannot or need not be.
    fn prepare(&mut self, now: Moment, groups: &mut Groups, answers: &mut [Option<Outcome>]) {
        let layers: BTreeSet<LayerId> = groups.keys().map(|(layer, _)| layer.clone()).collect();
        for layer in layers {
            let own = groups.iter().filter(|((of, _), _)| *of == layer);
            let bans = own.filter(|(_, works)| works.iter().any(|work| work.is_ban));
            let needed = bans.map(|((_, key), _)| *key).collect();
            let sets = self.sets_with(now, &layer, &needed).map_err(|error| error.to_string());
            groups.retain(|(of, key), works| {
                let done = match &sets {
                    _ if *of != layer => return true,
                    Ok(sets) if sets.contains(key) => return true,
                    // Where there is no set there is nobody to free.
                    Ok(_) => Ok(Standing::Applied),
                    Err(error) => Err(error.clone()),
                };
                for work in works {
                    if done.is_err() && !work.is_ban {
                        self.release(of, *key, work.element.ip);
                    }
                    answer(work, &done, answers);
                }
                false
            });
        }
    }

    /// The sets that a layer has in the kernel, after making those that are needed.
    fn sets_with(&mut self, now: Moment, layer: &LayerId, needed: &BTreeSet<SetKey>) -> Result<BTreeSet<SetKey>> {
        let has = |keys: &BTreeSet<SetKey>| needed.is_subset(keys);
        let known = self.wishes.get(layer).map(|wish| {
            let keys: BTreeSet<SetKey> = wish.sets.keys().copied().collect();
            (keys, wish.is_current || needed.is_empty())
        });
        match known {
            Some((keys, true)) if has(&keys) => return Ok(keys),
            None if needed.is_empty() => return Ok(self.survey()?.sets_of(layer).into_keys().collect()),
            _ => self.start(now, layer, needed)?,
        }
        let wish = self.wishes.get(layer);
        Ok(wish.map(|wish| wish.sets.keys().copied().collect()).unwrap_or_default())
    }

    /// What has to be done for each element, by what the kernel is known to hold; answers where that is nothing.
    fn sort(&mut self, groups: Groups, answers: &mut [Option<Outcome>]) -> Vec<Chunk> {
        let mut out = Vec::new();
        let is_sure = !self.is_suspect;
        for ((layer, key), works) in groups {
            let mut members = self.wishes.get_mut(&layer).and_then(|wish| wish.sets.get_mut(&key));
            let mut steps: BTreeMap<Step, Vec<(Element, Vec<usize>)>> = BTreeMap::new();
            for work in works {
                let Element { ip, end } = work.element;
                let is_known = members.as_ref().map(|members| members.end(ip).is_some());
                let holds = members.as_ref().is_some_and(|members| members.holds(ip, end));
                let step = match (work.is_ban, is_known) {
                    (true, Some(true)) if holds && !work.is_doubted => None,
                    (true, Some(false)) if !work.is_doubted => Some(Step::Add),
                    (true, _) => Some(Step::Renew),
                    (false, Some(false)) if is_sure => None,
                    (false, _) => Some(Step::End),
                };
                match (step, &mut members) {
                    (Some(step), _) => steps.entry(step).or_default().push((work.element, work.changes)),
                    (None, members) => {
                        members.iter_mut().for_each(|members| members.claim(ip));
                        answer(&work, &Ok(Standing::Applied), answers);
                    }
                }
            }
            for (step, works) in steps {
                out.extend(chunks(step, (&layer, key), works));
            }
        }
        out
    }

    /// The messages of a batch, and for each the chunk it came from.
    pub(super) fn messages(&self, now: Moment, batch: &[Chunk]) -> (Vec<Message>, Vec<usize>) {
        let now = now.now();
        let (mut messages, mut owners) = (Vec::new(), Vec::new());
        for (at, chunk) in batch.iter().enumerate() {
            let elements: Vec<Element> = chunk.works.iter().map(|(element, _)| *element).collect();
            let add = || elements::add(now, &self.table, (&chunk.layer, chunk.key), &elements);
            // An element that is there already keeps its old end on older kernels when it is added again, so it
            // goes first; and what need not be there is deleted by adding it before where the kernel is older still.
            if chunk.step != Step::Add {
                if !self.can_destroy {
                    messages.push(add());
                }
                let (layer, must_exist) = (&chunk.layer, !self.can_destroy);
                messages.push(elements::remove(&self.table, layer, chunk.key, &elements, must_exist));
            }
            if chunk.step != Step::End {
                messages.push(add());
            }
            owners.resize(messages.len(), at);
        }
        (messages, owners)
    }

    /// Remembers what the kernel has confirmed.
    fn confirm(&mut self, chunk: &Chunk) {
        let members = self
            .wishes
            .get_mut(&chunk.layer)
            .and_then(|wish| wish.sets.get_mut(&chunk.key));
        let Some(members) = members else { return };
        for (element, _) in &chunk.works {
            if chunk.step == Step::End {
                members.forget(element.ip);
            } else {
                members.order(element.ip, element.end);
            }
        }
    }

    /// The kernel did not free somebody. The order is not given again, so the wish has it that he is free, and the next
    /// mending sees to it.
    fn release(&mut self, layer: &LayerId, key: SetKey, ip: IpAddr) {
        let wish = self.wishes.get_mut(layer);
        if let Some(members) = wish.and_then(|wish| wish.sets.get_mut(&key)) {
            members.forget(ip);
            self.is_suspect = true;
        }
    }

    /// What to try next after a refusal: what was not refused as it is, what was refused in halves, and a single
    /// element not at all.
    fn split(
        &mut self,
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
                if chunk.step == Step::End {
                    for (element, _) in &chunk.works {
                        self.release(&chunk.layer, chunk.key, element.ip);
                    }
                }
            }
        }
        [halves, innocent]
            .into_iter()
            .filter(|chunks| !chunks.is_empty())
            .collect()
    }

    fn complaint(&self, chunk: &Chunk, errno: Errno) -> String {
        let who = match chunk.works.as_slice() {
            [(element, _)] if chunk.key.is_addresses() => element.ip.to_string(),
            [(element, _)] => format!("{}/{}", element.ip, chunk.key.prefix),
            works => format!("{} addresses", works.len()),
        };
        let verb = if chunk.step == Step::End { "delete" } else { "add" };
        let set = chunk.key.name(&sets::scope_name(&chunk.layer));
        let what = format!("{verb} element {who} of set {set} in table inet {}", self.table);
        refusal(what, errno).to_string()
    }
}

fn answer(work: &Work, done: &Outcome, answers: &mut [Option<Outcome>]) {
    for at in &work.changes {
        if let Some(place) = answers.get_mut(*at) {
            *place = Some(done.clone());
        }
    }
}

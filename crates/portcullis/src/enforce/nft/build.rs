//! The table's structure: base chain, and for each layer a chain, its sets and the rules between them; made, made again
//! around the elements, and taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portcullis_core::ledger::LayerId;
use portcullis_core::time::Timestamp;
use rustix::io::Errno;

use super::batch::{Chunk, Step, batches, chunks};
use super::elements::{self, Element};
use super::rules;
use super::sets::{self, SetKey};
use super::socket::{Message, Socket};
use super::survey::{self, Survey};
use super::wish::{BACKSTOP, Members, Moment, Wish};
use super::{Error, Nft, Result, refusal};
use crate::fault;

impl Nft {
    /// Looks at what the kernel has of our table, but for the elements.
    pub(super) fn survey(&mut self) -> Result<Survey> {
        let mut survey = Survey::default();
        let tables = self.dump(&rules::list_tables(), "look for the table")?;
        survey.table = tables.iter().find_map(|reply| survey::table(reply, &self.table));
        if survey.table.is_none() {
            return Ok(survey);
        }
        let sets = self.dump(&sets::list(&self.table), "list the sets")?;
        survey.sets = sets.iter().filter_map(|set| sets::found(&set.body)).collect();
        let chains = self.dump(&rules::list_chains(), "list the chains")?;
        survey.chains = chains
            .iter()
            .filter_map(|chain| survey::chain(chain, &self.table))
            .collect();
        let rules = self.dump(&rules::list_rules(&self.table), "list the rules")?;
        survey.rules = rules.iter().map(rules::known).collect();
        Ok(survey)
    }

    /// # Errors
    /// The table is somebody else's.
    pub(super) fn refuse_foreign(&self, survey: &Survey) -> Result<()> {
        if survey.is_foreign() {
            return Err(foreign(&self.table));
        }
        Ok(())
    }

    /// Makes a layer's sets, chain and rules what the configuration says, whatever is there, elements kept.
    pub(super) fn start(&mut self, now: Moment, layer: &LayerId, keys: &BTreeSet<SetKey>) -> Result<()> {
        if !self.scopes.contains_key(layer) {
            return Err(Error::Answer {
                what: format!("start action '{}' of jail '{}'", layer.action, layer.jail),
                reason: "its ports were never configured".to_owned(),
            });
        }
        self.leaving.remove(layer);
        let survey = self.survey()?;
        self.refuse_foreign(&survey)?;
        let before = self.wishes.get(layer).map(|wish| wish.sets.keys().copied().collect());
        let before: Option<BTreeSet<SetKey>> = before;
        if before.is_none() {
            let wish = self.adopt(now, layer, &survey)?;
            self.wishes.insert(layer.clone(), wish);
        }
        let wish = self.wishes.entry(layer.clone()).or_default();
        for key in SetKey::ADDRESSES.iter().chain(keys) {
            wish.sets.entry(*key).or_default();
        }
        let built = self.build(now, &BTreeSet::from([layer.clone()]), &survey, Vec::new());
        match (&built, before, self.wishes.get_mut(layer)) {
            (Err(_), None, _) => drop(self.wishes.remove(layer)),
            (Err(_), Some(before), Some(wish)) => wish.sets.retain(|key, _| before.contains(key)),
            _ => {}
        }
        built
    }

    /// Takes in what the kernel holds for a layer of which nothing is known.
    fn adopt(&mut self, now: Moment, layer: &LayerId, survey: &Survey) -> Result<Wish> {
        let mut wish = Wish::default();
        let scope = sets::scope_name(layer);
        for key in survey.sets_of(layer).into_keys() {
            let members = wish.sets.entry(key).or_default();
            if survey
                .sets
                .get(&key.name(&scope))
                .is_some_and(|set| set.is_readable(key))
            {
                self.elements(now, (layer, key), |ip, end| members.adopt(ip, end))?;
            }
        }
        Ok(wish)
    }

    /// Reads all elements of a set, each with the end of the ban that it would be of.
    pub(super) fn elements(
        &mut self,
        now: Moment,
        (layer, key): (&LayerId, SetKey),
        mut take: impl FnMut(IpAddr, Option<Timestamp>),
    ) -> Result<()> {
        let request = elements::list(&self.table, layer, key);
        let name = key.name(&sets::scope_name(layer));
        for reply in self.dump(&request, &format!("list set {name}"))? {
            let then = now.when(reply.at);
            elements::found(&reply, |ip, left| take(ip, left.map(|left| then + left - BACKSTOP)));
        }
        Ok(())
    }

    /// Makes these layers whole around their elements, with the base chain, and does the other work with it: one
    /// transaction, or one for each 100,000 elements. A set that has to be made anew gets all that it is to hold.
    pub(super) fn build(
        &mut self,
        now: Moment,
        layers: &BTreeSet<LayerId>,
        survey: &Survey,
        mut work: Vec<Chunk>,
    ) -> Result<()> {
        let mut layers = layers.clone();
        let mut messages = Vec::new();
        if !layers.is_empty() {
            let [table, base] = rules::create_base(&self.table);
            messages.push(table);
            if is_crooked(survey) {
                messages.push(rules::empty_chain(&self.table, rules::BASE));
                messages.push(rules::delete_chain(&self.table, rules::BASE));
                layers.extend(self.wishes.keys().cloned());
            }
            messages.push(base);
        }
        for layer in &layers {
            for key in self.raise(layer, survey, &mut messages)? {
                let members = self.wishes.get(layer).and_then(|wish| wish.sets.get(&key));
                let all = members.into_iter().flat_map(Members::iter);
                let all = all.map(|(ip, end)| (Element { ip, end }, Vec::new()));
                work.extend(chunks(Step::Add, (layer, key), all));
            }
        }
        let what = match layers.first() {
            Some(layer) if layers.len() == 1 => format!("set up {}", sets::scope_name(layer)),
            _ => "set up what was changed".to_owned(),
        };
        let mut batches = batches(work);
        messages.extend(self.messages(now, &batches.pop().unwrap_or_default()).0);
        fault::reach(fault::Step::Structure);
        self.transact(&messages, &what)?;
        while let Some(batch) = batches.pop() {
            self.transact(&self.messages(now, &batch).0, &what)?;
        }
        if !layers.is_empty() {
            self.remember_rules(now, &layers)?;
        }
        Ok(())
    }

    /// Appends what makes a layer's chain, sets and rules right; gives the sets that are empty after it.
    fn raise(&self, layer: &LayerId, survey: &Survey, out: &mut Vec<Message>) -> Result<Vec<SetKey>> {
        let (Some(scope), Some(wish)) = (self.scopes.get(layer), self.wishes.get(layer)) else {
            return Ok(Vec::new());
        };
        let chain = sets::scope_name(layer);
        let there = survey.sets_of(layer);
        out.push(rules::create_chain(&self.table, &chain));
        // Rules go before sets may go, and the old jumps before the new ones come.
        let jumps = survey.jumps_to(&chain).filter(|_| !is_crooked(survey));
        out.extend(
            jumps
                .chain(survey.lookups_of(&chain))
                .map(|rule| rules::delete_rule(&self.table, rule)),
        );
        let mut anew = Vec::new();
        // Each rule is put before those that are there.
        for key in sets::in_reading_order(wish.sets.keys().copied()).into_iter().rev() {
            if there.get(&key) == Some(&false) {
                out.push(sets::delete(&self.table, layer, key));
            }
            if there.get(&key) != Some(&true) {
                anew.push(key);
            }
            out.push(sets::create(&self.table, layer, key)?);
            out.push(rules::lookup_rule(&self.table, &chain, key, scope.blocktype));
        }
        let note = format!("jail {}, action {}", layer.jail, layer.action);
        rules::jumps(&self.table, (&chain, scope), &note, out);
        Ok(anew)
    }

    /// Remembers how the kernel gives back the rules that were just made.
    fn remember_rules(&mut self, now: Moment, layers: &BTreeSet<LayerId>) -> Result<()> {
        let survey = self.survey()?;
        for layer in layers {
            let chain = sets::scope_name(layer);
            if let Some(wish) = self.wishes.get_mut(layer) {
                wish.jumps = survey.jumps_to(&chain).map(rules::KnownRule::print).collect();
                wish.lookups = survey.lookups_of(&chain).map(rules::KnownRule::print).collect();
                wish.is_current = true;
                wish.whole = now.now();
            }
        }
        Ok(())
    }

    /// Takes a layer out of the kernel, and the table with the last of them. Where that fails, every mending tries again.
    pub(super) fn stop(&mut self, layer: &LayerId) -> Result<()> {
        self.wishes.remove(layer);
        let removed = self.remove(layer);
        if removed.is_err() {
            self.leaving.insert(layer.clone());
        } else {
            self.leaving.remove(layer);
        }
        removed
    }

    fn remove(&mut self, layer: &LayerId) -> Result<()> {
        let survey = self.survey()?;
        if survey.is_foreign() {
            return Ok(());
        }
        fault::reach(fault::Step::Remove);
        let chain = sets::scope_name(layer);
        if survey.layers().iter().all(|other| other == layer) {
            return self.delete_table(&survey).map(drop);
        }
        let jumps = survey.jumps_to(&chain);
        let mut messages: Vec<Message> = jumps.map(|rule| rules::delete_rule(&self.table, rule)).collect();
        if survey.chains.contains_key(&chain) {
            messages.push(rules::empty_chain(&self.table, &chain));
            messages.push(rules::delete_chain(&self.table, &chain));
        }
        let keys = survey.sets_of(layer).into_keys();
        messages.extend(keys.map(|key| sets::delete(&self.table, layer, key)));
        if messages.is_empty() {
            return Ok(());
        }
        self.transact(&messages, &format!("remove {chain}"))
    }

    /// Deletes the table with all that is in it. Says whether there was one.
    fn delete_table(&mut self, survey: &Survey) -> Result<bool> {
        if survey.table.is_none() {
            return Ok(false);
        }
        let deleted = self.socket.transact(&[rules::delete_table(&self.table)]);
        deleted.map(|()| true).map_err(|refusals| {
            let errno = refusals.first().map_or(Errno::PROTO, |refusal| refusal.errno);
            refusal(format!("delete table inet {}", self.table), errno)
        })
    }

    /// Empties a layer's sets. What cannot be emptied now, the next mending empties.
    pub(super) fn flush(&mut self, layer: &LayerId) -> Result<()> {
        let sets = self.wishes.get_mut(layer).map(|wish| &mut wish.sets);
        sets.into_iter().flat_map(BTreeMap::values_mut).for_each(Members::clear);
        let emptied = self.empty(layer);
        self.is_suspect |= emptied.is_err();
        emptied
    }

    fn empty(&mut self, layer: &LayerId) -> Result<()> {
        let survey = self.survey()?;
        if survey.is_foreign() {
            return Ok(());
        }
        let keys = survey.sets_of(layer).into_keys();
        let messages: Vec<Message> = keys.map(|key| elements::clear(&self.table, layer, key)).collect();
        if !messages.is_empty() {
            fault::reach(fault::Step::Empty);
            self.transact(&messages, &format!("empty {}", sets::scope_name(layer)))?;
        }
        Ok(())
    }
}

/// Whether the base chain is there and hooked in somewhere else, which cannot be changed but by making it anew.
pub(super) fn is_crooked(survey: &Survey) -> bool {
    let wanted = rules::base_hook();
    survey
        .chains
        .get(rules::BASE)
        .is_some_and(|hook| (&hook.kind, hook.number, hook.priority) != (&wanted.kind, wanted.number, wanted.priority))
}

/// Deletes the table with every ban in it, for `portcullis flush` while no daemon runs. Says whether there was one.
///
/// # Errors
/// [`Error::Unavailable`], the table is somebody else's, or the kernel refuses.
pub(crate) fn flush_everything(table: &str) -> Result<bool> {
    let mut nft = Nft::bare(Socket::open()?, table);
    let survey = nft.survey()?;
    nft.refuse_foreign(&survey)?;
    nft.delete_table(&survey)
}

/// What to do about a table of our name that is not ours.
pub(super) fn foreign(table: &str) -> Error {
    Error::Unavailable(format!(
        "table inet {table} was made by another program and was left as it is, so nothing can be banned with \
         nftables: look at it with `nft list table inet {table}`, then rename or delete it"
    ))
}

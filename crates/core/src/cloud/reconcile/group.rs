//! What is ordered of one base rule, and the rules over which it is spread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::part::Part;
use super::{Host, Output};
use crate::address::Family;
use crate::cloud::books::State;
use crate::cloud::desired::rule_number;
use crate::cloud::normal;
use crate::cloud::options::{OnDrift, Options};
use crate::ledger::{LayerId, Standing};
use crate::time::Timestamp;

/// A base rule, its bans and its parts.
pub(super) struct Group {
    pub(super) options: Options,
    /// What each layer asks for
    pub(super) layers: BTreeMap<LayerId, Options>,
    pub(super) bans: BTreeMap<IpNet, Ban>,
    /// The base rule, its shards, the rule for IPv6 and its shards, in this order
    pub(super) parts: Vec<Part>,
    /// The bans, or what they are put into, changed in a way that may ask for more entries
    pub(super) is_dirty: bool,
    /// Since when something is to go that does no harm by staying
    pub(super) loose_since: Option<Timestamp>,
    /// When it was planned last to no end
    pub(super) idle_plan: Option<Timestamp>,
    /// No call for it before
    pub(super) retry_at: Option<Timestamp>,
    pub(super) failing: Option<Failing>,
    /// No more rules before, and why
    pub(super) closed: Option<(Timestamp, String)>,
    /// Why there is no rule for IPv6, and until when that is taken for granted
    pub(super) local_six: Option<(Timestamp, String)>,
    /// Entries that the API refuses, with its words
    pub(super) quarantine: BTreeMap<IpNet, String>,
    /// What of ours vanished and is not back, as far as the layers know of it
    pub(super) adrift: BTreeSet<(Arc<str>, IpNet)>,
    /// Bans that found no room, as far as they were named
    pub(super) evicted: BTreeSet<IpNet>,
    /// When all parts were last read and found whole, on the steady clock
    pub(super) whole_at: Option<Timestamp>,
    /// Names of parts of which the books know nothing, the next one last: there may be such rules, from before the books
    pub(super) unseen: Vec<Arc<str>>,
    /// Names that its further rules cannot have, and the base rules whose they are
    pub(super) taken: BTreeMap<Arc<str>, Arc<str>>,
}

/// Why the layers cannot do what they are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) text: String,
    pub(super) cause: Cause,
}

/// What has to go well before it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Read,
    /// The base rule is read, and may not be written
    Rule,
    Write,
}

/// A range that one or several layers ban.
pub(super) struct Ban {
    pub(super) orders: Vec<Order>,
    pub(super) since: Timestamp,
    pub(super) place: Place,
}

/// One layer's ban.
pub(super) struct Order {
    layer: LayerId,
    /// As it was ordered
    range: IpNet,
    until: Option<Timestamp>,
    bancount: u32,
    standing: Standing,
}

/// Where a ban is to be made true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was not planned yet
    Open,
    /// By this entry of this rule
    In(Arc<str>, IpNet),
    Protected(String),
    /// IPv6, in the kernel alone
    Local(String),
    Evicted,
    /// A person took it out
    Freed,
}

impl Ban {
    /// When the last of its orders ends; never for `None`.
    pub(super) fn until(&self) -> Option<Timestamp> {
        let ends = self.orders.iter().map(|order| order.until.unwrap_or(Timestamp::MAX));
        ends.max().filter(|&end| end < Timestamp::MAX)
    }

    pub(super) fn bancount(&self) -> u32 {
        self.orders.iter().map(|order| order.bancount).max().unwrap_or(0)
    }

    pub(super) fn is_freed(&self) -> bool {
        self.place == Place::Freed
    }

    /// Whether it is to be in force and is not known to be.
    pub(super) fn waits(&self) -> bool {
        let waits = |order: &Order| matches!(order.standing, Standing::Decided);
        matches!(self.place, Place::Open | Place::In(..)) && self.orders.iter().any(waits)
    }

    /// The ranges as they were ordered.
    pub(super) fn ranges(&self) -> BTreeSet<IpNet> {
        self.orders.iter().map(|order| order.range).collect()
    }

    /// It has come so far; whoever is told otherwise by now, learns of it.
    pub(super) fn stand(&mut self, standing: &Standing, out: &mut Vec<Output>) {
        for order in &mut self.orders {
            if order.standing != *standing {
                order.standing = standing.clone();
                out.push(Output::Stand {
                    layer: order.layer.clone(),
                    range: order.range,
                    standing: standing.clone(),
                });
            }
        }
    }

    fn standing(&self) -> Option<&Standing> {
        self.orders.first().map(|order| &order.standing)
    }

    /// Whether a layer confirmed it.
    pub(super) fn is_confirmed(&self) -> bool {
        matches!(self.standing(), Some(Standing::Applied | Standing::Verified))
    }

    /// Whose it is.
    pub(super) fn layers(&self) -> impl Iterator<Item = &LayerId> {
        self.orders.iter().map(|order| &order.layer)
    }

    pub(super) fn is_verified(&self) -> bool {
        matches!(self.standing(), Some(Standing::Verified))
    }
}

impl Group {
    pub(super) fn new(options: Options) -> Group {
        let base = Part::new(&options.rule, Family::Inet4);
        Group {
            options,
            layers: BTreeMap::new(),
            bans: BTreeMap::new(),
            parts: vec![base],
            is_dirty: true,
            loose_since: None,
            idle_plan: None,
            retry_at: None,
            failing: None,
            closed: None,
            local_six: None,
            quarantine: BTreeMap::new(),
            adrift: BTreeSet::new(),
            evicted: BTreeSet::new(),
            whole_at: None,
            unseen: Vec::new(),
            taken: BTreeMap::new(),
        }
    }

    /// With the rules that the books say we made for it.
    pub(super) fn from_books(options: Options, books: &State) -> Group {
        let mut group = Group::new(options);
        for (rule, account) in &books.rules {
            let is_part = account.base.as_deref() == Some(group.base());
            if let Some((family, _)) = rule_number(group.base(), rule).filter(|_| is_part && **rule != *group.base()) {
                group.parts.push(Part::new(rule, family));
            }
        }
        let base = group.options.rule.clone();
        group.parts.sort_by_key(|part| rule_number(&base, &part.name));
        group.unseen = group.unseen(books);
        group
    }

    /// This rule is a part, unless it is one already or cannot be one.
    pub(super) fn join(&mut self, rule: &str) {
        let number = rule_number(self.base(), rule).filter(|_| self.part(rule).is_none());
        if let Some((family, _)) = number {
            self.parts.push(Part::new(rule, family));
            let base = self.options.rule.clone();
            self.parts.sort_by_key(|part| rule_number(&base, &part.name));
        }
    }

    /// The base rule's name.
    pub(super) fn base(&self) -> &str {
        &self.options.rule
    }

    pub(super) fn part(&self, rule: &str) -> Option<&Part> {
        self.parts.iter().find(|part| *part.name == *rule)
    }

    pub(super) fn part_mut(&mut self, rule: &str) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| *part.name == *rule)
    }

    /// A ban is ordered, for the first time or with another end. Says so where it is new.
    pub(super) fn ban(&mut self, now: Timestamp, order: (LayerId, IpNet, Option<Timestamp>, u32)) {
        let (layer, range, until, bancount) = order;
        let ban = self.bans.entry(normal(range)).or_insert_with(|| {
            self.is_dirty = true;
            Ban {
                orders: Vec::new(),
                since: now,
                place: Place::Open,
            }
        });
        if let Some(order) = ban.orders.iter_mut().find(|order| order.layer == layer) {
            (order.range, order.until, order.bancount) = (range, until, bancount);
            return;
        }
        // Whoever offends anew is banned anew, whatever became of the former ban.
        if ban.is_freed() {
            ban.place = Place::Open;
            self.is_dirty = true;
        }
        // A further layer's ban is where that of the first is.
        let standing = ban.standing().cloned().unwrap_or(Standing::Decided);
        ban.orders.push(Order {
            layer,
            range,
            until,
            bancount,
            standing,
        });
    }

    /// Where a further layer bans what others ban already, it is told how far that has come.
    pub(super) fn tell(&self, layer: &LayerId, range: &IpNet, out: &mut Vec<Output>) {
        let ban = self.bans.get(&normal(*range));
        let order = ban.and_then(|ban| ban.orders.iter().find(|order| order.layer == *layer));
        if let Some(order) = order.filter(|order| order.standing != Standing::Decided) {
            out.push(Output::Stand {
                layer: layer.clone(),
                range: order.range,
                standing: order.standing.clone(),
            });
        }
    }

    /// A layer's ban is over.
    pub(super) fn unban(&mut self, now: Timestamp, layer: &LayerId, range: &IpNet) {
        let range = normal(*range);
        let Some(ban) = self.bans.get_mut(&range) else { return };
        ban.orders.retain(|order| order.layer != *layer);
        if ban.orders.is_empty() {
            self.bans.remove(&range);
            self.quarantine.remove(&range);
            self.loose_since.get_or_insert(now);
        }
    }

    /// A layer bans here, with these options; those of all its layers are put together. Says what had to be decided.
    pub(super) fn open(&mut self, layer: LayerId, options: Options) -> Vec<String> {
        self.layers.insert(layer, options);
        let mut all = self.layers.values();
        let Some(first) = all.next() else { return Vec::new() };
        let mut merged = first.clone();
        let mut told = Vec::new();
        for other in all {
            match merged.merge(other) {
                Ok(texts) => told.extend(texts),
                Err(text) => told.push(text),
            }
        }
        self.options = merged;
        self.is_dirty = true;
        told
    }

    /// A layer is no more.
    pub(super) fn close(&mut self, now: Timestamp, layer: &LayerId) {
        self.layers.remove(layer);
        let ranges: Vec<IpNet> = self.bans.keys().copied().collect();
        for range in ranges {
            self.unban(now, layer, &range);
        }
    }

    /// The bans whose addresses are all or in part those of this range: those within it, and those around it.
    pub(super) fn touching(&self, range: &IpNet) -> impl Iterator<Item = (&IpNet, &Ban)> {
        let around = around(range).filter_map(|net| self.bans.get_key_value(&net));
        let (first, last) = bounds(range);
        let within = self.bans.range(first..=last);
        around.chain(within.filter(move |(net, _)| *net != range && range.contains(*net)))
    }

    /// Whether somebody who takes an entry out of this part means that it is to be freed: it is ours alone, and says
    /// so.
    pub(super) fn obeys(&self, part: &Part, host: &Host) -> bool {
        let respects = self.options.own_rule && self.options.on_drift == OnDrift::Respect;
        respects && part.mark().is_some_and(|mark| mark.writer == host.writer)
    }

    /// Says that the layers cannot do what they are told, and why; once for each text.
    pub(super) fn fail(&mut self, text: String, cause: Cause, out: &mut Vec<Output>) {
        let failing = Failing { text, cause };
        if self.failing.as_ref().is_none_or(|known| known.text != failing.text) {
            self.announce(Some(&failing.text), out);
        }
        self.failing = Some(failing);
    }

    /// What had failed went well.
    pub(super) fn mend(&mut self, cause: Cause, out: &mut Vec<Output>) {
        if self.failing.as_ref().is_some_and(|failing| failing.cause == cause) {
            self.failing = None;
            self.announce(None, out);
        }
    }

    fn announce(&self, text: Option<&str>, out: &mut Vec<Output>) {
        let layers = self.layers.keys();
        out.extend(layers.map(|layer| Output::Failing(layer.clone(), text.map(str::to_owned))));
    }
}

/// A network and all wider ones around it, the widest last.
pub(super) fn around(range: &IpNet) -> impl Iterator<Item = IpNet> + use<> {
    std::iter::successors(Some(*range), IpNet::supernet)
}

/// Between these two stand all networks within a range, in the order of [`IpNet`], and others that begin where it does.
fn bounds(range: &IpNet) -> (IpNet, IpNet) {
    let most = range.max_prefix_len();
    let first = IpNet::new(range.network(), 0).unwrap_or(*range);
    let last = IpNet::new(range.broadcast(), most).unwrap_or(*range);
    (first, last)
}

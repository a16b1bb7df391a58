//! Who is never banned by a native layer: the machine itself, its gateways, and what keeps it alive.
//!
//! [`Protected`] knows the addresses and judges one ban; [`Guard`] stands in front of a layer, keeps protected
//! addresses from it and answers for them. Neighbours on the same link are no exception: only the machine's own
//! addresses and its gateways are protected, so an attacker next door is banned as a single address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::IpNet;
use portcullis_core::address::{Id, canonical};
use portcullis_core::ledger::{Applied, Change, Field, LayerId, Order, Reading, Standing, Ticket};
use portcullis_core::prefix::WIDEST;
use portcullis_core::time::Timestamp;

use super::{Error, Held, Layer, answer};
use crate::visitors::VISITOR;

/// Networks that are protected everywhere. The metadata server gives a virtual machine its credentials; from the last
/// seven, as Google publishes them, come the health checks of its load balancers and what these pass on.
const ALWAYS: &[(&str, &str)] = &[
    ("0.0.0.0/32", "the unspecified address"),
    ("::/128", "the unspecified address"),
    ("127.0.0.0/8", "loopback"),
    ("::1/128", "loopback"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("ff00::/8", "multicast"),
    ("169.254.169.254/32", "the cloud metadata server"),
    ("fd20:ce::254/128", "the cloud metadata server"),
    ("169.254.0.0/16", "link-local"),
    ("fe80::/10", "link-local"),
    ("35.191.0.0/16", "Google health checks"),
    ("130.211.0.0/22", "Google health checks"),
    ("209.85.152.0/22", "Google health checks"),
    ("209.85.204.0/22", "Google health checks"),
    ("2600:2d00:1:b029::/64", "Google health checks"),
    ("2600:2d00:1:1::/64", "Google load balancers"),
    ("2600:1901:8001::/48", "Google health checks"),
];

/// `RTF_GATEWAY` in the flags of the kernel's route lists.
const ROUTE_BY_GATEWAY: u32 = 2;

/// How far one ban may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Somebody typed it: no wider than /8 (IPv4) and /19 (IPv6).
    ByHand,
    /// A jail decided it: no wider than /24 and /48.
    Automatic,
}

impl Reach {
    /// The widest prefix, for this family.
    const fn widest(self, is_v4: bool) -> u8 {
        match (self, is_v4) {
            (Reach::ByHand, true) => 8,
            (Reach::ByHand, false) => 19,
            (Reach::Automatic, true) => WIDEST.0,
            (Reach::Automatic, false) => WIDEST.1,
        }
    }

    /// A ban by hand is one without attempts.
    pub(crate) fn of(ticket: &Ticket) -> Reach {
        if ticket.failures == 0 {
            Reach::ByHand
        } else {
            Reach::Automatic
        }
    }
}

/// What becomes of a ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Enforce it as it stands.
    Allowed(Id),
    /// Enforce this single address instead; why.
    Narrowed(Id, String),
    /// Enforce nothing; why.
    Refused(String),
}

/// Whom a layer spares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spares {
    /// `protect = no`
    Nobody,
    /// What [`Protected`] knows
    #[default]
    Machine,
    /// Also who is logged in over SSH now: `spare_sessions = yes`
    Visitors,
}

/// The addresses that are never banned.
#[derive(Clone, Debug)]
pub(crate) struct Protected {
    /// Network and what it is, first match wins
    networks: Vec<(IpNet, String)>,
}

impl Protected {
    /// What is protected on this machine now: its addresses and gateways, and what always is.
    ///
    /// # Errors
    /// The interfaces cannot be listed. A missing route list (no IPv6, for one) is no error.
    pub(crate) fn gather() -> io::Result<Protected> {
        let own = if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip());
        let list = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut gateways = gateways4(&list("/proc/net/route"));
        gateways.extend(gateways6(&list("/proc/net/ipv6_route")));
        Ok(Protected::new(own, gateways))
    }

    /// The machine's own addresses and its gateways, and what is always protected.
    pub(crate) fn new(own: impl IntoIterator<Item = IpAddr>, gateways: impl IntoIterator<Item = IpAddr>) -> Protected {
        let single = |ip: IpAddr, what: &str| (IpNet::from(canonical(ip)), what.to_owned());
        let always = ALWAYS
            .iter()
            .filter_map(|(net, what)| Some((net.parse().ok()?, (*what).to_owned())));
        let own = own.into_iter().map(|ip| single(ip, "this machine's own address"));
        let gateways = gateways.into_iter().map(|ip| single(ip, "the gateway"));
        Protected {
            networks: always.chain(own).chain(gateways).collect(),
        }
    }

    /// The same, and who is logged in besides.
    fn and(&self, visitors: &BTreeSet<IpNet>) -> Protected {
        let visitors = visitors.iter().map(|net| (*net, VISITOR.to_owned()));
        Protected {
            networks: self.networks.iter().cloned().chain(visitors).collect(),
        }
    }

    /// What becomes of a ban of `id`. `offender` is the single address behind a network, where it is known.
    pub(crate) fn judge(&self, id: &Id, offender: Option<IpAddr>, reach: Reach) -> Verdict {
        let net = match id {
            Id::Raw(_) => return Verdict::Refused("not an address".into()),
            Id::Ip(ip) => {
                return match self.reason(&IpNet::from(canonical(*ip))) {
                    Some(reason) => Verdict::Refused(format!("protected: {reason}")),
                    None => Verdict::Allowed(id.clone()),
                };
            }
            Id::Net(net) => net,
        };
        let reason = too_wide(net, reach);
        let reason = reason.or_else(|| self.reason(net).map(|what| format!("{net} holds {what}")));
        match reason {
            None => Verdict::Allowed(id.clone()),
            Some(reason) => self.narrow(net, offender, reason),
        }
    }

    /// The networks that hold nothing but what is protected.
    pub(crate) fn networks(&self) -> Vec<IpNet> {
        self.networks.iter().map(|(net, _)| *net).collect()
    }

    /// The same, with what each is.
    pub(crate) fn entries(&self) -> &[(IpNet, String)] {
        &self.networks
    }

    fn narrow(&self, net: &IpNet, offender: Option<IpAddr>, reason: String) -> Verdict {
        match offender.map(canonical) {
            Some(ip) if net.contains(&ip) && self.reason(&IpNet::from(ip)).is_none() => {
                Verdict::Narrowed(Id::Ip(ip), format!("narrowed to {ip}: {reason}"))
            }
            _ => Verdict::Refused(format!("protected: {reason}")),
        }
    }

    /// What this network touches that is protected.
    fn reason(&self, net: &IpNet) -> Option<String> {
        let (held, what) = self
            .networks
            .iter()
            .find(|(held, _)| held.contains(net) || net.contains(held))?;
        Some(if held.contains(net) && held.prefix_len() == held.max_prefix_len() {
            format!("{} is {what}", held.addr())
        } else if held.prefix_len() == held.max_prefix_len() {
            format!("{} ({what})", held.addr())
        } else {
            format!("{held} ({what})")
        })
    }
}

/// Whether a ban reaches further than it may, in words.
pub(crate) fn too_wide(net: &IpNet, reach: Reach) -> Option<String> {
    let widest = reach.widest(net.addr().is_ipv4());
    (net.prefix_len() < widest).then(|| format!("{net} is wider than /{widest}"))
}

/// Whom a ban is meant for, where it is of a network.
pub(crate) fn offender(ticket: &Ticket) -> Option<IpAddr> {
    match ticket.data.get("ip") {
        Some(Field::Text(ip)) => ip.parse().ok(),
        _ => ticket.offender(),
    }
}

/// The next hops in the text of `/proc/net/route`: hexadecimal, in the byte order of the machine.
fn gateways4(text: &str) -> BTreeSet<IpAddr> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let gateway = u32::from_str_radix(fields.next()?, 16).ok()?;
            let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
            let ip = Ipv4Addr::from(gateway.to_ne_bytes());
            (flags & ROUTE_BY_GATEWAY != 0 && !ip.is_unspecified()).then_some(IpAddr::V4(ip))
        })
        .collect()
}

/// The next hops in the text of `/proc/net/ipv6_route`: 32 hexadecimal digits in network order.
fn gateways6(text: &str) -> BTreeSet<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(4);
            let gateway = u128::from_str_radix(fields.next()?, 16).ok()?;
            let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
            let ip = Ipv6Addr::from(gateway);
            (flags & ROUTE_BY_GATEWAY != 0 && !ip.is_unspecified()).then_some(IpAddr::V6(ip))
        })
        .collect()
}

/// What a [`Guard`] enforces as single addresses in place of networks.
pub(crate) struct Narrowed(BTreeMap<(LayerId, Id), Id>);

/// A layer with protection in front of it.
#[derive(Debug)]
pub(crate) struct Guard<L> {
    inner: L,
    protected: Protected,
    visitors: BTreeSet<IpNet>,
    /// The former with the latter
    all: Protected,
    /// Layers that spare others than by default
    spares: BTreeMap<LayerId, Spares>,
    /// Bans that are not made only because somebody is logged in, as they were ordered
    withheld: BTreeMap<(LayerId, Id), Change>,
    /// What is enforced as a single address in place of a network: the address → the network
    narrowed: BTreeMap<(LayerId, Id), Id>,
}

impl<L: Layer> Guard<L> {
    /// Puts protection in front of `inner`.
    pub(crate) fn new(inner: L, protected: Protected) -> Guard<L> {
        Guard {
            inner,
            all: protected.clone(),
            protected,
            visitors: BTreeSet::new(),
            spares: BTreeMap::new(),
            withheld: BTreeMap::new(),
            narrowed: BTreeMap::new(),
        }
    }

    /// The layer behind, to configure it.
    pub(crate) fn inner(&mut self) -> &mut L {
        &mut self.inner
    }

    /// Addresses and gateways were gathered again.
    pub(crate) fn protect(&mut self, protected: Protected) {
        self.all = protected.and(&self.visitors);
        self.protected = protected;
    }

    /// Whom one layer spares.
    pub(crate) fn oblige(&mut self, layer: LayerId, spares: Spares) {
        if spares != Spares::Visitors {
            self.withheld.retain(|(other, _), _| *other != layer);
        }
        self.spares.insert(layer, spares);
    }

    fn spares(&self, layer: &LayerId) -> Spares {
        self.spares.get(layer).copied().unwrap_or_default()
    }

    /// Whether it matters for these changes who is logged in.
    pub(crate) fn concerns_visitors(&self, changes: &[Change]) -> bool {
        // Most machines have no such layer, and changes come by the ten thousand.
        if !self.spares.values().any(|spares| *spares == Spares::Visitors) {
            return false;
        }
        let is_ban = |order: &Order| matches!(order, Order::Ban(_) | Order::Prolong(_));
        let mut changes = changes.iter();
        changes.any(|change| is_ban(&change.order) && self.spares(&change.layer) == Spares::Visitors)
    }

    /// Whether somebody is not banned for as long as they are logged in.
    pub(crate) fn is_withholding(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// Who is logged in by now.
    pub(crate) fn receive(&mut self, visitors: BTreeSet<IpNet>) {
        if self.visitors != visitors {
            self.all = self.protected.and(&visitors);
            self.visitors = visitors;
        }
    }

    fn judge(&self, change: &Change, spares: Spares) -> Option<Verdict> {
        let ticket = change.order.ticket()?;
        let protected = match spares {
            Spares::Nobody => return None,
            Spares::Machine => &self.protected,
            Spares::Visitors => &self.all,
        };
        Some(protected.judge(&ticket.id, offender(ticket), Reach::of(ticket)))
    }

    /// Remembers a ban that is not made for a visitor's sake, until something else is ordered.
    fn withhold(&mut self, change: &Change, is_refused: bool) {
        let Some(ticket) = change.order.ticket() else {
            if matches!(change.order, Order::Stop | Order::Flush | Order::Vacate) {
                self.withheld.retain(|(layer, _), _| *layer != change.layer);
            }
            return;
        };
        let key = (change.layer.clone(), ticket.id.clone());
        let reach = Reach::of(ticket);
        let is_visitor = || {
            !matches!(
                self.protected.judge(&ticket.id, offender(ticket), reach),
                Verdict::Refused(_)
            )
        };
        if is_refused && is_visitor() {
            self.withheld.insert(key, change.clone());
        } else {
            self.withheld.remove(&key);
        }
    }

    /// The bans that were not made and may be made by now. Whether one is late its ticket says.
    pub(crate) fn due(&self) -> Vec<Change> {
        let is_free = |change: &&Change| !matches!(self.judge(change, Spares::Visitors), Some(Verdict::Refused(_)));
        self.withheld.values().filter(is_free).cloned().collect()
    }

    /// What to tell the layer behind, and what to make of its answers. What was banned before it was protected is
    /// taken back on the way; an unban goes through as it stands, because whatever the layer holds of it must go.
    fn plan(&mut self, change: &Change, through: &mut Vec<Change>) -> Step {
        let at = through.len();
        let is_unban = matches!(change.order, Order::Unban(_));
        if is_unban {
            self.free_narrowed(change, through);
        }
        let spares = self.spares(&change.layer);
        let verdict = self.judge(change, spares);
        if spares == Spares::Visitors {
            self.withhold(change, !is_unban && matches!(verdict, Some(Verdict::Refused(_))));
        }
        match verdict {
            Some(Verdict::Refused(reason)) if !is_unban => {
                through.extend(unban(change));
                return Step::Protected(at..through.len(), reason);
            }
            Some(Verdict::Narrowed(id, reason)) => {
                through.push(with_id(change, id.clone()));
                through.extend(unban(change));
                let key = (change.layer.clone(), id);
                if is_unban {
                    return Step::Passed(at..through.len());
                }
                if let Some(ticket) = change.order.ticket() {
                    self.narrowed.insert(key, ticket.id.clone());
                }
                return Step::Protected(at..through.len(), reason);
            }
            _ => {}
        }
        if matches!(change.order, Order::Stop | Order::Flush | Order::Vacate) {
            self.narrowed.retain(|(layer, _), _| *layer != change.layer);
        }
        through.push(change.clone());
        Step::Passed(at..through.len())
    }

    /// Whatever stands for the network of an unban is freed with it, also where the network would be narrowed otherwise
    /// by now, or not at all.
    fn free_narrowed(&mut self, change: &Change, through: &mut Vec<Change>) {
        let Some(ticket) = change.order.ticket() else { return };
        self.narrowed.retain(|(layer, single), net| {
            let is_meant = *layer == change.layer && *net == ticket.id;
            if is_meant {
                through.push(with_id(change, single.clone()));
            }
            !is_meant
        });
    }

    /// What stands for which network: to be kept over an order whose effect does not last.
    pub(crate) fn narrowed(&self) -> Narrowed {
        Narrowed(self.narrowed.clone())
    }

    /// After that order.
    pub(crate) fn put_back(&mut self, narrowed: Narrowed) {
        self.narrowed = narrowed.0;
    }
}

/// What became of one change on its way through the guard: the changes that the layer behind was told instead.
enum Step {
    /// The same, in other words
    Passed(Range<usize>),
    /// Not what was asked; why
    Protected(Range<usize>, String),
}

/// The order to take a ban back; none for what no native layer can hold.
fn unban(change: &Change) -> Option<Change> {
    let ticket = change.order.ticket().filter(|ticket| ticket.id.family().is_some())?;
    let layer = change.layer.clone();
    let order = Order::Unban(ticket.clone());
    Some(Change { layer, order })
}

fn with_id(change: &Change, id: Id) -> Change {
    let mut change = change.clone();
    match &mut change.order {
        Order::Ban(ticket) | Order::Prolong(ticket) | Order::Unban(ticket) | Order::Again(ticket) => ticket.id = id,
        Order::Start | Order::Stop | Order::Flush | Order::Vacate | Order::Reload => {}
    }
    change
}

impl<L: Layer> Layer for Guard<L> {
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        let mut through = Vec::with_capacity(changes.len());
        let steps: Vec<Step> = changes.iter().map(|change| self.plan(change, &mut through)).collect();
        let answers = self.inner.apply(now, &through);
        let silence = || Err("the layer gave no answer".to_owned());
        let result = |mut range: Range<usize>| {
            range.try_fold(Standing::Applied, |_, at| {
                answers.get(at).map_or_else(silence, |a| a.result.clone())
            })
        };
        steps
            .into_iter()
            .zip(changes)
            .map(|(step, change)| match step {
                Step::Passed(range) => answer(change, result(range)),
                Step::Protected(range, reason) => answer(change, result(range).map(|_| Standing::Protected(reason))),
            })
            .collect()
    }

    fn held(&mut self) -> Option<Result<Vec<Held>, Error>> {
        let mut held = self.inner.held()?;
        // The wish is the network; the single address that stands for it must not look like a stray ban.
        if let Ok(held) = &mut held {
            for one in held.iter_mut() {
                if let Some(id) = self.narrowed.get(&(one.layer.clone(), one.id.clone())) {
                    one.id = id.clone();
                }
            }
        }
        Some(held)
    }

    /// A reading counts, and names by id only in words for people, so it passes as it is.
    fn mend(&mut self, now: Timestamp) -> Option<Result<Vec<Reading>, Error>> {
        self.inner.mend(now)
    }

    fn holds(&mut self, bans: &[(LayerId, Id)]) -> Option<Result<Vec<bool>, Error>> {
        self.inner.holds(bans)
    }
}

#[cfg(test)]
mod tests;

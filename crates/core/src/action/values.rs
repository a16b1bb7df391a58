//! What each tag is worth for one ban (contract §5.1).
//!
//! In go a ticket and what is known around it, out come the values that one script asks for. What must be
//! fetched from elsewhere (names, the database) is asked for with [`Script::needs`] first.

use super::{Script, Values};
use crate::address::{Family, Id};
use crate::ledger::{Data, Ticket};
use crate::time::{Clock, Seconds};
use crate::value::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Which of an action's family states a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The action as a whole: it makes no difference between families.
    Whole,
    /// One family.
    Family(Family),
    /// What is banned is no address and has no family.
    Raw,
}

impl Scope {
    /// The scope of a ticket: the family of its address.
    #[must_use]
    pub fn of(ticket: &Ticket) -> Scope {
        match ticket.address().family() {
            Some(family) => Scope::Family(family),
            None => Scope::Raw,
        }
    }

    /// The value of `<family>`.
    #[must_use]
    pub fn tag(self) -> String {
        match self {
            Scope::Whole => String::new(),
            Scope::Family(family) => family.to_string(),
            Scope::Raw => "None".to_owned(),
        }
    }

    pub(super) fn family(self) -> Option<Family> {
        match self {
            Scope::Family(family) => Some(family),
            Scope::Whole | Scope::Raw => None,
        }
    }
}

/// Something that a script wants and that is not in the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The reverse DNS name of the address: `<ip-host>`
    IpHost,
    /// All bans of the address, merged: `<ipmatches>`, `<ipfailures>`
    Everywhere,
    /// Its bans in this jail, merged: `<ipjailmatches>`, `<ipjailfailures>`
    InJail,
    /// `<fq-hostname>`
    FullHostname,
    /// `<sh-hostname>`
    ShortHostname,
}

pub(super) fn need(tag: &str) -> Option<Need> {
    Some(match tag {
        "ip-host" => Need::IpHost,
        "ipmatches" | "ipfailures" => Need::Everywhere,
        "ipjailmatches" | "ipjailfailures" => Need::InJail,
        "fq-hostname" => Need::FullHostname,
        "sh-hostname" => Need::ShortHostname,
        _ => return None,
    })
}

/// Several bans of one address taken together.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Merged {
    /// Attempts of all of them
    pub failures: u32,
    /// Their lines
    pub matches: Vec<Arc<str>>,
}

/// What was fetched because a script needs it; all else may stay empty.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fetched {
    /// The address' name, if it has one
    pub ip_host: Option<String>,
    /// Its bans in all jails; the ticket itself where there are none
    pub everywhere: Option<Merged>,
    /// Its bans in this jail; the ticket itself where there are none
    pub in_jail: Option<Merged>,
    /// This machine's full name
    pub full_hostname: String,
    /// This machine's short name
    pub short_hostname: String,
}

/// A jail as its actions see it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JailFacts {
    /// Its name
    pub name: String,
    /// Its ban time
    pub bantime: Seconds,
    /// How many are banned now
    pub banned: u64,
    /// How many were banned since the start
    pub banned_total: u64,
    /// How many are counted now
    pub found: u64,
    /// How many failures there were since the start
    pub found_total: u64,
}

/// All that is around a ticket.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// Both clocks: tickets carry the steady one, commands get the wall's.
    pub clock: Clock,
    /// The jail
    pub jail: &'c JailFacts,
    /// What had to be fetched
    pub fetched: &'c Fetched,
}

/// The tags of a ticket in Fail2Ban's order, which its log lines show.
const TICKET_TAGS: [&str; 24] = [
    "ip",
    "family",
    "ip-rev",
    "ip-host",
    "fid",
    "failures",
    "time",
    "bantime",
    "bancount",
    "matches",
    "restored",
    "F-*",
    "ipmatches",
    "ipjailmatches",
    "ipfailures",
    "ipjailfailures",
    "raw-ticket",
    "jail.name",
    "jail.banned",
    "jail.banned_total",
    "jail.found",
    "jail.found_total",
    "fq-hostname",
    "sh-hostname",
];

impl Script {
    /// The values that this script asks for, of a ticket.
    #[must_use]
    pub fn values(&self, ticket: &Ticket, context: &Context<'_>) -> Values {
        self.fill(&Subject {
            ticket,
            scope: Scope::of(ticket),
            context,
        })
    }

    /// The values that this script asks for where it concerns the jail and no ticket: start, stop, flush, reload.
    #[must_use]
    pub fn values_without_ticket(&self, scope: Scope, context: &Context<'_>) -> Values {
        let ticket = Ticket {
            id: Id::Raw(String::new()),
            time: context.clock.steady,
            bantime: context.jail.bantime,
            bancount: 0,
            failures: 0,
            matches: Vec::new(),
            data: Data::default(),
            restored: false,
        };
        self.fill(&Subject {
            ticket: &ticket,
            scope,
            context,
        })
    }

    /// The values that a check or repair gets: they see nothing of a ban (contract §5.5), only names of the machine.
    #[must_use]
    pub fn values_of_machine(&self, fetched: &Fetched) -> Values {
        let mut values = Values::default();
        for (tag, value) in [
            ("fq-hostname", &fetched.full_hostname),
            ("sh-hostname", &fetched.short_hostname),
        ] {
            if self.tags.contains(tag) {
                values.tags.insert(tag.to_owned(), value.clone());
            }
        }
        values
    }

    /// How Fail2Ban's log shows a ticket whose ban failed: a Python dict of what the command asked for. Where
    /// Fail2Ban prints the address of a function, for an id or a raw ticket not asked for, this has the value.
    #[must_use]
    pub fn describe(&self, ticket: &Ticket, context: &Context<'_>) -> String {
        let subject = Subject {
            ticket,
            scope: Scope::of(ticket),
            context,
        };
        let shown = |tag: &&&str| matches!(**tag, "ip" | "family" | "fid" | "raw-ticket") || self.tags.contains(**tag);
        let pairs = TICKET_TAGS
            .iter()
            .filter(shown)
            .filter(|tag| !tag.ends_with("hostname"))
            .filter_map(|tag| Some(((*tag).into(), subject.value(tag)?)))
            .collect();
        format!("ActionInfo({})", Value::Dict(pairs).repr())
    }

    fn fill(&self, subject: &Subject<'_>) -> Values {
        let mut values = Values::default();
        for tag in &self.tags {
            if let Some(value) = subject.value(tag) {
                values.tags.insert(tag.clone(), value.to_string());
            }
        }
        if self.fields {
            for (name, value) in subject.data() {
                values.fields.insert(name, value.to_string());
            }
        }
        values
    }
}

/// One ticket and what is around it.
struct Subject<'s> {
    ticket: &'s Ticket,
    scope: Scope,
    context: &'s Context<'s>,
}

impl Subject<'_> {
    fn value(&self, tag: &str) -> Option<Value> {
        let ticket = self.ticket;
        Some(match tag {
            "ip" => ticket.ip().into(),
            "family" if self.scope == Scope::Raw => Value::None,
            "family" => self.scope.tag().into(),
            "ip-rev" => reversed(&ticket.address()).into(),
            "fid" => ticket.id.to_string().into(),
            "failures" => count(ticket.failures),
            "time" => self.time(),
            "bantime" => Value::Int(whole(ticket.bantime)),
            "bancount" => count(ticket.bancount),
            "matches" => ticket.matches.join("\n").into(),
            "restored" => Value::Int(i64::from(ticket.restored)),
            "F-*" => Value::Dict(self.data().into_iter().map(|(name, v)| (name.into(), v)).collect()),
            "raw-ticket" => self.raw_ticket().into(),
            _ => return self.fetched(tag).or_else(|| self.of_jail(tag)),
        })
    }

    fn fetched(&self, tag: &str) -> Option<Value> {
        let fetched = self.context.fetched;
        let merged = |merged: &Option<Merged>| {
            merged.clone().unwrap_or_else(|| Merged {
                failures: self.ticket.failures,
                matches: self.ticket.matches.clone(),
            })
        };
        Some(match tag {
            "ip-host" => fetched.ip_host.clone().map_or(Value::None, Value::Str),
            "ipmatches" => merged(&fetched.everywhere).matches.join("\n").into(),
            "ipjailmatches" => merged(&fetched.in_jail).matches.join("\n").into(),
            "ipfailures" => count(merged(&fetched.everywhere).failures),
            "ipjailfailures" => count(merged(&fetched.in_jail).failures),
            "fq-hostname" => fetched.full_hostname.clone().into(),
            "sh-hostname" => fetched.short_hostname.clone().into(),
            _ => return None,
        })
    }

    fn of_jail(&self, tag: &str) -> Option<Value> {
        let jail = self.context.jail;
        let number = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        Some(match tag {
            "jail.name" => jail.name.clone().into(),
            "jail.banned" => number(jail.banned),
            "jail.banned_total" => number(jail.banned_total),
            "jail.found" => number(jail.found),
            "jail.found_total" => number(jail.found_total),
            _ => return None,
        })
    }

    /// The ticket's data as Fail2Ban keeps it: lines and attempts are among the captured fields.
    fn data(&self) -> Vec<(String, Value)> {
        let mut data = vec![
            ("matches".to_owned(), self.matches()),
            ("failures".to_owned(), count(self.ticket.failures)),
        ];
        for (name, field) in self.ticket.data.iter() {
            data.push((name.to_string(), field.to_value()));
        }
        data
    }

    fn matches(&self) -> Value {
        Value::List(self.ticket.matches.iter().map(|line| (&**line).into()).collect())
    }

    fn raw_ticket(&self) -> String {
        let ticket = self.ticket;
        // Fail2Ban notes a ban time only where it is not the jail's.
        let bantime = if ticket.bantime == self.context.jail.bantime && !ticket.restored {
            Value::None
        } else {
            Value::Int(whole(ticket.bantime))
        };
        format!(
            "BanTicket: ip={} time={} bantime={bantime} bancount={} #attempts={} matches={}",
            ticket.id,
            self.time(),
            ticket.bancount,
            ticket.failures,
            self.matches().repr(),
        )
    }

    /// A ban of an earlier run has the whole second that the database keeps; the way over the steady clock may have
    /// added a moment to it.
    fn time(&self) -> Value {
        let wall = self.context.clock.to_wall(self.ticket.time);
        if self.ticket.restored {
            Value::Int((wall + Seconds::from_micros(500_000)).seconds())
        } else {
            Value::Float(wall.as_f64())
        }
    }
}

fn count(number: u32) -> Value {
    Value::Int(i64::from(number))
}

/// Whole seconds, cut towards nought.
fn whole(length: Seconds) -> i64 {
    length.micros() / 1_000_000
}

/// The labels of a reverse look-up, last first and with a final point; the mask of a network stays at its label.
fn reversed(id: &Id) -> String {
    let Some(net) = id.network() else {
        return String::new();
    };
    let labels: Vec<String> = match net.addr() {
        IpAddr::V4(_) => id.to_string().split('.').map(str::to_owned).collect(),
        IpAddr::V6(v6) => format!("{:032x}", v6.to_bits()).chars().map(String::from).collect(),
    };
    let mut out = String::with_capacity(64);
    for label in labels.iter().rev() {
        out.push_str(label);
        out.push('.');
    }
    out
}

//! From an offence to a ban: how long, and from when.
//!
//! The first ban of an offender lasts `bantime` from its last failure. With `bantime.increment` those who come back
//! count more for each failure and are banned longer each time: [`Growth`] (contract §4.4, §4.5).

use crate::address::Id;
use crate::config::parse_bool;
use crate::expression::{Amount, Expression, Facts, Failed, Scope, larger, product, smaller, sum};
use crate::ledger::{Count, Data, Ticket};
use crate::time::{Number, Seconds, Timestamp, length};

/// Fail2Ban's own formula: twice as long each time.
const FORMULA: &str = "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor";

/// How bans grow: `bantime.*`, read.
#[derive(Clone, Debug)]
pub struct Growth {
    multipliers: Vec<Amount>,
    formula: Expression,
    factor: Amount,
    maxtime: Option<Amount>,
    rndtime: Option<Amount>,
    /// Whether bans in all jails count (`bantime.overalljails`)
    pub overall: bool,
}

impl Growth {
    /// From the options as given, by their last word; nothing without `increment`.
    ///
    /// # Errors
    /// The option that cannot be read, and why.
    pub fn of(options: &[(String, String)]) -> Result<Option<Growth>, String> {
        let find = |name: &str| {
            let option = options.iter().find(|(option, _)| option == name);
            option
                .map(|(_, value)| value.as_str())
                .filter(|value| !value.is_empty())
        };
        if !find("increment").is_some_and(parse_bool) {
            return Ok(None);
        }
        let read = |name: &str| {
            let text = find(name);
            text.map(|text| length(text).map_err(|error| format!("bantime.{name}: {error}")))
                .transpose()
        };
        let parse = |name: &str, text, scope| {
            Expression::parse(text, scope).map_err(|error| format!("bantime.{name}: {error}"))
        };
        let multipliers = find("multipliers").map_or_else(Vec::new, |text| text.split(' ').collect());
        let multipliers = multipliers
            .into_iter()
            .map(|text| text.trim().parse().map(|number: i64| number.into()));
        let factor = parse("factor", find("factor").unwrap_or("1"), Scope::Factor)?;
        Ok(Some(Growth {
            multipliers: multipliers
                .collect::<Result<_, _>>()
                .map_err(|error| format!("bantime.multipliers: {error}"))?,
            formula: parse("formula", find("formula").unwrap_or(FORMULA), Scope::Formula)?,
            factor: factor.alone().map_err(|error| format!("bantime.factor: {error}"))?,
            maxtime: read("maxtime")?,
            rndtime: read("rndtime")?,
            overall: find("overalljails").is_some_and(parse_bool),
        }))
    }

    /// How long somebody is banned who was banned `count` times before. `draw` gives a random number from 0 up to, not
    /// including, 1.
    ///
    /// # Errors
    /// [`Failed`] where the formula has no result; the ban then lasts `bantime`, as with Fail2Ban.
    pub fn length(&self, bantime: Seconds, count: u32, draw: &mut dyn FnMut() -> f64) -> Result<Amount, Failed> {
        let time = Amount::from(bantime.whole());
        let mut result = match self.multiplier(count) {
            Some(multiplier) => product(&product(&time, &self.factor)?, multiplier)?,
            None => {
                let facts = Facts {
                    time: time.clone(),
                    count: Amount::from(i64::from(count)),
                    factor: self.factor.clone(),
                };
                larger(time, self.formula.value(&facts, draw)?)
            }
        };
        if let Some(maxtime) = &self.maxtime {
            result = smaller(result, maxtime.clone());
        }
        if let Some(rndtime) = &self.rndtime {
            result = sum(&result, &product(&Amount::Float(draw()), rndtime)?)?;
        }
        if result.nearest().is_nan() {
            return Err(Failed("the ban time is not a number".into()));
        }
        Ok(result)
    }

    /// The one for that many bans before; the last one also for more.
    fn multiplier(&self, count: u32) -> Option<&Amount> {
        let at = usize::try_from(count).unwrap_or(usize::MAX);
        self.multipliers.get(at).or_else(|| self.multipliers.last())
    }

    /// What a ban from an earlier run is cut to: `maxtime`, if there is one.
    #[must_use]
    pub fn cap(&self) -> Option<Seconds> {
        self.maxtime.as_ref().map(seconds).filter(|cap| *cap > Seconds::ZERO)
    }
}

/// A ban time, to the microsecond; one beyond all times is as long as there is time.
#[must_use]
pub fn seconds(amount: &Amount) -> Seconds {
    Number::of(amount).map_or_else(|| Seconds::from_f64(amount.nearest()), Number::seconds)
}

/// How much a failure of somebody counts who was banned `count` times before, at most `maxretry` (contract §4.4): 2, 3,
/// 5, 9, …
#[must_use]
pub fn weight(count: u32, maxretry: u32) -> u32 {
    full_weight(count).min(maxretry)
}

/// The same without the limit.
#[must_use]
pub fn full_weight(count: u32) -> u32 {
    (1 << count.min(20)) / 2 + 1
}

/// The sentence for a full counter.
#[must_use]
pub fn sentence(id: Id, count: Count, bantime: Seconds) -> Ticket {
    Ticket {
        id,
        time: count.last,
        bantime,
        bancount: count.bancount,
        failures: count.failures,
        matches: count.matches,
        data: count.data,
        restored: false,
    }
}

/// A ban by hand, from now.
#[must_use]
pub fn by_hand(id: Id, now: Timestamp, bantime: Seconds) -> Ticket {
    Ticket {
        id,
        time: now,
        bantime,
        bancount: 0,
        failures: 0,
        matches: Vec::new(),
        data: Data::default(),
        restored: false,
    }
}

/// A ban kept from an earlier run: `None` if it is over (contract §7.4). A longer or permanent ban than `most`, which
/// is what the jail now gives at most, is cut to it.
#[must_use]
pub fn restored(mut ticket: Ticket, now: Timestamp, most: Option<Seconds>) -> Option<Ticket> {
    if let Some(most) = most
        && (ticket.bantime.is_forever() || ticket.bantime > most)
    {
        ticket.bantime = most;
    }
    ticket.restored = true;
    // The live engine ends a ban when now is past its end, so its last instant still counts here.
    let alive = ticket.until().is_none_or(|until| until >= now);
    alive.then_some(ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(time: i64, bantime: i64) -> Ticket {
        let mut ticket = by_hand(
            Id::parse("192.0.2.1").unwrap(),
            Timestamp::from_seconds(time),
            Seconds::new(bantime),
        );
        ticket.bancount = 1;
        ticket
    }

    #[test]
    fn restore_cuts_to_the_present_bantime() {
        let now = Timestamp::from_seconds(1000);
        let check = |time, own, jail, expect: Option<i64>| {
            let most = Some(Seconds::new(jail)).filter(|most| !most.is_forever());
            let left = restored(ticket(time, own), now, most).map(|t| t.bantime.whole());
            assert_eq!(left, expect, "{time} {own} {jail}");
        };
        check(900, 600, 600, Some(600));
        check(100, 600, 600, None);
        check(100, 3600, 600, None);
        check(900, 3600, 600, Some(600));
        check(100, -1, 600, None);
        check(900, -1, -1, Some(-1));
        check(900, 600, -1, Some(600));
        check(100, 600, -1, None);
    }

    fn growth(options: &[(&str, &str)]) -> Result<Option<Growth>, String> {
        let options: Vec<_> = options
            .iter()
            .chain(&[("increment", "True")])
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Growth::of(&options)
    }

    #[test]
    fn bans_grow() {
        let check = |options: &[(&str, &str)], expect: [&str; 4]| {
            let growth = growth(options).unwrap().unwrap();
            let lengths = [1, 2, 5, 30].map(|count| {
                let length = growth.length(Seconds::new(600), count, &mut || 0.5);
                length.map_or_else(|error| error.to_string(), |length| length.to_string())
            });
            assert_eq!(lengths, expect, "{options:?}");
        };
        check(&[], ["1200", "2400", "19200", "629145600"]);
        check(&[("maxtime", "1h")], ["1200", "2400", "3600", "3600"]);
        check(&[("factor", "1.5")], ["1800.0", "3600.0", "28800.0", "943718400.0"]);
        check(&[("multipliers", "1 2 4 8")], ["1200", "2400", "4800", "4800"]);
        check(
            &[("maxtime", "1h"), ("rndtime", "1m")],
            ["1230.0", "2430.0", "3630.0", "3630.0"],
        );
        check(
            &[("formula", "60 / (ban.Count - 1)")],
            ["division by zero", "600", "600", "600"],
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(Growth::of(&[]).unwrap().is_none());
        let check = |option, expect: &str| assert_eq!(growth(&[option]).map(|_| ()), Err(expect.to_owned()));
        check(
            ("formula", "ban.Tim"),
            "bantime.formula: 'ban.Tim' is not supported here (column 1)",
        );
        check(("factor", "1/0"), "bantime.factor: division by zero");
        check(
            ("maxtime", "1 fortnight"),
            "bantime.maxtime: 'fortnight' is not expected here (column 3)",
        );
    }

    #[test]
    fn the_known_count_more() {
        let weights = [0, 1, 2, 3, 4, 20, 4_000_000_000].map(|count| weight(count, 1_000_000));
        assert_eq!(weights, [1, 2, 3, 5, 9, 524_289, 524_289]);
        assert_eq!(weight(4, 5), 5);
    }
}

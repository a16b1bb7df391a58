//! What layers made of bans, told in the log: `[sshd] Applied 203.0.113.9 (gcp block-ip, 6 s)` (D-224).
//!
//! In come the facts of the layers; out go lines of a logger of our own, which jail `recidive` does not read. A layer has
//! a line for each ban while there are few. What comes in crowds, and what was kept by an earlier run, is told by its
//! number, so that the log does not grow with the size of an attack.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::address::Id;
use portcullis_core::engine::{Effect, Event, Input, Query};
use portcullis_core::ledger::{Applied, LayerId, OrderKind, Standing};
use portcullis_core::time::{Seconds, Timestamp};

use super::way::Way;
use super::{Daemon, Facts};
use crate::fault::{self, Step};
use crate::observe::log::{Level, Line, notes as say_all};

/// Not Fail2Ban's: `recidive` and scripts that look for `fail2ban.actions` pass over it.
const LOGGER: &str = "portcullis.layers";
/// A layer has so many lines of single bans a [`WINDOW`].
const SINGLE_MOST: usize = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// What is told by its number waits for what is still on its way, but not for longer.
const LONGEST: Duration = Duration::from_secs(10);

/// What is not told yet.
#[derive(Default)]
pub(super) struct Deeds {
    crowds: BTreeMap<(LayerId, Kind), Crowd>,
    /// When each jail last took up what an earlier run had kept
    restored: BTreeMap<Arc<str>, Timestamp>,
}

/// What came of a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Applied,
    Restored,
    Refused,
    Failed,
}

/// Bans of which the same is to be told.
#[derive(Default)]
struct Crowd {
    /// The first of them, as many as may have a line each
    first: Vec<Deed>,
    last: Option<Deed>,
    count: usize,
    longest: Seconds,
    /// When the first of them came
    since: Option<Instant>,
    /// When the current window began, and how many lines it has had
    window: Option<Instant>,
    told: usize,
}

/// One ban, and how long it took.
#[derive(Clone)]
struct Deed {
    id: Id,
    length: Seconds,
    /// Why it was refused, or failed
    why: String,
}

impl Deeds {
    /// Something was decided: bans of a jail that are restored now were kept by an earlier run.
    pub(super) fn hear(&mut self, event: &Event, now: Timestamp) {
        if let Event::Banned {
            jail, restored: true, ..
        } = event
        {
            self.restored.insert(Arc::clone(jail), now);
        }
    }

    /// When something is to be told at the latest.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.crowds.values().filter_map(|crowd| crowd.due(now)).min()
    }

    /// The lines that can be told now. `is_open` says whether more is on its way to a layer, `all` that nothing waits any
    /// longer; each layer is called by `name`.
    fn take(
        &mut self,
        now: Instant,
        (is_open, all): (impl Fn(&LayerId) -> bool, bool),
        name: impl Fn(&LayerId) -> String,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for ((layer, kind), crowd) in &mut self.crowds {
            if crowd.is_due(now, *kind, || is_open(layer)) || (all && crowd.count > 0) {
                lines.extend(crowd.tell(now, *kind, (layer, &name(layer))));
            }
        }
        self.crowds.retain(|_, crowd| crowd.count > 0 || !crowd.is_over(now));
        lines
    }
}

impl Crowd {
    fn add(&mut self, deed: Deed) {
        self.count += 1;
        self.longest = self.longest.max(deed.length);
        self.since.get_or_insert_with(Instant::now);
        if self.first.len() < SINGLE_MOST {
            self.first.push(deed.clone());
        }
        self.last = Some(deed);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.window.is_none_or(|since| now >= since + WINDOW)
    }

    /// Whether each has a line of its own.
    fn is_few(&self, now: Instant, kind: Kind) -> bool {
        let told = if self.is_over(now) { 0 } else { self.told };
        kind != Kind::Restored && self.count + told <= SINGLE_MOST
    }

    fn is_due(&self, now: Instant, kind: Kind, is_open: impl Fn() -> bool) -> bool {
        let is_old = || self.since.is_some_and(|since| now >= since + LONGEST);
        self.count > 0 && (self.is_few(now, kind) || self.is_over(now) && (is_old() || !is_open()))
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let over = self.window.map(|since| since + WINDOW).filter(|over| now < *over);
        self.since.map(|since| over.unwrap_or(since + LONGEST))
    }

    fn tell(&mut self, now: Instant, kind: Kind, whose: (&LayerId, &str)) -> Vec<Line> {
        if self.is_over(now) {
            (self.window, self.told) = (Some(now), 0);
        }
        let texts: Vec<String> = if self.is_few(now, kind) {
            let single = |deed: &Deed| kind.one(deed, whose.1);
            self.first.iter().map(single).collect()
        } else {
            let last = self.last.as_ref();
            last.map(|last| kind.many(self, last, whose.1)).into_iter().collect()
        };
        // After a number there are no single lines in the same window.
        self.told = if texts.len() == self.count {
            self.told + texts.len()
        } else {
            SINGLE_MOST
        };
        (self.first, self.last, self.count) = (Vec::new(), None, 0);
        (self.longest, self.since) = (Seconds::ZERO, None);
        let line = |text: String| Line {
            level: kind.level(),
            logger: LOGGER,
            text: format!("[{}] {text}", whose.0.jail),
        };
        texts.into_iter().map(line).collect()
    }
}

impl Kind {
    fn level(self) -> Level {
        match self {
            Kind::Applied | Kind::Restored => Level::Info,
            Kind::Refused => Level::Warning,
            Kind::Failed => Level::Error,
        }
    }

    fn one(self, deed: &Deed, layer: &str) -> String {
        let Deed { id, length, why } = deed;
        let took = short(*length);
        match self {
            Kind::Applied | Kind::Restored => format!("Applied {id} ({layer}, {took})"),
            Kind::Refused => format!("Refused {id} ({layer}): {why}"),
            Kind::Failed => format!("Not applied {id} ({layer}, after {took}): {why}"),
        }
    }

    fn many(self, crowd: &Crowd, last: &Deed, layer: &str) -> String {
        let (count, took, Deed { id, why, .. }) = (crowd.count, short(crowd.longest), last);
        let bans = if count == 1 { "ban" } else { "bans" };
        match self {
            Kind::Applied => format!("Applied {count} {bans} ({layer}, within {took})"),
            Kind::Restored => format!("Applied {count} {bans} again after a start ({layer}, within {took})"),
            Kind::Refused => format!("Refused {count} {bans} ({layer}), {id} the last: {why}"),
            Kind::Failed => format!("Not applied {count} {bans} ({layer}, within {took}), {id} the last: {why}"),
        }
    }
}

/// A length of time as people say it: milliseconds below a second, whole seconds from there on.
fn short(length: Seconds) -> String {
    match length.micros().max(0).unsigned_abs() {
        micros @ ..1_000_000 => format!("{} ms", micros.div_ceil(1000).min(999)),
        micros => format!("{} s", micros.div_ceil(1_000_000)),
    }
}

/// What a layer is, where its bans are told: a letter keeps nobody out.
fn kind_of(way: &Way) -> Option<&'static str> {
    match way {
        Way::Nft(..) => Some("nft"),
        Way::Cloud(_) => Some("gcp"),
        Way::Shell(_) | Way::Beside(_) => Some("shell"),
        Way::Mail(_) | Way::Dry { .. } => None,
    }
}

/// How a layer is called: what it is, and which one where there may be several.
fn named(layer: &LayerId, way: &Way) -> Option<String> {
    let kind = kind_of(way)?;
    Some(match way {
        Way::Cloud(cloud) => format!("{kind} {}", cloud.options.rule),
        _ if *layer.action == *kind => kind.to_owned(),
        _ => format!("{kind} {}", layer.action),
    })
}

impl Daemon {
    /// Facts of a lane, which had them at a time.
    pub(super) fn take_facts(&mut self, facts: Facts, at: Instant, out: &mut Vec<Effect>) {
        let now = self.clock.now().steady;
        fault::reach(Step::Learned);
        let since = Seconds::from_micros(i64::try_from(at.elapsed().as_micros()).unwrap_or(0));
        for applied in facts.applied {
            self.learn(&applied, now - since);
            self.engine.handle(now - since, Input::Applied(applied), out);
        }
        for layer in facts.lost {
            self.engine.handle(now, Input::Lost(layer), out);
        }
        for reading in facts.readings {
            self.engine.handle(now, Input::Read(reading), out);
        }
        for (layer, why) in facts.failing {
            self.engine.handle(now, Input::Failing(layer, why), out);
        }
        self.free_everywhere(&facts.freed, out);
    }

    /// Notes a fact that is to be told, before the engine takes it.
    pub(super) fn note_deed(&mut self, applied: &Applied, now: Timestamp) {
        let Some(id) = applied.id.as_ref().filter(|_| is_ban(applied.order)) else {
            return;
        };
        if self.setup.ways.get(&applied.layer).and_then(kind_of).is_none() {
            return;
        }
        let Some(stand) = self.engine.stand(&applied.layer, id) else {
            return;
        };
        let restored = &self.held.deeds.restored;
        let is_kept = restored.get(&applied.layer.jail) == Some(&stand.decided);
        let Some((kind, why)) = news(&stand.standing, &applied.result, is_kept) else {
            return;
        };
        let deed = Deed {
            id: id.clone(),
            length: now - stand.decided,
            why: why.to_owned(),
        };
        if kind == Kind::Failed && self.tells_itself(applied, id, why) {
            return;
        }
        let key = (applied.layer.clone(), kind);
        self.held.deeds.crowds.entry(key).or_default().add(deed);
    }

    /// Whether the engine is going to say so, because nothing failed in that way just before.
    fn tells_itself(&self, applied: &Applied, id: &Id, error: &str) -> bool {
        let jail = self.engine.query(&Query::Counts(applied.layer.jail.to_string()));
        let layer = jail
            .jails
            .first()
            .and_then(|jail| jail.layers.get(&applied.layer.action));
        layer.is_some_and(|layer| layer.failure.as_deref() != Some(error) || layer.native && id.family().is_none())
    }

    /// Tells what can be told, or all.
    pub(super) fn tell_deeds(&mut self, all: bool) {
        let (ways, held) = (&self.setup.ways, &mut self.held);
        let is_open = |layer: &LayerId| held.tally.is_open(layer);
        let name = |layer: &LayerId| {
            let known = ways.get(layer).and_then(|way| named(layer, way));
            known.unwrap_or_else(|| layer.action.to_string())
        };
        let lines = held.deeds.take(Instant::now(), (is_open, all), name);
        say_all(lines.into_iter());
    }
}

fn is_ban(order: OrderKind) -> bool {
    matches!(order, OrderKind::Ban | OrderKind::Prolong)
}

/// What is new about a ban that stood so far, and why it came to that. What is confirmed once more is not.
fn news<'a>(stand: &Standing, result: &'a Result<Standing, String>, is_kept: bool) -> Option<(Kind, &'a str)> {
    let was_applied = matches!(stand, Standing::Applied | Standing::Verified);
    match result {
        Ok(Standing::Applied | Standing::Verified) if !was_applied && is_kept => Some((Kind::Restored, "")),
        Ok(Standing::Applied | Standing::Verified) if !was_applied => Some((Kind::Applied, "")),
        Ok(Standing::Protected(why)) if !matches!(stand, Standing::Protected(_)) => Some((Kind::Refused, why)),
        Err(why) if !matches!(stand, Standing::Failed(_)) => Some((Kind::Failed, why)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(action: &str) -> LayerId {
        LayerId {
            jail: "sshd".into(),
            action: action.into(),
        }
    }

    fn deed(number: u8, millis: i64) -> Deed {
        Deed {
            id: Id::Ip([192, 0, 2, number].into()),
            length: Seconds::from_micros(millis * 1000),
            why: "no room".into(),
        }
    }

    /// The texts after so many deeds of a kind at a moment.
    fn told(deeds: &mut Deeds, kind: Kind, (count, at, is_open): (u8, Instant, bool)) -> Vec<String> {
        let crowd = deeds.crowds.entry((layer("nft"), kind)).or_default();
        (0..count).for_each(|number| crowd.add(deed(number, i64::from(number))));
        let lines = deeds.take(at, (|_: &LayerId| is_open, false), |layer| layer.action.to_string());
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lengths_of_time() {
        let check = |micros, expect: &str| assert_eq!(short(Seconds::from_micros(micros)), expect);
        check(-5, "0 ms");
        check(1, "1 ms");
        check(12_000, "12 ms");
        check(999_999, "999 ms");
        check(1_000_000, "1 s");
        check(5_300_000, "6 s");
    }

    #[test]
    fn few_have_a_line_each_and_a_crowd_has_one() {
        let (mut deeds, start) = (Deeds::default(), Instant::now());
        let check = |deeds: &mut Deeds, (count, millis, is_open), expect: &[&str]| {
            let at = start + Duration::from_millis(millis);
            assert_eq!(told(deeds, Kind::Applied, (count, at, is_open)), expect);
        };
        let two = [
            "[sshd] Applied 192.0.2.0 (nft, 0 ms)",
            "[sshd] Applied 192.0.2.1 (nft, 1 ms)",
        ];
        check(&mut deeds, (2, 0, true), &two);
        // The window has room for 18 more; what does not fit is told when it is over and nothing is on its way.
        check(&mut deeds, (19, 10, false), &[]);
        check(&mut deeds, (2, 1000, true), &[]);
        check(
            &mut deeds,
            (0, 1000, false),
            &["[sshd] Applied 21 bans (nft, within 18 ms)"],
        );
        check(&mut deeds, (2, 1500, false), &[]);
        check(&mut deeds, (0, 2000, false), &two);
        // A stream that never pauses is told now and then.
        check(&mut deeds, (100, 3000, true), &[]);
        check(
            &mut deeds,
            (100, 60_000, true),
            &["[sshd] Applied 200 bans (nft, within 99 ms)"],
        );
        assert!(deeds.due(start).is_none());
    }

    #[test]
    fn the_log_does_not_grow_with_an_attack() {
        let (mut deeds, start) = (Deeds::default(), Instant::now());
        let mut lines = 0;
        // In pieces of 4 at 2,000 a second, and then in large ones.
        for piece in 0..12_500_u64 {
            let at = start + Duration::from_millis(2 * piece);
            lines += told(&mut deeds, Kind::Applied, (4, at, piece % 50 > 0)).len();
        }
        for piece in 0..250_u64 {
            let at = start + Duration::from_millis(25_000 + 100 * piece);
            lines += told(&mut deeds, Kind::Applied, (200, at, false)).len();
        }
        assert!((50..300).contains(&lines), "{lines} lines for 100,000 bans");
    }

    #[test]
    fn what_was_kept_is_a_number() {
        let (mut deeds, now) = (Deeds::default(), Instant::now());
        assert!(told(&mut deeds, Kind::Restored, (1, now, true)).is_empty());
        assert!(deeds.due(now).is_some_and(|due| due > now));
        let line = "[sshd] Applied 4 bans again after a start (nft, within 2 ms)";
        assert_eq!(told(&mut deeds, Kind::Restored, (3, now, false)), [line]);
    }

    #[test]
    fn refusals_and_failures_say_why() {
        let (mut deeds, now) = (Deeds::default(), Instant::now());
        let refused = told(&mut deeds, Kind::Refused, (1, now, true));
        assert_eq!(refused, ["[sshd] Refused 192.0.2.0 (nft): no room"]);
        let failed = told(&mut deeds, Kind::Failed, (1, now, true));
        assert_eq!(failed, ["[sshd] Not applied 192.0.2.0 (nft, after 0 ms): no room"]);
        let later = now + WINDOW;
        let failed = told(&mut deeds, Kind::Failed, (30, later, false));
        let line = "[sshd] Not applied 30 bans (nft, within 29 ms), 192.0.2.29 the last: no room";
        assert_eq!(failed, [line]);
    }

    #[test]
    fn what_is_confirmed_once_more_is_no_news() {
        let check = |stand: Standing, result: Result<Standing, String>, is_kept, expect: Option<Kind>| {
            assert_eq!(news(&stand, &result, is_kept).map(|(kind, _)| kind), expect);
        };
        let protected = || Standing::Protected("own".into());
        check(Standing::Decided, Ok(Standing::Applied), false, Some(Kind::Applied));
        check(Standing::Decided, Ok(Standing::Verified), true, Some(Kind::Restored));
        check(Standing::Applied, Ok(Standing::Verified), false, None);
        check(
            Standing::Failed("x".into()),
            Ok(Standing::Applied),
            false,
            Some(Kind::Applied),
        );
        check(Standing::Failed("x".into()), Err("y".into()), false, None);
        check(Standing::Decided, Err("y".into()), true, Some(Kind::Failed));
        check(Standing::Decided, Ok(protected()), false, Some(Kind::Refused));
        check(protected(), Ok(protected()), false, None);
        check(Standing::Decided, Ok(Standing::Decided), false, None);
        check(Standing::Decided, Ok(Standing::Dry), false, None);
    }
}

//! The steady clock across restarts of the daemon.
//!
//! Steady times are kept in the database, so the clock they are readings of has to go on where it stopped. In
//! goes what the last commit kept of both clocks and the kernel's count since boot; out comes where the clocks
//! stand now. The reading of the kernel's count is here too; the arithmetic takes it as an argument.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_core::time::{Clock, Seconds, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Which boot of the machine this is, and how long it has been up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// The kernel's random name of this boot; empty where it cannot be read.
    pub(crate) id: String,
    /// Microseconds since boot, sleep included.
    pub(crate) micros: i64,
}

impl Boot {
    /// Asks the kernel.
    pub(crate) fn read() -> Boot {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Boot {
            id: id.trim().to_owned(),
            micros: since_boot(),
        }
    }
}

/// Microseconds since boot, sleep included: a ban also runs while a laptop sleeps.
pub(super) fn since_boot() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

/// What a commit keeps of the clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The boot it happened in, and when within it.
    pub(crate) boot: Boot,
    /// Both clocks at that moment.
    pub(crate) clock: Clock,
}

impl Kept {
    /// Whether `boot` is the one this was kept in, so that the count since boot measures what has passed.
    fn same_boot(&self, boot: &Boot) -> bool {
        !boot.id.is_empty() && self.boot.id == boot.id && self.boot.micros <= boot.micros
    }

    /// What has to be added to steady times kept then, so that they are readings of the clock that
    /// [`resume_clock`] gives now: nothing within one boot; else they become the wall times they stood for.
    pub(crate) fn shift(&self, boot: &Boot) -> Seconds {
        if self.same_boot(boot) {
            Seconds::ZERO
        } else {
            self.clock.wall - self.clock.steady
        }
    }
}

/// Where both clocks stand at the start of the daemon.
///
/// Within one boot the steady clock goes on exactly, whatever the wall clock did while the daemon was down. In
/// another boot only the wall clock can say how long that took; where it stands before the last known moment
/// (a machine without a battery clock), no time is taken to have passed.
pub(crate) fn resume_clock(boot: &Boot, wall: Timestamp, kept: Option<&Kept>) -> Clock {
    let steady = match kept {
        None => wall,
        Some(kept) if kept.same_boot(boot) => {
            kept.clock.steady + Seconds::from_micros(boot.micros.saturating_sub(kept.boot.micros))
        }
        Some(kept) => wall.max(kept.clock.wall),
    };
    Clock { steady, wall }
}

/// Readings that differ by less are the same: two clocks cannot be read at one instant, and a clock that is being
/// slewed moves by less between two lines. A difference that jittered would put a line's second a microsecond before
/// itself.
const JITTER: i64 = 2000;
/// A machine too busy to read two clocks at once within so many tries gets an estimate.
const TRIES: u32 = 8;

/// Both clocks, running: made once at the start, read at each step. Copies share what they know.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    steady: Timestamp,
    since_boot: i64,
    /// Wall minus steady in microseconds, as last settled
    ahead: Arc<AtomicI64>,
}

impl Running {
    /// Begins now, for want of a database that knows better.
    pub(crate) fn fresh() -> Running {
        Running::from(wall_now(), since_boot())
    }

    /// Runs on from `steady`, which was right at `since_boot` microseconds after boot.
    pub(super) fn from(steady: Timestamp, since_boot: i64) -> Running {
        let ahead = Arc::new(AtomicI64::new(i64::MAX));
        Running {
            steady,
            since_boot,
            ahead,
        }
    }

    /// Both clocks now.
    pub(crate) fn now(&self) -> Clock {
        let (boot, wall) = both_clocks();
        let steady = self.steady + Seconds::from_micros(boot.saturating_sub(self.since_boot));
        let measured = (wall - steady).micros();
        let known = self.ahead.load(Ordering::Relaxed);
        let ahead = if measured.abs_diff(known) < JITTER.unsigned_abs() {
            known
        } else {
            measured
        };
        self.ahead.store(ahead, Ordering::Relaxed);
        let wall = steady + Seconds::from_micros(ahead);
        Clock { steady, wall }
    }
}

/// Microseconds since boot and the wall clock, at one moment: read again where this thread was put aside in between.
fn both_clocks() -> (i64, Timestamp) {
    let mut before = since_boot();
    for _ in 0..TRIES {
        let wall = wall_now();
        let after = since_boot();
        if after - before < JITTER / 4 {
            return (before, wall);
        }
        before = after;
    }
    (before, wall_now())
}

/// The wall clock; before 1970 counts as 1970.
fn wall_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: &str, seconds: i64) -> Boot {
        Boot {
            id: id.to_owned(),
            micros: seconds * 1_000_000,
        }
    }

    /// Kept: boot `a`, 100 s up, steady 5000, wall 9000.
    fn check(now: &Boot, wall: i64, steady: i64, shift: i64) {
        let kept = Kept {
            boot: boot("a", 100),
            clock: Clock {
                steady: Timestamp::from_seconds(5000),
                wall: Timestamp::from_seconds(9000),
            },
        };
        let clock = resume_clock(now, Timestamp::from_seconds(wall), Some(&kept));
        assert_eq!(clock.steady, Timestamp::from_seconds(steady), "{now:?}");
        assert_eq!(clock.wall, Timestamp::from_seconds(wall));
        assert_eq!(kept.shift(now), Seconds::new(shift));
    }

    #[test]
    fn the_difference_does_not_jitter() {
        let running = Running::fresh();
        let ahead = |clock: Clock| clock.wall - clock.steady;
        let first = ahead(running.now());
        assert!((0..10_000).filter(|_| ahead(running.now()) != first).count() < 10);
    }

    #[test]
    fn a_wall_clock_far_behind_is_taken_as_it_is() {
        let ahead = Timestamp::from_micros(wall_now().micros() + 7_200_000_000);
        let clock = Running::from(ahead, since_boot()).now();
        let hours = (clock.wall - clock.steady).as_f64() / 3600.0;
        assert!((-2.01..-1.99).contains(&hours), "{hours}");
    }

    #[test]
    fn the_steady_clock_goes_on() {
        check(&boot("a", 160), 9060, 5060, 0);
        // The wall clock was set back an hour, or forth a day, while we were down.
        check(&boot("a", 160), 5460, 5060, 0);
        check(&boot("a", 160), 95_460, 5060, 0);
        check(&boot("a", 100), 9000, 5000, 0);
        // Another boot: steady times become wall times.
        check(&boot("b", 160), 9300, 9300, 4000);
        check(&boot("b", 10), 9300, 9300, 4000);
        // No battery clock: the time that passed is unknown, and taken for none.
        check(&boot("b", 10), 100, 9000, 4000);
        // The same boot cannot be younger than it was; an unreadable one is never the same.
        check(&boot("a", 50), 9300, 9300, 4000);
        check(&boot("", 160), 9300, 9300, 4000);
    }

    #[test]
    fn a_first_start_goes_by_the_wall() {
        let wall = Timestamp::from_seconds(7);
        assert_eq!(resume_clock(&boot("a", 1), wall, None), Clock::at(wall));
    }

    #[test]
    fn the_running_clock_runs() {
        let boot = Boot::read();
        assert!(!boot.id.is_empty() && boot.micros > 0);
        let running = Running::from(Timestamp::from_seconds(1000), boot.micros);
        let (one, two) = (running.now(), running.now());
        assert!(one.steady >= Timestamp::from_seconds(1000) && two.steady >= one.steady);
        assert!(two.steady < Timestamp::from_seconds(1000 + 600));
    }
}

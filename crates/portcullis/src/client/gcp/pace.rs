//! Time, chance and patience of the verbs that wait for the API: how long until a failed call is tried again, and what
//! people are told meanwhile.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_core::cloud::trouble::{Kind, Trouble};

use crate::regex::harmless;

/// A pause is cut into such pieces, to look whether somebody wants to stop.
const SLICE: Duration = Duration::from_millis(100);
/// The longest pause after an answer that was lost; they double from one second (gcp.md §1.8).
const LONGEST: u64 = 64_000;
/// Quotas are refilled at the next minute of the clock.
const MINUTE: u64 = 60_000;

/// What a verb knows of time.
pub(super) trait Pace {
    /// Since the verb began.
    fn now(&self) -> Duration;
    /// On the wall clock, in milliseconds since 1970.
    fn wall(&self) -> u64;
    /// Waits; `false` when somebody wants to stop.
    fn pause(&mut self, length: Duration) -> bool;
    /// A number that nobody can guess.
    fn random(&mut self) -> u64;
    /// Tells people who wait.
    fn tell(&mut self, text: &str);
}

/// The real one.
pub(super) struct Real {
    start: Instant,
    stop: Arc<AtomicBool>,
    tells: bool,
}

impl Real {
    /// `json` keeps it silent. Ctrl-C ends the program.
    pub(super) fn new(json: bool) -> Real {
        Real {
            start: Instant::now(),
            stop: Arc::new(AtomicBool::new(false)),
            tells: !json && std::io::stderr().is_terminal(),
        }
    }

    /// The same for a verb that puts away what it made: the first Ctrl-C ends pauses, the second one the program.
    pub(super) fn careful(json: bool) -> Real {
        let real = Real::new(json);
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // In this order: the second signal finds what the first one has set. Where it cannot be registered, the
            // signal ends the program at once.
            let _ = signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&real.stop));
            let _ = signal_hook::flag::register(signal, Arc::clone(&real.stop));
        }
        real
    }

    /// From now on as if nobody had wanted to stop: what was made is put away.
    pub(super) fn clean(&self) -> Real {
        Real {
            start: Instant::now(),
            stop: Arc::new(AtomicBool::new(false)),
            tells: self.tells,
        }
    }
}

impl Pace for Real {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn pause(&mut self, length: Duration) -> bool {
        let until = Instant::now() + length;
        while !self.stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(SLICE));
        }
        false
    }

    fn random(&mut self) -> u64 {
        // Seeded by the system, and another one each time.
        RandomState::new().build_hasher().finish()
    }

    fn tell(&mut self, text: &str) {
        if self.tells {
            eprintln!("portcullis: {}", harmless(text));
        }
    }
}

/// How long to wait before a call that failed so often already (0: for the first time) is tried again; never for `None`.
pub(super) fn rest(trouble: &Trouble, tries: u32, pace: &mut dyn Pace) -> Option<Duration> {
    let asked = trouble
        .retry_after
        .and_then(|wait| u64::try_from(wait.micros()).ok())
        .map(Duration::from_micros);
    let chance = |pace: &mut dyn Pace, below: u64| pace.random() % below;
    let millis = match trouble.kind {
        Kind::Busy => 1000 + chance(pace, 4000),
        Kind::Rate => MINUTE - pace.wall() % MINUTE + chance(pace, 5000),
        Kind::Unknown => {
            let step = LONGEST.min(1000 << tries.min(10));
            step / 2 + chance(pace, step / 2)
        }
        Kind::Conflict => 500 + chance(pace, 1000),
        _ => return None,
    };
    Some(asked.unwrap_or_else(|| Duration::from_millis(millis)))
}

/// A `requestId`: a UUID of version 4.
pub(super) fn request(pace: &mut dyn Pace) -> String {
    let (high, low) = (pace.random(), pace.random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
pub(super) mod tests {
    use portcullis_core::time::Seconds;

    use super::*;

    /// A clock that jumps, and chance that is none.
    #[derive(Default)]
    pub(crate) struct Still {
        pub(crate) now: Duration,
        pub(crate) chance: u64,
        pub(crate) stops: bool,
    }

    impl Pace for Still {
        fn now(&self) -> Duration {
            self.now
        }

        fn wall(&self) -> u64 {
            10_000 + u64::try_from(self.now.as_millis()).unwrap()
        }

        fn pause(&mut self, length: Duration) -> bool {
            self.now += length;
            !self.stops
        }

        fn random(&mut self) -> u64 {
            self.chance += 1;
            self.chance
        }

        fn tell(&mut self, _: &str) {}
    }

    pub(crate) fn trouble(kind: Kind) -> Trouble {
        Trouble {
            kind,
            status: None,
            reason: String::new(),
            message: "as the API says".to_owned(),
            retry_after: None,
        }
    }

    #[test]
    fn when_to_try_again() {
        let check = |kind: Kind, tries: u32, expect: Option<std::ops::Range<u64>>| {
            let rest = rest(&trouble(kind.clone()), tries, &mut Still::default());
            let millis = rest.map(|rest| u64::try_from(rest.as_millis()).unwrap());
            match (millis, expect) {
                (None, None) => {}
                (Some(millis), Some(expect)) => assert!(expect.contains(&millis), "{kind:?}: {millis}"),
                (millis, expect) => panic!("{kind:?}: {millis:?}, not {expect:?}"),
            }
        };
        check(Kind::Busy, 0, Some(1000..5000));
        check(Kind::Rate, 0, Some(50_000..55_000));
        check(Kind::Unknown, 0, Some(500..1000));
        check(Kind::Unknown, 3, Some(4000..8000));
        check(Kind::Unknown, 60, Some(32_000..64_000));
        check(Kind::Permission, 0, None);
        check(Kind::Entry(Some(0)), 0, None);
        let said = Trouble {
            retry_after: Some(Seconds::new(7)),
            ..trouble(Kind::Rate)
        };
        assert_eq!(rest(&said, 0, &mut Still::default()), Some(Duration::from_secs(7)));
    }

    #[test]
    fn ids_are_uuids_and_differ() {
        let mut pace = Still::default();
        let (one, other) = (request(&mut pace), request(&mut pace));
        assert_ne!(one, other);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{one}");
        assert_eq!(&one[14..15], "4");
    }
}

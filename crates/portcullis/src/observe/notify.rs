//! Telling systemd how we are. Without systemd nothing happens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// So many times within the time that systemd grants it hears from us.
const BEATS: u32 = 3;

/// The sign of life that systemd may want of the service (`WatchdogSec=`). Only what turns the engine may give it: a
/// daemon whose wheel stands still is to be started again.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// As the environment asks for it. Asked is the main process, which is our parent.
    pub(crate) fn asked() -> Watchdog {
        let variable = |name: &str| std::env::var(name).ok();
        let own = [std::process::id(), std::os::unix::process::parent_id()];
        Watchdog::of(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), own)
    }

    fn of(micros: Option<&str>, pid: Option<&str>, own: [u32; 2]) -> Watchdog {
        let is_ours = pid.is_none_or(|pid| pid.parse().is_ok_and(|pid| own.contains(&pid)));
        let micros = micros.and_then(|text| text.parse().ok()).filter(|micros| is_ours && *micros > 0);
        Watchdog {
            every: micros.map(|micros| Duration::from_micros(micros) / BEATS),
            next: Instant::now(),
        }
    }

    /// How long the next sign of life can wait, where one is wanted.
    pub(crate) fn due(&self, now: Instant) -> Option<Duration> {
        self.every.map(|_| self.next.saturating_duration_since(now))
    }

    /// Gives it, if it is due. Whether it was.
    pub(crate) fn beat(&mut self, now: Instant) -> bool {
        let Some(every) = self.every.filter(|_| self.next <= now) else {
            return false;
        };
        self.next = now + every;
        send(&[NotifyState::Watchdog]);
        true
    }
}

/// Everything is in force.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// The configuration is being read again.
pub(crate) fn reloading() {
    send(&[NotifyState::Reloading]);
}

/// The end has begun.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub(crate) fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

fn send(states: &[NotifyState<'_>]) {
    // A manager that does not listen is none of our troubles.
    let _ = sd_notify::notify(states);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_watched_and_how_often() {
        let check = |micros, pid, expect: Option<u64>| {
            let watchdog = Watchdog::of(micros, pid, [7, 5]);
            assert_eq!(watchdog.every, expect.map(Duration::from_millis), "{micros:?} {pid:?}");
        };
        check(None, None, None);
        check(Some("3000000"), None, Some(1000));
        // The runner is the main process; a process that merely inherits the variables is not meant.
        check(Some("3000000"), Some("5"), Some(1000));
        check(Some("3000000"), Some("7"), Some(1000));
        check(Some("3000000"), Some("6"), None);
        for odd in ["", "0", "-1", "1.5", "x"] {
            check(Some(odd), None, None);
        }
        check(Some("3000000"), Some("x"), None);
    }

    #[test]
    fn signs_of_life_are_spaced() {
        let mut watchdog = Watchdog::of(Some("3000000"), None, [1, 1]);
        let start = watchdog.next;
        assert!(watchdog.beat(start));
        assert!(!watchdog.beat(start + Duration::from_millis(999)));
        assert_eq!(watchdog.due(start), Some(Duration::from_secs(1)));
        assert!(watchdog.beat(start + Duration::from_secs(1)));
        assert_eq!(Watchdog::of(None, None, [1, 1]).due(start), None);
    }
}

//! Telling systemd how we are. Without systemd nothing happens.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::runner::Link;

static RUNNER: OnceLock<Link> = OnceLock::new();

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
        Watchdog::of(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            own,
        )
    }

    fn of(micros: Option<&str>, pid: Option<&str>, own: [u32; 2]) -> Watchdog {
        let is_ours = pid.is_none_or(|pid| pid.parse().is_ok_and(|pid| own.contains(&pid)));
        let micros = micros
            .and_then(|text| text.parse().ok())
            .filter(|micros| is_ours && *micros > 0);
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
        send(&NotifyState::Watchdog);
        true
    }
}

/// Everything is in force.
pub(crate) fn ready() {
    send(&NotifyState::Ready);
}

/// The configuration is being read again.
pub(crate) fn reloading() {
    send(&NotifyState::Reloading);
}

/// The end has begun.
pub(crate) fn stopping() {
    send(&NotifyState::Stopping);
}

/// One line for `systemctl status`.
pub(crate) fn status(text: &str) {
    // A line break would begin another assignment.
    send(&NotifyState::Status(&text.replace('\n', " ")));
}

/// From now on the runner passes on what is to be said: systemd listens to the main process alone, so that no command of
/// an action can speak for the service.
pub(crate) fn through(link: &Link) {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        let _ = RUNNER.set(link.clone());
    }
}

/// The runner's part: of what the daemon says, that which it has to say.
pub(crate) fn pass_on(state: &str) {
    let known: Vec<&str> = state.lines().filter(|line| is_known(line)).collect();
    if !known.is_empty() {
        let _ = sd_notify::notify(&[NotifyState::Custom(&known.join("\n"))]);
    }
}

fn is_known(line: &str) -> bool {
    matches!(line, "READY=1" | "RELOADING=1" | "STOPPING=1" | "WATCHDOG=1") || line.starts_with("STATUS=")
}

fn send(state: &NotifyState<'_>) {
    // A manager that does not listen is none of our troubles.
    let _ = match RUNNER.get() {
        Some(link) => link.tell(state.to_string()),
        None => sd_notify::notify(std::slice::from_ref(state)),
    };
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
    fn what_the_runner_passes_on() {
        for (line, expect) in [
            ("READY=1", true),
            ("STATUS=NOT PROTECTED: x", true),
            ("WATCHDOG=1", true),
            ("WATCHDOG=trigger", false),
            ("MAINPID=1", false),
            ("FDSTORE=1", false),
            ("", false),
        ] {
            assert_eq!(is_known(line), expect, "{line}");
        }
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

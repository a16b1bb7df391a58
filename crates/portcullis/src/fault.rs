//! Steps at which a test has the daemon die, as by `kill -9`: the proof that no moment is a bad one.
//!
//! `PORTCULLIS_FAULT=STEP[:NTH][+runner]` names the step, how often it is passed up to then (1 is the first time), and
//! whether the runner goes with it. Only the first life ends there: a daemon that the runner starts again goes on. Only
//! a debug build knows the variable; in others [`reach`] and [`arm`] are constant and empty.

macro_rules! steps {
    ($($step:ident = $name:literal),+ $(,)?) => {
        /// A step of the daemon's work.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Step {
            $(#[doc = $name] $step,)+
        }

        #[cfg(debug_assertions)]
        const STEPS: &[(Step, &str)] = &[$((Step::$step, $name)),+];
    };
}

steps! {
    Records = "records",
    Commit = "commit",
    Committed = "committed",
    Orders = "orders",
    Transaction = "transaction",
    Confirmed = "confirmed",
    Between = "between",
    Facts = "facts",
    Learned = "learned",
    Unban = "unban",
    Prolong = "prolong",
    Structure = "structure",
    Mend = "mend",
    Mended = "mended",
    Reload = "reload",
    Arranged = "arranged",
    Restore = "restore",
    Stop = "stop",
    Stopped = "stopped",
    Empty = "empty",
    Remove = "remove",
    CloudKeep = "cloud-keep",
    CloudKept = "cloud-kept",
    CloudWrite = "cloud-write",
    CloudWait = "cloud-wait",
}

/// The work has come to a step.
#[cfg(not(debug_assertions))]
pub(crate) const fn reach(_: Step) {}

/// Reads where this daemon is to die, if it is its first life.
#[cfg(not(debug_assertions))]
pub(crate) const fn arm(_: u32) -> Result<(), String> {
    Ok(())
}

#[cfg(debug_assertions)]
pub(crate) use armed::{arm, reach};

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, getppid, kill_process};

    use super::{STEPS, Step};

    const VARIABLE: &str = "PORTCULLIS_FAULT";

    struct Fault {
        step: Step,
        /// So often the step is still to be reached
        left: AtomicU32,
        with_runner: bool,
    }

    static FAULT: OnceLock<Fault> = OnceLock::new();

    /// Reads where this daemon is to die, if it is its first life: `deaths` counts those before.
    ///
    /// # Errors
    /// There is no such step; the message lists all of them.
    pub(crate) fn arm(deaths: u32) -> Result<(), String> {
        match std::env::var(VARIABLE) {
            Ok(text) if deaths == 0 => {
                // A second daemon in one process there is not.
                let _ = FAULT.set(read(&text)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read(text: &str) -> Result<Fault, String> {
        let (place, with_runner) = text
            .strip_suffix("+runner")
            .map_or((text, false), |place| (place, true));
        let (name, nth) = place.split_once(':').unwrap_or((place, "1"));
        let step = STEPS.iter().find(|(_, known)| *known == name).map(|(step, _)| *step);
        let names = || STEPS.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
        Ok(Fault {
            step: step.ok_or_else(|| format!("{VARIABLE}: there is no step '{name}', there are: {}", names()))?,
            left: AtomicU32::new(nth.parse().map_err(|_| format!("{VARIABLE}: '{nth}' is no number"))?),
            with_runner,
        })
    }

    /// The work has come to a step, and ends there if it is to.
    pub(crate) fn reach(step: Step) {
        let Some(fault) = FAULT.get() else { return };
        if fault.step != step || fault.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return;
        }
        if let Some(runner) = getppid().filter(|_| fault.with_runner) {
            let _ = kill_process(runner, Signal::KILL);
        }
        let _ = kill_process(getpid(), Signal::KILL);
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_the_variable_says() {
            let fault = read("commit:3+runner").ok();
            let fault = fault.map(|fault| (fault.step, fault.left.into_inner(), fault.with_runner));
            assert_eq!(fault, Some((Step::Commit, 3, true)));
            let fault = read("mend").ok().map(|fault| (fault.step, fault.left.into_inner()));
            assert_eq!(fault, Some((Step::Mend, 1)));
            for (text, error) in [
                ("nowhere", "'nowhere', there are: records commit"),
                ("mend:x", "'x' is no number"),
            ] {
                let found = read(text).err().unwrap_or_default();
                assert!(found.contains(error), "{found}");
            }
        }
    }
}

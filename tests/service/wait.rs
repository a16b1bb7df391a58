//! Waiting for what other programs do.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`]; `what` and the last words of `otherwise` say what was missing.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>, otherwise: impl FnOnce() -> String) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < end,
            "waited {PATIENCE:?} in vain for: {what}\n{}",
            otherwise()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

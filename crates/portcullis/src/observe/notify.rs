//! Telling systemd how we are. Without systemd nothing happens.

use sd_notify::NotifyState;

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

//! The packages on a real system: a fresh Debian that systemd boots, real mail servers under attack, apt and dpkg for
//! real. Nothing of ours is installed on the machine itself.
//!
//! Each test boots a copy of one tree (`tests/packages/tree` makes it) in namespaces of its own, with a cable to an
//! attacker's network. The package is made of the program that the other tests use.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod attacker;
mod beside;
mod fresh;
mod machine;
mod papers;

//! The main job on real mail servers: Postfix and Dovecot under attack, real logs, real drops.
//!
//! Each test builds its own [`site::Site`]: two network namespaces with a cable between them, the mail servers and the
//! daemon in one, the client in the other, everything they write in one temporary folder. The machine's own services,
//! ports, packet filter and configuration are neither used nor touched, so the tests run side by side.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod client;
mod daemon;
mod debian;
mod dovecot;
mod drops;
mod events;
mod first_user;
mod latency;
mod mistakes;
mod namespace;
mod parity;
mod postfix;
mod sessions;
mod site;
mod syslog;
mod wait;

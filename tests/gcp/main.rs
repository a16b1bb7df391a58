//! The cloud firewall against a fake of the Compute API and of the metadata server, and the fake against the truth:
//! Google's own client, and the published description of the API.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[expect(dead_code, reason = "the tests of the daemon use all of it")]
#[path = "../daemon/house.rs"]
mod house;
#[expect(dead_code, reason = "the tests of the daemon use all of it")]
#[path = "../daemon/packets.rs"]
mod packets;
#[expect(dead_code, reason = "the tests of the daemon use all of it")]
#[path = "../daemon/nameserver.rs"]
mod nameserver;
#[expect(dead_code, reason = "the tests of the services use all of it")]
#[path = "../service/debian.rs"]
mod debian;

mod crash;
mod fake;
mod faults;
mod flood;
mod gcloud;
mod hands;
mod ignored;
mod joined;
mod lists;
mod lost;
mod machine;
mod monitor;
mod operations;
mod outage;
mod raw;
mod recipe;
mod restored;
mod rules;
mod schema;
mod sessions;
mod twins;
mod verbs;
mod vm;
mod watching;

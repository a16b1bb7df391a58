//! Logs to measure with: what a mail server and an SSH server write, with attacks among it.
//!
//! The messages follow the formats of the services themselves. An [`Order`] goes in, lines come out; the same order
//! gives the same bytes on every machine. No clock, no file and no other source of chance is asked.

#![forbid(unsafe_code)]

mod chance;
mod clock;
mod peer;
mod shapes;
mod text;
mod writer;

pub use chance::Chance;
pub use clock::Stamps;
pub use shapes::{Kind, Shape};
pub use writer::{Log, Order, Writer, Written};

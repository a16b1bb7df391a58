//! portcullis-core: everything portcullis decides, as functions from values to values.
//!
//! Nothing in this crate opens a file or a socket, starts a thread, or reads a clock, the environment or a
//! random number; all of that arrives as an argument and leaves as an effect. The modules stand below in the
//! order in which a log line travels; each may use only those above it (`tests/flow.rs` checks it).

#![forbid(unsafe_code)]

mod letter;
mod handful;
pub mod value;
pub mod json;
pub mod exception;
pub mod expression;
pub mod time;
pub mod address;
pub mod prefix;
pub mod diagnostic;
pub mod encoding;
pub mod pattern;
pub mod stamp;
pub mod config;
pub mod ledger;
pub mod history;
pub mod filter;
pub mod allow;
pub mod tracker;
pub mod judge;
pub mod action;
pub mod mail;
pub mod cloud;
pub mod engine;
pub mod note;
pub mod command;
pub mod wire;

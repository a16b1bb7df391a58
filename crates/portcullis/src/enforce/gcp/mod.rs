//! The VPC firewall of Google's cloud, reached over its REST API (compute v1).
//!
//! `client` makes one call at a time, with a token from `token`, at the address that `api` names; `metadata` asks the
//! virtual machine's own server who and where it is; `store` keeps the books; `lane` joins them with the state machine
//! of [`portcullis_core::cloud::reconcile`], `board` says how the rules stand, and `spared` who is never written. Where
//! the program was built without the feature `gcp`, nothing of this exists and an action that asks for it is refused by
//! name: [`available`].
#![cfg_attr(
    not(feature = "gcp"),
    expect(dead_code, reason = "nothing is told of a cloud that there is not")
)]

#[cfg(feature = "gcp")]
pub(crate) mod api;
pub(crate) mod board;
#[cfg(feature = "gcp")]
pub(crate) mod caller;
#[cfg(feature = "gcp")]
pub(crate) mod client;
#[cfg(feature = "gcp")]
mod http;
#[cfg(feature = "gcp")]
pub(crate) mod lane;
#[cfg(not(feature = "gcp"))]
#[path = "absent.rs"]
pub(crate) mod lane;
#[cfg(feature = "gcp")]
pub(crate) mod metadata;
#[cfg(feature = "gcp")]
pub(crate) mod spared;
#[cfg(feature = "gcp")]
pub(crate) mod store;
#[cfg(feature = "gcp")]
#[cfg(test)]
#[path = "tests/stage.rs"]
mod stage;
#[cfg(feature = "gcp")]
mod token;

/// Whether this program can do it at all; otherwise what to say.
///
/// # Errors
/// The program was built without the feature.
pub(crate) fn available() -> Result<(), &'static str> {
    if cfg!(feature = "gcp") {
        Ok(())
    } else {
        Err("this portcullis was built without gcp: bans in a cloud firewall need the cargo feature `gcp`")
    }
}

//! The VPC firewall of Google's cloud, reached over its REST API (compute v1).
//!
//! `client` makes one call at a time, with a token from `token`; `metadata` asks the virtual machine's own server who
//! and where it is; `store` keeps the books; `lane` joins them with the state machine of
//! [`portcullis_core::cloud::reconcile`].

pub(crate) mod spared;

//! What the daemon shows of itself: for now its log.

pub(crate) mod log;
pub(crate) mod notify;

//! What the daemon shows of itself: for now its log, and how it tells errors of the system.

pub(crate) mod log;
pub(crate) mod notify;

/// The system's words for an error, without the number that Rust puts behind them.
pub(crate) fn words_of(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

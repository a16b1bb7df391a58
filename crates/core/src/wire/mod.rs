//! The control protocol: bytes to requests and replies to bytes, no sockets (contract §8.3).
//!
//! A message is a pickled object followed by [`END`]; a connection carries any number of them. Requests may hold
//! data only: every opcode that would import or call something is refused where it stands.

pub mod pickle;
pub mod reply;
pub mod request;

pub use reply::{Reply, over, unreadable};
pub use request::Verb;

/// Ends every message in both directions.
pub const END: &[u8] = b"<F2B_END_COMMAND>";
/// A client that sends this, and nothing else in the message, is done with the connection.
pub const CLOSE: &[u8] = b"<F2B_CLOSE_COMMAND>";
/// The longest request that is read. A client that streams a whole configuration sends some hundred kilobytes.
pub const LONGEST_REQUEST: usize = 16 << 20;

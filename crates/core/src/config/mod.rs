//! A Fail2Ban configuration folder, read into the command stream, and the stream made into a [`plan::Plan`].
//!
//! The stream (what `fail2ban-client -d` prints) is the canonical form: files are read into it, the plan is made
//! from it alone, and a client may send it over the socket instead.

pub mod plan;

use crate::value::Value;

/// One command of the stream, such as `['set', 'sshd', 'maxretry', 5]`.
pub type Command = Vec<Value>;

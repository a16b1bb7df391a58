//! The control socket: who may ask, what is asked, what is answered.

pub(crate) mod answer;
pub(crate) mod listen;
mod peer;
mod room;
mod session;

use std::sync::mpsc::Sender;

use portcullis_core::wire::{Reply, Verb};

/// A request on its way to the engine's thread, with the way back.
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    pub(crate) reply: Sender<Reply>,
}

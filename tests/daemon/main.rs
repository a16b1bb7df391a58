//! The whole daemon, as processes: killed, stopped, starved and fed with rubbish.

mod clock;
mod death;
mod house;
mod rotation;

//! The whole daemon, as processes: killed, stopped, starved and fed with rubbish.

mod bad;
mod careful;
mod clock;
mod death;
mod house;
mod kernel;
mod rotation;
mod seat;

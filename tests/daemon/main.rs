//! The whole daemon, as processes: killed, stopped, starved and fed with rubbish.

mod death;
mod house;

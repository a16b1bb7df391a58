//! Fail2Ban's database between Fail2Ban itself and portcullis: taken over, handed back, and equal rows for equal work.

mod server;
mod turns;

//! The whole daemon, as processes: killed, stopped, starved and fed with rubbish.

#[cfg(test)]
mod actions;
#[cfg(test)]
mod bad;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod careful;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod command;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod database;
#[cfg(test)]
mod death;
#[cfg(test)]
mod deeds;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod dry;
#[cfg(test)]
mod elements;
#[cfg(test)]
mod encodings;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod house;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod json;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod names;
#[cfg(test)]
#[expect(dead_code, reason = "the comparisons with Fail2Ban use all of it")]
mod nameserver;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod powerless;
#[cfg(test)]
mod prefix;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod rulesets;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod seat;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod standing;

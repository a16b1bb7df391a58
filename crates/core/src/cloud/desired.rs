//! What the rules shall hold: a pure function of the bans in force.

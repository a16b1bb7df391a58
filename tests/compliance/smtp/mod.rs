//! The mails of `smtp.py`: the same options and the same ban, given to Fail2Ban's own file and to us; who gets which
//! bytes must be equal.

mod letters;
mod wire;

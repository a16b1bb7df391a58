//! `get …`: the value of one option (contract §8.5).

use super::{Live, jail, word};
use crate::exception::Exception;
use crate::value::Value;

/// The answer to `get OPTION` or `get JAIL OPTION …`.
pub(super) fn get(live: &Live<'_>, words: &[Value]) -> Result<Value, Exception> {
    let server = &live.plan.server;
    Ok(match word(words, 1)? {
        "loglevel" => server.loglevel.as_str().into(),
        "logtarget" => server.logtarget.as_str().into(),
        name => {
            let jail = jail(live.plan, name)?;
            match word(words, 2)? {
                "maxretry" => i64::from(jail.maxretry).into(),
                _ => return Err("Invalid command (no get action or not yet implemented)".into()),
            }
        }
    })
}

//! `status …`: how things stand, in the shapes that Fail2Ban's client prints as trees and tables (contract §8.5).

use super::Live;
use crate::exception::Exception;
use crate::value::Value;

/// The answer to `status` with its words.
pub(super) fn status(live: &Live<'_>, words: &[Value]) -> Result<Value, Exception> {
    if words.len() > 1 {
        return Err("Invalid command (no status)".into());
    }
    let mut names: Vec<&str> = live.plan.jails.iter().map(|jail| &*jail.name).collect();
    names.sort_unstable();
    let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
    let pair = |name: &str, value: Value| Value::Tuple(vec![name.into(), value]);
    Ok(Value::List(vec![
        pair("Number of jail", count.into()),
        pair("Jail list", names.join(", ").into()),
    ]))
}

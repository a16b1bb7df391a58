//! `set …` and `multi-set …`: another value for one option; the answer is what `get` says afterwards (contract §8.5).

use std::sync::Arc;

use super::{Amended, Deed, Live, get, jail, word};
use crate::exception::Exception;
use crate::value::Value;

/// Changes the plan.
pub(super) fn set(live: &mut Live<'_>, words: &[Value], amended: &mut Amended) -> Result<Deed, Exception> {
    let name = word(words, 1)?;
    if !matches!(name, "loglevel" | "logtarget") {
        let jail = jail(live.plan, name)?;
        amended.jails.insert(Arc::clone(&jail.name));
    } else {
        amended.server.insert(name.to_owned());
    }
    live.plan
        .apply(words)
        .map_err(|error| Exception::from(error.to_string()))?;
    get::get(live, words).map(Deed::Answer)
}

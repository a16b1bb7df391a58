//! What goes wrong, by script: the next so many calls that match are answered so.

use std::time::Duration;

use super::http::Request;
use super::problem::Problem;

/// What goes wrong with a call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is refused, and nothing is done.
    Refused(Problem),
    /// The connection is reset, once the call is done or before.
    Reset { is_done: bool },
    /// There is no answer for so long, then the connection ends; the call is done or not.
    Silence { is_done: bool, lasting: Duration },
    /// It is done at once, and answered so much later.
    Late(Duration),
    /// It is taken, and its operation ends with an error and without an effect.
    Fails(Problem),
    /// It is taken, and its operation runs until the operations are released.
    Held,
}

/// The faults to come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    acts: Vec<Act>,
}

#[derive(Clone, Debug)]
struct Act {
    method: String,
    path: String,
    times: usize,
    fault: Fault,
}

impl Script {
    /// The next `times` calls with this method (any for `*`) and this text in their path meet this fault. What was said
    /// first goes first.
    pub(crate) fn add(&mut self, method: &str, path: &str, times: usize, fault: Fault) {
        self.acts.push(Act {
            method: method.to_owned(),
            path: path.to_owned(),
            times,
            fault,
        });
    }

    /// Nothing goes wrong any more.
    pub(crate) fn clear(&mut self) {
        self.acts.clear();
    }

    /// The fault that this call meets.
    pub(crate) fn take(&mut self, request: &Request) -> Option<Fault> {
        let meets = |act: &Act| {
            let method = act.method == "*" || act.method == request.method;
            act.times > 0 && method && request.path.contains(&act.path)
        };
        let act = self.acts.iter_mut().find(|act| meets(act))?;
        act.times -= 1;
        Some(act.fault.clone())
    }
}

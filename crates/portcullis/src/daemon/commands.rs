//! Fail2Ban's commands on the control socket: obeyed by the core, put in force here.

use std::sync::mpsc::Sender;

use portcullis_core::command::{self, Amended, Deed, Live, World};
use portcullis_core::engine::Effect;
use portcullis_core::time::Timestamp;
use portcullis_core::value::Value;
use portcullis_core::wire::Reply;

use super::{Daemon, End, logging};

/// What a command asks the system.
struct System<'d> {
    daemon: &'d Daemon,
}

impl World for System<'_> {
    fn can_read(&self, path: &str) -> Result<(), (i32, String)> {
        match std::fs::File::open(path) {
            Ok(_) => Ok(()),
            Err(error) => Err((error.raw_os_error().unwrap_or(0), error.to_string())),
        }
    }

    fn knows_encoding(&self, name: &str) -> bool {
        crate::matching::LogEncoding::named(name).is_ok()
    }

    fn local_time(&self, time: Timestamp) -> String {
        let clock = self.daemon.clock.now();
        let wall = clock.wall + (time - clock.steady);
        format!("{wall:?}")
    }
}

impl Daemon {
    /// One of Fail2Ban's commands.
    pub(super) fn obey_command(&mut self, words: &[Value], reply: Sender<Reply>, out: &mut Vec<Effect>) -> Option<End> {
        let mut plan = std::mem::take(&mut self.plan);
        let mut live = Live {
            plan: &mut plan,
            engine: &self.engine,
            world: &System { daemon: self },
        };
        let obeyed = command::obey(&mut live, words);
        self.plan = plan;
        self.amend(&obeyed.amended, out);
        let answer = match obeyed.outcome {
            Ok(Deed::Answer(value)) => Reply::Done(value),
            Ok(Deed::Stop) => {
                self.farewell = Some(reply);
                return Some(End::Free);
            }
            Ok(Deed::Ask(request)) => return self.request(request, reply, None, out),
            Ok(Deed::FlushLogs) => {
                logging::reopen();
                Reply::Done(command::flushed(&self.plan))
            }
            Ok(Deed::Call { .. } | Deed::Sleep(_)) => Reply::Refused("Invalid command".into()),
            Err(exception) => Reply::Refused(exception),
        };
        // A client that has gone away wants no answer.
        let _ = reply.send(answer);
        None
    }

    /// Puts in force what a command changed.
    fn amend(&mut self, _amended: &Amended, _out: &mut Vec<Effect>) {}
}

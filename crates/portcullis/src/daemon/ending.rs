//! The end of the daemon: what is decided is kept and told, whoever asked is answered.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use portcullis_core::engine::{Input, Query};
use portcullis_core::value::Value;
use portcullis_core::wire::Reply;

use super::origin::Origin;
use super::requests::done;
use super::{Daemon, End, Message, SERVER, traces};
use crate::control::listen::Listener;
use crate::enforce::Facts;
use crate::fault::{self, Step};
use crate::observe::log::{Level, note as say};
use crate::observe::notify;
use crate::runner;

/// So long the last replies have to get out.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Daemon {
    /// Ends: bans stay, unless everybody is to be freed.
    pub(super) fn finish(mut self, end: End, inbox: &Receiver<Message>, mut listener: Listener) -> i32 {
        notify::stopping();
        say(Level::Info, SERVER, "Shutdown in progress...");
        self.stop_reading(inbox);
        self.step(Input::Keep);
        if self.places.is_stream {
            say(Level::Info, SERVER, "Stopping all jails");
        }
        Origin::forget(&self.places.live());
        let view = self.engine.query(&Query::Status);
        let banned: usize = view.jails.iter().map(|jail| jail.banned).sum();
        if end == End::Free {
            self.part_with(Input::Stop, |_| true);
            fault::reach(Step::Stop);
        }
        let is_done = self.settle(inbox);
        fault::reach(Step::Stopped);
        let mut notes = Vec::new();
        if end == End::Free {
            notes = self.drain_clouds(inbox);
        }
        match end {
            End::Free => self.drop_traces(),
            End::Keep if is_done => self.note_what_stands(inbox),
            End::Keep => {}
        }
        self.tell_tally();
        self.tell_deeds(true);
        self.answer_held(true);
        let clock = self.clock.now();
        self.keeper.close(clock);
        if end == End::Keep {
            say(Level::Info, SERVER, "bans stay in force");
        }
        self.places.remove_pid();
        let name = if self.places.is_stream {
            "Fail2ban"
        } else {
            "portcullis"
        };
        say(Level::Info, SERVER, &format!("Exiting {name}"));
        // Who is told that it is over must find nobody here any more (contract §8.4).
        listener.hide();
        if let Some((reply, is_ours)) = self.farewell.take() {
            let word = if is_ours {
                done(banned, notes)
            } else {
                Reply::Done(Value::None)
            };
            let _ = reply.send(word);
        }
        // What is dropped unanswered is answered by its session.
        self.later.clear();
        self.replies.clear();
        inbox.try_iter().for_each(drop);
        listener.until_answered(LAST_WORD);
        0
    }

    /// Waits for the lanes to do what they were told. Their facts are still taken, so that no lane waits for us.
    /// Whether they could.
    fn settle(&mut self, inbox: &Receiver<Message>) -> bool {
        while self.lanes.waiting() > 0 {
            let Ok(message) = inbox.recv_timeout(Duration::from_millis(100)) else {
                continue;
            };
            match message {
                Message::Facts(facts, _) => self.hear_last(facts),
                Message::Runner(runner::Event::Gone) => return false,
                _ => {}
            }
        }
        true
    }

    pub(super) fn hear_last(&mut self, facts: Facts) {
        for applied in facts.applied {
            self.learn(&applied, self.clock.now().steady);
            self.step(Input::Applied(applied));
        }
    }

    /// What shell actions hold now, for the next start. Facts are taken meanwhile, so that no lane waits for us.
    fn note_what_stands(&mut self, inbox: &Receiver<Message>) {
        let answers = self.lanes.present();
        let mut present = Vec::new();
        loop {
            match answers.recv_timeout(traces::PAUSE) {
                Ok(more) => present.extend(more),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    for message in inbox.try_iter() {
                        match message {
                            Message::Facts(facts, _) => self.hear_last(facts),
                            Message::Runner(runner::Event::Gone) => return,
                            _ => {}
                        }
                    }
                }
            }
        }
        self.keep_traces(&present);
    }
}

//! A thread that makes calls for somebody who cannot wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use portcullis_core::cloud::reconcile::{Answer, Call};
use portcullis_core::cloud::trouble::Trouble;

use super::client::Client;

/// Makes calls one after another, in the order in which they are given. Ends when it is dropped: calls not yet begun are
/// never made, and nobody waits for one that is under way (a write that was sent may still be carried out).
pub(crate) struct Caller {
    calls: Sender<(u64, Call)>,
}

impl Caller {
    /// Starts the thread. Each call is answered once through `answer`, under its number, on that thread.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(crate) fn start(
        client: Client,
        answer: impl FnMut(u64, Result<Answer, Trouble>) + Send + 'static,
    ) -> std::io::Result<Caller> {
        // Not bounded: the state machine has no more than a few calls out, and waits for each.
        let (calls, given) = channel();
        thread::Builder::new()
            .name("cloud calls".to_owned())
            .spawn(move || work(client, &given, answer))?;
        Ok(Caller { calls })
    }

    /// Gives a call; it is made when those before it are done.
    pub(crate) fn call(&self, number: u64, call: Call) {
        // The thread ends when this is dropped and not before.
        let _ = self.calls.send((number, call));
    }
}

fn work(mut client: Client, given: &Receiver<(u64, Call)>, mut answer: impl FnMut(u64, Result<Answer, Trouble>)) {
    while let Ok((number, call)) = given.recv() {
        // A fault in a library must not leave a call without its answer: the lane would wait for ever.
        let made = catch_unwind(AssertUnwindSafe(|| client.call(&call)));
        answer(
            number,
            made.unwrap_or_else(|_| Err(Trouble::lost("the call met a fault of the program's own"))),
        );
    }
}

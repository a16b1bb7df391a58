//! x

mod enforce {
    //! Stands in for `enforce/mod.rs` until the layers are joined: the same trait, and what [`shell`] uses of it.
    #![expect(dead_code, reason = "the daemon that uses it is not joined yet")]

    pub(crate) mod shell;

    use portcullis_core::ledger::{Applied, Change, Standing};
    use portcullis_core::time::Timestamp;

    pub(crate) trait Layer: Send {
        fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied>;
        fn held(&mut self) -> Option<Result<Vec<Held>, Error>>;
    }

    pub(crate) struct Held;

    pub(crate) enum Error {}

    fn answer(change: &Change, result: Result<Standing, String>) -> Applied {
        Applied {
            layer: change.layer.clone(),
            id: change.order.ticket().map(|ticket| ticket.id.clone()),
            order: change.order.kind(),
            result,
        }
    }
}

#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the daemon that uses it is not joined yet")
)]
mod runner;

fn main() {}

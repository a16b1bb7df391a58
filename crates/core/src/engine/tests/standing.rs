//! How far bans have come, what a layer was found to hold, and for how long it did not enforce what was decided.

use super::*;
use crate::ledger::{Drift, Exposure, LayerId, Reading};

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

fn drift(since: i64, until: Option<i64>, missing: usize) -> Drift {
    Drift {
        since: at(since),
        until: until.map(at),
        missing,
        extra: 0,
        moved: 0,
        what: "the table was gone".into(),
        by: None,
    }
}

/// What happens to a layer, by its second.
enum Turn {
    Set(i64, bool),
    Drift(i64, Option<i64>),
}

#[test]
fn exposure_is_the_union_of_its_spans() {
    use Turn::{Drift as D, Set as S};
    let check = |turns: &[Turn], now: i64, total: i64, last: Option<i64>| {
        let mut exposure = Exposure::default();
        for turn in turns {
            match turn {
                S(second, is) => exposure.set(at(*second), *is),
                D(since, until) => exposure.drift(&drift(*since, *until, 1)),
            }
        }
        assert_eq!(exposure.total(at(now)), Seconds::new(total), "the sum");
        assert_eq!(exposure.last(at(now)), last.map(at), "the last moment");
    };
    check(&[], 9, 0, None);
    check(&[S(1, true), S(4, true)], 6, 5, Some(6));
    check(&[S(1, true), S(4, false), S(5, false)], 9, 3, Some(4));
    check(&[S(1, true), S(4, false), S(6, true), S(7, false)], 9, 4, Some(7));
    check(&[D(2, Some(5))], 9, 3, Some(5));
    // One inside another that goes on, or that began before it.
    check(&[S(1, true), D(2, Some(3))], 6, 5, Some(6));
    check(&[S(4, true), D(2, Some(5)), S(6, false)], 9, 4, Some(6));
    // Two that overlap, one that holds another, one that lies before another.
    check(&[D(2, Some(5)), D(4, Some(7))], 9, 5, Some(7));
    check(&[S(3, true), S(5, false), D(1, Some(8))], 9, 7, Some(8));
    check(&[D(4, Some(5)), D(1, Some(2))], 9, 2, Some(5));
    check(&[D(1, Some(5)), D(2, Some(3))], 9, 4, Some(5));
    // One that is not mended goes on until something says that it is over.
    check(&[D(2, None)], 6, 4, Some(6));
    check(&[D(2, None), S(4, false)], 6, 2, Some(4));
    check(&[D(1, Some(3)), D(2, None)], 6, 5, Some(6));
    let mut harmless = Exposure::default();
    harmless.drift(&drift(1, Some(9), 0));
    assert_eq!(
        (harmless.drifts(), harmless.total(at(9)), harmless.last(at(9))),
        (1, Seconds::ZERO, None)
    );
}

fn stage() -> Stage {
    let mut plan = plan("j");
    plan.maxretry = 1;
    plan.bantime = Seconds::new(600);
    Stage::new(vec![plan])
}

fn layer() -> LayerId {
    LayerId {
        jail: "j".into(),
        action: "nft".into(),
    }
}

impl Stage {
    fn layer_view(&self) -> LayerView {
        let view = self.engine.query(&Query::Status);
        view.jails[0].layers["nft"].clone()
    }

    fn answer(&mut self, who: &str, result: Result<Standing, &str>) {
        self.input(Input::Applied(Applied {
            layer: layer(),
            id: Some(Id::parse(who).unwrap()),
            order: OrderKind::Ban,
            result: result.map_err(str::to_owned),
        }));
    }

    fn read(&mut self, drift: Option<Drift>) {
        let layer = layer();
        self.input(Input::Read(Reading { layer, held: 0, drift }));
    }

    fn standing(&self, who: &str) -> (Standing, bool) {
        let view = self.engine.query(&Query::Banned);
        let id = Id::parse(who).unwrap();
        let ban = view.jails[0].bans.iter().find(|ban| ban.id == id).unwrap();
        let stand = &ban.layers["nft"];
        (stand.standing.clone(), stand.verified.is_some())
    }
}

#[test]
fn who_is_not_banned_stays_so_until_banned_or_gone() {
    let mut stage = stage();
    for who in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        stage.fail("j", who);
    }
    let failed = |stage: &Stage| {
        let view = stage.layer_view();
        (view.failed, view.failure.is_some())
    };
    for who in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        stage.answer(who, Err("the set is full"));
    }
    assert_eq!(failed(&stage), (3, true));
    stage.now = stage.now + Seconds::from_micros(500_000);
    stage.answer("192.0.2.4", Ok(Standing::Applied));
    assert_eq!(failed(&stage), (3, true), "the success of another says nothing");
    stage.answer("192.0.2.1", Ok(Standing::Applied));
    assert_eq!(failed(&stage), (2, true));
    let free = Some(vec![Id::parse("192.0.2.2").unwrap()]);
    stage.input(Input::Request(Request::Unban { ids: free, jail: None }, ReplyTo(1)));
    assert_eq!(failed(&stage), (1, true), "whoever is free is not to be banned");
    assert_eq!(
        stage.layer_view().exposure.total(stage.now),
        Seconds::from_micros(500_000)
    );
    stage.failing = true;
    stage.wait(300);
    assert_eq!(failed(&stage), (1, true), "it is tried again, in vain");
    stage.failing = false;
    stage.wait(90);
    assert_eq!(failed(&stage), (0, false));
    let total = stage.layer_view().exposure.total(stage.now);
    stage.wait(90);
    assert_eq!(stage.layer_view().exposure.total(stage.now), total, "it is over");
    stage.fail("j", "192.0.2.9");
    stage.answer("192.0.2.9", Err("no"));
    stage.failing = true;
    stage.wait(601);
    assert_eq!(failed(&stage).0, 0, "it ended by itself");
}

/// A shell command that could not free somebody keeps the others out as before; one that could not ban does not.
#[test]
fn only_what_lets_somebody_in_counts_as_unprotected() {
    for (order, expect) in [(OrderKind::Unban, 0), (OrderKind::Flush, 5), (OrderKind::Start, 5)] {
        let mut eager = plan("j");
        eager.maxretry = 1;
        let mut shell = arrangement(eager);
        shell.native.clear();
        let mut stage = stage();
        stage.input(Input::Plan(vec![shell]));
        stage.fail("j", "192.0.2.1");
        stage.input(Input::Applied(Applied {
            layer: layer(),
            id: None,
            order,
            result: Err("Error unbanning".to_owned()),
        }));
        let view = stage.layer_view();
        let total = view.exposure.total(stage.now + Seconds::new(5));
        assert_eq!(
            (total, view.failure.is_some()),
            (Seconds::new(expect), true),
            "{order:?}"
        );
    }
}

#[test]
fn what_is_no_address_makes_no_noise() {
    let mut stage = stage();
    stage.fail("j", "192.0.2.1");
    stage.fail("j", "a name");
    stage.answer("a name", Err("no address"));
    let view = stage.layer_view();
    assert_eq!(
        (
            view.failed,
            view.failure,
            view.exposure.total(stage.now + Seconds::new(5))
        ),
        (0, None, Seconds::ZERO)
    );
    assert_eq!(
        stage.engine.next_wake(),
        Some(stage.now + Seconds::from_micros(600_000_001)),
        "nothing is tried again"
    );
    assert!(
        matches!(stage.standing("a name").0, Standing::Failed(_)),
        "and it is told of"
    );
}

#[test]
fn a_whole_reading_verifies_what_was_applied_before() {
    let mut stage = stage();
    stage.fail("j", "192.0.2.1");
    stage.fail("j", "192.0.2.2");
    stage.answer("192.0.2.1", Ok(Standing::Applied));
    stage.answer("192.0.2.2", Err("no"));
    stage.wait(0);
    stage.now = stage.now + Seconds::from_micros(1);
    stage.read(None);
    assert_eq!(stage.standing("192.0.2.1"), (Standing::Verified, true));
    assert!(matches!(stage.standing("192.0.2.2"), (Standing::Failed(_), false)));
    stage.answer("192.0.2.2", Ok(Standing::Applied));
    assert_eq!(
        stage.standing("192.0.2.2"),
        (Standing::Applied, false),
        "it came after the reading"
    );
    stage.now = stage.now + Seconds::from_micros(1);
    stage.read(Some(drift(0, None, 1)));
    assert_eq!(
        stage.standing("192.0.2.2"),
        (Standing::Applied, false),
        "the layer is not whole"
    );
    stage.read(Some(drift(0, Some(1), 1)));
    assert_eq!(
        stage.standing("192.0.2.2"),
        (Standing::Verified, true),
        "but when it is mended"
    );
}

#[test]
fn a_drift_that_cannot_be_mended_is_one() {
    let mut stage = stage();
    stage.fail("j", "192.0.2.1");
    stage.now = at(10);
    stage.read(Some(drift(8, None, 1)));
    stage.now = at(12);
    stage.read(Some(drift(11, None, 1)));
    let said = |stage: &Stage| stage.notes.iter().filter(|note| note.starts_with("Drifted")).count();
    let view = stage.layer_view();
    assert_eq!((view.exposure.drifts(), said(&stage)), (1, 1));
    assert_eq!(view.exposure.total(stage.now), Seconds::new(4));
    assert_eq!(view.drift.map(|drift| (drift.since, drift.until)), Some((at(8), None)));
    stage.now = at(14);
    stage.read(Some(drift(13, Some(14), 1)));
    let view = stage.layer_view();
    assert_eq!(
        (view.exposure.drifts(), said(&stage)),
        (1, 2),
        "that it is over is said"
    );
    assert_eq!(view.exposure.total(at(20)), Seconds::new(6));
    stage.read(Some(drift(14, None, 1)));
    stage.now = at(15);
    stage.read(None);
    let view = stage.layer_view();
    assert_eq!((view.exposure.drifts(), view.drift.unwrap().until), (2, Some(at(15))));
    assert_eq!(view.exposure.total(at(20)), Seconds::new(7), "found whole, it is whole");
}

/// A rule in a cloud says by and by how far it has come, and whether it can follow.
#[test]
fn a_layer_that_answers_later() {
    let mut stage = stage();
    let progress = |stage: &Stage| {
        let known = stage.engine.progress(&layer());
        (
            known.decided,
            known.applied,
            known.verified,
            known.failed,
            known.refused,
        )
    };
    for who in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        stage.fail("j", who);
    }
    stage.answer("192.0.2.1", Err("no room"));
    stage.answer("192.0.2.1", Ok(Standing::Decided));
    let view = stage.layer_view();
    assert_eq!(
        (view.failed, view.failure.is_some()),
        (0, true),
        "to be heard is no success"
    );
    stage.answer("192.0.2.1", Ok(Standing::Applied));
    stage.answer("192.0.2.2", Ok(Standing::Verified));
    stage.answer("192.0.2.2", Ok(Standing::Decided));
    assert_eq!(stage.standing("192.0.2.2").0, Standing::Decided, "somebody took it out");
    stage.answer("192.0.2.2", Ok(Standing::Verified));
    stage.answer("192.0.2.3", Ok(Standing::Protected("own".into())));
    assert_eq!(progress(&stage), (2, 2, 1, 0, 1));
    stage.now = stage.now + Seconds::new(1);
    stage.read(None);
    assert_eq!(
        progress(&stage),
        (2, 2, 2, 0, 1),
        "reading back proves what was applied before"
    );
    let total = |stage: &Stage, later: i64| stage.layer_view().exposure.total(stage.now + Seconds::new(later));
    let before = total(&stage, 0);
    stage.input(Input::Failing(layer(), Some("no permission".into())));
    assert_eq!(stage.layer_view().lag.as_deref(), Some("no permission"));
    assert_eq!(total(&stage, 5), Seconds::from_micros(before.micros() + 5_000_000));
    stage.input(Input::Failing(layer(), None));
    assert_eq!((stage.layer_view().lag, total(&stage, 9)), (None, before));
}

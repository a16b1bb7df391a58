//! Many bans at once: kept before anything is enforced, Fail2Ban's rows a little later, and none ever missing for good.

use super::*;
use crate::store::owed::MANY;

const COUNT: usize = MANY * 20;

fn tickets() -> Vec<Ticket> {
    let mut tickets: Vec<Ticket> = (0..COUNT)
        .map(|n| ticket(&format!("10.0.{}.{}", n / 250, n % 250), 100, 86_400))
        .collect();
    tickets[7].matches = vec!["the line".into()];
    tickets
}

fn keep_many(bench: &Bench) -> Store {
    let (mut store, _) = bench.open(100);
    store.commit(at(100), &[read(5)]).unwrap();
    let entries: Vec<Entry> = tickets().iter().map(ban).collect();
    store.commit(at(100), &entries).unwrap();
    store
}

/// Rows of Fail2Ban's tables, and of ours that owe.
fn rows(bench: &Bench) -> String {
    bench.ask(
        "SELECT (SELECT count(*) FROM bans) || ' ' || (SELECT count(*) FROM bips) || ' ' ||
             (SELECT count(*) FROM portcullis_bans WHERE raw = 2)",
    )
}

fn paid() -> String {
    format!("{COUNT} {COUNT} 0")
}

#[test]
fn what_is_owed_is_paid_piece_by_piece() {
    let bench = Bench::new();
    let mut store = keep_many(&bench);
    assert_eq!(rows(&bench), format!("0 0 {COUNT}"));
    assert_eq!(store.load().unwrap().bans.len(), COUNT, "all of them are ours already");
    let mut pieces = 0;
    while store.owes() {
        store.pay().unwrap();
        pieces += 1;
    }
    assert!(pieces > 2, "{pieces}");
    assert_eq!(rows(&bench), paid());
    let saved = store.load().unwrap();
    assert_eq!(
        (saved.bans.len(), saved.adopted.len(), saved.history.len()),
        (COUNT, 0, COUNT)
    );
    let with_line = saved.bans.iter().find(|(_, ticket)| ticket.id == tickets()[7].id);
    assert_eq!(with_line.unwrap().1.matches, ["the line".into()]);
    let ours = bench.ask("SELECT count(*) FROM portcullis_bans WHERE data IS NOT NULL OR seen_time IS NULL");
    assert_eq!(ours, "0", "the lines stand in Fail2Ban's tables alone");
}

/// As after `kill -9`: the store is never closed.
#[test]
fn a_start_pays_what_a_death_left_owed() {
    for pieces in 0..3 {
        let bench = Bench::new();
        let mut store = keep_many(&bench);
        (0..pieces).for_each(|_| store.pay().unwrap());
        std::mem::forget(store);
        let (store, opened) = bench.open(200);
        assert_eq!(opened.adopted, Adopted::default());
        assert_eq!(rows(&bench), paid());
        assert_eq!(store.load().unwrap().bans.len(), COUNT);
    }
}

#[test]
fn a_clean_end_pays() {
    let bench = Bench::new();
    keep_many(&bench).close().unwrap();
    assert_eq!(rows(&bench), paid());
}

/// Whatever happens to a ban whose rows are still owed leaves what it leaves of any ban.
#[test]
fn bans_that_end_while_they_owe() {
    let bench = Bench::new();
    let mut store = keep_many(&bench);
    let [lifted, expired, prolonged] = [0, 1, 2].map(|at: usize| tickets()[at].clone());
    let longer = Ticket {
        bantime: Seconds::new(100_000),
        ..prolonged.clone()
    };
    let entries = [
        Entry::Lift {
            jail: jail("sshd"),
            id: lifted.id.clone(),
        },
        Entry::Expire {
            jail: jail("sshd"),
            id: expired.id.clone(),
        },
        Entry::Prolong {
            jail: jail("sshd"),
            ticket: longer.clone(),
        },
    ];
    store.commit(at(101), &entries).unwrap();
    while store.owes() {
        store.pay().unwrap();
    }
    let count = COUNT - 1;
    assert_eq!(rows(&bench), format!("{count} {count} 0"));
    let of = |ticket: &Ticket, table: &str, column: &str| {
        bench.ask(&format!(
            "SELECT count(*) FROM {table} WHERE {column} = '{}'",
            ticket.id
        ))
    };
    assert_eq!(of(&lifted, "bips", "ip"), "0");
    assert_eq!(of(&expired, "bips", "ip"), "1");
    let bans = store.load().unwrap().bans;
    let find = |ticket: &Ticket| bans.iter().find(|(_, ban)| ban.id == ticket.id);
    assert!(find(&lifted).is_none() && find(&expired).is_none());
    assert_eq!(find(&prolonged).unwrap().1.bantime, longer.bantime);
}

#[test]
fn a_jail_is_emptied() {
    let bench = Bench::new();
    let mut store = keep_many(&bench);
    let other = Entry::Ban {
        jail: jail("other"),
        ticket: ticket("192.0.2.1", 100, 600),
    };
    store
        .commit(at(101), &[other, Entry::Empty { jail: jail("sshd") }])
        .unwrap();
    while store.owes() {
        store.pay().unwrap();
    }
    assert_eq!(rows(&bench), "1 1 0");
    assert_eq!(store.load().unwrap().bans.len(), 1);
}

/// A jail whose rows are all owed looks like one without any.
#[test]
fn a_purge_pays_first() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(100);
    let mut entries: Vec<Entry> = tickets().iter().map(ban).collect();
    entries.push(Entry::Jail {
        jail: jail("sshd"),
        enabled: false,
    });
    store.commit(at(100), &entries).unwrap();
    assert_eq!(rows(&bench), format!("0 0 {COUNT}"));
    store.purge(at(101)).unwrap();
    assert_eq!(rows(&bench), paid());
    assert_eq!(store.load().unwrap().bans.len(), COUNT);
}

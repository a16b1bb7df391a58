//! Many bans at once: that all of them arrive, and, printed, what it takes: processor time of this process and of the
//! kernel on its behalf, because the machine may have other things to do.

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::enforce::nft::watch::Watch;

/// The processor time of this thread, which does all the work of the layer, the kernel's part included.
fn processor() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn address(n: u32) -> String {
    std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string()
}

fn bans(count: u32) -> Vec<Change> {
    orders("sshd", (0..count).map(|n| Order::Ban(hour(&address(n)))))
}

/// The steady clock of these tests, which must run because so much takes its time.
fn now() -> Timestamp {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let passed = BEGUN.get_or_init(Instant::now).elapsed();
    NOW + Seconds::from_micros(i64::try_from(passed.as_micros()).unwrap())
}

/// The layer of [`started`], by this clock.
fn timed(world: &World) -> Nft {
    let mut nft = world.at_server(|| Nft::open(TABLE)).unwrap();
    nft.configure(layer("sshd", "nft"), scope("2222", "tcp", Blocktype::Drop));
    apply(&mut nft, &orders("sshd", [Order::Start]));
    nft
}

/// All of them, which must succeed; how long it took.
fn apply(nft: &mut Nft, changes: &[Change]) -> Duration {
    let begun = processor();
    let answers = nft.apply(now(), changes);
    let spent = processor() - begun;
    assert!(answers.iter().all(|a| a.result == Ok(Standing::Applied)));
    spent
}

fn look(nft: &mut Nft) -> (Vec<Reading>, Duration) {
    let begun = processor();
    let readings = nft.mend(now()).unwrap().unwrap();
    (readings, processor() - begun)
}

#[test]
fn many_bans_at_once() {
    let world = World::new();
    let mut nft = timed(&world);
    // The last are the largest elements there are: networks of IPv6 with their comments.
    for (what, count) in [("addresses", 2000_u32), ("addresses", 100_000), ("networks", 100_000)] {
        let ban = |n: u32| {
            let (high, low) = (n >> 16, n & 0xffff);
            Order::Ban(hour(&match what {
                "addresses" => address(n),
                _ => format!("2001:db8:{high:x}:{low:x}::/64"),
            }))
        };
        let changes = orders("sshd", (0..count).map(ban));
        println!("{count} {what} in one apply: {:?}", apply(&mut nft, &changes));
        let begun = processor();
        let more = if what == "networks" { 100_000 } else { 0 };
        assert_eq!(nft.held().unwrap().unwrap().len(), count as usize + more);
        println!("all read back: {:?}", processor() - begun);
    }
    let mut spent: Vec<Duration> = (0..1000)
        .map(|n: u32| {
            let changes = orders("sshd", [Order::Ban(hour(&format!("198.51.{}.{}", n / 250, n % 250)))]);
            apply(&mut nft, &changes)
        })
        .collect();
    spent.sort();
    println!("one ban among 200,000: p50 {:?}, p99 {:?}", spent[500], spent[990]);
    let (readings, spent) = look(&mut nft);
    assert_eq!((readings[0].held, &readings[0].drift), (201_000, &None));
    println!("201,000 compared with the wish: {spent:?}");
}

#[test]
fn a_hundred_thousand_are_adopted() {
    let world = World::new();
    let mut nft = timed(&world);
    let changes = bans(100_000);
    println!("100,000 in one apply: {:?}", apply(&mut nft, &changes));
    drop(nft);
    let begun = processor();
    let mut nft = timed(&world);
    println!("start with 100,000 in the kernel: {:?}", processor() - begun);
    let sent = nft.sent;
    println!("100,000 ordered that are there: {:?}", apply(&mut nft, &changes));
    assert_eq!(nft.sent, sent);
    nft.complete();
    let (readings, spent) = look(&mut nft);
    assert_eq!((readings[0].held, &readings[0].drift), (100_000, &None));
    println!("100,000 compared with the wish: {spent:?}");
}

/// The kernel makes a message of each element for whoever listens; our own ear is closed meanwhile.
#[test]
fn what_listening_costs() {
    let world = World::new();
    let changes = bans(20_000);
    let quiet = apply(&mut timed(&world), &changes);
    let nobody: crate::enforce::nft::Wake = Arc::new(|| {});
    let world = World::new();
    let mut nft = timed(&world);
    world.at_server(|| nft.listen(Arc::clone(&nobody))).unwrap();
    let closed = apply(&mut nft, &changes);
    // Told another number of the transaction socket, this one listens to all of it.
    let world = World::new();
    let mut nft = timed(&world);
    let open = world.at_server(|| Watch::start(TABLE, 0, nobody)).unwrap();
    let loud = apply(&mut nft, &changes);
    assert!(open.take(Duration::ZERO).is_some());
    println!("20,000 added: {quiet:?} with nobody listening, {closed:?} with our ear closed, {loud:?} with it open");
}

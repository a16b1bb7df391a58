use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn ticket(id: Id, bantime: i64) -> Ticket {
    Ticket {
        id,
        time: Timestamp::from_seconds(0),
        bantime: Seconds::new(bantime),
        bancount: 1,
        failures: 3,
        matches: Vec::new(),
        data: Data::default(),
        restored: false,
    }
}

/// Few bits, so that one often lies in the other: at the edges of the families, mapped ones among them.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (
        prop_oneof![Just(0_u32), Just(0xC000_0200), Just(0xFFFF_FF00)],
        0_u32..256,
    )
        .prop_map(|(high, low)| IpAddr::from((high | low).to_be_bytes()));
    let high = prop_oneof![
        Just(0_u128),
        Just(0xFFFF_C000_0200),
        Just(0x2001_0DB8 << 96),
        Just(u128::MAX << 16),
    ];
    let v6 = (high, 0_u128..0x1_0000).prop_map(|(high, low)| IpAddr::from((high | low).to_be_bytes()));
    prop_oneof![v4, v6]
}

fn net() -> impl Strategy<Value = IpNet> {
    (address(), 0_u8..=32, any::<bool>()).prop_map(|(ip, bits, is_wide)| {
        let full = if ip.is_ipv4() { 32 } else { 128 };
        let length = if is_wide { bits } else { full - bits };
        IpNet::new(ip, length).unwrap().trunc()
    })
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![
        4 => address().prop_map(|ip| Id::Ip(crate::address::canonical(ip))),
        4 => net().prop_map(Id::Net),
        1 => "[a-z:./]{0,4}".prop_map(Id::Raw),
    ]
}

proptest! {
    #[test]
    fn within_a_network_is_what_a_look_through_all_finds(ids in prop::collection::btree_set(id(), 0..24), net in net()) {
        let mut ledger = Ledger::default();
        for id in &ids {
            ledger.enter(Timestamp::from_seconds(0), ticket(id.clone(), 600), &[]);
        }
        let found: BTreeSet<Id> = ledger.within(net).map(|ban| ban.ticket.id.clone()).collect();
        let meant: BTreeSet<Id> = ids.iter().filter(|id| Id::Net(net).covers(id)).cloned().collect();
        prop_assert_eq!(found, meant);
        let has_networks = ids.iter().any(|id| matches!(id, Id::Net(_)));
        prop_assert_eq!(ledger.has_networks(), has_networks);
    }

    /// Whatever happens to bans, who counts as not banned is who has failed at last and is still to be banned.
    #[test]
    fn whom_a_layer_failed_to_ban(steps in prop::collection::vec((0_u8..6, 0_u8..4, 0_usize..2), 1..60)) {
        let actions: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut ledger = Ledger::default();
        for (now, (what, who, action)) in (0_i64..).zip(steps) {
            let id = if who == 0 { Id::Raw("somebody".into()) } else { Id::parse(&format!("192.0.2.{who}")).unwrap() };
            let (now, action) = (Timestamp::from_seconds(now), &actions[action]);
            match what {
                0 => drop(ledger.enter(now, ticket(id, 10 * i64::from(who)), &actions)),
                1 => drop(ledger.remove(&id)),
                2 => while ledger.expire(now).is_some() {},
                3 => ledger.stand(now, &id, action, Standing::Applied),
                4 => ledger.drop_layer(action),
                _ => ledger.stand(now, &id, action, Standing::Failed("no".into())),
            }
            for action in &actions {
                let fails = |ban: &&Ban| {
                    ban.ticket.id.family().is_some()
                        && ban.layers.get(action).is_some_and(|stand| matches!(stand.standing, Standing::Failed(_)))
                };
                prop_assert_eq!(ledger.failed(action), ledger.iter().filter(fails).count());
            }
        }
    }
}

//! Orders that come together.

use super::*;

/// An action as the stock's `nftables.conf` makes it, in our own words.
const NFT: [(&str, &str); 7] = [
    ("actionstart", "nft add rule inet t c ip saddr @<set> drop"),
    ("actionstop", "stop <set>"),
    ("actionban", r"nft add element inet t <set> \{ <ip> \}"),
    ("actionunban", r"nft delete element inet t <set> \{ <ip> \}"),
    ("actioncheck", "check <set>"),
    ("set", "s4"),
    ("set?family=inet6", "s6"),
];

const NOTE: [(&str, &str); 2] = [("actionban", "mail <ip>"), ("actionunban", "mail again <ip>")];

/// Some actions of one jail, those of a known form recognised.
struct Several {
    stage: Stage,
}

fn id_of(action: &str) -> LayerId {
    LayerId {
        jail: "j".into(),
        action: action.into(),
    }
}

impl Several {
    fn new(actions: &[(&str, &[(&str, &str)])]) -> Self {
        let mut stage = Stage::empty();
        for (name, properties) in actions {
            let action = Action::compile(&plan(properties), true).unwrap().recognised();
            stage.layer.put(&id_of(name), action, &mut stage.catalogue);
        }
        stage.stub.0.lock().unwrap().templates = stage.catalogue.templates();
        Several { stage }
    }

    /// Gives orders at once, and says what was run for them and which of them failed how.
    #[track_caller]
    fn check(&mut self, orders: &[(&str, Order)], ran: &[&str], failed: &[(usize, &str)]) {
        let change = |(action, order): &(&str, Order)| Change {
            layer: id_of(action),
            order: order.clone(),
        };
        let changes: Vec<Change> = orders.iter().map(change).collect();
        let facts = self.stage.layer.apply(Timestamp::from_seconds(1_000), &changes);
        let of = |fact: &Applied| (fact.layer.clone(), fact.id.clone(), fact.order);
        let ordered = |change: &Change| {
            let id = change.order.ticket().map(|ticket| ticket.id.clone());
            (change.layer.clone(), id, change.order.kind())
        };
        assert!(facts.iter().map(of).eq(changes.iter().map(ordered)));
        assert_eq!(std::mem::take(&mut self.stage.stub.0.lock().unwrap().ran), ran);
        let errors = facts.into_iter().enumerate();
        let errors = errors.filter_map(|(at, fact)| Some((at, fact.result.err()?)));
        let errors: Vec<(usize, String)> = errors.collect();
        let errors: Vec<(usize, &str)> = errors.iter().map(|(at, text)| (*at, text.as_str())).collect();
        assert_eq!(errors, failed);
    }
}

/// Orders to one action.
fn to<'a>(action: &'a str, order: fn(&str) -> Order, who: &[&str]) -> Vec<(&'a str, Order)> {
    who.iter().map(|who| (action, order(who))).collect()
}

const THREE: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
const START4: &str = "nft add rule inet t c ip saddr @s4 drop";
const START6: &str = "nft add rule inet t c ip saddr @s6 drop";
const ALL3: &str = "nft < add element inet t s4 { 192.0.2.1, 192.0.2.2, 192.0.2.3 }";

#[test]
fn bans_at_once_are_one_batch_behind_their_start() {
    let mut several = Several::new(&[("a", &NFT)]);
    several.check(&to("a", ban, &THREE), &[START4, ALL3], &[]);
    several.check(&to("a", ban, &THREE), &[], &[]);
    several.check(
        &to("a", unban, &["192.0.2.1", "192.0.2.3"]),
        &["nft < delete element inet t s4 { 192.0.2.3, 192.0.2.1 }"],
        &[],
    );
    several.check(
        &to("a", unban, &["192.0.2.2"]),
        &[r"nft delete element inet t s4 \{ 192.0.2.2 \}"],
        &[],
    );
}

#[test]
fn the_log_is_as_if_each_had_been_run_alone() {
    let mut several = Several::new(&[("a", &NFT)]);
    several.check(
        &to("a", ban, &THREE[..2]),
        &[START4, "nft < add element inet t s4 { 192.0.2.1, 192.0.2.2 }"],
        &[],
    );
    let log = std::mem::take(&mut several.stage.stub.0.lock().unwrap().log);
    let texts: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts[texts.len() - 4..],
        [
            r"2 -- exec: nft add element inet t s4 \{ 192.0.2.1 \}",
            "2 -- returned successfully 0",
            r"3 -- exec: nft add element inet t s4 \{ 192.0.2.2 \}",
            "3 -- returned successfully 0",
        ]
    );
    assert!(
        log.iter()
            .all(|line| line.level == Level::Debug && line.logger == "fail2ban.utils")
    );
}

#[test]
fn one_alone_goes_its_old_way() {
    let mut several = Several::new(&[("a", &NFT)]);
    let v4 = r"nft add element inet t s4 \{ 192.0.2.1 \}";
    let v6 = r"nft add element inet t s6 \{ 2001:db8::1 \}";
    several.check(&to("a", ban, &[V4, V6]), &[START4, START6, v4, v6], &[]);
}

#[test]
fn families_do_not_go_together_and_names_go_alone() {
    let mut several = Several::new(&[("a", &NFT)]);
    let raw = r"nft add element inet t s4 \{ bob \}";
    let v6 = r"nft add element inet t s6 \{ 2001:db8::1 \}";
    several.check(
        &to("a", ban, &["192.0.2.1", "2001:db8::1", "192.0.2.2", "bob"]),
        &[
            START4,
            START6,
            "nft < add element inet t s4 { 192.0.2.1, 192.0.2.2 }",
            v6,
            START4,
            START6,
            raw,
        ],
        &[],
    );
    // A name's first ban started all anew, so that nothing is held of whom none was banned since.
    several.check(
        &to(
            "a",
            ban,
            &["192.0.2.3", "2001:db8::2", "bill", "192.0.2.4", "2001:db8::/64"],
        ),
        &[
            r"nft add element inet t s4 \{ 192.0.2.3 \}",
            r"nft add element inet t s6 \{ 2001:db8::2 \}",
            r"nft add element inet t s4 \{ bill \}",
            r"nft add element inet t s4 \{ 192.0.2.4 \}",
            r"nft add element inet t s6 \{ 2001:db8::/64 \}",
        ],
        &[],
    );
    several.check(
        &to("a", unban, &["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]),
        &[
            "nft < delete element inet t s4 { 192.0.2.2, 192.0.2.1 }",
            "nft < delete element inet t s6 { 2001:db8::2, 2001:db8::1 }",
        ],
        &[],
    );
    several.check(
        &to("a", ban, &["x; rm", "y }", "z"]),
        &[
            "f2bV_ip=$0 \nnft add element inet t s4 \\{ $f2bV_ip \\}",
            "f2bV_ip=$0 \nnft add element inet t s4 \\{ $f2bV_ip \\}",
            r"nft add element inet t s4 \{ z \}",
        ],
        &[],
    );
}

/// Three bans, each for both actions.
fn three_for_both() -> Vec<(&'static str, Order)> {
    let both = |who: &&str| [("a", ban(who)), ("b", ban(who))];
    THREE.iter().flat_map(both).collect()
}

#[test]
fn other_actions_keep_their_order_behind_the_batch() {
    let mut several = Several::new(&[("a", &NFT), ("b", &NOTE)]);
    let orders = three_for_both();
    several.check(
        &orders,
        &[START4, ALL3, "mail 192.0.2.1", "mail 192.0.2.2", "mail 192.0.2.3"],
        &[],
    );
}

#[test]
fn what_is_ordered_in_between_comes_in_between() {
    let mut several = Several::new(&[("a", &NFT), ("b", &NOTE)]);
    let mut orders = to("a", ban, &THREE[..2]);
    orders.extend(to("a", unban, &THREE[..1]));
    orders.extend(to("a", ban, &["192.0.2.1", "192.0.2.4", "192.0.2.1"]));
    orders.push(("a", Order::Flush));
    several.check(
        &orders,
        &[
            START4,
            "nft < add element inet t s4 { 192.0.2.1, 192.0.2.2 }",
            r"nft delete element inet t s4 \{ 192.0.2.1 \}",
            "nft < add element inet t s4 { 192.0.2.1, 192.0.2.4 }",
        ],
        &[],
    );
}

#[test]
fn a_batch_that_fails_is_run_one_by_one() {
    let mut several = Several::new(&[("a", &NFT), ("b", &NOTE)]);
    let one = |who: &str| format!(r"nft add element inet t s4 \{{ {who} \}}");
    let [first, second, third] = THREE.map(one);
    several.stage.fail("nft <", 1);
    several.stage.fail(&second, 2);
    let orders = three_for_both();
    several.check(
        &orders,
        &[
            START4,
            ALL3,
            &first,
            "mail 192.0.2.1",
            &second,
            "check s4",
            &second,
            "mail 192.0.2.2",
            &third,
            "mail 192.0.2.3",
        ],
        &[(2, "Error banning 192.0.2.2 (its command returned 1)")],
    );
    // Who failed is not held: the next order is a ban, and for the others there is nothing to do.
    several.check(&to("a", ban, &THREE), &[&second], &[]);
}

#[test]
fn a_start_that_fails_is_tried_for_each_as_without_batches() {
    let mut several = Several::new(&[("a", &NFT)]);
    several.stage.fail(START4, 1);
    several.check(
        &to("a", ban, &THREE),
        &[START4, START4, "nft < add element inet t s4 { 192.0.2.2, 192.0.2.3 }"],
        &[(
            0,
            "Error starting action Jail('j')/a: 'Script error' (its command returned 1)",
        )],
    );
}

#[test]
fn bans_from_before_a_repair_come_together_again() {
    let mut several = Several::new(&[("a", &NFT)]);
    several.check(&to("a", ban, &THREE), &[START4, ALL3], &[]);
    several.stage.fail("192.0.2.9", 1);
    several.stage.fail("check", 1);
    let ninth = r"nft add element inet t s4 \{ 192.0.2.9 \}";
    several.check(
        &to("a", ban, &["192.0.2.9"]),
        &[ninth, "check s4", "stop s4", START4, "check s4", ninth],
        &[],
    );
    assert_eq!(several.stage.layer.take_lost(), [id_of("a")]);
    several.stage.log();
    several.check(&to("a", ban, &THREE), &[ALL3], &[]);
    let log = several.stage.log();
    let rebans = log
        .iter()
        .filter(|(_, level, text)| *level == Level::Notice && text.contains("Reban"));
    assert_eq!(rebans.count(), 3);
    several.check(&to("a", ban, &THREE), &[], &[]);
}

#[test]
fn restored_bans_are_not_for_norestored_actions() {
    let properties = [&NFT[..], &[("norestored", "True")]].concat();
    let mut several = Several::new(&[("a", &properties)]);
    let restored = |who: &&str| {
        let mut ticket = ticket(who);
        ticket.restored = true;
        ("a", Order::Ban(ticket))
    };
    several.check(&THREE.iter().map(restored).collect::<Vec<_>>(), &[], &[]);
    several.check(&to("a", ban, &THREE), &[START4, ALL3], &[]);
}

#[test]
fn nothing_goes_together_that_was_flushed_or_never_held() {
    let properties = [&NFT[..], &[("actionflush", "flush <set>")]].concat();
    let mut several = Several::new(&[("a", &properties)]);
    several.check(&to("a", unban, &THREE), &[], &[]);
    several.check(&to("a", ban, &THREE), &[START4, ALL3], &[]);
    several.check(&[("a", Order::Flush)], &["flush s4"], &[]);
    several.check(&to("a", unban, &THREE), &[], &[]);
}

#[test]
fn two_actions_of_one_program_are_one_batch() {
    let other: Vec<_> = NFT
        .iter()
        .map(|(key, value)| (*key, if *value == "s4" { "x4" } else { *value }))
        .collect();
    let mut several = Several::new(&[("a", &NFT), ("b", &other)]);
    let orders = [("a", ban("192.0.2.1")), ("b", ban("192.0.2.1"))];
    several.check(
        &orders,
        &[
            START4,
            "nft add rule inet t c ip saddr @x4 drop",
            "nft < add element inet t s4 { 192.0.2.1 } | add element inet t x4 { 192.0.2.1 }",
        ],
        &[],
    );
}

use proptest::prelude::*;

use super::*;

fn check(bytes: &[u8], expect: &str) {
    assert_eq!(
        decode(bytes).map(|value| value.repr()),
        Ok(expect.to_owned()),
        "{bytes:?}"
    );
}

/// Written by CPython 3.11: `pickle.dumps(x, protocol)`.
#[test]
fn what_python_writes() {
    check(
        b"\x80\x05\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94\x8c\x04ping\x94a.",
        "['ping']",
    );
    check(
        b"\x80\x02]q\x00(X\x03\x00\x00\x00setq\x01K\x05J\xff\xff\xff\xffe.",
        "['set', 5, -1]",
    );
    check(b"(lp0\nVa\np1\naI5\naF1.5\naNaI01\na.", "['a', 5, 1.5, None, True]");
    check(b"\x80\x04}\x94(\x8c\x01k\x94]\x94(K\x01M\x2c\x01eu.", "{'k': [1, 300]}");
    check(b"\x80\x04\x8f\x94(K\x01\x90.", "{1}");
    check(b"\x80\x04K\x01K\x02\x86\x94.", "(1, 2)");
    check(b"\x80\x04\x8a\x06\x00\x00\x00\x00\x00\x01.", "1099511627776");
    check(b"(lp0\nS'it\\'s'\np1\na.", "[\"it's\"]");
    check(b"(lp0\nV\xe9\\u20ac\\u005c\\U0001f600\np1\na.", "['é€\\\\😀']");
    check(b"T\x02\x00\x00\x00ab.", "'ab'");
    check(b"\x80\x02\x8b\x02\x00\x00\x00\x00\x01.", "256");
    check(
        b"\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\x00.",
        "9223372036854775807",
    );
    check(
        b"\x80\x04}(K\x01K\x02\x88K\x03G\x3f\xf0\x00\x00\x00\x00\x00\x00K\x04u.",
        "{1: 4}",
    );
    check(b"\x80\x04\x8f(K\x01\x88\x90.", "{1}");
    check(b"K\x012\x86.", "(1, 1)");
    check(b"K\x01(0.", "1");
    // Bytes that were no text to the client, and are one together.
    check(b"\x80\x04\x8c\x06\xed\xb3\x83\xed\xb2\xa9.", "'é'");
    check(b"V\\udcc3\\udca9\n.", "'é'");
}

#[test]
fn what_is_refused() {
    let refused = |bytes: &[u8]| decode(bytes).unwrap_err();
    assert_eq!(refused(b"\x80\x04\x8c\x03\xed\xb3\xbf."), Error::Text(3));
    assert_eq!(refused(b"V\\ud83d\n."), Error::Text(1));
    assert_eq!(
        refused(b"\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00."),
        Error::Number(2)
    );
    assert_eq!(refused(b"L99999999999999999999L\n."), Error::Number(0));
    assert_eq!(refused(b"T\x02\x00\x00\x00\xc3\xa9."), Error::Malformed(1));
    assert_eq!(
        refused(b"\x80\x04C\x01a."),
        Error::Unsupported("SHORT_BINBYTES".into(), 2)
    );
    assert_eq!(
        refused(b"\x80\x06N."),
        Error::Unsupported("a protocol above 5".into(), 0)
    );
    // A list is no key, and nothing is taken from below a mark.
    assert!(matches!(refused(b"}]K\x01s."), Error::Malformed(_)));
    assert!(matches!(refused(b"K\x01(\x85."), Error::Malformed(_)));
    assert!(matches!(refused(b"}(K\x01u."), Error::Malformed(_)));
    assert_eq!(
        refused(b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N."),
        Error::Truncated
    );
    assert_eq!(
        refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.").to_string(),
        "STACK_GLOBAL (os.system) at byte 14 imports or calls something: refused"
    );
}

#[test]
fn a_shared_list_is_copied_to_each_place() {
    check(b"\x80\x04]\x94(]\x94K\x01ah\x01e.", "[[1], [1]]");
}

#[test]
fn nothing_is_imported_or_called() {
    for attack in [
        &b"cos\nsystem\n(S'id'\ntR."[..],
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02(ios\nsystem\n.",
    ] {
        assert!(matches!(decode(attack), Err(Error::Forbidden(..))), "{attack:?}");
    }
}

#[test]
fn caps() {
    let deep: Vec<u8> = [vec![b'('; 100_000], vec![b'l'; 100_000], vec![b'.']].concat();
    assert_eq!(decode(&deep), Err(Error::TooLarge));
    // Each list holds the one before it ten times: 10^9 objects if copied out.
    let mut laughs = b"\x80\x04]\x94K\x01a".to_vec();
    for level in 0..9_u8 {
        laughs.extend(b"]\x94(");
        for _ in 0..10 {
            laughs.extend([b'h', level]);
        }
        laughs.push(b'e');
    }
    laughs.push(b'.');
    assert_eq!(decode(&laughs), Err(Error::TooLarge));
    // A list that holds itself never ends.
    assert_eq!(decode(b"\x80\x04]\x94h\x00a."), Err(Error::TooLarge));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e9..1e9).prop_map(Value::Float),
        ".{0,300}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            items.clone().prop_map(Value::List),
            items.prop_map(Value::Tuple),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #[test]
    fn round_trip(value in values()) {
        prop_assert_eq!(decode(&encode(&value)), Ok(value));
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }
}

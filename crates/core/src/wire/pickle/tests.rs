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
        let pairs = prop::collection::btree_map(".{0,3}", inner, 0..4);
        prop_oneof![
            items.clone().prop_map(Value::List),
            items.prop_map(Value::Tuple),
            pairs.prop_map(|pairs| Value::Dict(pairs.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

/// `['set', 'é', {'a': (1, 2.5, None)}, {3}, -70000, True]` by CPython 3.11 with protocols 0 to 5 (a list for the set
/// below 4), and a reply with an exception.
const WRITTEN: &[&[u8]] = &[
    b"(lp0\nVset\np1\naV\xe9\np2\na(dp3\nVa\np4\n(I1\nF2.5\nNtp5\nsa(lp6\nI3\naaI-70000\naI01\na.",
    b"]q\x00(X\x03\x00\x00\x00setq\x01X\x02\x00\x00\x00\xc3\xa9q\x02}q\x03X\x01\x00\x00\x00aq\x04(K\x01G@\x04\x00\x00\x00\x00\
\x00\x00Ntq\x05s]q\x06K\x03aJ\x90\xee\xfe\xffI01\ne.",
    b"\x80\x03]q\x00(X\x03\x00\x00\x00setq\x01X\x02\x00\x00\x00\xc3\xa9q\x02}q\x03X\x01\x00\x00\x00aq\x04K\x01G@\x04\x00\x00\
\x00\x00\x00\x00N\x87q\x05s]q\x06K\x03aJ\x90\xee\xfe\xff\x88e.",
    b"\x80\x05\x95\x31\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x03set\x94\x8c\x02\xc3\xa9\x94}\x94\x8c\x01a\x94K\x01G@\x04\x00\
\x00\x00\x00\x00\x00N\x87\x94s\x8f\x94(K\x03\x90J\x90\xee\xfe\xff\x88e.",
    b"\x80\x05\x95\x2b\x00\x00\x00\x00\x00\x00\x00K\x01\x8c\x08builtins\x94\x8c\x0aValueError\x94\x93\x94\x8c\x05wrong\x94\x85\
\x94R\x94\x86\x94.",
];

/// What a value occupies at the least.
fn footprint(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Str(text) => text.len(),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.iter().map(footprint).sum(),
            Value::Dict(pairs) => pairs.iter().map(|(k, v)| footprint(k) + footprint(v)).sum(),
            _ => 0,
        }
}

/// Whatever the bytes are, there is an answer, within the memory that was asked for.
fn stays_within_its_limits(bytes: &[u8]) {
    let limits = Limits {
        depth: 16,
        objects: 10_000,
        memory: 1 << 20,
    };
    let mut asked = 0;
    let read = decode_within(bytes, limits, &mut |more| {
        asked += more;
        true
    });
    assert!(asked <= limits.memory + (64 << 10), "{asked}");
    if let Ok(value) = read {
        assert!(footprint(&value) <= asked + size_of::<Value>(), "{asked} for {value:?}");
        let again = decode(&encode(&value)).map(|value| value.repr());
        assert_eq!(again, Ok(value.repr()));
    }
    let _ = decode_reply(bytes, limits);
}

#[test]
fn what_is_mutated_below_is_valid() {
    let expect = "['set', 'é', {'a': (1, 2.5, None)}, [3], -70000, True]";
    for bytes in &WRITTEN[..3] {
        check(bytes, expect);
    }
    check(WRITTEN[3], "['set', 'é', {'a': (1, 2.5, None)}, {3}, -70000, True]");
    let exception = decode_reply(WRITTEN[4], Limits::REPLY);
    assert_eq!(exception, Ok(Err(Exception::value("wrong"))));
}

/// Messages that are small and ask for much.
#[test]
fn bombs() {
    let huge = [u8::MAX; 8];
    let lengths = [b"X".as_slice(), b"T", b"\x8d", b"\x8e", b"B", b"\x95", b"\x8b", b"\x96"];
    for opcode in lengths {
        stays_within_its_limits(&[opcode, &huge, b"x."].concat());
    }
    for opcode in [
        b"(".as_slice(),
        b"]",
        b"N",
        b"}",
        b"\x8f",
        b")",
        b"K\x01",
        b"\x8c\x00",
        b"N\x94",
        b"N2",
        b"N0",
    ] {
        stays_within_its_limits(&[opcode.repeat(1 << 20), b".".to_vec()].concat());
    }
    for (open, close) in [("(", "l"), ("(", "t"), ("(", "d"), ("", "\u{85}")] {
        stays_within_its_limits((open.repeat(100_000) + "N" + &close.repeat(100_000) + ".").as_bytes());
    }
    // One text of a kilobyte in two thousand places, in each of two thousand places.
    let mut shared = b"X\x00\x04\x00\x00".to_vec();
    shared.extend([b'x'; 1024]);
    shared.extend(b"\x94(");
    shared.extend(b"h\x00".repeat(2_000));
    shared.extend(b"l\x94(");
    shared.extend(b"h\x01".repeat(2_000));
    shared.extend(b"l.");
    assert_eq!(decode(&shared), Err(Error::TooLarge));
    stays_within_its_limits(&shared);
    // Calls upon calls, in a reply.
    let calls = [
        b"cbuiltins\nstr\n\x94h\x00\x8c\x01a".to_vec(),
        b"\x85R\x94h\x00h\x01".repeat(50_000),
    ]
    .concat();
    stays_within_its_limits(&calls);
}

#[test]
fn memory_that_others_have_is_not_taken() {
    let request = encode(&Value::List(vec!["x".repeat(1000).into(); 1000]));
    let mut left = 200_000_usize;
    let read = decode_within(&request, Limits::REQUEST, &mut |more| {
        left.checked_sub(more).map(|rest| left = rest).is_some()
    });
    assert_eq!(read, Err(Error::Busy));
}

/// Opcodes, and calls of what replies may call.
const WORDS: &[&[u8]] = &[
    b"(",
    b"]",
    b")",
    b"}",
    b"\x8f",
    b"l",
    b"t",
    b"d",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x90",
    b"\x91",
    b"0",
    b"1",
    b"2",
    b"N",
    b"K\x01",
    b"\x88",
    b"\x8c\x01a",
    b"\x94",
    b"h\x00",
    b"h\x01",
    b"h\x02",
    b"\x85",
    b"\x86",
    b"\x87",
    b"cbuiltins\nstr\n",
    b"cbuiltins\nset\n",
    b"cbuiltins\nValueError\n",
    b"ccollections\nOrderedDict\n",
    b"R",
    b"b",
    b"\x93",
];

proptest! {
    #[test]
    fn round_trip(value in values()) {
        prop_assert_eq!(decode(&encode(&value)), Ok(value));
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        stays_within_its_limits(&bytes);
    }

    /// Opcodes with little between them get further than bytes do.
    #[test]
    fn any_opcodes_are_an_answer(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..60)
    ) {
        stays_within_its_limits(&[words.concat(), b".".to_vec()].concat());
    }

    #[test]
    fn valid_pickles_with_faults_are_an_answer(
        which in 0..WRITTEN.len(),
        faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let mut bytes = WRITTEN[which].to_vec();
        for (place, byte, kind) in faults {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 => bytes.truncate(place.max(1)),
                _ => {
                    let tail = bytes.split_off(place);
                    bytes.extend(tail.iter().rev());
                }
            }
        }
        stays_within_its_limits(&bytes);
    }
}

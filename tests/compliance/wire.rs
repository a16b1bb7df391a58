//! The control socket's messages: what Python pickles, with each of its protocols, must be the same value here; what is
//! written here must be the same object there; and Fail2Ban's own client and server must see no other shapes than among
//! themselves.

use portcullis_core::exception::{Class, Exception};
use portcullis_core::value::Value;
use portcullis_core::wire::{END, Reply, pickle};
use serde_json::json;

use crate::chance::{Chance, rounds};
use crate::count::Count;
use crate::house::House;
use crate::oracle::Oracle;

/// Values in one question.
const EACH: usize = 250;

fn bytes(hex: &serde_json::Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    let pairs = hex.chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Python's `repr()` with the members of sets in order.
fn shown(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(shown).collect::<Vec<_>>();
    match value {
        Value::List(items) => format!("[{}]", list(items).join(", ")),
        Value::Tuple(items) if items.len() == 1 => format!("({},)", shown(&items[0])),
        Value::Tuple(items) => format!("({})", list(items).join(", ")),
        Value::Set(items) if items.is_empty() => "set()".to_owned(),
        Value::Set(items) => {
            let mut items = list(items);
            items.sort();
            format!("{{{}}}", items.join(", "))
        }
        Value::Dict(pairs) => {
            let pair = |(key, value): &(Value, Value)| format!("{}: {}", shown(key), shown(value));
            format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        other => other.repr(),
    }
}

fn described(exception: &Exception) -> [String; 4] {
    let (module, name) = exception.class.path();
    let arguments = shown(&Value::Tuple(exception.arguments.clone()));
    [module.to_owned(), name.to_owned(), arguments, exception.to_string()]
}

fn read(pickle: &[u8]) -> Result<String, String> {
    match Reply::from_bytes(pickle).map_err(|error| error.to_string())? {
        Reply::Done(value) => Ok(shown(&value)),
        Reply::Refused(exception) => Err(format!("{:?}", described(&exception))),
    }
}

#[test]
fn what_python_writes() {
    let mut oracle = Oracle::start("wire");
    let mut count = Count::of("pickles of values read");
    for round in rounds(4) {
        let made = oracle.ask(&json!({"do": "values", "seed": round, "count": EACH}));
        for one in made.as_array().unwrap() {
            let expect = one["shown"].as_str().unwrap().to_owned();
            for protocol in 0..6 {
                let told = || format!("protocol {protocol}: {expect}");
                count.compare(&read(&bytes(&one["reply"][protocol])), &Ok(expect.clone()), told);
                let request = pickle::decode(&bytes(&one["request"][protocol]));
                if one["set"] == true && protocol < 4 {
                    // These protocols import `set`, which is refused in a request.
                    let refused = matches!(&request, Err(pickle::Error::Forbidden(what, _)) if what.contains("set"));
                    count.compare(&refused, &true, told);
                } else {
                    count.compare(&request.map(|value| shown(&value)), &Ok(expect.clone()), told);
                }
            }
        }
    }
    count.close(12_000);
}

#[test]
fn what_python_raises() {
    let mut oracle = Oracle::start("wire");
    let mut count = Count::of("pickles of exceptions read");
    let made = oracle.ask(&json!({"do": "exceptions", "seed": 1, "count": 1000}));
    let system = oracle.ask(&json!({"do": "system"}));
    for one in made.as_array().unwrap().iter().chain(system.as_array().unwrap()) {
        let expect: [String; 4] = serde_json::from_value(one["is"].clone()).unwrap();
        for reply in one["reply"].as_array().unwrap() {
            let read = match Reply::from_bytes(&bytes(reply)) {
                Ok(Reply::Refused(exception)) => Ok(described(&exception)),
                other => Err(format!("{other:?}")),
            };
            count.compare(&read, &Ok(expect.clone()), || format!("{expect:?}"));
        }
    }
    let texts = ["192.0.2.1", "2001:db8::/32", "words", "::ffff:192.0.2.1"];
    let addresses = oracle.ask(&json!({"do": "addresses", "texts": texts}));
    let expect = addresses["shown"].as_str().unwrap();
    for reply in addresses["reply"].as_array().unwrap() {
        count.compare(&read(&bytes(reply)), &Ok(expect.to_owned()), || "addresses".to_owned());
    }
    count.close(6_000);
}

fn text(chance: &mut Chance) -> String {
    let letters: Vec<char> = "abc '\"\\\n\r\t\0\u{1a}\u{7f}\u{a0}éЖ€\u{2028}字😀".chars().collect();
    let length = *chance.pick(&[0, 1, 4, 12, 300]);
    (0..length).map(|_| *chance.pick(&letters)).collect()
}

fn leaf(chance: &mut Chance) -> Value {
    match chance.below(7) {
        0 => Value::None,
        1 => Value::Bool(chance.one_in(2)),
        2 => Value::Int(chance.between(-300, 70_000)),
        3 => Value::Int(i64::from_le_bytes(chance.next().to_le_bytes()) >> chance.below(60_u32)),
        4 => Value::Float(*chance.pick(&[0.0, -0.0, 1.5, 1e22, 1e-7, f64::INFINITY, f64::NEG_INFINITY])),
        _ => Value::Str(text(chance)),
    }
}

fn value(chance: &mut Chance, depth: u32) -> Value {
    if depth == 0 || chance.percent(40) {
        return leaf(chance);
    }
    let count = *chance.pick(&[0, 1, 2, 5]);
    let items = |chance: &mut Chance| (0..count).map(|_| value(chance, depth - 1)).collect::<Vec<_>>();
    match chance.below(5) {
        0 => Value::Tuple(items(chance)),
        // Keys of one kind, so that no two are equal to Python.
        1 => Value::Set((0..count).map(Value::Int).collect()),
        2 => {
            let values = items(chance).into_iter().enumerate();
            Value::Dict(values.map(|(at, value)| (format!("{at}é").into(), value)).collect())
        }
        _ => Value::List(items(chance)),
    }
}

fn exception(chance: &mut Chance) -> Exception {
    let class = *chance.pick(&[
        Class::Builtin("Exception"),
        Class::Builtin("ValueError"),
        Class::Builtin("KeyError"),
        Class::Builtin("IndexError"),
        Class::Builtin("RuntimeError"),
        Class::UnknownJail,
        Class::DuplicateJail,
        Class::Regex,
        Class::Builtin("FileNotFoundError"),
    ]);
    let arguments = match class {
        Class::Builtin("FileNotFoundError") => vec![2.into(), text(chance).into()],
        _ => (0..*chance.pick(&[0, 1, 1, 2])).map(|_| leaf(chance)).collect(),
    };
    Exception { class, arguments }
}

#[test]
fn what_python_reads() {
    let mut oracle = Oracle::start("wire");
    let mut count = Count::of("pickles written");
    let mut chance = Chance(5);
    for _ in rounds(12) {
        let values: Vec<Value> = (0..EACH).map(|_| value(&mut chance, 4)).collect();
        let pickles: Vec<String> = values.iter().map(|value| hex(&pickle::encode(value))).collect();
        let read = oracle.ask(&json!({"do": "load", "pickles": pickles}));
        for (value, read) in values.iter().zip(read.as_array().unwrap()) {
            count.compare(&Some(shown(value).as_str()), &read.as_str(), || "a value".to_owned());
        }
        let refusals: Vec<Exception> = (0..EACH).map(|_| exception(&mut chance)).collect();
        let reply = |exception: &Exception| hex(&Reply::Refused(exception.clone()).to_bytes());
        let pickles: Vec<String> = refusals.iter().map(reply).collect();
        let read = oracle.ask(&json!({"do": "load", "pickles": pickles}));
        for (exception, read) in refusals.iter().zip(read.as_array().unwrap()) {
            let read: [String; 4] = serde_json::from_value(read.clone()).unwrap();
            count.compare(&described(exception), &read, || "an exception".to_owned());
        }
    }
    count.close(6_000);
}

/// Requests, good and bad, over one connection to Fail2Ban's server and to ours; Fail2Ban's client library reads both.
#[test]
fn shapes_of_replies() {
    let mut oracle = Oracle::start("wire");
    let mut count = Count::of("shapes of replies");
    let mut house = House::empty();
    house.jails(&[]);
    house.start();
    let words = |line: &str| pickle::encode(&Value::List(line.split(' ').map(Value::from).collect()));
    let mut messages: Vec<Vec<u8>> = ["ping", "status", "get nope maxretry", "nonsense", "echo a b", "ping"]
        .map(words)
        .into();
    let raw: [&[u8]; 14] = [
        b"",
        b"rubbish",
        b"\x80\x04",
        b"\x80\x04].",
        b"\x80\x04K\x05.",
        b"\x80\x04N.",
        b"\x80\x04]K\x05a.",
        b"\x80\x09N.",
        b"(lp0\nVping\np1\na.",
        b"]q\x00X\x04\x00\x00\x00pingq\x01a.",
        b"(lp0\nS'ping'\np1\na.",
        b"\x80\x04\x8c\x04ping\x85.",
        b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.",
        b"\x80\x04]h\x05a.",
    ];
    messages.extend(raw.map(<[u8]>::to_vec));
    messages.push(words("ping"));
    let messages: Vec<String> = messages.iter().map(|message| hex(message)).collect();
    let theirs = oracle.ask(&json!({"do": "theirs", "messages": messages}));
    let ours = oracle.ask(&json!({"do": "exchange", "path": house.path("socket"), "messages": messages}));
    for (message, (ours, theirs)) in messages.iter().zip(pairs(&ours, &theirs)) {
        count.compare(&ours, &theirs, || message.clone());
    }
    let requests = json!([["ping"], ["get", "nope", "maxretry"], ["echo", "é", 5]]);
    let seen = oracle.ask(&json!({"do": "client", "path": house.path("socket"), "requests": requests}));
    let expect = json!([
        [0, "'pong'"],
        [1, "fail2ban.exceptions", "UnknownJailException"],
        [0, "['é', 5]"]
    ]);
    count.compare(&seen, &expect, || "Fail2Ban's client library".to_owned());
    count.close(22);
}

fn pairs<'v>(
    ours: &'v serde_json::Value,
    theirs: &'v serde_json::Value,
) -> impl Iterator<Item = (&'v serde_json::Value, &'v serde_json::Value)> {
    let list = |value: &'v serde_json::Value| value.as_array().unwrap_or_else(|| panic!("{value}")).iter();
    list(ours).zip(list(theirs))
}

/// What is refused or read otherwise on purpose.
#[test]
fn mended() {
    let mut oracle = Oracle::start("wire");
    // D-120: a whole number of more than 64 bits, and bytes.
    let big = b"\x80\x04\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.";
    assert_eq!(
        oracle.ask(&json!({"do": "load", "pickles": [hex(big)]})),
        json!(["18446744073709551616"])
    );
    assert_eq!(pickle::decode(big), Err(pickle::Error::Number(2)));
    let raw = b"\x80\x04C\x01a.";
    assert_eq!(
        oracle.ask(&json!({"do": "load", "pickles": [hex(raw)]})),
        json!(["b'a'"])
    );
    assert!(matches!(pickle::decode(raw), Err(pickle::Error::Unsupported(..))));
    // D-121: bytes that a client in another locale could not decode.
    let escaped = oracle.ask(&json!({"do": "pickled", "text": "é"}));
    assert_eq!(
        oracle.ask(&json!({"do": "load", "pickles": [escaped]})),
        json!(["'\\udcc3\\udca9'"])
    );
    assert_eq!(pickle::decode(&bytes(&escaped)), Ok("é".into()));
    // D-122: a request that has something called.
    let call = b"cbuiltins\nstr\n(Vcalled\ntR.";
    assert_eq!(
        oracle.ask(&json!({"do": "load", "pickles": [hex(call)]})),
        json!(["'called'"])
    );
    assert!(matches!(pickle::decode(call), Err(pickle::Error::Forbidden(..))));
    assert_eq!(END, b"<F2B_END_COMMAND>");
}

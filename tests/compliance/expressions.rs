//! Expressions, lengths of time and printed lengths: the same value as Python's to the last bit, or no value for
//! either.
//!
//! Whatever the generator writes is within the stated grammar and must be understood. Text that was damaged afterwards
//! may be refused, but where it is not, Python must agree.

use num_bigint::BigInt;
use portcullis_core::expression::{Amount, Expression, Facts, Scope};
use portcullis_core::time::{Number, length, print_number};
use serde_json::{Value, json};

use crate::chance::{Chance, rounds};
use crate::count::Count;
use crate::oracle::Oracle;

/// Texts for which Python is asked at once.
const BATCH: usize = 500;
/// What ours says of numbers that are larger than it takes (D-094).
const CAPS: &[&str] = &["a whole number of more than", "round takes 0 to 20 digits"];

fn is_capped(error: &str) -> bool {
    CAPS.iter().any(|cap| error.starts_with(cap))
}

#[derive(Debug, PartialEq)]
struct Shown(String, String);

fn show(value: Result<Amount, String>) -> Shown {
    match value {
        Err(error) => Shown("error".into(), error),
        Ok(Amount::Float(float)) if float.is_nan() => Shown("float".into(), "nan".into()),
        Ok(Amount::Float(float)) => Shown("float".into(), format!("{:016x}", float.to_bits())),
        Ok(Amount::Whole(number)) => Shown("int".into(), number.to_string()),
        Ok(Amount::Truth(truth)) => Shown("bool".into(), Amount::Truth(truth).to_string()),
    }
}

/// Compares a list of texts, all of which ours has answered.
fn compare(count: &mut Count, oracle: &mut Oracle, mut request: Value, list: &[(String, Shown)]) {
    request["texts"] = list.iter().map(|(text, _)| text.as_str()).collect();
    let theirs = oracle.ask(&request);
    let theirs = theirs.as_array().unwrap();
    assert_eq!(theirs.len(), list.len());
    for ((text, ours), theirs) in list.iter().zip(theirs) {
        let kind = theirs[0].as_str().unwrap();
        // Where neither has a value, the reasons need not be the same words.
        let expect = if kind == "error" && ours.0 == "error" {
            ours.1.clone()
        } else {
            theirs[1].as_str().unwrap().into()
        };
        count.compare(&(&*ours.0, &ours.1), &(kind, &expect), || format!("{text:?}"));
    }
}

#[test]
fn formulas_have_pythons_values() {
    let mut count = Count::of("expressions");
    let mut oracle = Oracle::start("expressions");
    let mut chance = Chance(1);
    for _ in rounds(60) {
        let facts = Facts {
            time: Amount::from(chance.between(1, 100_000)),
            count: Amount::from(chance.between(1, 40)),
            factor: if chance.percent(50) {
                Amount::from(chance.between(0, 9))
            } else {
                Amount::from(1.25)
            },
        };
        let draws = [0.0, 0.123_456_789, 0.999_999_9, 0.5];
        let mut list = Vec::new();
        while list.len() < BATCH {
            let whole = Writer(&mut chance).choice(4);
            let is_damaged = chance.percent(25);
            let text = if is_damaged { damage(&mut chance, &whole) } else { whole };
            let mut next = draws.into_iter().cycle();
            let ours = match Expression::parse(&text, Scope::Formula) {
                Ok(expression) => expression
                    .value(&facts, &mut || next.next().unwrap())
                    .map_err(|error| error.0),
                Err(_) if is_damaged => continue,
                Err(error) => Err(format!("refused: {error}")),
            };
            if ours.as_ref().is_err_and(|error| is_capped(error)) {
                continue;
            }
            assert!(
                ours.as_ref().is_err_and(|error| !error.starts_with("refused")) || ours.is_ok(),
                "{text}: {ours:?}"
            );
            list.push((text, show(ours)));
        }
        let number = |amount: &Amount| match amount {
            Amount::Float(float) => json!(float),
            other => json!(other.to_string().parse::<i64>().unwrap()),
        };
        let request = json!({
            "kind": "formula", "time": number(&facts.time), "count": number(&facts.count),
            "factor": number(&facts.factor), "draws": draws,
        });
        compare(&mut count, &mut oracle, request, &list);
    }
    count.close(30_000);
}

#[test]
fn lengths_of_time_have_pythons_values() {
    let mut count = Count::of("lengths of time");
    let mut oracle = Oracle::start("expressions");
    let mut chance = Chance(2);
    for _ in rounds(40) {
        let mut list = Vec::new();
        while list.len() < BATCH {
            let text = span(&mut chance);
            let ours = length(&text);
            if !ours.as_ref().is_err_and(|error| is_capped(error)) {
                list.push((text, show(ours)));
            }
        }
        compare(&mut count, &mut oracle, json!({ "kind": "length" }), &list);
    }
    count.close(20_000);
}

#[test]
fn lengths_are_printed_alike() {
    let mut count = Count::of("printed lengths");
    let mut oracle = Oracle::start("expressions");
    let mut chance = Chance(3);
    for _ in rounds(20) {
        let numbers: Vec<Number> = (0..BATCH)
            .map(|_| {
                let size = *chance.pick(&[70, 4000, 100_000, 1_000_000, 40_000_000, 4_000_000_000]);
                let whole = chance.between(-2, size);
                if chance.percent(50) {
                    Number::Int(whole)
                } else {
                    Number::Float(Number::Int(whole).as_f64() / *chance.pick(&[1.0, 2.0, 3.0, 1000.0]))
                }
            })
            .collect();
        let values: Vec<Value> = numbers
            .iter()
            .map(|number| match number {
                Number::Int(whole) => json!(whole),
                Number::Float(float) => json!(float),
            })
            .collect();
        let theirs = oracle.ask(&json!({ "kind": "print", "numbers": values }));
        for (number, theirs) in numbers.iter().zip(theirs.as_array().unwrap()) {
            count.compare(&print_number(*number).as_str(), &theirs.as_str().unwrap(), || {
                format!("{number:?}")
            });
        }
    }
    count.close(10_000);
}

/// Writes expressions of the grammar.
struct Writer<'c>(&'c mut Chance);

impl Writer<'_> {
    fn choice(&mut self, depth: u32) -> String {
        if depth > 0 && self.0.percent(15) {
            let (a, b, c) = (self.either(depth - 1), self.either(depth - 1), self.choice(depth - 1));
            return format!("{a} if {b} else {c}");
        }
        self.either(depth)
    }

    fn either(&mut self, depth: u32) -> String {
        let mut text = self.comparison(depth);
        while depth > 0 && self.0.percent(8) {
            let word = *self.0.pick(&[" or ", " and ", " or not ", " and not "]);
            text += word;
            text += &self.comparison(depth - 1);
        }
        if self.0.percent(4) { format!("not {text}") } else { text }
    }

    fn comparison(&mut self, depth: u32) -> String {
        let mut text = self.sum(depth);
        while depth > 0 && self.0.percent(12) {
            text += *self.0.pick(&["<", " <= ", ">", " >= ", "==", " != "]);
            text += &self.sum(depth - 1);
        }
        text
    }

    fn sum(&mut self, depth: u32) -> String {
        let mut text = self.signed(depth);
        while depth > 0 && self.0.percent(50) {
            let operators = ["+", " - ", "*", "/", " // ", "%", "**", " << ", ">>", "&", " | ", "^"];
            text += *self.0.pick(&operators);
            text += &self.signed(depth - 1);
        }
        text
    }

    fn signed(&mut self, depth: u32) -> String {
        let sign = if self.0.percent(10) {
            *self.0.pick(&["-", "+", "~", "- -"])
        } else {
            ""
        };
        let space = if self.0.percent(5) { " " } else { "" };
        format!("{sign}{}{space}", self.atom(depth))
    }

    fn atom(&mut self, depth: u32) -> String {
        if depth > 0 && self.0.percent(20) {
            return format!("({})", self.choice(depth - 1));
        }
        if depth > 0 && self.0.percent(30) {
            return self.call(depth - 1);
        }
        match self.0.below(14) {
            0..=2 => "ban.Time".into(),
            3..=5 => "ban.Count".into(),
            6 => "banFactor".into(),
            7 => (*self
                .0
                .pick(&["math.pi", "math.e", "math.tau", "math.inf", "math.nan", "True", "False"]))
            .into(),
            8 => (*self.0.pick(&[
                "0.5", "1e3", "2.", ".25", "1_000", "0x1F", "0b101", "0o17", "1.5e-3", "1e308", "00",
            ]))
            .into(),
            9 => BigInt::from(self.0.next())
                .pow(self.0.pick(&[1, 2, 20]).to_owned())
                .to_string(),
            10 => {
                let float = f64::from_bits(self.0.next()).abs();
                let float = if float.is_finite() {
                    float.clamp(1e-12, 1e12)
                } else {
                    0.1
                };
                format!("{float:?}")
            }
            _ => self
                .0
                .below(*[3, 30, 3000].get(self.0.0 as usize % 3).unwrap())
                .to_string(),
        }
    }

    fn call(&mut self, depth: u32) -> String {
        let one = [
            "int",
            "float",
            "round",
            "abs",
            "bool",
            "math.ceil",
            "math.floor",
            "math.trunc",
            "math.sqrt",
        ];
        let math = [
            "exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
            "cosh", "tanh", "fabs", "degrees", "radians",
        ];
        let two = [
            "max",
            "min",
            "pow",
            "math.pow",
            "math.fmod",
            "math.log",
            "math.atan2",
            "math.copysign",
            "random.uniform",
        ];
        match self.0.below(5) {
            0 => format!("{}({})", self.0.pick(&one), self.choice(depth)),
            1 => format!("math.{}({})", self.0.pick(&math), self.choice(depth)),
            2 => format!("round({}, {})", self.choice(depth), self.0.below(8)),
            3 => {
                let name = *self.0.pick(&two);
                format!("{name}({}, {})", self.choice(depth), self.choice(depth))
            }
            _ => "random.random()".into(),
        }
    }
}

fn damage(chance: &mut Chance, text: &str) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for _ in 0..=chance.below(2) {
        let at = usize::try_from(chance.below(text.len() as u64 + 1)).unwrap();
        match chance.below(3) {
            0 if at < text.len() => drop(text.remove(at)),
            1 => text.insert(
                at,
                *chance.pick(&[
                    '(', ')', '*', '-', ' ', '.', ',', '<', '=', '1', '0', 'e', '_', '#', 'n',
                ]),
            ),
            _ => {
                text.swap_remove(at.min(text.len() - 1));
            }
        }
        if text.is_empty() {
            text.push('1');
        }
    }
    text.into_iter().collect()
}

/// A length of time, or something like it.
fn span(chance: &mut Chance) -> String {
    const UNITS: &[&str] = &[
        "s", "ss", "se", "sec", "secs", "second", "seconds", "m", "mm", "mi", "min", "mins", "minute", "minutes", "h",
        "hh", "ho", "hour", "hours", "d", "dd", "da", "day", "days", "w", "ww", "we", "week", "weeks", "mo", "mon",
        "month", "months", "y", "ye", "yy", "year", "years", "M", "H", "Day", "x", "e", "hm", "m_",
    ];
    let mut text = String::new();
    for _ in 0..=chance.below(4) {
        if chance.percent(15) {
            text += *chance.pick(&["(", "-", " ", "+", "\t", "\n", "~", "not "]);
        }
        text += &match chance.below(8) {
            0 => format!("{}.{}", chance.below(20), chance.below(10)),
            1 => format!(".{}", chance.below(10)),
            2 => format!("{}.", chance.below(20)),
            3 => format!("0{}", chance.below(10)),
            _ => chance
                .below(*[10, 100, 100_000].get(chance.0 as usize % 3).unwrap())
                .to_string(),
        };
        if chance.percent(20) {
            text.push(' ');
        }
        if chance.percent(75) {
            text += *chance.pick(UNITS);
        }
        text += *chance.pick(&[
            "", "", " ", " ", "  ", "+", " + ", "-", "*", "/", ")", " \u{a0}", "\n", " # ", " and ", ",",
        ]);
    }
    text
}

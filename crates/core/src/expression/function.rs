//! The functions that an expression may call.

use num_bigint::{BigInt, Sign};

use super::Failed;
use super::amount::{Amount, Operator, power_float, ratio, room, truncate};

/// A function, by what it does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// Of one float, one float
    Of(fn(f64) -> f64, Range),
    /// Of two floats, one float
    OfTwo(fn(f64, f64) -> f64),
    Max,
    Min,
    Int,
    Float,
    Round,
    Abs,
    Bool,
    Power,
    /// `math.ceil`, `math.floor`, `math.trunc`
    Whole(fn(f64) -> f64),
    Log,
    LogOf(fn(f64) -> f64),
    MathPower,
    Remainder,
    Random,
    Uniform,
}

/// What an infinite result of a finite argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// Too large
    Overflows,
    /// Outside of what the function takes
    Domain,
    /// A result as any other
    Any,
}

/// The functions that need no name before them.
const BUILT_IN: &[(&str, Function)] = &[
    ("max", Function::Max),
    ("min", Function::Min),
    ("int", Function::Int),
    ("float", Function::Float),
    ("round", Function::Round),
    ("abs", Function::Abs),
    ("bool", Function::Bool),
    ("pow", Function::Power),
];

/// Those of `math.`; what Python computes otherwise than the system's library is left out.
const MATH: &[(&str, Function)] = &[
    ("acos", Function::Of(f64::acos, Range::Domain)),
    ("asin", Function::Of(f64::asin, Range::Domain)),
    ("atan", Function::Of(f64::atan, Range::Domain)),
    ("atan2", Function::OfTwo(f64::atan2)),
    ("ceil", Function::Whole(f64::ceil)),
    ("copysign", Function::OfTwo(f64::copysign)),
    ("cos", Function::Of(f64::cos, Range::Domain)),
    ("cosh", Function::Of(f64::cosh, Range::Overflows)),
    ("degrees", Function::Of(degrees, Range::Any)),
    ("exp", Function::Of(f64::exp, Range::Overflows)),
    ("expm1", Function::Of(f64::exp_m1, Range::Overflows)),
    ("fabs", Function::Of(f64::abs, Range::Domain)),
    ("floor", Function::Whole(f64::floor)),
    ("fmod", Function::Remainder),
    ("log", Function::Log),
    ("log10", Function::LogOf(f64::log10)),
    ("log1p", Function::Of(f64::ln_1p, Range::Domain)),
    ("log2", Function::LogOf(f64::log2)),
    ("pow", Function::MathPower),
    ("radians", Function::Of(radians, Range::Any)),
    ("sin", Function::Of(f64::sin, Range::Domain)),
    ("sinh", Function::Of(f64::sinh, Range::Overflows)),
    ("sqrt", Function::Of(f64::sqrt, Range::Domain)),
    ("tan", Function::Of(f64::tan, Range::Domain)),
    ("tanh", Function::Of(f64::tanh, Range::Domain)),
    ("trunc", Function::Whole(f64::trunc)),
];

const RANDOM: &[(&str, Function)] = &[("random", Function::Random), ("uniform", Function::Uniform)];

const CONSTANTS: &[(&str, f64)] = &[
    ("pi", std::f64::consts::PI),
    ("e", std::f64::consts::E),
    ("tau", std::f64::consts::TAU),
    ("inf", f64::INFINITY),
    ("nan", f64::NAN),
];

fn degrees(x: f64) -> f64 {
    x * (180.0 / std::f64::consts::PI)
}

fn radians(x: f64) -> f64 {
    x * (std::f64::consts::PI / 180.0)
}

impl Function {
    /// By its name, and what stands before the dot.
    pub(super) fn named(module: Option<&str>, name: &str) -> Option<Function> {
        let list = match module {
            None => BUILT_IN,
            Some("math") => MATH,
            Some("random") => RANDOM,
            Some(_) => return None,
        };
        list.iter().find(|(known, _)| *known == name).map(|(_, it)| *it)
    }

    /// Fewest and most arguments.
    pub(super) fn arguments(self) -> (usize, usize) {
        match self {
            Function::Max | Function::Min => (2, 64),
            Function::Round | Function::Log => (1, 2),
            Function::OfTwo(_) | Function::Power | Function::MathPower | Function::Remainder | Function::Uniform => {
                (2, 2)
            }
            Function::Random => (0, 0),
            _ => (1, 1),
        }
    }

    /// Whether the answer is another each time.
    pub(super) fn is_random(self) -> bool {
        matches!(self, Function::Random | Function::Uniform)
    }

    /// Calls it with a number of arguments that it takes.
    pub(super) fn call(self, arguments: &[Amount], draw: &mut dyn FnMut() -> f64) -> Result<Amount, Failed> {
        let nothing = Amount::from(0);
        let a = arguments.first().unwrap_or(&nothing);
        let b = arguments.get(1);
        let second = b.unwrap_or(&nothing);
        match self {
            Function::Max => Ok(choose(arguments, Operator::Greater)),
            Function::Min => Ok(choose(arguments, Operator::Less)),
            Function::Int => a
                .whole()
                .map_or_else(|| whole(a.nearest()), |number| Ok(Amount::Whole(number))),
            Function::Float => a.float().map(Amount::Float),
            Function::Round => round(a, b),
            Function::Abs => Ok(a.whole().map_or_else(
                || Amount::Float(a.nearest().abs()),
                |number| Amount::Whole(BigInt::from(number.magnitude().clone())),
            )),
            Function::Bool => Ok(Amount::Truth(a.is_true())),
            Function::Power => Operator::Power.apply(a, second),
            Function::Whole(rule) => match a.whole() {
                Some(number) => Ok(Amount::Whole(number)),
                None => whole(rule(a.nearest())),
            },
            Function::Log => logarithm(a, b),
            Function::LogOf(rule) => log_of(a, rule).map(Amount::Float),
            Function::Random => Ok(Amount::Float(draw())),
            Function::Uniform => {
                let breadth = Operator::Subtract.apply(second, a)?;
                let part = Operator::Multiply.apply(&breadth, &Amount::Float(draw()))?;
                Operator::Add.apply(a, &part)
            }
            Function::Of(..) | Function::OfTwo(_) | Function::MathPower | Function::Remainder => {
                self.float(a.float()?, second.float()?).map(Amount::Float)
            }
        }
    }

    fn float(self, a: f64, b: f64) -> Result<f64, Failed> {
        match self {
            Function::Of(rule, range) => {
                let result = rule(a);
                if result.is_nan() && !a.is_nan() {
                    return Err(domain());
                }
                match range {
                    Range::Overflows if result.is_infinite() && a.is_finite() => Err(overflow()),
                    Range::Domain if result.is_infinite() && a.is_finite() => Err(domain()),
                    _ => Ok(result),
                }
            }
            Function::OfTwo(rule) => Ok(rule(a, b)),
            Function::Remainder if b.is_infinite() && a.is_finite() => Ok(a),
            Function::Remainder => {
                let result = a % b;
                if result.is_nan() && !a.is_nan() && !b.is_nan() {
                    return Err(domain());
                }
                Ok(result)
            }
            _ => math_power(a, b),
        }
    }
}

/// A constant of `math.`
pub(super) fn constant(name: &str) -> Option<f64> {
    CONSTANTS.iter().find(|(known, _)| *known == name).map(|(_, it)| *it)
}

fn domain() -> Failed {
    Failed("math domain error".into())
}

fn overflow() -> Failed {
    Failed("math range error".into())
}

/// The first argument that no later one beats.
pub(super) fn choose(arguments: &[Amount], beats: Operator) -> Amount {
    let mut best = arguments.first().cloned().unwrap_or(Amount::Truth(false));
    for other in arguments.iter().skip(1) {
        if matches!(beats.apply(other, &best), Ok(Amount::Truth(true))) {
            best = other.clone();
        }
    }
    best
}

fn whole(number: f64) -> Result<Amount, Failed> {
    match truncate(number) {
        Some(number) => Ok(Amount::Whole(number)),
        None if number.is_nan() => Err(Failed("cannot convert float NaN to integer".into())),
        None => Err(Failed("cannot convert float infinity to integer".into())),
    }
}

/// Halves go to the even neighbour.
fn round(number: &Amount, digits: Option<&Amount>) -> Result<Amount, Failed> {
    let Some(digits) = digits else {
        return match number.whole() {
            Some(number) => Ok(Amount::Whole(number)),
            None => whole(number.nearest().round_ties_even()),
        };
    };
    let digits = digits.whole().and_then(|digits| u32::try_from(&digits).ok());
    let Some(digits) = digits.filter(|digits| *digits <= 20) else {
        return Err(Failed("round takes 0 to 20 digits".into()));
    };
    if let Some(number) = number.whole() {
        return Ok(Amount::Whole(number));
    }
    let float = number.nearest();
    if !float.is_finite() {
        return Ok(Amount::Float(float));
    }
    // Written out to so many digits and read again: exactly what Python does.
    let text = format!("{float:.*}", digits as usize);
    Ok(Amount::Float(text.parse().unwrap_or(float)))
}

fn logarithm(a: &Amount, base: Option<&Amount>) -> Result<Amount, Failed> {
    let number = log_of(a, f64::ln)?;
    match base {
        None => Ok(Amount::Float(number)),
        Some(base) => {
            let base = Amount::Float(log_of(base, f64::ln)?);
            Operator::Divide.apply(&Amount::Float(number), &base)
        }
    }
}

/// Whole numbers have logarithms also where they are beyond all floats.
fn log_of(a: &Amount, rule: fn(f64) -> f64) -> Result<f64, Failed> {
    if let Some(number) = a.whole() {
        if number.sign() != Sign::Plus {
            return Err(domain());
        }
        if let Ok(float) = a.float() {
            return Ok(rule(float));
        }
        let bits = number.bits();
        room(bits)?;
        let part = ratio(&number, &(BigInt::from(1) << bits)).unwrap_or(1.0);
        #[expect(clippy::cast_precision_loss, reason = "at most some thousand bits")]
        return Ok(rule(part) + rule(2.0) * bits as f64);
    }
    let number = a.nearest();
    if number <= 0.0 {
        return Err(domain());
    }
    Ok(rule(number))
}

fn math_power(a: f64, b: f64) -> Result<f64, Failed> {
    match power_float(a, b) {
        Ok(result) => Ok(result),
        Err(_) if a == 0.0 || a < 0.0 && b != b.floor() => Err(domain()),
        Err(_) => Err(overflow()),
    }
}

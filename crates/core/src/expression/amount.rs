//! Python's numbers: whole ones of any size, floats, and truths, which count as 0 and 1.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};

use super::Failed;
use crate::value::repr_float;

/// Whole numbers have at most this many bits. `1 << ban.Count * 10` gets there at the 1,600th ban; whoever wants more
/// means *for ever*.
const MOST_BITS: u64 = 16_384;
/// What a whole number can have at most to be a float.
const FLOAT_BITS: u64 = 53;
/// The exponent of the smallest normal float, as C counts it.
const LEAST_EXPONENT: i64 = -1021;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    /// `int`
    Whole(BigInt),
    /// `float`
    Float(f64),
    /// `bool`
    Truth(bool),
}

/// Python's `repr()`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Whole(number) => number.fmt(f),
            Amount::Float(number) => f.write_str(&repr_float(*number)),
            Amount::Truth(true) => f.write_str("True"),
            Amount::Truth(false) => f.write_str("False"),
        }
    }
}

impl From<i64> for Amount {
    fn from(number: i64) -> Self {
        Amount::Whole(number.into())
    }
}

impl From<f64> for Amount {
    fn from(number: f64) -> Self {
        Amount::Float(number)
    }
}

impl Amount {
    /// Whether Python takes it for true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Amount::Whole(number) => number.sign() != Sign::NoSign,
            Amount::Float(number) => *number != 0.0,
            Amount::Truth(truth) => *truth,
        }
    }

    /// As a float, to the nearest; a whole number beyond all floats is infinite.
    #[must_use]
    pub fn nearest(&self) -> f64 {
        match self {
            Amount::Float(number) => *number,
            other => match other.whole() {
                Some(number) => as_float(&number).unwrap_or(if number.sign() == Sign::Minus {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }),
                None => f64::NAN,
            },
        }
    }

    /// As a whole number, unless it is a float.
    pub(super) fn whole(&self) -> Option<BigInt> {
        match self {
            Amount::Whole(number) => Some(number.clone()),
            Amount::Truth(truth) => Some(BigInt::from(u8::from(*truth))),
            Amount::Float(_) => None,
        }
    }

    /// As a float, as Python's arithmetic makes it one.
    pub(super) fn float(&self) -> Result<f64, Failed> {
        let number = self.nearest();
        if number.is_infinite() && !matches!(self, Amount::Float(_)) {
            return Err(Failed("int too large to convert to float".into()));
        }
        Ok(number)
    }

    /// How the two compare; nothing where one of them is no number. Python compares a whole number with a float
    /// exactly.
    pub(super) fn compare(&self, other: &Amount) -> Option<Ordering> {
        match (self.whole(), other.whole()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            (Some(a), None) => compare_mixed(&a, other.nearest()),
            (None, Some(b)) => compare_mixed(&b, self.nearest()).map(Ordering::reverse),
            (None, None) => self.nearest().partial_cmp(&other.nearest()),
        }
    }
}

/// What stands between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Floor,
    Modulo,
    Power,
    Left,
    Right,
    And,
    Or,
    Xor,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    Unequal,
}

impl Operator {
    /// `left OPERATOR right`
    pub(super) fn apply(self, left: &Amount, right: &Amount) -> Result<Amount, Failed> {
        if let Some(truth) = self.comparison(left, right) {
            return Ok(Amount::Truth(truth));
        }
        if let (Amount::Truth(a), Amount::Truth(b)) = (left, right) {
            match self {
                Operator::And => return Ok(Amount::Truth(a & b)),
                Operator::Or => return Ok(Amount::Truth(a | b)),
                Operator::Xor => return Ok(Amount::Truth(a ^ b)),
                _ => {}
            }
        }
        match (left.whole(), right.whole()) {
            (Some(a), Some(b)) => self.whole(&a, &b),
            _ => self.float(left, right),
        }
    }

    fn comparison(self, left: &Amount, right: &Amount) -> Option<bool> {
        let order = left.compare(right);
        Some(match self {
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::Unequal => order != Some(Ordering::Equal),
            _ => return None,
        })
    }

    fn whole(self, a: &BigInt, b: &BigInt) -> Result<Amount, Failed> {
        let number = match self {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => {
                room(a.bits() + b.bits())?;
                a * b
            }
            Operator::Divide => return divide(a, b),
            Operator::Floor => floor(a, b)?.0,
            Operator::Modulo => floor(a, b)?.1,
            Operator::Power => return power(a, b),
            Operator::Left | Operator::Right => return shift(a, b, self == Operator::Left),
            Operator::And => a & b,
            Operator::Or => a | b,
            _ => a ^ b,
        };
        room(number.bits())?;
        Ok(Amount::Whole(number))
    }

    fn float(self, left: &Amount, right: &Amount) -> Result<Amount, Failed> {
        if matches!(
            self,
            Operator::Left | Operator::Right | Operator::And | Operator::Or | Operator::Xor
        ) {
            return Err(Failed("a float has no bits to shift or to combine".into()));
        }
        let (a, b) = (left.float()?, right.float()?);
        let zero = |what: &str| if b == 0.0 { Err(Failed(what.into())) } else { Ok(()) };
        Ok(Amount::Float(match self {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => {
                zero("float division by zero")?;
                a / b
            }
            Operator::Floor => {
                zero("float floor division by zero")?;
                floor_float(a, b).0
            }
            Operator::Modulo => {
                zero("float modulo")?;
                floor_float(a, b).1
            }
            _ => power_float(a, b)?,
        }))
    }
}

/// A whole number of so many bits may be made.
pub(super) fn room(bits: u64) -> Result<(), Failed> {
    if bits > MOST_BITS {
        return Err(Failed(format!("a whole number of more than {MOST_BITS} bits")));
    }
    Ok(())
}

fn compare_mixed(a: &BigInt, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    let Some(whole) = truncate(b) else {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    };
    Some(a.cmp(&whole).then(if b.fract() > 0.0 {
        Ordering::Less
    } else if b.fract() < 0.0 {
        Ordering::Greater
    } else {
        Ordering::Equal
    }))
}

/// The whole part of a float that has one.
pub(super) fn truncate(number: f64) -> Option<BigInt> {
    if !number.is_finite() {
        return None;
    }
    let bits = number.abs().to_bits();
    let exponent = bits >> 52;
    let mantissa = bits & ((1 << 52) - 1);
    if exponent < 1023 {
        return Some(BigInt::from(0));
    }
    let whole = BigInt::from(mantissa | (1 << 52));
    let shift = exponent.cast_signed() - 1075;
    let whole = if shift < 0 {
        whole >> shift.unsigned_abs()
    } else {
        whole << shift.unsigned_abs()
    };
    Some(if number < 0.0 { -whole } else { whole })
}

/// The nearest float, if there is one in range.
fn as_float(number: &BigInt) -> Option<f64> {
    ratio(number, &BigInt::from(1)).filter(|float| float.is_finite())
}

fn divide(a: &BigInt, b: &BigInt) -> Result<Amount, Failed> {
    match ratio(a, b) {
        None => Err(Failed("division by zero".into())),
        Some(quotient) if quotient.is_infinite() => Err(Failed("integer division result too large for a float".into())),
        Some(quotient) => Ok(Amount::Float(quotient)),
    }
}

/// The float next to `a / b`, a tie to the even one; nothing for division by zero.
#[expect(clippy::cast_precision_loss, reason = "what is cast has at most 53 significant bits")]
pub(super) fn ratio(a: &BigInt, b: &BigInt) -> Option<f64> {
    if b.sign() == Sign::NoSign {
        return None;
    }
    let minus = (a.sign() == Sign::Minus) != (b.sign() == Sign::Minus);
    let (a, b) = (a.magnitude(), b.magnitude());
    let signed = |size: f64| Some(if minus { -size } else { size });
    if a.bits() == 0 {
        return signed(0.0);
    }
    let apart = a.bits().cast_signed() - b.bits().cast_signed();
    if apart > 1024 {
        return signed(f64::INFINITY);
    }
    if apart < -1100 {
        return signed(0.0);
    }
    // So many bits more than a float has decide how the last one is rounded; the rest is one bit that says whether
    // there is anything.
    let shift = apart.max(LEAST_EXPONENT) - FLOAT_BITS.cast_signed() - 2;
    let (top, bottom) = if shift < 0 {
        (a << shift.unsigned_abs(), b.clone())
    } else {
        (a.clone(), b << shift.unsigned_abs())
    };
    let quotient = &top / &bottom;
    let rest = u64::from(&quotient * &bottom != top);
    let bits = u64::try_from(&quotient).unwrap_or(u64::MAX) | rest;
    let length = 64 - i64::from(bits.leading_zeros());
    let extra = length.max(LEAST_EXPONENT - shift) - FLOAT_BITS.cast_signed();
    let (kept, cut) = (bits >> extra, bits & ((1 << extra) - 1));
    let half = 1 << (extra - 1);
    let kept = kept + u64::from(cut > half || (cut == half && kept & 1 == 1));
    signed(scale(kept as f64, shift + extra))
}

/// `number * 2 ** exponent`, in steps that are exact.
fn scale(mut number: f64, mut exponent: i64) -> f64 {
    while exponent < -1000 {
        number *= 2f64.powi(-1000);
        exponent += 1000;
    }
    while exponent > 1000 {
        number *= 2f64.powi(1000);
        exponent -= 1000;
    }
    number * 2f64.powi(i32::try_from(exponent).unwrap_or(0))
}

/// Quotient and rest, the rest with the sign of the divisor.
fn floor(a: &BigInt, b: &BigInt) -> Result<(BigInt, BigInt), Failed> {
    if b.sign() == Sign::NoSign {
        return Err(Failed("integer division or modulo by zero".into()));
    }
    let (mut quotient, mut rest) = (a / b, a % b);
    if rest.sign() != Sign::NoSign && rest.sign() != b.sign() {
        quotient -= 1;
        rest += b;
    }
    Ok((quotient, rest))
}

fn floor_float(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0f64.copysign(a / b), rest);
    }
    let down = quotient.floor();
    (if quotient - down > 0.5 { down + 1.0 } else { down }, rest)
}

fn power(base: &BigInt, exponent: &BigInt) -> Result<Amount, Failed> {
    if exponent.sign() == Sign::Minus {
        let (a, b) = (Amount::Whole(base.clone()), Amount::Whole(exponent.clone()));
        return power_float(a.float()?, b.float()?).map(Amount::Float);
    }
    let odd = exponent.bit(0);
    if base.magnitude().bits() <= 1 && exponent.sign() != Sign::NoSign {
        // 0, 1 and −1 stay small however high the power.
        let number = if odd { base.clone() } else { base * base };
        return Ok(Amount::Whole(number));
    }
    let times = u32::try_from(exponent).unwrap_or(u32::MAX);
    room(base.bits().saturating_mul(u64::from(times)))?;
    Ok(Amount::Whole(base.pow(times)))
}

/// C's `pow` with the errors that Python makes of it.
pub(super) fn power_float(a: f64, b: f64) -> Result<f64, Failed> {
    if a == 0.0 && b < 0.0 && b.is_finite() {
        return Err(Failed("0.0 cannot be raised to a negative power".into()));
    }
    if a < 0.0 && a.is_finite() && b.is_finite() && b != b.floor() {
        return Err(Failed("a root of a negative number is complex".into()));
    }
    let result = a.powf(b);
    if result.is_infinite() && a.is_finite() && b.is_finite() {
        return Err(Failed("(34, 'Numerical result out of range')".into()));
    }
    Ok(result)
}

fn shift(a: &BigInt, by: &BigInt, left: bool) -> Result<Amount, Failed> {
    if by.sign() == Sign::Minus {
        return Err(Failed("negative shift count".into()));
    }
    let by = u64::try_from(by).unwrap_or(u64::MAX);
    if a.sign() == Sign::NoSign {
        return Ok(Amount::from(0));
    }
    if left {
        room(a.bits().saturating_add(by))?;
        return Ok(Amount::Whole(a << by));
    }
    // Beyond all bits only the sign is left.
    Ok(Amount::Whole(a >> by.min(MOST_BITS + 1)))
}

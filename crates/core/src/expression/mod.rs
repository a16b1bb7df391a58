//! Python expressions about numbers: lengths of time, and how a ban grows.
//!
//! Fail2Ban gives the values of `bantime`, `findtime`, `bantime.formula` and their like to Python's `eval`. Here a
//! stated part of that language is read (docs/compatibility.md has the grammar) and computed with Python's arithmetic:
//! whole numbers of any size, floats to the last bit, the same errors. In comes text and, at each computation, what is
//! known of the ban; out comes an [`Amount`]. Anything else is refused with the place. There is no loop in the
//! language, and sizes are capped, so that every computation ends soon.

mod amount;
mod function;
mod parse;
#[cfg(test)]
mod tests;

pub use amount::Amount;

use amount::Operator;
use function::Function;

/// What an expression may speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Numbers and `min max int float round abs pow bool`: a length of time.
    Length,
    /// Also `math.*`: `bantime.factor`, which is computed once.
    Factor,
    /// Also `ban.Time`, `ban.Count`, `banFactor`, `random.random()` and `random.uniform(…)`: `bantime.formula`.
    Formula,
}

/// What is known of the ban that a formula is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// `ban.Time`
    pub time: Amount,
    /// `ban.Count`
    pub count: Amount,
    /// `banFactor`
    pub factor: Amount,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} (column {column})")]
pub struct NotUnderstood {
    /// The character at fault, from 1
    pub column: usize,
    /// What is wrong with it
    pub why: String,
}

/// Why a computation has no result; Python's words where it has the same error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// An expression, read.
#[derive(Clone, Debug)]
pub struct Expression {
    steps: Vec<Step>,
}

/// One step of a computation; values stand on a stack.
#[derive(Clone, Debug)]
enum Step {
    Push(Amount),
    Load(Fact),
    Apply(Operator),
    Negate,
    Keep,
    Invert,
    Not,
    Call(Function, usize),
    /// Goes on that many steps further.
    Skip(usize),
    /// Takes the value; goes on further unless it is true.
    UnlessTrue(usize),
    /// Keeps a false value and goes on further.
    AndThen(usize),
    /// Keeps a true value and goes on further.
    OrElse(usize),
    /// Compares; keeps the right side for the next comparison, or goes on further with the answer *no*.
    Link(Operator, usize),
}

#[derive(Clone, Copy, Debug)]
enum Fact {
    Time,
    Count,
    Factor,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`NotUnderstood`] for whatever is not in the grammar, too long or too deep.
    pub fn parse(text: &str, scope: Scope) -> Result<Expression, NotUnderstood> {
        let steps = parse::parse(text, scope)?;
        Ok(Expression { steps })
    }

    /// Computes it. `draw` gives a random number from 0 up to, not including, 1.
    ///
    /// # Errors
    /// [`Failed`] where Python raises an exception, and for whole numbers of more than 16,384 bits.
    pub fn value(&self, facts: &Facts, draw: &mut dyn FnMut() -> f64) -> Result<Amount, Failed> {
        let mut stack = Vec::new();
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            at += 1 + run(step, &mut stack, facts, draw)?;
        }
        take(&mut stack)
    }

    /// Computes one that speaks of no ban.
    ///
    /// # Errors
    /// As [`Expression::value`].
    pub fn alone(&self) -> Result<Amount, Failed> {
        let nothing = Amount::from(0);
        let facts = Facts {
            time: nothing.clone(),
            count: nothing.clone(),
            factor: nothing,
        };
        self.value(&facts, &mut || 0.0)
    }
}

/// The larger of two, the first where they are equal: Python's `max(a, b)`.
#[must_use]
pub fn larger(a: Amount, b: Amount) -> Amount {
    function::choose(&[a, b], Operator::Greater)
}

/// The smaller of two, the first where they are equal: Python's `min(a, b)`.
#[must_use]
pub fn smaller(a: Amount, b: Amount) -> Amount {
    function::choose(&[a, b], Operator::Less)
}

/// Python's `a * b`.
///
/// # Errors
/// [`Failed`] as in an expression.
pub fn product(a: &Amount, b: &Amount) -> Result<Amount, Failed> {
    Operator::Multiply.apply(a, b)
}

/// Python's `a + b`.
///
/// # Errors
/// [`Failed`] as in an expression.
pub fn sum(a: &Amount, b: &Amount) -> Result<Amount, Failed> {
    Operator::Add.apply(a, b)
}

/// One step; how many of the next ones are passed over.
fn run(step: &Step, stack: &mut Vec<Amount>, facts: &Facts, draw: &mut dyn FnMut() -> f64) -> Result<usize, Failed> {
    let value = match step {
        Step::Push(number) => number.clone(),
        Step::Load(Fact::Time) => facts.time.clone(),
        Step::Load(Fact::Count) => facts.count.clone(),
        Step::Load(Fact::Factor) => facts.factor.clone(),
        Step::Skip(many) => return Ok(*many),
        Step::Call(function, many) => {
            let from = stack.len().saturating_sub(*many);
            let arguments = stack.split_off(from);
            function.call(&arguments, draw)?
        }
        Step::Apply(operator) => {
            let right = take(stack)?;
            operator.apply(&take(stack)?, &right)?
        }
        Step::Link(operator, further) => {
            let right = take(stack)?;
            let holds = operator.apply(&take(stack)?, &right)?.is_true();
            stack.push(if holds { right } else { Amount::Truth(false) });
            return Ok(if holds { 0 } else { *further });
        }
        Step::UnlessTrue(further) => return Ok(if take(stack)?.is_true() { 0 } else { *further }),
        Step::AndThen(further) | Step::OrElse(further) => {
            let value = take(stack)?;
            if value.is_true() == matches!(step, Step::OrElse(_)) {
                stack.push(value);
                return Ok(*further);
            }
            return Ok(0);
        }
        Step::Not => Amount::Truth(!take(stack)?.is_true()),
        Step::Negate | Step::Keep | Step::Invert => sign(step, &take(stack)?)?,
    };
    stack.push(value);
    Ok(0)
}

fn sign(step: &Step, value: &Amount) -> Result<Amount, Failed> {
    match (step, value.whole()) {
        (Step::Negate, Some(number)) => Ok(Amount::Whole(-number)),
        (Step::Invert, Some(number)) => Ok(Amount::Whole(-number - 1)),
        (_, Some(number)) => Ok(Amount::Whole(number)),
        (Step::Negate, None) => Ok(Amount::Float(-value.nearest())),
        (Step::Invert, None) => Err(Failed("a float has no bits to invert".into())),
        (_, None) => Ok(value.clone()),
    }
}

/// The parser leaves no step without its operands.
fn take(stack: &mut Vec<Amount>) -> Result<Amount, Failed> {
    stack.pop().ok_or_else(|| Failed("nothing to compute".into()))
}

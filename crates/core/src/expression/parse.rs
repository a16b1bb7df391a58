//! From text to steps: Python's grammar of expressions, as far as it is about numbers.

use num_bigint::BigInt;

use super::amount::{Amount, Operator, room};
use super::function::{Function, constant};
use super::{Fact, NotUnderstood, Scope, Step};

/// Longer expressions are refused.
const LONGEST: usize = 4096;
/// Brackets, signs and conditions nest at most so deep.
const DEEPEST: u32 = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Amount),
    Word(String),
    Sign(&'static str),
    End,
}

/// Longer signs before shorter ones that they begin with; those at the end are refused by name.
const SIGNS: &[&str] = &[
    "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+", "-", "*", "/", "%", "<", ">", "(", ")", ",", ".", "&", "|",
    "^", "~",
];

/// Operators of equal rank, the loosest first.
const RANKS: &[&[(&str, Operator)]] = &[
    &[("|", Operator::Or)],
    &[("^", Operator::Xor)],
    &[("&", Operator::And)],
    &[("<<", Operator::Left), (">>", Operator::Right)],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[
        ("*", Operator::Multiply),
        ("/", Operator::Divide),
        ("//", Operator::Floor),
        ("%", Operator::Modulo),
    ],
];

const COMPARISONS: &[(&str, Operator)] = &[
    ("<", Operator::Less),
    ("<=", Operator::LessEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterEqual),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
];

pub(super) fn parse(text: &str, scope: Scope) -> Result<Vec<Step>, NotUnderstood> {
    let mut parser = Parser {
        tokens: tokens(text, scope)?,
        at: 0,
        depth: 0,
        scope,
    };
    let steps = parser.choice()?;
    match parser.peek() {
        Token::End => Ok(steps),
        _ => Err(parser.unexpected()),
    }
}

fn refuse<T>(column: usize, why: impl Into<String>) -> Result<T, NotUnderstood> {
    Err(NotUnderstood {
        column,
        why: why.into(),
    })
}

fn tokens(text: &str, scope: Scope) -> Result<Vec<(Token, usize)>, NotUnderstood> {
    if text.len() > LONGEST {
        return refuse(1, format!("an expression has at most {LONGEST} bytes"));
    }
    // Fail2Ban gives a formula to `compile`, which does not take it indented, and the others to `eval`, which does.
    if scope == Scope::Formula && is_indented(text) {
        return refuse(1, "it begins with a blank");
    }
    let mut found = Vec::new();
    let mut brackets = 0_u32;
    let (mut rest, mut column) = (text.trim_start_matches([' ', '\t']), 1);
    column += text.len() - rest.len();
    while let Some(first) = rest.chars().next() {
        let size = match first {
            ' ' | '\t' | '\x0c' => 1,
            // A line may end within brackets, before the expression and after it.
            '\n' | '\r' if brackets > 0 || is_void(rest) => 1,
            '\n' | '\r' if found.is_empty() && !is_indented(rest) => 1,
            '#' => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            _ => {
                let (token, size) = token(rest, first, column)?;
                match token {
                    Token::Sign("(") => brackets += 1,
                    Token::Sign(")") => brackets = brackets.saturating_sub(1),
                    _ => {}
                }
                found.push((token, column));
                size
            }
        };
        let (passed, after) = rest.split_at(size);
        column += passed.chars().count();
        rest = after;
    }
    found.push((Token::End, column));
    Ok(found)
}

/// Whether only blanks, comments and ends of lines follow.
fn is_void(rest: &str) -> bool {
    rest.split(['\n', '\r']).all(|line| {
        let line = line.trim_start_matches([' ', '\t', '\x0c']);
        line.is_empty() || line.starts_with('#')
    })
}

/// Whether the next line that is not void begins with a blank, which Python does not take here.
fn is_indented(rest: &str) -> bool {
    let mut lines = rest.split(['\n', '\r']);
    lines
        .find(|line| !is_void(line))
        .is_some_and(|line| line.starts_with([' ', '\t', '\x0c']))
}

fn token(rest: &str, first: char, column: usize) -> Result<(Token, usize), NotUnderstood> {
    let follows = rest.get(1..).and_then(|rest| rest.chars().next());
    if first.is_ascii_digit() || first == '.' && follows.is_some_and(|c| c.is_ascii_digit()) {
        return number(rest, column);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        return Ok((Token::Word(word.to_owned()), end));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None => refuse(column, format!("{first:?} has no place in an expression")),
    }
}

/// A number as Python writes them: whole, also in base 2, 8 or 16, or with a fraction or an exponent.
fn number(rest: &str, column: usize) -> Result<(Token, usize), NotUnderstood> {
    let prefix = rest.get(..2).unwrap_or_default().to_ascii_lowercase();
    let based = match prefix.as_str() {
        "0x" => Some(16),
        "0o" => Some(8),
        "0b" => Some(2),
        _ => None,
    };
    let (token, size) = match based {
        Some(base) => {
            let size = 2 + digits(rest.get(2..).unwrap_or_default(), base);
            (whole(rest.get(2..size).unwrap_or_default(), base), size)
        }
        None => decimal(rest),
    };
    let Some(token) = token else {
        return refuse(column, "this is no number");
    };
    let after = rest.get(size..).and_then(|rest| rest.chars().next());
    if after.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return refuse(column, "a letter follows the number");
    }
    Ok((Token::Number(token), size))
}

fn digits(text: &str, base: u32) -> usize {
    text.find(|c: char| !c.is_digit(base) && c != '_').unwrap_or(text.len())
}

/// Underscores stand between digits, one at a time; after the sign of a base there may be one.
fn whole(text: &str, base: u32) -> Option<Amount> {
    let text = if base == 10 {
        text
    } else {
        text.strip_prefix('_').unwrap_or(text)
    };
    if text.is_empty() || text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return None;
    }
    let plain = text.replace('_', "");
    if base == 10 && plain.starts_with('0') && plain.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let number = BigInt::parse_bytes(plain.as_bytes(), base)?;
    room(number.bits()).ok()?;
    Some(Amount::Whole(number))
}

fn decimal(rest: &str) -> (Option<Amount>, usize) {
    let from = |at: usize| rest.get(at..).unwrap_or_default();
    let mut size = digits(rest, 10);
    let mut parts = vec![rest.get(..size).unwrap_or_default()];
    let mut is_float = false;
    if from(size).starts_with('.') {
        is_float = true;
        let fraction = digits(from(size + 1), 10);
        parts.push(rest.get(size + 1..size + 1 + fraction).unwrap_or_default());
        size += 1 + fraction;
    }
    if from(size).starts_with(['e', 'E']) {
        let signed = size + 1 + usize::from(from(size + 1).starts_with(['+', '-']));
        let exponent = digits(from(signed), 10);
        if exponent > 0 {
            is_float = true;
            parts.push(rest.get(signed..signed + exponent).unwrap_or_default());
            size = signed + exponent;
        }
    }
    let text = rest.get(..size).unwrap_or_default();
    if !is_float {
        return (whole(text, 10), size);
    }
    let odd = |part: &&str| part.starts_with('_') || part.ends_with('_') || part.contains("__");
    if parts.iter().any(odd) {
        return (None, size);
    }
    (text.replace('_', "").parse().ok().map(Amount::Float), size)
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: u32,
    scope: Scope,
}

type Steps = Result<Vec<Step>, NotUnderstood>;

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.at).map_or(1, |(_, column)| *column)
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Sign(known) if *known == sign);
        self.at += usize::from(is_it);
        is_it
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Word(known) if known == word);
        self.at += usize::from(is_it);
        is_it
    }

    fn unexpected(&self) -> NotUnderstood {
        let why = match self.peek() {
            Token::End => "it ends too early".to_owned(),
            Token::Number(number) => format!("{number} is not expected here"),
            Token::Word(word) => format!("'{word}' is not expected here"),
            Token::Sign(sign) => format!("'{sign}' is not expected here"),
        };
        NotUnderstood {
            column: self.column(),
            why,
        }
    }

    /// One level deeper, as long as that is not too deep.
    fn nested(&mut self, rule: fn(&mut Parser) -> Steps) -> Steps {
        self.depth += 1;
        if self.depth > DEEPEST {
            return refuse(self.column(), format!("it nests deeper than {DEEPEST}"));
        }
        let steps = rule(self);
        self.depth -= 1;
        steps
    }

    /// `value if condition else other`
    fn choice(&mut self) -> Steps {
        let value = self.either()?;
        if !self.take_word("if") {
            return Ok(value);
        }
        let mut steps = self.either()?;
        if !self.take_word("else") {
            return Err(self.unexpected());
        }
        let other = self.nested(Parser::choice)?;
        steps.push(Step::UnlessTrue(value.len() + 1));
        steps.extend(value);
        steps.push(Step::Skip(other.len()));
        steps.extend(other);
        Ok(steps)
    }

    fn either(&mut self) -> Steps {
        let mut steps = self.both()?;
        while self.take_word("or") {
            let other = self.both()?;
            steps.push(Step::OrElse(other.len()));
            steps.extend(other);
        }
        Ok(steps)
    }

    fn both(&mut self) -> Steps {
        let mut steps = self.not()?;
        while self.take_word("and") {
            let other = self.not()?;
            steps.push(Step::AndThen(other.len()));
            steps.extend(other);
        }
        Ok(steps)
    }

    fn not(&mut self) -> Steps {
        if !self.take_word("not") {
            return self.comparison();
        }
        let mut steps = self.nested(Parser::not)?;
        steps.push(Step::Not);
        Ok(steps)
    }

    /// `a < b <= c`: each stands between two, and is computed once.
    fn comparison(&mut self) -> Steps {
        let mut steps = self.operation(0)?;
        let mut links = Vec::new();
        while let Some(operator) = self.operator(COMPARISONS) {
            links.push((operator, self.operation(0)?));
        }
        let mut tail: Vec<Step> = Vec::new();
        for (operator, mut operand) in links.into_iter().rev() {
            operand.push(if tail.is_empty() {
                Step::Apply(operator)
            } else {
                Step::Link(operator, tail.len())
            });
            operand.append(&mut tail);
            tail = operand;
        }
        steps.append(&mut tail);
        Ok(steps)
    }

    fn operator(&mut self, list: &[(&str, Operator)]) -> Option<Operator> {
        let Token::Sign(sign) = self.peek() else { return None };
        let (_, operator) = list.iter().find(|(known, _)| known == sign)?;
        self.at += 1;
        Some(*operator)
    }

    fn operation(&mut self, rank: usize) -> Steps {
        let Some(operators) = RANKS.get(rank) else {
            return self.signed();
        };
        let mut steps = self.operation(rank + 1)?;
        while let Some(operator) = self.operator(operators) {
            steps.extend(self.operation(rank + 1)?);
            steps.push(Step::Apply(operator));
        }
        Ok(steps)
    }

    fn signed(&mut self) -> Steps {
        let step = match self.peek() {
            Token::Sign("-") => Step::Negate,
            Token::Sign("+") => Step::Keep,
            Token::Sign("~") => Step::Invert,
            _ => return self.power(),
        };
        self.at += 1;
        let mut steps = self.nested(Parser::signed)?;
        steps.push(step);
        Ok(steps)
    }

    fn power(&mut self) -> Steps {
        let mut steps = self.atom()?;
        if self.take("**") {
            steps.extend(self.nested(Parser::signed)?);
            steps.push(Step::Apply(Operator::Power));
        }
        Ok(steps)
    }

    fn atom(&mut self) -> Steps {
        let start = self.at;
        self.at += 1;
        match self.tokens.get(start).map(|(token, _)| token.clone()) {
            Some(Token::Number(number)) => Ok(vec![Step::Push(number)]),
            Some(Token::Word(word)) => self.name(start, &word),
            Some(Token::Sign("(")) => {
                let steps = self.nested(Parser::choice)?;
                if !self.take(")") {
                    return Err(self.unexpected());
                }
                Ok(steps)
            }
            _ => {
                self.at = start;
                Err(self.unexpected())
            }
        }
    }

    /// A name, with what follows its dot, and called if it is a function.
    fn name(&mut self, start: usize, word: &str) -> Steps {
        let column = self.tokens.get(start).map_or(1, |(_, column)| *column);
        let mut full = word.to_owned();
        let mut member = None;
        if self.take(".") {
            let Token::Word(name) = self.peek().clone() else {
                return Err(self.unexpected());
            };
            self.at += 1;
            full = format!("{word}.{name}");
            member = Some(name);
        }
        if let Some(step) = self.constant(&full, member.as_deref()) {
            return Ok(vec![step]);
        }
        let function = match &member {
            Some(name) => Function::named(Some(word), name),
            None => Function::named(None, word),
        };
        let known = function.filter(|function| match self.scope {
            Scope::Length => member.is_none(),
            Scope::Factor => !function.is_random(),
            Scope::Formula => true,
        });
        match known {
            Some(function) => self.call(function, &full),
            None => refuse(column, format!("'{full}' is not supported here")),
        }
    }

    fn constant(&self, full: &str, member: Option<&str>) -> Option<Step> {
        match full {
            "True" => return Some(Step::Push(Amount::Truth(true))),
            "False" => return Some(Step::Push(Amount::Truth(false))),
            _ => {}
        }
        if self.scope == Scope::Formula {
            match full {
                "ban.Time" => return Some(Step::Load(Fact::Time)),
                "ban.Count" => return Some(Step::Load(Fact::Count)),
                "banFactor" => return Some(Step::Load(Fact::Factor)),
                _ => {}
            }
        }
        let is_math = full.starts_with("math.") && self.scope != Scope::Length;
        let number = constant(member.filter(|_| is_math)?)?;
        Some(Step::Push(Amount::Float(number)))
    }

    fn call(&mut self, function: Function, name: &str) -> Steps {
        let column = self.column();
        if !self.take("(") {
            return Err(self.unexpected());
        }
        let mut steps = Vec::new();
        let mut many = 0;
        while !self.take(")") {
            if many > 0 && !self.take(",") {
                return Err(self.unexpected());
            }
            if many > 0 && self.take(")") {
                break;
            }
            steps.extend(self.nested(Parser::choice)?);
            many += 1;
        }
        let (least, most) = function.arguments();
        if many < least || many > most {
            return refuse(column, format!("{name} does not take {many} arguments here"));
        }
        steps.push(Step::Call(function, many));
        Ok(steps)
    }
}

//! What Python's operators make of a reply's values. Nothing stands for the exception that Python would raise.

use portcullis_core::value::Value;

/// `len()`.
pub(super) fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Str(text) => Some(text.chars().count()),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => Some(items.len()),
        Value::Dict(pairs) => Some(pairs.len()),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
    }
}

/// `value[index]`, from the front.
pub(super) fn at(value: &Value, index: u8) -> Option<Value> {
    match value {
        Value::Str(text) => Some(text.chars().nth(usize::from(index))?.to_string().into()),
        Value::List(items) | Value::Tuple(items) => items.get(usize::from(index)).cloned(),
        Value::Dict(pairs) => pairs
            .iter()
            .find_map(|(key, value)| is_number(key, index).then(|| value.clone())),
        _ => None,
    }
}

/// Whether it equals a whole number, as Python compares.
fn is_number(value: &Value, number: u8) -> bool {
    match value {
        Value::Bool(truth) => u8::from(*truth) == number,
        Value::Int(whole) => *whole == i64::from(number),
        Value::Float(float) => float.total_cmp(&f64::from(number)).is_eq() || (*float == 0.0 && number == 0),
        _ => false,
    }
}

/// `value[:-1]` and `value[-1]`.
pub(super) fn parted(value: &Value) -> (Option<Value>, Option<Value>) {
    match value {
        Value::Str(text) => {
            let mut chars = text.chars();
            let last = chars.next_back().map(|c| c.to_string().into());
            (Some(chars.as_str().into()), last)
        }
        Value::List(items) => {
            let (rest, last) = ends(items);
            (Some(Value::List(rest)), last)
        }
        Value::Tuple(items) => {
            let (rest, last) = ends(items);
            (Some(Value::Tuple(rest)), last)
        }
        _ => (None, None),
    }
}

fn ends(items: &[Value]) -> (Vec<Value>, Option<Value>) {
    match items.split_last() {
        Some((last, rest)) => (rest.to_vec(), Some(last.clone())),
        None => (Vec::new(), None),
    }
}

/// `separator.join(value)`: texts alone can be joined.
pub(super) fn joined(separator: &str, value: &Value) -> Option<String> {
    let items = value.each()?;
    let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    Some(texts?.join(separator))
}

/// `" ".join(map(str, value))` of a list, and any other value as it is.
pub(super) fn listed(value: &Value) -> String {
    match value {
        Value::List(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// `"%i" % value`: a tuple of one stands for what is in it.
pub(super) fn whole(value: &Value) -> Option<String> {
    match value {
        Value::Bool(truth) => Some(u8::from(*truth).to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) if number.is_finite() => {
            let text = format!("{:.0}", number.trunc());
            Some(if text == "-0" { "0".to_owned() } else { text })
        }
        Value::Tuple(items) => match items.as_slice() {
            [Value::Tuple(_)] => None,
            [only] => whole(only),
            _ => None,
        },
        _ => None,
    }
}

/// `"%s" % value`, likewise.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Tuple(items) => match items.as_slice() {
            [only] => Some(only.to_string()),
            _ => None,
        },
        other => Some(other.to_string()),
    }
}

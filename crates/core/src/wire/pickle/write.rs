//! Values as pickles.

use crate::value::Value;

/// Writes a value as a complete pickle (protocol 4, without frames and memo), which Python reads from 3.4 on.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    write(value, &mut out);
    out.push(b'.');
    out
}

/// Writes a value without header and end, for replies that put something around it. Replies are our own, so that
/// their depth is known.
pub(in crate::wire) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(0x88),
        Value::Bool(false) => out.push(0x89),
        Value::Int(number) => write_int(*number, out),
        Value::Float(number) => {
            out.push(b'G');
            out.extend(number.to_be_bytes());
        }
        Value::Str(text) => write_str(text, out),
        Value::List(items) => write_items(b"](", items, b'e', out),
        Value::Tuple(items) => write_items(b"(", items, b't', out),
        Value::Set(items) => write_items(&[0x8f, b'('], items, 0x90, out),
        Value::Dict(pairs) => {
            out.extend(b"}(");
            for (key, value) in pairs {
                write(key, out);
                write(value, out);
            }
            out.push(b'u');
        }
    }
}

fn write_items(open: &[u8], items: &[Value], close: u8, out: &mut Vec<u8>) {
    out.extend(open);
    for item in items {
        write(item, out);
    }
    out.push(close);
}

fn write_int(number: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(number) {
        out.extend([b'K', byte]);
    } else if let Ok(short) = i32::try_from(number) {
        out.push(b'J');
        out.extend(short.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend(number.to_le_bytes());
    }
}

fn write_str(text: &str, out: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(length) => out.extend([0x8c, length]),
        Err(_) => {
            out.push(0x8d);
            out.extend((text.len() as u64).to_le_bytes());
        }
    }
    out.extend(text.as_bytes());
}

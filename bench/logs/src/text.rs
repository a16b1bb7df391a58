//! A message with marks, and how the marks are filled.

use std::fmt::Write as _;

use crate::chance::Chance;
use crate::peer::Peer;

const USERS: &[&str] = &[
    "admin", "test", "oracle", "postgres", "ubuntu", "user", "deploy", "git", "backup", "info", "sales", "support",
    "ftp", "mysql", "www-data", "anna", "bela", "chen", "dmitri", "elif", "farid", "grace", "hana", "ines", "jonas",
];
const DOMAINS: &[&str] = &[
    "example.org",
    "example.net",
    "example.com",
    "mail.example.org",
    "mx.example.net",
    "shop.example.com",
];
const WORDS: &[&str] = &[
    "account", "blue", "copy", "delivery", "every", "folder", "green", "house", "invoice", "just", "kept", "letter",
    "message", "number", "order", "part", "queue", "receipt", "second", "table", "until", "value", "week", "year",
];
const BASE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Postfix writes the ids of its queue without vowels.
const QUEUE: &[u8; 32] = b"BCDFGHJKLMNPQRSTVWXYZbcdfghjklmn";
/// The server's own address.
const HERE: &str = "192.0.2.25";

/// A piece of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(&'static str),
    Address,
    Name,
    Port,
    User,
    Mail,
    Domain,
    Queue,
    Session,
    Here,
    Hex(u64),
    Base(u64),
    Number(u64, u64),
    Words(u64, u64),
}

/// The pieces of a message, or the mark that is none.
pub(crate) fn pieces(text: &'static str) -> Result<Vec<Piece>, &'static str> {
    let mut found = Vec::new();
    for (number, part) in text.split('{').enumerate() {
        let plain = if number == 0 {
            part
        } else {
            let (mark, rest) = part.split_once('}').ok_or(part)?;
            found.push(piece(mark).ok_or(mark)?);
            rest
        };
        if !plain.is_empty() {
            found.push(Piece::Text(plain));
        }
    }
    Ok(found)
}

fn piece(mark: &str) -> Option<Piece> {
    let (word, rest) = mark.split_once(':').unwrap_or((mark, ""));
    let count = || rest.parse().ok();
    let range = || {
        let (least, most) = rest.split_once('-')?;
        Some((least.parse().ok()?, most.parse().ok()?))
    };
    Some(match word {
        "ip" => Piece::Address,
        "name" => Piece::Name,
        "port" => Piece::Port,
        "user" => Piece::User,
        "mail" => Piece::Mail,
        "domain" => Piece::Domain,
        "queue" => Piece::Queue,
        "session" => Piece::Session,
        "here" => Piece::Here,
        "hex" => Piece::Hex(count()?),
        "base" => Piece::Base(count()?),
        "number" => range().map(|(least, most)| Piece::Number(least, most))?,
        "words" => range().map(|(least, most)| Piece::Words(least, most))?,
        _ => return None,
    })
}

/// Appends one piece.
pub(crate) fn fill(out: &mut String, piece: Piece, peer: Peer, chance: &mut Chance) {
    match piece {
        Piece::Text(text) => out.push_str(text),
        Piece::Address => peer.address(out),
        Piece::Name => peer.name(out),
        Piece::Port => number(out, chance.from(1024, 65_535)),
        Piece::User => user(out, chance),
        Piece::Mail => {
            user(out, chance);
            out.push('@');
            out.push_str(chance.one(DOMAINS));
        }
        Piece::Domain => {
            number_of("host", out, chance.below(900));
            out.push('.');
            out.push_str(chance.one(DOMAINS));
        }
        Piece::Queue => {
            out.push('4');
            letters(out, QUEUE, 13, chance);
        }
        Piece::Session => letters(out, BASE, 16, chance),
        Piece::Here => out.push_str(HERE),
        Piece::Hex(count) => letters(out, HEX, count, chance),
        Piece::Base(count) => letters(out, BASE, count, chance),
        Piece::Number(least, most) => number(out, chance.from(least, most)),
        Piece::Words(least, most) => words(out, chance.from(least, most), chance),
    }
}

fn number(out: &mut String, number: u64) {
    let _ = write!(out, "{number}");
}

fn number_of(word: &str, out: &mut String, number: u64) {
    let _ = write!(out, "{word}{number}");
}

fn user(out: &mut String, chance: &mut Chance) {
    out.push_str(chance.one(USERS));
    if chance.below(3) == 0 {
        number(out, chance.below(1000));
    }
}

fn letters(out: &mut String, from: &[u8], count: u64, chance: &mut Chance) {
    for _ in 0..count {
        out.push(char::from(from[chance.below(from.len() as u64) as usize]));
    }
}

/// Words with a space between them, cut at so many bytes.
fn words(out: &mut String, count: u64, chance: &mut Chance) {
    let end = out.len() + count as usize;
    while out.len() < end {
        out.push_str(chance.one(WORDS));
        out.push(' ');
    }
    out.truncate(end);
    if out.ends_with(' ') {
        out.pop();
        out.push('s');
    }
}

#[cfg(test)]
mod tests {
    use super::{Chance, Peer, Piece, fill, pieces};

    #[test]
    fn marks_are_told_from_text() {
        let check = |text: &'static str, expect: Result<Vec<Piece>, &str>| assert_eq!(pieces(text), expect, "{text}");
        check(
            "from [{ip}]:{port}",
            Ok(vec![
                Piece::Text("from ["),
                Piece::Address,
                Piece::Text("]:"),
                Piece::Port,
            ]),
        );
        check("{words:10-20}", Ok(vec![Piece::Words(10, 20)]));
        check("a {wrods:10-20}", Err("wrods:10-20"));
        check("{number:1}", Err("number:1"));
        check("{ip", Err("ip"));
    }

    #[test]
    fn words_have_the_length_that_is_asked() {
        let mut chance = Chance::new(9);
        for length in [1, 7, 200, 1800] {
            let mut out = String::from("x");
            fill(&mut out, Piece::Words(length, length), Peer::customer(0), &mut chance);
            assert_eq!(out.len() as u64, length + 1);
        }
    }
}

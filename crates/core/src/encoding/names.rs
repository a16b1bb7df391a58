//! Python's names of encodings (CPython 3.11: the modules of `encodings`, and the table of aliases in it).

use super::Kind;
use super::unicode::Order::{Big, Little};

/// Of each encoding Python's own name, what it is, and the other names, all as [`plain`] gives them.
const NAMES: [(&str, Kind, &str); 35] = [
    ("utf_8", Kind::Utf8, "cp65001 u8 utf utf8 utf8_ucs2 utf8_ucs4"),
    ("utf_8_sig", Kind::Utf8Signed, ""),
    ("utf_16", Kind::Utf16(None), "u16 utf16"),
    ("utf_16_le", Kind::Utf16(Some(Little)), "unicodelittleunmarked utf_16le"),
    ("utf_16_be", Kind::Utf16(Some(Big)), "unicodebigunmarked utf_16be"),
    (
        "ascii",
        Kind::Single(0),
        "646 ansi_x3.4_1968 ansi_x3_4_1968 ansi_x3.4_1986 cp367 csascii ibm367 iso646_us iso_646.irv_1991 iso_ir_6 us us_ascii",
    ),
    (
        "latin_1",
        Kind::Single(1),
        "8859 cp819 csisolatin1 ibm819 iso8859 iso8859_1 iso_8859_1 iso_8859_1_1987 iso_ir_100 l1 latin latin1",
    ),
    (
        "iso8859_2",
        Kind::Single(2),
        "csisolatin2 iso_8859_2 iso_8859_2_1987 iso_ir_101 l2 latin2",
    ),
    (
        "iso8859_3",
        Kind::Single(3),
        "csisolatin3 iso_8859_3 iso_8859_3_1988 iso_ir_109 l3 latin3",
    ),
    (
        "iso8859_4",
        Kind::Single(4),
        "csisolatin4 iso_8859_4 iso_8859_4_1988 iso_ir_110 l4 latin4",
    ),
    (
        "iso8859_5",
        Kind::Single(5),
        "csisolatincyrillic cyrillic iso_8859_5 iso_8859_5_1988 iso_ir_144",
    ),
    (
        "iso8859_6",
        Kind::Single(6),
        "arabic asmo_708 csisolatinarabic ecma_114 iso_8859_6 iso_8859_6_1987 iso_ir_127",
    ),
    (
        "iso8859_7",
        Kind::Single(7),
        "csisolatingreek ecma_118 elot_928 greek greek8 iso_8859_7 iso_8859_7_1987 iso_ir_126",
    ),
    (
        "iso8859_8",
        Kind::Single(8),
        "csisolatinhebrew hebrew iso_8859_8 iso_8859_8_1988 iso_ir_138",
    ),
    (
        "iso8859_9",
        Kind::Single(9),
        "csisolatin5 iso_8859_9 iso_8859_9_1989 iso_ir_148 l5 latin5",
    ),
    (
        "iso8859_10",
        Kind::Single(10),
        "csisolatin6 iso_8859_10 iso_8859_10_1992 iso_ir_157 l6 latin6",
    ),
    ("iso8859_11", Kind::Single(11), "iso_8859_11 iso_8859_11_2001 thai"),
    ("iso8859_13", Kind::Single(12), "iso_8859_13 l7 latin7"),
    (
        "iso8859_14",
        Kind::Single(13),
        "iso_8859_14 iso_8859_14_1998 iso_celtic iso_ir_199 l8 latin8",
    ),
    ("iso8859_15", Kind::Single(14), "iso_8859_15 l9 latin9"),
    (
        "iso8859_16",
        Kind::Single(15),
        "iso_8859_16 iso_8859_16_2001 iso_ir_226 l10 latin10",
    ),
    ("cp1250", Kind::Single(16), "1250 windows_1250"),
    ("cp1251", Kind::Single(17), "1251 windows_1251"),
    ("cp1252", Kind::Single(18), "1252 windows_1252"),
    ("cp1253", Kind::Single(19), "1253 windows_1253"),
    ("cp1254", Kind::Single(20), "1254 windows_1254"),
    ("cp1255", Kind::Single(21), "1255 windows_1255"),
    ("cp1256", Kind::Single(22), "1256 windows_1256"),
    ("cp1257", Kind::Single(23), "1257 windows_1257"),
    ("cp1258", Kind::Single(24), "1258 windows_1258"),
    ("koi8_r", Kind::Single(25), "cskoi8r"),
    ("koi8_t", Kind::Single(26), ""),
    ("koi8_u", Kind::Single(27), ""),
    (
        "euc_kr",
        Kind::Korean { unified: false },
        "euckr korean ks_c_5601 ks_c_5601_1987 ks_x_1001 ksc5601 ksx1001 x_mac_korean",
    ),
    ("cp949", Kind::Korean { unified: true }, "949 ms949 uhc"),
];

/// What a name stands for, with Python's own name for it.
pub(super) fn find(name: &str) -> Option<(&'static str, Kind)> {
    let plain = plain(name)?;
    let undotted = plain.replace('.', "_");
    let is_alias = |aliases: &str| aliases.split(' ').any(|alias| alias == plain || alias == undotted);
    let row = NAMES
        .iter()
        .find(|(own, _, aliases)| *own == plain || is_alias(aliases));
    row.map(|(own, kind, _)| (*own, *kind))
}

/// A name as Python compares it: what is no letter, digit or point separates, and is written `_` once.
fn plain(name: &str) -> Option<String> {
    let mut plain = String::new();
    let mut apart = false;
    for byte in name.bytes() {
        if byte == 0 {
            return None;
        }
        if byte.is_ascii_alphanumeric() || byte == b'.' {
            if apart && !plain.is_empty() {
                plain.push('_');
            }
            apart = false;
            plain.push(char::from(byte.to_ascii_lowercase()));
        } else {
            apart = true;
        }
    }
    Some(plain).filter(|plain| !plain.is_empty())
}

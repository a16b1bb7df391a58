use proptest::prelude::*;

use super::*;

fn check(name: &str, bytes: &[u8], expect: &str, odd: bool) {
    let text = Encoding::named(name).unwrap().line(bytes);
    assert_eq!((&*text.text, text.odd), (expect, odd), "{name} {bytes:x?}");
}

#[test]
fn lines() {
    check("UTF-8", "Grüße\r\n".as_bytes(), "Grüße", false);
    check("utf8", b"a\xffb\xf0\x9f\x98\n", "a\u{fffd}b\u{fffd}", true);
    check("utf-8-sig", b"\xef\xbb\xbfab\n", "ab", false);
    check("us-ascii", b"a\xc3\xbc", "a\u{fffd}\u{fffd}", true);
    check("l1", b"a\xfc\x85", "aü\u{85}", false);
    check("latin9", b"\xa4", "€", false);
    check("windows-1252", b"\x80\x81", "€\u{fffd}", true);
    check("KOI8-R", b"\xd0\xcf", "по", false);
    check("utf-16le", b"a\0\xb0\xd8b\0\r\0\n\0", "a\u{fffd}b", true);
    check("utf-16be", b"\0a\xd8\x3d\xde\0\0\n", "a😀", false);
    check("utf-16", b"\xfe\xff\0a\0\n", "a", false);
    check("utf-16", b"\xff\xfea\0\n\0", "a", false);
    check("korean", b"\xb0\xa1\x81\x41\r", "가\u{fffd}A", true);
    check("uhc", b"\xb0\xa1\x81\x41\xc6\x52", "가갂힣", false);
    check("euc-kr", b"\xa4\xd4\xa4\xb6\xa4\xc1\xa4\xb5\n", "썃", false);
    check("euc-kr", b"\xa4\xd4ab\n", "\u{fffd}\u{fffd}ab", true);
}

#[test]
fn names() {
    let name = |name| Encoding::named(name).map(Encoding::name).ok();
    for spelling in [
        "latin-1",
        " Latin1 ",
        "ISO_8859-1",
        "iso8859.1",
        "8859",
        "cp819",
        "L1",
        "latin--1",
    ] {
        assert_eq!(name(spelling), Some("latin_1"), "{spelling}");
    }
    for other in [
        "",
        "auto",
        "utf16le",
        "utf.8",
        "iso8859_12",
        "gbk",
        "cp437",
        "utf_32",
        "utf8\0",
        "ütf-8",
    ] {
        assert_eq!(name(other), None, "{other}");
    }
}

#[test]
fn line_ends() {
    let check = |name, bytes: &[u8], expect| {
        assert_eq!(
            Encoding::named(name).unwrap().ends_line(bytes),
            expect,
            "{name} {bytes:x?}"
        );
    };
    check("utf-8", b"a\n", true);
    check("utf-16-le", b"a\0\n", false);
    check("utf-16-le", b"a\0\n\0", true);
    check("utf-16-le", b"\0\n\0", false);
    check("utf-16-le", b"\x0a\x4e", false);
    check("utf-16-be", b"\0\n", true);
    check("utf-16-be", b"\0a\n", false);
    check("utf-16-be", b"\x0a\0\n", false);
    check("utf-16", b"\xfe\xff\0\n", true);
    check("utf-16", b"\xfe\xff\n\0", false);
}

const ALL: [&str; 9] = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "ascii",
    "cp1252",
    "euc-kr",
    "cp949",
];

proptest! {
    #[test]
    fn any_bytes_have_a_text(
        bytes in prop::collection::vec(prop_oneof![Just(0xa4), Just(0xd4), Just(0xd8), Just(b'\n'), any::<u8>()], 0..40),
        which in 0..ALL.len(),
    ) {
        let encoding = Encoding::named(ALL[which]).unwrap();
        let line = encoding.line(&bytes);
        prop_assert!(!line.text.ends_with(['\r', '\n']));
        prop_assert!(!line.odd || line.text.contains(char::REPLACEMENT_CHARACTER));
        let text = encoding.decode(&bytes).text;
        prop_assert!(text.chars().count() <= bytes.len());
    }
}

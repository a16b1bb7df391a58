//! What a pattern finds, what it refuses, and that nothing makes it panic. The expected values are CPython
//! 3.11's.

use proptest::prelude::*;

use super::linear::{Aim, build_within};
use super::parse::parse;
use super::tree::Node;
use super::{Error, Flags, Found, Lane, Pattern, Search};

fn pattern(source: &str) -> Pattern {
    Pattern::new(source, Flags::default()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn lines(source: &str) -> Pattern {
    Pattern::new(
        source,
        Flags {
            multiline: true,
            ..Flags::default()
        },
    )
    .unwrap()
}

fn find<'t>(pattern: &Pattern, text: &'t str) -> Option<Found<'t>> {
    match pattern.search(text, Lane::Fast) {
        Search::Found(found) => Some(found),
        Search::No => None,
        Search::OverBudget => panic!("{pattern:?} on {text:?} is over budget"),
    }
}

/// The whole match, or nothing.
fn check(source: &str, text: &str, expect: Option<&str>) {
    assert_eq!(
        find(&pattern(source), text).map(|found| found.as_str()),
        expect,
        "{source} on {text:?}"
    );
}

/// The groups as `name=text`, an unset one as the name alone.
fn check_groups(source: &str, text: &str, expect: &str) {
    let pattern = pattern(source);
    let found = find(&pattern, text).unwrap_or_else(|| panic!("{source} does not match {text:?}"));
    let shown: Vec<_> = found
        .groups()
        .map(|(name, text)| text.map_or(name.to_string(), |t| format!("{name}={t}")))
        .collect();
    assert_eq!(shown.join(" "), expect, "{source} on {text:?}");
}

fn check_refused(source: &str, reason: &str) {
    match Pattern::new(source, Flags::default()) {
        Err(Error::Compile { reason: own, .. }) => assert_eq!(own, reason, "{source}"),
        other => panic!("{source}: {other:?}"),
    }
}

fn check_unsupported(source: &str, what: &str) {
    match Pattern::new(source, Flags::default()) {
        Err(Error::Unsupported { what: own, .. }) => assert!(own.contains(what), "{own}"),
        other => panic!("{source:.80}: {other:?}"),
    }
}

#[test]
fn literals_and_escapes() {
    for (source, text, expect) in [
        (r"\<a\>", "x<a>\n", Some("<a>")),
        (r"\-\/\#\ \%\@\'", "-/# %@'\n", Some("-/# %@'")),
        (r"\x41\u0042\U00000043\104\0", "ABCD\0\n", Some("ABCD\0")),
        (r"a\tb\nc", "a\tb\nc\n", Some("a\tb\nc")),
        ("{", "{\n", Some("{")),
        ("a{,2}b", "aaab\n", Some("aab")),
        ("a{,}b", "aaab\n", Some("aaab")),
        ("a{b}", "a{b}\n", Some("a{b}")),
        ("{{[^}]+}", "{{x}\n", Some("{{x}")),
        ("a{1", "a{1\n", Some("a{1")),
        ("{}", "{}\n", Some("{}")),
        ("a(?#c)*b", "aab\n", Some("aab")),
        ("a#b c", "a#b c\n", Some("a#b c")),
        ("é+", "éé\n", Some("éé")),
    ] {
        check(source, text, expect);
    }
}

#[test]
fn classes() {
    for (source, text, expect) in [
        ("[]a]+", "a]b\n", Some("a]")),
        ("[^]a]+", "a]b\n", Some("b\n")),
        ("[[a]+", "x[a\n", Some("[a")),
        ("[a&&b]+", "a&b\n", Some("a&b")),
        ("[+--b]+", "a,-b\n", Some(",-b")),
        ("[a~~b^]+", "a~^b\n", Some("a~^b")),
        ("[a-]+", "a-b\n", Some("a-")),
        (r"[\w-]+", "é-_9 \n", Some("é-_9")),
        (r"[\]\-\\\^]+", "a]-\\^\n", Some("]-\\^")),
        (r"[\S\n]+", " ab\n", Some("ab\n")),
        (r"[^\S\n]+", "a \u{1c}b\n", Some(" \u{1c}")),
        (r"[\x61-\143]+", "abcd\n", Some("abc")),
        (r"[\b]", "a\u{8}\n", Some("\u{8}")),
        (r"[\ud800-\udfff]", "a\n", None),
        (r"[^\ud800]", "a\n", Some("a")),
    ] {
        check(source, text, expect);
    }
}

#[test]
fn unicode_categories_and_case() {
    for (source, text, expect) in [
        (r"\s+", "a\u{1c}\u{1f}\u{a0}b\n", Some("\u{1c}\u{1f}\u{a0}")),
        (r"\w+", "é²½\u{301}\n", Some("é²½")),
        (r"\d+", "٣4²\n", Some("٣4")),
        (r"(?a)\w+", "éa_\n", Some("a_")),
        (r"(?a)\bé?a", "éa\n", Some("a")),
        (r"(?i)INVALID", "ınvalİd\n", Some("ınvalİd")),
        (r"(?i)[h-j]+", "Hİı\n", Some("Hİı")),
        (r"(?i)k", "\u{212a}\n", Some("\u{212a}")),
        (r"(?ai)k", "\u{212a}K\n", Some("K")),
        (r"(?ai)[^k]+", "k\u{212a}K\n", Some("\u{212a}")),
        (r"(?i:a)b", "Ab AB\n", Some("Ab")),
        (r"(?i)a(?-i:b)", "AB Ab\n", Some("Ab")),
        ("((?i)LOGIN|plain)", "login\n", Some("login")),
    ] {
        check(source, text, expect);
    }
}

#[test]
fn anchors_respect_the_last_newline() {
    for (source, text, expect) in [
        ("b$", "ab\n", Some("b")),
        ("b$", "ab", Some("b")),
        ("a$", "a\nb\n", None),
        ("b$", "a\nb\n", Some("b")),
        (r"b\s*$", "b\n", Some("b\n")),
        (r"(?!x)a$", "a\nb\n", None),
        (r"(?!x)b$", "a\nb\n", Some("b")),
        ("^b", "a\nb\n", None),
        (r"b\Z", "ab\n", None),
        (r"b\n\Z", "ab\n", Some("b\n")),
        ("(?m)a$", "a\nb\n", Some("a")),
        ("a.b", "a\nb\n", None),
        ("(?s)a.b", "a\nb\n", Some("a\nb")),
        ("a(?s:.)b", "a\nb\n", Some("a\nb")),
        ("(?x) a # comment\n b", "ab\n", Some("ab")),
        ("(?x: a [ ] )b", "a b\n", Some("a b")),
    ] {
        check(source, text, expect);
    }
    assert_eq!(find(&lines("^b$"), "a\nb\nc\n").map(|found| found.start()), Some(2));
    assert_eq!(
        find(&lines("a$<SKIPLINES>c"), "a\nb\nc\n").unwrap().group("skiplines0"),
        Some("b\n")
    );
}

#[test]
fn look_around_references_and_conditions() {
    for (source, text, expect) in [
        ("a(?=b)", "aab\n", Some("a")),
        ("a(?!b)", "ab\n", None),
        ("(?<=a)b", "bab\n", Some("b")),
        ("(?<!a)b", "ab\n", None),
        (r"(a|b)\1", "abb\n", Some("bb")),
        (r"(?P<q>['<])x(?P=q)", "'x<x<\n", Some("<x<")),
        (r"(?i)(?P<q>a)(?P=q)", "aA\n", Some("aA")),
        (r"^(<)?a(?(1)>|!)", "<a>\n", Some("<a>")),
        (r"^(<)?a(?(1)>|!)", "a>\n", None),
        (r"^(?P<c>x)?(?(c)a|b)$", "xa\n", Some("xa")),
        (r"^(?P<c>x)?(?(c)a)b", "b\n", Some("b")),
        ("(?>a+)b", "aab\n", Some("aab")),
        ("(?>a|ab)c", "abc\n", None),
        ("a*+a", "aaa\n", None),
        ("(?:(?=a))*a", "a\n", Some("a")),
        ("(?:){3}a", "a\n", Some("a")),
        (r"(x){0}(?P<y>a)(?(1)b|c)", "ac\n", Some("ac")),
        (r"(?:(?(2)b|a)(x)?(y)?){2}", "ayb\n", Some("ayb")),
    ] {
        check(source, text, expect);
    }
}

/// The expected values are those of CPython from 3.11.5 on (D-060).
#[test]
fn loops_groups_and_what_they_leave_behind() {
    for (source, text, expect) in [
        ("(?P<m>a|)+", "aa\n", "m="),
        ("(?P<m>|a)+", "aa\n", "m="),
        ("(?:(?P<m>a)|(?P<n>b)|)*", "ab\n", "m=a n=b"),
        ("(?P<m>a?)*?b", "aab\n", "m=a"),
        ("(?:(?!(?P<m>a))|a)+", "ab\n", "m"),
        ("(?:(?P<r>(?(1)b|c))(?P<s>a)?)+", "cab\n", "r=c s=a"),
        (r"(?ai)(?P<m>é|a)(?P=m)", "ÉéaA\n", "m=a"),
        (r"(?i)(?P<m>é|a)(?P=m)", "Éé\n", "m=É"),
    ] {
        check_groups(source, text, expect);
    }
    check("(?:ab?c)++", "aca\n", Some("ac"));
    check("(?:a|ab){2}+", "aba\n", Some("aba"));
}

#[test]
fn words_end_where_python_says() {
    for (source, text, expect) in [
        (r"e\b", "e\u{301}\n", Some("e")),
        (r"\bx", "\u{301}x\n", Some("x")),
        (r"\b\w+\b", "-é²½\u{203f}\n", Some("é²½")),
        (r"a\B", "aé\n", Some("a")),
        (r"(?a)a\b", "aé\n", Some("a")),
        (r"\B", "", None),
        (r"\B", "\n", Some("")),
        (r"é\b$", "x\né\n", Some("é")),
    ] {
        check(source, text, expect);
    }
    let regular = pattern(r"^é(?:a|aa)+\b!$");
    let text = format!("é{}\n", "a".repeat(50_000));
    assert!(
        matches!(regular.search(&text, Lane::Fast), Search::No),
        "no way is taken twice"
    );
}

#[test]
fn groups_come_in_the_order_of_their_numbers() {
    check_groups("(?P<z>a)(?P<b>x)?(c)(?P<a>d)", "acd\n", "z=a b a=d");
    check_groups("^x <HOST>$", "x 192.0.2.1\n", "ip4=192.0.2.1 ip6 dns");
    check_groups("^x <HOST>$", "x [2001:db8::1]\n", "ip4 ip6=2001:db8::1 dns");
    check_groups("^x <HOST>$", "x ::ffff:192.0.2.1\n", "ip4=192.0.2.1 ip6 dns");
    check_groups("^x <HOST>$", "x ::\n", "ip4 ip6=:: dns");
    check_groups("^x <HOST>$", "x host.example\n", "ip4 ip6 dns=host.example");
    check_groups("^<SUBNET>$", "198.51.100.0/24\n", "ip4=198.51.100.0 ip6 cidr=24");
    check_groups("<F-ID/> <F-USER>.*?</F-USER>$", "a b c\n", "fid=a user=b c");
    check_groups("(?:(?P<a>a)|(?P<b>b))+", "ab\n", "a=a b=b");
    check_groups("(?P<x>a){0}b", "b\n", "x");
    check_groups("(?=(?P<x>a))a", "a\n", "x=a");
}

#[test]
fn the_tags_alone_leave_a_pattern_linear() {
    for source in [
        "^<HOST>$",
        "<ADDR>",
        "<SUBNET>",
        "a<SKIPLINES>b",
        "a(?:::?|:)+(?<=:)x",
        "(?=)a$",
        r"\bx\B",
    ] {
        assert_eq!(pattern(source).is_linear(), source != "(?=)a$", "{source}");
    }
    for source in [
        "(?<=a)b",
        "(?:a|:)(?<=:)b",
        ":?(?<=:)b",
        ":*(?<=:)b",
        "(?!a)b",
        r"(a)\1",
        "a++",
        "(?>a)b",
    ] {
        assert!(!pattern(source).is_linear(), "{source}");
    }
}

#[test]
fn what_was_configured_and_what_it_became() {
    let failregex = pattern("^((?i)a)<F-MLFID>x</F-MLFID>");
    assert_eq!(failregex.source(), "^((?i)a)<F-MLFID>x</F-MLFID>");
    assert_eq!(failregex.expanded(), "^(?i:a)(?P<mlfid>x)");
    assert_eq!(failregex.group_names(), ["mlfid"]);
    assert!(failregex.has_failure_id());
    assert!(!pattern("<CIDR><F-USER>x</F-USER>").has_failure_id());
    let addresses = Pattern::new(
        "<HOST>",
        Flags {
            host_is_addr: true,
            ..Flags::default()
        },
    )
    .unwrap();
    assert_eq!(addresses.group_names(), ["ip4", "ip6"]);
}

#[test]
fn refusals_are_pythons() {
    for (source, reason) in [
        ("a)", "unbalanced parenthesis at position 1"),
        ("(a", "missing ), unterminated subpattern at position 0"),
        ("a(b|(?:c", "missing ), unterminated subpattern at position 4"),
        ("*a", "nothing to repeat at position 0"),
        ("^*", "nothing to repeat at position 1"),
        ("a**", "multiple repeat at position 2"),
        ("a{2,1}", "min repeat greater than max repeat at position 2"),
        ("a{4294967295}", "the repetition number is too large"),
        ("[a", "unterminated character set at position 0"),
        ("[b-a]", "bad character range b-a at position 1"),
        (r"[\d-a]", r"bad character range \d-a at position 1"),
        ("a\\", "bad escape (end of pattern) at position 1"),
        (r"\q", r"bad escape \q at position 0"),
        (r"\x1", r"incomplete escape \x1 at position 0"),
        (
            r"\777",
            r"octal escape value \777 outside of range 0-0o377 at position 0",
        ),
        (r"\1", "invalid group reference 1 at position 1"),
        (r"(a\1)", "cannot refer to an open group at position 2"),
        (r"\Nx", "missing { at position 2"),
        (r"\N{}", "missing character name at position 3"),
        ("(?t)a*", "internal: unsupported template operator MAX_REPEAT"),
        ("(?a)(?u)(", "missing ), unterminated subpattern at position 8"),
        ("(?a)(?u)a", "ASCII and UNICODE flags are incompatible"),
    ] {
        check_refused(source, reason);
    }
}

#[test]
fn refusals_about_groups_are_pythons() {
    for (source, reason) in [
        ("(?P=x)", "unknown group name 'x' at position 4"),
        ("(?P<a-b>x)", "bad character in group name 'a-b' at position 4"),
        (
            "(?P<x>a)(?P<x>b)",
            "redefinition of group name 'x' as group 2; was group 1 at position 12",
        ),
        ("(?<n>a)", "unknown extension ?<n at position 1"),
        ("(?Q)", "unknown extension ?Q at position 1"),
        (
            "a(?i)b",
            "global flags not at the start of the expression at position 1",
        ),
        ("(?i-i:a)", "bad inline flags: flag turned on and off at position 5"),
        ("(?(2)a|b)", "invalid group reference 2 at position 3"),
        (
            "(a)(?(1)a|b|c)",
            "conditional backref with more than two branches at position 11",
        ),
        ("(?<=a*)b", "look-behind requires fixed-width pattern"),
        ("(?#a", "missing ), unterminated comment at position 0"),
        (
            "a\n(b",
            "missing ), unterminated subpattern at position 2 (line 2, column 1)",
        ),
        ("<F-A-B>x</F-A-B>", "bad character in group name 'a-b' at position 4"),
    ] {
        check_refused(source, reason);
    }
    let twice = Pattern::new("<HOST> <HOST>", Flags::default()).unwrap_err().to_string();
    assert!(
        twice.starts_with("Unable to compile regular expression '(?:\\[?(?:(?:::f{4,6}:)?(?P<ip4>"),
        "{twice}"
    );
    assert!(
        twice.contains("':\nredefinition of group name 'ip4' as group 4; was group 1 at position "),
        "{twice}"
    );
    assert_eq!(
        Pattern::new(" \u{1c}\n", Flags::default()).unwrap_err().to_string(),
        "Cannot add empty regex"
    );
    assert_eq!(
        Error::NoFailureId("x".to_owned()).to_string(),
        "No failure-id group in 'x'"
    );
}

#[test]
fn what_is_not_supported_is_named() {
    check_unsupported(r"\N{EM DASH}", r"\N{…}");
    check_unsupported(&"a".repeat((64 << 10) + 1), "65536 bytes");
    check_unsupported(&"<ADDR>".repeat(5_000), "262144 bytes");
    check_unsupported(&format!("{}{}", "(".repeat(201), ")".repeat(201)), "deeper than 200");
    check_unsupported("(?:a{1,1000}){1,1000}", "too large");
    check_unsupported("a{4294967294}", "too large");
}

/// What is taken unseen on its weight must compile within it.
fn fits_its_weight(source: &str) -> Result<(), Box<dyn std::error::Error>> {
    let Ok(parsed) = parse(source, false) else {
        return Ok(());
    };
    if parsed.root.any(Node::is_irregular) || parsed.root.weight() > 1 << 22 {
        return Ok(());
    }
    // What every program needs, an empty one too.
    let room = usize::try_from(parsed.root.weight()).unwrap() + 4_096;
    for ascii in [true, false] {
        build_within(&parsed.root, Aim { ascii, wider: false }, room)?;
    }
    Ok(())
}

#[test]
fn a_weight_is_an_upper_bound() {
    let parts = [
        "a",
        "é",
        "(?i:k)",
        "(?i:é)",
        ".",
        "(?s:.)",
        r"\w",
        r"\W",
        r"\d",
        r"\D",
        r"\s",
        r"\S",
        "[a-z]",
        "[^a-z]",
        r"[^\w]",
        "[α-ω]",
        "(?i:[a-z])",
        "(?i:[^a-z])",
        "(?i:[à-ÿ])",
        r"(?i:[^\w\d-])",
        r"(?i:[\u0100-\U0001ffff])",
        "(a)",
        "(?:)",
        r"\b",
        "(?:a|b|)",
    ];
    for part in parts {
        for times in ["", "{9}", "{,9}", "{5,}", "*"] {
            let source = format!("(?:{part}){times}");
            fits_its_weight(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        }
    }
}

#[test]
fn deep_patterns_within_the_limit_work() {
    let deep = format!("{}x{}", "((?i:a)|".repeat(199), ")+".repeat(199));
    check(&deep, "aax\n", Some("aax"));
    let deep = format!("(?=a){}x{}$", "(?:a|".repeat(199), ")*".repeat(199));
    assert!(pattern(&deep).inner.matcher.builds());
}

#[test]
fn a_search_that_costs_too_much_says_so() {
    // That the group is asked for inside itself forbids to remember what failed.
    let hard = pattern("^((?(1)b|)(?:a|aa)+(?<!a))$");
    let line = format!("{}\n", "a".repeat(60));
    assert!(matches!(hard.search(&line, Lane::Fast), Search::OverBudget));
    assert!(matches!(hard.search(&line, Lane::Slow), Search::OverBudget));
    assert!(matches!(hard.search("b\n", Lane::Fast), Search::No));
    let line = format!("{}\n", "a".repeat(24));
    assert!(matches!(hard.search(&line, Lane::Fast), Search::OverBudget));
    assert!(
        matches!(hard.search(&line, Lane::Slow), Search::No),
        "the slow lane has steps enough for 24"
    );
    let line = format!("{}\n", "ab".repeat(1 << 20));
    let remembering = pattern(r"^(?:a|ba?)*(?!\n)");
    assert!(matches!(remembering.search(&line, Lane::Slow), Search::OverBudget));
    let linear = pattern("^(?:a|aa)+b$");
    assert!(matches!(linear.search(&"a".repeat(100_000), Lane::Fast), Search::No));
}

#[test]
fn no_way_is_gone_twice() {
    for (source, piece) in [
        ("^(?:a|aa)+(?<!a)$", "a"),
        ("^(?:a+b?)+c(?<!c)$", "ab"),
        ("^(?:a+|a?){3,}c(?<!c)$", "a"),
        (r"^(?:\w+\s?)+c(?<!c)$", "ab "),
        (r"^(?P<q>[ab])?(?:a|ab|b)+(?(q)c|d)(?<!c)(?<!d)$", "ab"),
        (r"^([ab])(?:a|ab|b)+\1c(?<!c)$", "ab"),
        ("^(?!(?:a|aa)+b)(?:a|aa)+c(?<!c)$", "a"),
    ] {
        let text = format!("{}c", piece.repeat(999 / piece.len()));
        let steps = pattern(source).steps(&text, Lane::Fast);
        check(source, &text, None);
        assert!(steps < 200_000, "{source}: {steps}");
    }
}

#[test]
fn patterns_are_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    shared(&pattern("a"));
}

/// Pieces of the dialect, parted by blanks, so that random patterns are often valid.
const PIECES: &str = r"a b . ^ $ | ( (?: (?P<n> (?P<m> ) ) )* )? * + ? {2} {,3} {1,900} [ ] [a-b] [^ \ \d \W \b \1 (?P=n) \
    (?(1) (?= (?! (?<= (?<! (?> (?i) (?i: (?x: (?# <HOST> <F-ID> </F-ID> <SKIPLINES> - && é İ \x4 \x41 \ud800 \N # { } 9";

fn piece() -> impl Strategy<Value = String> {
    let pieces: Vec<_> = PIECES.split_whitespace().map(str::to_owned).collect();
    prop_oneof![9 => prop::sample::select(pieces), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_pattern_and_no_text_panics(pieces in prop::collection::vec(piece(), 0..14), text in "[ab:<>é\n ]{0,12}") {
        prop_assert!(fits_its_weight(&pieces.concat()).is_ok());
        for multiline in [false, true] {
            let Ok(pattern) = Pattern::new(&pieces.concat(), Flags { multiline, host_is_addr: false }) else { continue };
            prop_assert!(pattern.inner.matcher.builds(), "{:?}", pattern.expanded());
            for lane in [Lane::Fast, Lane::Slow] {
                if let Search::Found(found) = pattern.search(&text, lane) {
                    prop_assert!(found.start() <= found.end() && found.end() <= text.len());
                    prop_assert_eq!(found.groups().count(), pattern.group_names().len());
                }
            }
        }
    }

    /// Also where any rest of the line will do, which is then not gone through.
    #[test]
    fn whether_there_is_a_match_is_what_a_search_finds(
        pieces in prop::collection::vec(piece(), 0..6),
        rest in prop::sample::select(vec!["", ".+$", "(.*)$", "(?P<rest>.+?)$", "(?:.{2,})$", ".++$", r".+\Z", "[^b]+$"]),
        text in "[ab:é\n ]{0,6}\n?",
    ) {
        for multiline in [false, true] {
            let source = format!("{}{rest}", pieces.concat());
            let Ok(pattern) = Pattern::new(&source, Flags { multiline, host_is_addr: false }) else { continue };
            let found = match pattern.search(&text, Lane::Slow) {
                Search::OverBudget => continue,
                Search::Found(_) => true,
                Search::No => false,
            };
            prop_assert!(pattern.is_match(&text).is_none_or(|is_match| is_match == found), "{source:?} in {text:?}");
        }
    }

    #[test]
    fn escaped_text_finds_itself(text in "\\PC{1,20}") {
        let source: String = text.chars().flat_map(|c| (!c.is_alphanumeric()).then_some('\\').into_iter().chain([c])).collect();
        let line = format!("{text}\n");
        if let Ok(pattern) = Pattern::new(&source, Flags::default()) {
            prop_assert_eq!(find(&pattern, &line).map(|found| found.as_str()), Some(text.as_str()));
        }
    }
}

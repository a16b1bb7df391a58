use super::*;

/// The document as `section.option=value@first line`, and the faults as `line:flaw`.
fn check(text: &str, options: &[&str], faults: &[&str]) {
    check_bytes(text.as_bytes(), options, faults);
}

fn check_bytes(bytes: &[u8], options: &[&str], faults: &[&str]) {
    let parsed = parse(bytes, 1);
    let mut seen = Vec::new();
    let sections = parsed.document.sections.iter();
    for (name, section) in std::iter::once(("DEFAULT", &parsed.document.defaults)).chain(sections) {
        for (option, value) in section.iter() {
            let text = value.to_text();
            seen.push(format!("{name}.{option}={:?}@{}", text.as_str(), text.mark().line));
        }
    }
    assert_eq!(seen, options, "{}", String::from_utf8_lossy(bytes));
    let seen: Vec<String> = parsed
        .faults
        .iter()
        .map(|fault| format!("{}:{}", fault.line, name(&fault.flaw)))
        .collect();
    assert_eq!(seen, faults, "{}", String::from_utf8_lossy(bytes));
}

fn name(flaw: &Flaw) -> &'static str {
    match flaw {
        Flaw::ByteOrderMark => "bom",
        Flaw::CommentBytes => "comment-bytes",
        Flaw::Bytes => "bytes",
        Flaw::Nonsense => "nonsense",
        Flaw::NoSection => "no-section",
        Flaw::SectionTwice(_) => "section-twice",
        Flaw::OptionTwice { joined: true, .. } => "joined",
        Flaw::OptionTwice { joined: false, .. } => "twice",
        Flaw::TooLong => "too-long",
    }
}

#[test]
fn options_and_their_values() {
    check(
        "[s]\na = 1\nB:2\nc==:x\n",
        &["s.a=\"1\"@2", "s.b=\"2\"@3", "s.c=\"=:x\"@4"],
        &[],
    );
    check("[s]\n  a  =\n b=\n", &["s.a=\"\"@2", "s.b=\"\"@3"], &[]);
    check("  [s]\n  a=1\n", &["s.a=\"1\"@2"], &[]);
    check("[q]x]  rest\na=1\n", &["q]x.a=\"1\"@2"], &[]);
    check(
        "[DEFAULT]\na=1\n[s]\nb=2\n[DEFAULT]\nc=3\n",
        &["DEFAULT.a=\"1\"@2", "DEFAULT.c=\"3\"@6", "s.b=\"2\"@4"],
        &[],
    );
}

#[test]
fn comments_and_continuations() {
    check(
        "[s] ; c\na = x # y\nb = v2;x\nc = v ; gone\nd = ;x\n",
        &["s.a=\"x # y\"@2", "s.b=\"v2;x\"@3", "s.c=\"v\"@4", "s.d=\"\"@5"],
        &[],
    );
    check(
        "[s]\na = 1\n  # gone\n  2 ;x\n\n  3\n\n\nb=4\n",
        &["s.a=\"1\\n2\\n\\n3\"@2", "s.b=\"4\"@9"],
        &[],
    );
    check("[s]\na =\n\tx=1\n", &["s.a=\"\\nx=1\"@2"], &[]);
    check("[s]\r\na = 1\r\n  2\rb=3", &["s.a=\"1\\n2\"@2", "s.b=\"3\"@4"], &[]);
    check("[s]\n  a = 1\n b = 2\n   3\n", &["s.a=\"1\"@2", "s.b=\"2\\n3\"@3"], &[]);
}

#[test]
fn a_line_at_fault_takes_what_continues_it_along() {
    check("x=1\n[s]\na=1\n", &["s.a=\"1\"@3"], &["1:no-section"]);
    check(
        "[s]\na=1\nthis is it\n   and more\nb=2\n",
        &["s.a=\"1\"@2", "s.b=\"2\"@5"],
        &["3:nonsense"],
    );
    check(
        "[s]\na=1\nA=2\n  3\nb=2\n",
        &["s.a=\"1\"@2", "s.b=\"2\"@5"],
        &["3:twice"],
    );
    check(
        "[s]\na=1\n[s]\nb=2\n",
        &["s.a=\"1\"@2", "s.b=\"2\"@4"],
        &["3:section-twice"],
    );
    check(
        "[s]\nignoreip=1\nignoreip=2\n  3\n",
        &["s.ignoreip=\"1\\n2\\n3\"@2"],
        &["3:joined"],
    );
    check("[s]\n=x\na=1\n", &["s.a=\"1\"@3"], &["2:nonsense"]);
}

#[test]
fn foreign_bytes() {
    check("\u{feff}[s]\na=1\n", &["s.a=\"1\"@2"], &["1:bom"]);
    check_bytes(
        b"# \xb0\xa1\n[s]\na=1 ; \xb0\xa1\nb=\xb0\xa1\n  2\nc=1\n  \xb0\xa1\n  2\n",
        &["s.a=\"1\"@3", "s.c=\"1\\n2\"@6"],
        &["1:comment-bytes", "3:comment-bytes", "4:bytes", "7:bytes"],
    );
    let mut long = b"[s]\na=".to_vec();
    long.resize(LINE_CAP + 100, b'x');
    long.extend(b"\nb=1\n");
    check_bytes(&long, &["s.b=\"1\"@3"], &["2:too-long"]);
}

use super::*;

fn shown(text: &str) -> String {
    match extract(text) {
        Ok(named) => {
            let options: Vec<String> = named
                .options
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{}|{}", named.name, options.join("|"))
        }
        Err(error) => error,
    }
}

#[test]
fn names_with_options() {
    let cases = [
        ("a", "a|"),
        ("a[b=c d]", "a|b=c d"),
        ("a[b=\"x]y\"]", "a|b=x]y"),
        ("a[b=c,d=\"e,f\"][j=k]", "a|b=c|d=e,f|j=k"),
        ("a[b= c , d='e'] ", "a|b=c|d=e"),
        ("a[x=1,]", "a|x=1"),
        ("a[]", "a|"),
        ("a [x=1]", "a |x=1"),
        ("a[b?family=inet6=\"X\",b=Y]", "a|b?family=inet6=X|b=Y"),
        ("a[x=1,x=2]", "a|x=2"),
        ("a[x='1',\n  y=2]", "a|x=1|y=2"),
        ("a[", "unexpected option syntax"),
        ("[x=1]", "unexpected option syntax"),
        ("", "unexpected option syntax"),
        ("a[b=x]y]", "unexpected syntax at 3 after option 'b': ]y"),
        ("a[b=\"c\" ]", "unexpected syntax at 5 after option 'b':  "),
        ("a[b = c]", "expected option, wrong syntax at 0: b = c"),
        ("a[,b=c]", "expected option, wrong syntax at 0: ,b=c"),
        ("a[][y=2]", "expected option, wrong syntax at 0: ][y=2"),
    ];
    for (text, expect) in cases {
        assert_eq!(shown(text), expect, "{text}");
    }
}

#[test]
fn lists_of_actions() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        (" a\n\n b ", &["a", "b"]),
        ("a[x=1 2] b", &["a[x=1 2]", "b"]),
        ("a[x=\"1\n 2\", y='3'] [z=4]\n b", &["a[x=\"1\n 2\", y='3'] [z=4]", "b"]),
        ("a[x=1][y=2] b[", &["a[x=1][y=2]", "b["]),
        ("a[x=1]b c", &["a[x=1]b", "c"]),
    ];
    for (text, expect) in cases {
        let entries: Vec<&str> = split_entries(text)
            .unwrap()
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        assert_eq!(entries, *expect, "{text}");
    }
}

#[test]
fn shell_words() {
    let cases: &[(&str, &[&str])] = &[
        ("_A=1 + \"_B=2 3\"", &["_A=1", "+", "_B=2 3"]),
        ("a'b c'd\\ e", &["ab cd e"]),
        ("\"a\\\"b\\c\" ''", &["a\"b\\c", ""]),
        ("# not a comment", &["#", "not", "a", "comment"]),
        ("set j addfailregex 'a b'", &["set", "j", "addfailregex", "a b"]),
        ("  a\t\tb\\ c  ", &["a", "b c"]),
        (r#""a\"b\\c\d" '\x'"#, &[r#"a"b\c\d"#, r"\x"]),
        ("a''b '' \"\"", &["ab", "", ""]),
        ("#a ; |", &["#a", ";", "|"]),
        ("", &[]),
    ];
    for (text, expect) in cases {
        assert_eq!(split_shell(text).unwrap(), *expect, "{text}");
    }
    for text in ["a \"b", "'a", "\"a"] {
        assert_eq!(split_shell(text), Err("No closing quotation"), "{text}");
    }
    for text in ["a \\", "a\\", "\"a\\"] {
        assert_eq!(split_shell(text), Err("No escaped character"), "{text}");
    }
}

#[test]
fn numbers_truths_and_json() {
    let numbers = [
        ("5", Some(5)),
        (" +1_0 ", Some(10)),
        ("-3", Some(-3)),
        ("", None),
        ("_1", None),
        ("1__0", None),
        ("5.0", None),
        ("99999999999999999999", None),
    ];
    for (text, expect) in numbers {
        assert_eq!(parse_int(text), expect, "{text}");
    }
    assert!(parse_bool("On") && parse_bool("1") && !parse_bool("2") && !parse_bool(" yes"));
    let pairs = [("a".to_owned(), "ü\"\n😀".to_owned()), ("b".to_owned(), String::new())];
    assert_eq!(json_object(&pairs), r#"{"a": "\u00fc\"\n\ud83d\ude00", "b": ""}"#);
}

#[test]
fn names_that_may_have_been_meant() {
    let names = || {
        ["postfix", "postfix-sasl", "dovecot", "sshd"]
            .into_iter()
            .map(str::to_owned)
    };
    assert_eq!(near_names("postfx", names()), ["postfix"]);
    assert_eq!(near_names("dovecot2", names()), ["dovecot"]);
    assert!(near_names("nginx", names()).is_empty());
}

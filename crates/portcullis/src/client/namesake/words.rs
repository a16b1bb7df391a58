//! A line of the interactive client as words, as Python's `shlex.split` cuts it: blanks part words, quotes keep them
//! together, a backslash takes the meaning from what follows.

/// Cuts a line.
///
/// # Errors
/// What Python says of a quote that does not end, or of a backslash at the end.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or("No closing quotation")? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word
                .get_or_insert_default()
                .push(chars.next().ok_or("No escaped character")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Up to the second double quote; a backslash stays unless it stands before a quote or another.
fn quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match chars.next().ok_or("No closing quotation")? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or("No escaped character")? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    fn check(line: &str, expect: Result<&[&str], &str>) {
        let expect = expect.map(|words| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(split(line), expect, "{line}");
    }

    /// Found by running Python 3.11.
    #[test]
    fn as_python_cuts() {
        check("set j addfailregex 'a b'", Ok(&["set", "j", "addfailregex", "a b"]));
        check("  a\t\tb\\ c  ", Ok(&["a", "b c"]));
        check(r#""a\"b\\c\d" '\x'"#, Ok(&[r#"a"b\c\d"#, r"\x"]));
        check("a''b '' \"\"", Ok(&["ab", "", ""]));
        check("#a ; |", Ok(&["#a", ";", "|"]));
        check("", Ok(&[]));
        check("'a", Err("No closing quotation"));
        check("\"a", Err("No closing quotation"));
        check("a\\", Err("No escaped character"));
        check("\"a\\", Err("No escaped character"));
    }
}

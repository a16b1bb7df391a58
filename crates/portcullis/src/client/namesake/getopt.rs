//! Options as Python's `getopt` takes them: `-abc`, `-oVALUE`, `--long VALUE`, `--long=VALUE`, long names cut short as
//! far as they stay clear, and nothing after the first word that is no option.

/// The options of a program.
pub(crate) struct Grammar {
    /// One letter each; a colon behind it where a value must follow
    pub(crate) short: &'static str,
    /// Names without their dashes; `=` at the end where a value must follow
    pub(crate) long: &'static [&'static str],
}

/// The options with their values, in order, and the words that follow.
pub(crate) type Parsed = (Vec<(String, String)>, Vec<String>);

impl Grammar {
    /// Takes a command line apart, without the program's name.
    ///
    /// # Errors
    /// What is no option, or has no value or one too many.
    pub(crate) fn parse(&self, arguments: &[String]) -> Result<Parsed, String> {
        let mut options = Vec::new();
        let mut rest = arguments.iter();
        loop {
            let words = rest.as_slice();
            let Some(first) = rest.next() else { break };
            if first == "--" {
                break;
            }
            if let Some(name) = first.strip_prefix("--") {
                options.push(self.long(name, &mut rest)?);
            } else if let Some(letters) = first.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                self.letters(letters, &mut rest, &mut options)?;
            } else {
                return Ok((options, words.to_vec()));
            }
        }
        Ok((options, rest.cloned().collect()))
    }

    fn long<'a>(&self, text: &str, rest: &mut impl Iterator<Item = &'a String>) -> Result<(String, String), String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let (full, takes_value) = self.long_name(name)?;
        let value = match (takes_value, value) {
            (true, None) => rest.next().cloned().ok_or_else(|| format!("--{name} needs a value"))?,
            (false, Some(_)) => return Err(format!("--{name} takes no value")),
            (_, value) => value.unwrap_or_default(),
        };
        Ok((format!("--{full}"), value))
    }

    /// The full name that a beginning stands for.
    fn long_name(&self, name: &str) -> Result<(&'static str, bool), String> {
        let split = |long: &'static str| match long.strip_suffix('=') {
            Some(bare) => (bare, true),
            None => (long, false),
        };
        let mut fitting = self
            .long
            .iter()
            .map(|long| split(long))
            .filter(|(long, _)| long.starts_with(name));
        let exact = fitting.clone().find(|(long, _)| *long == name);
        match (exact, fitting.next(), fitting.next()) {
            (Some(exact), _, _) => Ok(exact),
            (None, Some(only), None) => Ok(only),
            (None, None, _) => Err(format!("there is no option --{name}")),
            (None, Some(_), Some(_)) => Err(format!("--{name} may stand for several options")),
        }
    }

    fn letters<'a>(
        &self,
        letters: &str,
        rest: &mut impl Iterator<Item = &'a String>,
        options: &mut Vec<(String, String)>,
    ) -> Result<(), String> {
        let mut chars = letters.chars();
        while let Some(letter) = chars.next() {
            let known = self.short.split_once(letter).filter(|_| letter != ':');
            let Some((_, after)) = known else {
                return Err(format!("there is no option -{letter}"));
            };
            if !after.starts_with(':') {
                options.push((format!("-{letter}"), String::new()));
                continue;
            }
            let value = match chars.as_str() {
                "" => rest.next().cloned().ok_or_else(|| format!("-{letter} needs a value"))?,
                value => value.to_owned(),
            };
            options.push((format!("-{letter}"), value));
            break;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar {
        short: "c:vd",
        long: &["conf=", "test", "timeout=", "dp", "dump-pretty"],
    };

    fn check(line: &str, expect: Option<&str>) {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let parsed = GRAMMAR.parse(&arguments).ok().map(|(options, words)| {
            let options: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{}|{}", options.join(" "), words.join(" "))
        });
        assert_eq!(parsed.as_deref(), expect, "{line}");
    }

    #[test]
    fn command_lines() {
        check("-vvd -c x status", Some("-v= -v= -d= -c=x|status"));
        check("-vcx -d", Some("-v= -c=x -d=|"));
        check("--conf=a=b --te -- -d", Some("--conf=a=b --test=|-d"));
        check("--conf x status -d", Some("--conf=x|status -d"));
        check("- -d", Some("|- -d"));
        check("--d", None);
        check("--dump-", Some("--dump-pretty=|"));
        check("--t", None);
        check("--test=1", None);
        check("-x", None);
        check("-:", None);
        check("-c", None);
        check("--conf", None);
    }
}

//! Commands that a program can be given many of at once, with the same result: `nft -f`, `iptables-restore`,
//! `ipset restore` ([decision 0013](../../../../docs/decisions/0013-recognised-commands.md)).
//!
//! In goes the text of a script, tags included; out comes its [`Form`], or nothing where a single word is not known.
//! A form and an [`Operation`] make a line, many lines a [`Batch`]. Nothing but addresses, networks and lengths of time
//! is ever put into a line, and each is read before that. Nothing is run here.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;

use super::Values;
use crate::address::Family;

/// The stock's way of writing a ban time that the kernel can hold (`timeout-bantime` of `iptables-ipset.conf`).
const CAPPED: &str = r#"$([ "<bantime>" -le 2147483 ] && echo "<bantime>" || echo 0)"#;

/// The longest time that the kernel counts for an entry of a set; the stock makes "for ever" of longer ones.
const LONGEST: i64 = 2_147_483;

/// What stands between the words of a shell.
const BLANKS: [char; 3] = [' ', '\t', '\n'];

/// The places where a program may be named with its folder.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// A name is no longer than this: nftables and ipset hold no longer ones.
const MAX_NAME: usize = 128;

/// Which program a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// `nft`
    Nft,
    /// `iptables`
    Iptables,
    /// `ip6tables`
    Ip6tables,
    /// `ipset`
    Ipset,
}

/// How a program is started to be given many commands at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Invocation {
    /// Which program
    pub tool: Tool,
    /// The program that the command names: it decides where the one that is started is looked for
    pub named: String,
    /// The program that is started, beside the one that is named
    pub program: String,
    /// Its arguments
    pub arguments: Vec<String>,
}

/// What an entry's `timeout` is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lifetime {
    /// There is none.
    Unsaid,
    /// The same for all.
    Fixed(u32),
    /// `<bantime>`
    Bantime,
    /// `<bantime>`, or for ever where the kernel counts no such length
    Capped,
}

/// A command that adds or removes one address, known word for word but for the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    invocation: Invocation,
    before: String,
    after: String,
    lifetime: Lifetime,
    /// The tag in the place of the address
    tag: &'static str,
    removes: bool,
    /// The set whose rules say what an entry means; a rule says so itself
    set: Option<String>,
}

/// What a form is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    element: String,
    family: Family,
    bantime: Option<i64>,
}

impl Operation {
    /// An address or a network in its own spelling, and the ban time in seconds; `None` for any other text.
    #[must_use]
    pub fn new(element: &str, bantime: Option<i64>) -> Option<Self> {
        let address = element.parse::<IpAddr>().ok().filter(|ip| ip.to_string() == element);
        let network = || element.parse::<IpNet>().ok().filter(|net| net.to_string() == element);
        let address = address.or_else(|| network().map(|net| net.addr()))?;
        Some(Operation {
            element: element.to_owned(),
            family: match address {
                IpAddr::V4(_) => Family::Inet4,
                IpAddr::V6(_) => Family::Inet6,
            },
            bantime,
        })
    }

    /// The address or network.
    #[must_use]
    pub fn element(&self) -> &str {
        &self.element
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The ban time in seconds, where it was said.
    #[must_use]
    pub fn bantime(&self) -> Option<i64> {
        self.bantime
    }
}

/// Many commands as one: what is started, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How the program is started
    pub invocation: Invocation,
    /// What it is given to read
    pub input: String,
}

impl Form {
    /// The form of a command, if it is one of those that can be done together with others.
    #[must_use]
    pub fn of(script: &str) -> Option<Form> {
        let script = script.trim_matches(BLANKS);
        // Two lines are two commands, and to a shell any other space is part of a word.
        if script.contains(|letter: char| letter.is_whitespace() && ![' ', '\t'].contains(&letter)) {
            return None;
        }
        let (head, lifetime, tail) = lifetime(script)?;
        let mut words: Vec<&str> = head.split_ascii_whitespace().collect();
        // A length of time stands behind the address, and nowhere else.
        if lifetime != Lifetime::Unsaid {
            words.last().copied().and_then(subject)?;
        }
        words.extend(tail.split_ascii_whitespace());
        let (program, rest) = words.split_first()?;
        let (folder, name) = match program.rsplit_once('/') {
            Some((folder, name)) => (FOLDERS.into_iter().find(|known| *known == folder)?, name),
            None => ("", *program),
        };
        let form = match name {
            "nft" => nft(program, rest),
            "ipset" => ipset(program, rest, &lifetime),
            _ => iptables(program, folder, name, rest),
        };
        form.filter(|form| form.invocation.tool == Tool::Ipset || lifetime == Lifetime::Unsaid)
            .map(|form| Form { lifetime, ..form })
    }

    /// How the program is started.
    #[must_use]
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// Whether it takes an address away.
    #[must_use]
    pub fn removes(&self) -> bool {
        self.removes
    }

    /// Whether an address that is added is kept out: it may just as well be let in (`pass2allow-ftp`). A rule says so
    /// itself; of a set it is the rules that `start` makes.
    #[must_use]
    pub fn keeps_out(&self, start: &str) -> bool {
        let Some(set) = &self.set else { return true };
        let words: Vec<&str> = start
            .split([' ', '\t', '\n', ';'])
            .filter(|word| !word.is_empty())
            .collect();
        match self.invocation.tool {
            Tool::Nft => {
                let set = format!("@{set}");
                let verdicts = words
                    .iter()
                    .enumerate()
                    .filter(|(_, word)| word.trim_matches(['\'', '"']) == set);
                all_of(verdicts, |at| matches!(words.get(at + 1), Some(&"drop" | &"reject")))
            }
            _ => {
                let uses = words.iter().enumerate().filter(|(_, word)| **word == "--match-set");
                let uses = uses.filter(|(at, _)| words.get(at + 1) == Some(&set.as_str()));
                let target = |at: usize| (words.get(at + 3), words.get(at + 4));
                all_of(uses, |at| {
                    matches!(target(at), (Some(&"-j"), Some(&"DROP" | &"REJECT")))
                })
            }
        }
    }

    /// What a ban's values make of it; `None` where the command is not for a batch: the one who is banned is no address,
    /// or not one of the program's family, or the ban time is none that the program takes.
    #[must_use]
    pub fn operation(&self, values: &Values) -> Option<Operation> {
        let bantime = match values.tags.get("bantime") {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let operation = Operation::new(values.tags.get(self.tag)?, bantime)?;
        self.line(&operation).map(|_| operation)
    }

    /// The command as the program reads it; `None` where it is not for a batch.
    #[must_use]
    pub fn line(&self, operation: &Operation) -> Option<String> {
        let fits = match self.invocation.tool {
            Tool::Iptables => operation.family == Family::Inet4,
            Tool::Ip6tables => operation.family == Family::Inet6,
            Tool::Nft | Tool::Ipset => true,
        };
        let bantime = operation.bantime.filter(|seconds| *seconds >= 0);
        let timeout = match self.lifetime {
            Lifetime::Unsaid => None,
            Lifetime::Fixed(seconds) => Some(i64::from(seconds)),
            Lifetime::Bantime => Some(bantime?),
            Lifetime::Capped => Some(bantime.map(|seconds| if seconds > LONGEST { 0 } else { seconds })?),
        };
        let timeout = timeout.map(|seconds| format!(" timeout {seconds}")).unwrap_or_default();
        fits.then(|| format!("{}{}{timeout}{}", self.before, operation.element, self.after))
    }
}

impl Batch {
    /// Puts commands together, which must all be for the same program started in the same way; `None` otherwise, and
    /// where one is not for a batch.
    #[must_use]
    pub fn of<'f>(commands: impl IntoIterator<Item = (&'f Form, &'f Operation)>) -> Option<Batch> {
        let mut commands: Vec<(&Form, &Operation)> = commands.into_iter().collect();
        let invocation = commands.first()?.0.invocation.clone();
        // Both nft and iptables search from the newest entry on, and who was banned first is mostly freed first.
        if commands.iter().all(|(form, _)| form.removes) {
            commands.reverse();
        }
        let mut lines = Vec::with_capacity(commands.len());
        let mut last: Option<&Form> = None;
        for (form, operation) in commands {
            if form.invocation != invocation {
                return None;
            }
            let line = form.line(operation)?;
            match lines
                .last_mut()
                .filter(|_| invocation.tool == Tool::Nft && last == Some(form))
            {
                // Elements of one command are put in much faster than as many commands.
                Some(all) => join(all, &form.after, &operation.element),
                None => lines.push(line),
            }
            last = Some(form);
        }
        let (head, tail) = match invocation.tool {
            Tool::Iptables | Tool::Ip6tables => ("*filter\n", "COMMIT\n"),
            Tool::Nft | Tool::Ipset => ("", ""),
        };
        let mut input = head.to_owned();
        for line in lines {
            input.push_str(&line);
            input.push('\n');
        }
        input.push_str(tail);
        Some(Batch { invocation, input })
    }
}

/// Puts one more element into a list that ends with `after`.
fn join(list: &mut String, after: &str, element: &str) {
    list.truncate(list.len().saturating_sub(after.len()));
    list.push_str(", ");
    list.push_str(element);
    list.push_str(after);
}

/// Whether there is one, and all are so.
fn all_of<'w>(mut places: impl Iterator<Item = (usize, &'w &'w str)>, is_so: impl Fn(usize) -> bool) -> bool {
    places.next().is_some_and(|(at, _)| is_so(at)) && places.all(|(at, _)| is_so(at))
}

/// The text before `timeout`, the lifetime, and the text behind it.
fn lifetime(script: &str) -> Option<(&str, Lifetime, &str)> {
    let Some((head, tail)) = script.split_once(" timeout ") else {
        return Some((script, Lifetime::Unsaid, ""));
    };
    let tail = tail.trim_start();
    if let Some(rest) = tail.strip_prefix(CAPPED) {
        return (rest.is_empty() || rest.starts_with(' ')).then_some((head, Lifetime::Capped, rest));
    }
    let (word, rest) = tail.split_once(' ').unwrap_or((tail, ""));
    let lifetime = match word {
        "<bantime>" => Lifetime::Bantime,
        number => Lifetime::Fixed(digits(number)?),
    };
    Some((head, lifetime, rest))
}

/// A number that has nothing but digits.
fn digits(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// A name that means the same to a shell and to the program that reads a batch.
fn is_name(word: &str) -> bool {
    let mut bytes = word.bytes();
    let begins = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    begins && word.len() <= MAX_NAME && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The tag that stands for who is banned.
fn subject(word: &str) -> Option<&'static str> {
    match word {
        "<ip>" => Some("ip"),
        "<fid>" => Some("fid"),
        _ => None,
    }
}

fn invocation(tool: Tool, named: &str, program: String, arguments: &[&str]) -> Invocation {
    Invocation {
        tool,
        named: named.to_owned(),
        program,
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    }
}

/// `nft add element FAMILY TABLE SET \{ <ip> \}`
fn nft(program: &str, words: &[&str]) -> Option<Form> {
    let [verb, "element", family, table, set, "{" | "\\{", tag, "}" | "\\}"] = words else {
        return None;
    };
    let removes = match *verb {
        "add" => false,
        "delete" => true,
        _ => return None,
    };
    let is_family = ["ip", "ip6", "inet", "arp", "bridge", "netdev"].contains(family);
    if !is_family || !is_name(table) || !is_name(set) {
        return None;
    }
    Some(Form {
        invocation: invocation(Tool::Nft, program, program.to_owned(), &["-f", "-"]),
        before: format!("{verb} element {family} {table} {set} {{ "),
        after: " }".to_owned(),
        lifetime: Lifetime::Unsaid,
        tag: subject(tag)?,
        removes,
        set: Some((*set).to_owned()),
    })
}

/// `ipset -exist add SET <ip> [timeout N]`. Without `-exist` what was done before a failure could not be done again.
fn ipset(program: &str, words: &[&str], lifetime: &Lifetime) -> Option<Form> {
    let (verb, set, tag) = match words {
        ["-exist" | "-!", verb, set, tag] | [verb, set, tag, "-exist" | "-!"] => (*verb, *set, *tag),
        _ => return None,
    };
    let removes = match verb {
        "add" => false,
        "del" if *lifetime == Lifetime::Unsaid => true,
        _ => return None,
    };
    is_name(set).then_some(())?;
    Some(Form {
        invocation: invocation(Tool::Ipset, program, program.to_owned(), &["-exist", "restore"]),
        before: format!("{verb} {set} "),
        after: String::new(),
        lifetime: Lifetime::Unsaid,
        tag: subject(tag)?,
        removes,
        set: Some(set.to_owned()),
    })
}

/// `iptables [-w [N]] -I CHAIN [N] -s <ip> -j TARGET`
fn iptables(program: &str, folder: &str, name: &str, words: &[&str]) -> Option<Form> {
    let tool = match name {
        "iptables" | "iptables-nft" | "iptables-legacy" => Tool::Iptables,
        "ip6tables" | "ip6tables-nft" | "ip6tables-legacy" => Tool::Ip6tables,
        _ => return None,
    };
    let (locking, words) = match words {
        ["-w" | "--wait", seconds, rest @ ..] if digits(seconds).is_some() => (vec!["-w", *seconds], rest),
        ["-w" | "--wait", rest @ ..] => (vec!["-w"], rest),
        rest => (Vec::new(), rest),
    };
    let (verb, chain, place, rest) = match words {
        [verb @ "-I", chain, place, rest @ ..] if digits(place).is_some() => (*verb, *chain, Some(*place), rest),
        [verb @ ("-I" | "-A" | "-D"), chain, rest @ ..] => (*verb, *chain, None, rest),
        _ => return None,
    };
    let ["-s", tag, "-j", target @ ..] = rest else {
        return None;
    };
    let target = match target {
        ["DROP"] => "DROP".to_owned(),
        ["REJECT"] => "REJECT".to_owned(),
        ["REJECT", "--reject-with", how] if is_name(how) => format!("REJECT --reject-with {how}"),
        _ => return None,
    };
    is_name(chain).then_some(())?;
    let place = place.map(|place| format!(" {place}")).unwrap_or_default();
    let slash = if folder.is_empty() { "" } else { "/" };
    let arguments = [vec!["--noflush"], locking].concat();
    Some(Form {
        invocation: invocation(tool, program, format!("{folder}{slash}{name}-restore"), &arguments),
        before: format!("{verb} {chain}{place} -s "),
        after: format!(" -j {target}"),
        lifetime: Lifetime::Unsaid,
        tag: subject(tag)?,
        removes: verb == "-D",
        set: None,
    })
}

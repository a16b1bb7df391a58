//! How a reply is printed: by the command that it answers, as Fail2Ban's client does, which people and scripts read
//! (contract §8.5).
//!
//! In come a command and the value of its reply, out goes the text. A value that the command cannot have been answered
//! with is shown as Python writes it down, behind as much of the text as was made before that was noticed.

mod object;
mod table;
mod tree;

use portcullis_core::exception::{Class, Exception};
use portcullis_core::value::{Value, repr_str};

use object::{at, joined, length, parted, text, whole};

/// What is printed.
#[derive(Debug, PartialEq)]
pub(crate) struct Shown {
    /// Without the last line end
    pub(crate) text: String,
    /// What is logged as an error, if the reply did not fit its command
    pub(crate) trouble: Option<String>,
}

/// The message so far and the reply, when something in it did not fit.
struct Unfit {
    message: Value,
    reply: Value,
}

/// The text for a reply; `boxes` where tables may be drawn with characters beyond ASCII.
pub(crate) fn shown(command: &[Value], reply: &Value, boxes: bool) -> Shown {
    match message(command, reply, boxes) {
        Ok(text) => Shown { text, trouble: None },
        Err(Unfit { message, reply }) => {
            let command = Value::List(command.to_vec());
            let (shown, command) = (reply.repr(), command.repr());
            Shown {
                text: message.repr() + &shown,
                trouble: Some(format!("Beautify {shown} with {command} failed")),
            }
        }
    }
}

/// What an exception was made of, as Python has it afterwards: an error of the system keeps the name of its file, and
/// one of JSON its place, apart.
pub(crate) fn arguments(exception: &Exception) -> Value {
    let arguments = exception.arguments.as_slice();
    Value::Tuple(match (exception.class, arguments) {
        (Class::Library("json.decoder", "JSONDecodeError"), [message, Value::Str(text), Value::Int(place)]) => {
            vec![json_error(message, text, *place).into()]
        }
        (Class::Builtin(name), [number, text, _, ..]) if name.ends_with("Error") && is_of_the_system(exception) => {
            vec![number.clone(), text.clone()]
        }
        _ => arguments.to_vec(),
    })
}

/// Whether it prints the number of an error of the system.
fn is_of_the_system(exception: &Exception) -> bool {
    let two = Exception {
        class: exception.class,
        arguments: vec![0.into(), "".into()],
    };
    two.to_string().starts_with("[Errno 0]")
}

/// What Python says of a text that is no JSON.
fn json_error(message: &Value, text: &str, place: i64) -> String {
    let before: String = text.chars().take(usize::try_from(place).unwrap_or(0)).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{message}: line {line} column {column} (char {place})")
}

/// The text for a refusal.
///
/// # Errors
/// What Python says, if the name of the jail that it is about is no text.
pub(crate) fn refused(exception: &Exception) -> Result<String, String> {
    let jail = || match exception.arguments.first() {
        Some(Value::Str(name)) => Ok(name.clone()),
        Some(other) => Err(format!("can only concatenate str (not \"{}\") to str", other.class())),
        None => Err("tuple index out of range".to_owned()),
    };
    Ok(match &exception.class {
        Class::UnknownJail => format!("Sorry but the jail '{}' does not exist", jail()?),
        Class::DuplicateJail => format!("The jail '{}' already exists", jail()?),
        Class::Builtin("IndexError") => "Sorry but the command is invalid".to_owned(),
        Class::Library("json.decoder", _) => match arguments(exception) {
            Value::Tuple(texts) => texts.iter().map(Value::to_string).collect(),
            other => other.to_string(),
        },
        _ => exception.to_string(),
    })
}

fn message(command: &[Value], reply: &Value, boxes: bool) -> Result<String, Unfit> {
    let unfit = || unfit(reply.clone(), reply);
    let first = command.first().ok_or_else(unfit)?.as_str().unwrap_or_default();
    let own = |text: &str| reply.as_str().map(|reply| format!("{text}{reply}")).ok_or_else(unfit);
    match (first, command) {
        ("ping", _) => own("Server replied: "),
        ("version", _) => Ok(reply.to_string()),
        ("start", _) => Ok("Jail started".to_owned()),
        ("stop", [_]) if *reply == Value::None => Ok("Shutdown successful".to_owned()),
        ("stop", [_, _, ..]) if *reply == Value::None => Ok("Jail stopped".to_owned()),
        ("stop", _) => Ok(reply.to_string()),
        ("add", _) => own("Added jail "),
        ("flushlogs", _) => own("logs: "),
        ("echo", _) => joined(" ", reply).ok_or_else(unfit),
        ("status", words) => status(words, reply),
        ("stats" | "statistics", _) if !reply.is_true() => Ok("No jails found.".to_owned()),
        ("stats" | "statistics", _) => table::stats(reply, boxes).ok_or_else(unfit),
        (_, [_, second, rest @ ..]) => match server(second.as_str().unwrap_or_default(), reply) {
            Some(text) => text,
            None => rest.first().map_or_else(
                || Ok(reply.to_string()),
                |third| of_jail(command, third.as_str().unwrap_or_default(), reply),
            ),
        },
        _ => Ok(reply.to_string()),
    }
}

fn unfit(message: Value, reply: &Value) -> Unfit {
    Unfit {
        message,
        reply: reply.clone(),
    }
}

fn status(words: &[Value], reply: &Value) -> Result<String, Unfit> {
    tree::status(words, reply)
        .map(|lines| lines.join("\n"))
        .map_err(|torn| Unfit {
            message: match torn.lines.as_slice() {
                [] => torn.reply.clone(),
                lines => Value::List(lines.iter().map(|line| line.as_str().into()).collect()),
            },
            reply: torn.reply,
        })
}

/// Options of the server; nothing if the word is none.
fn server(option: &str, reply: &Value) -> Option<Result<String, Unfit>> {
    let below = |title: &str| match reply {
        Value::Str(text) => Ok(format!("{title}\n`- {text}")),
        _ => Err(unfit(format!("{title}\n").into(), reply)),
    };
    Some(match option {
        "syslogsocket" => below("Current syslog socket is:"),
        "logtarget" => below("Current logging target is:"),
        "loglevel" => Ok(format!("Current logging level is {}", level(reply))),
        "dbfile" | "dbpurgeage" if *reply == Value::None => Ok("Database currently disabled".to_owned()),
        "dbfile" => below("Current database file is:"),
        "dbpurgeage" => {
            let title = "Current database purge age is:\n";
            let age = whole(reply).map(|age| format!("{title}`- {age}seconds"));
            age.ok_or_else(|| unfit(title.into(), reply))
        }
        _ => return None,
    })
}

/// A level of the log: numbers by the names that Fail2Ban gives to Python's logging.
fn level(reply: &Value) -> String {
    let (number, shown) = match reply {
        Value::Int(number) => (*number, number.to_string()),
        Value::Bool(truth) => (i64::from(*truth), Value::Bool(*truth).to_string()),
        other => return other.repr(),
    };
    repr_str(&match number {
        0 => "NOTSET".to_owned(),
        5 => "HEAVY".to_owned(),
        7 => "TRACE".to_owned(),
        10 => "DEBUG".to_owned(),
        18 => "MSG".to_owned(),
        20 => "INFO".to_owned(),
        25 => "NOTICE".to_owned(),
        30 => "WARNING".to_owned(),
        40 => "ERROR".to_owned(),
        50 => "CRITICAL".to_owned(),
        1..50 => format!("#{number:02}-Lev."),
        _ => format!("Level {shown}"),
    })
}

/// Options of a jail.
fn of_jail(command: &[Value], option: &str, reply: &Value) -> Result<String, Unfit> {
    match option {
        "logpath" | "addlogpath" | "dellogpath" | "addlogcommand" | "dellogcommand" => branches(
            reply,
            ("No file is currently monitored", "Current monitored log file(s):"),
            |_, path| path.as_str().map(str::to_owned),
        ),
        "logencoding" => {
            let title = "Current log encoding is set to:\n";
            let name = reply.as_str().map(|name| format!("{title}{name}"));
            name.ok_or_else(|| unfit(title.into(), reply))
        }
        "journalmatch" | "addjournalmatch" | "deljournalmatch" => journal(reply),
        "datepattern" => date(reply),
        "ignoreip" | "addignoreip" | "delignoreip" => branches(
            reply,
            (
                "No IP address/network is ignored",
                "These IP addresses/networks are ignored:",
            ),
            |_, spared| Some(spared.to_string()),
        ),
        "failregex" | "addfailregex" | "delfailregex" | "ignoreregex" | "addignoreregex" | "delignoreregex" => {
            branches(
                reply,
                (
                    "No regular expression is defined",
                    "The following regular expression are defined:",
                ),
                |index, regex| Some(format!("[{index}]: {}", regex.as_str()?)),
            )
        }
        "actions" | "actionproperties" | "actionmethods" => actions(command, option, reply),
        "banip" if command.first().and_then(Value::as_str) == Some("get") => banned(command, reply),
        _ => Ok(reply.to_string()),
    }
}

/// A list below its title, the last behind a corner.
fn branches(
    reply: &Value,
    (empty, title): (&str, &str),
    line: impl Fn(usize, &Value) -> Option<String>,
) -> Result<String, Unfit> {
    let so_far = |text: &str| unfit(text.into(), reply);
    match length(reply) {
        None => return Err(unfit(reply.clone(), reply)),
        Some(0) => return Ok(empty.to_owned()),
        Some(_) => {}
    }
    let mut text = format!("{title}\n");
    let (Some(rest), Some(last)) = parted(reply) else {
        return Err(so_far(&text));
    };
    let rest = rest.each().unwrap_or_default();
    for (index, item) in rest.iter().enumerate() {
        let Some(line) = line(index, item) else {
            return Err(so_far(&text));
        };
        text += &format!("|- {line}\n");
    }
    match line(rest.len(), &last) {
        Some(line) => Ok(format!("{text}`- {line}")),
        None => Err(so_far(&text)),
    }
}

fn journal(reply: &Value) -> Result<String, Unfit> {
    let title = "Current match filter:\n";
    match length(reply) {
        None => Err(unfit(reply.clone(), reply)),
        Some(0) => Ok("No journal match filter set".to_owned()),
        Some(_) => {
            let groups = reply.each().unwrap_or_default();
            let texts: Option<Vec<String>> = groups.iter().map(|group| joined(" ", group)).collect();
            let text = texts.map(|texts| format!("{title}{}", texts.join(" + ")));
            text.ok_or_else(|| unfit(title.into(), reply))
        }
    }
}

fn date(reply: &Value) -> Result<String, Unfit> {
    let title = "Current date pattern set to: ";
    if *reply == Value::None {
        return Ok(format!("{title}Not set/required"));
    }
    let rest = match (at(reply, 0), reply) {
        (Some(Value::None), _) => at(reply, 1).and_then(|name| text(&name)),
        (Some(_), Value::Tuple(pair)) => match pair.as_slice() {
            [pattern, name] => Some(format!("{pattern} ({name})")),
            _ => None,
        },
        _ => None,
    };
    rest.map(|rest| format!("{title}{rest}"))
        .ok_or_else(|| unfit(title.into(), reply))
}

/// The actions of a jail, or what an action has.
fn actions(command: &[Value], option: &str, reply: &Value) -> Result<String, Unfit> {
    let untouched = || unfit(reply.clone(), reply);
    let jail = command.get(1).map(Value::to_string).unwrap_or_default();
    let (kind, of) = match option {
        "actionproperties" => ("properties", Some("properties")),
        "actionmethods" => ("methods", Some("methods")),
        _ => ("actions", None),
    };
    let is_empty = length(reply).ok_or_else(untouched)? == 0;
    let whose = match of {
        None => jail,
        Some(_) => format!("{jail} action {}", command.get(3).ok_or_else(untouched)?),
    };
    if is_empty {
        return Ok(format!("No {kind} for jail {whose}"));
    }
    let title = format!("The jail {whose} has the following {kind}:\n");
    match joined(", ", reply) {
        Some(names) => Ok(title + &names),
        None => Err(unfit(title.into(), reply)),
    }
}

/// Who is banned, with what the command puts between them.
fn banned(command: &[Value], reply: &Value) -> Result<String, Unfit> {
    let Value::List(_) = reply else {
        return Ok(reply.to_string());
    };
    let between = match command.get(3) {
        None => " ",
        Some(word) => match word.as_str() {
            Some("--with-time") => "\n",
            Some(word) => word,
            None => return Err(unfit(reply.clone(), reply)),
        },
    };
    joined(between, reply).ok_or_else(|| unfit(reply.clone(), reply))
}

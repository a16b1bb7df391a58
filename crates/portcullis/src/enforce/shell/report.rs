//! What Fail2Ban's log says about a command (contract §5.3): all of it at DEBUG where it succeeded, at ERROR where
//! it failed.

use portcullis_core::action::Command;
use portcullis_core::time::Number;
use portcullis_core::value::{Value, repr_float, repr_str};

use super::Level;
use crate::runner::{Outcome, Ran};

/// So much of an error output is quoted where there is little room.
const SAID: usize = 120;

/// The lines for one command, each with its level. `number` tells the lines of one command from those of others;
/// `good` are the codes that are no failure.
pub(crate) fn lines(number: u64, command: &Command, timeout: Number, ran: &Ran, good: &[i32]) -> Vec<(Level, String)> {
    let is_good = matches!(ran.outcome, Outcome::Exit(code) if good.contains(&code));
    let level = if is_good { Level::Debug } else { Level::Error };
    let shown = shown(command);
    let mut lines = vec![(level, format!("{number:x} -- exec: {shown}"))];
    match &ran.outcome {
        Outcome::TimedOut(_) => {
            let timeout = match timeout {
                Number::Int(seconds) => seconds.to_string(),
                Number::Float(seconds) => repr_float(seconds),
            };
            lines.push((level, format!("{number:x} -- timed out after {timeout} seconds.")));
        }
        Outcome::CouldNotStart(error) | Outcome::Refused(error) => {
            lines.push((level, format!("{shown} -- failed with {error}")));
        }
        Outcome::Exit(_) | Outcome::Signal(_) => {}
    }
    for (name, output) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
        for line in split(output) {
            lines.push((level, format!("{number:x} -- {name}: {}", repr_str(line))));
        }
    }
    lines.extend(ending(number, &shown, &ran.outcome, is_good));
    lines
}

/// Why a command failed, in a few words: how it ended, and the first line of what it said of that.
pub(super) fn cause(ran: &Ran) -> String {
    let ended = match &ran.outcome {
        Outcome::Exit(code) => format!("its command returned {code}"),
        Outcome::Signal(signal) => format!("its command was killed with {}", signal_name(*signal)),
        Outcome::TimedOut(_) => "its command timed out".to_owned(),
        Outcome::CouldNotStart(error) | Outcome::Refused(error) => format!("its command failed with {error}"),
    };
    let first = ran.stderr.lines().find(|line| !line.trim().is_empty());
    first.map_or(ended.clone(), |line| {
        let line: String = line.trim().chars().take(SAID).collect();
        format!("{ended}: {}", repr_str(&line))
    })
}

fn ending(number: u64, shown: &str, outcome: &Outcome, is_good: bool) -> Vec<(Level, String)> {
    let code = match outcome {
        Outcome::Exit(code) => *code,
        Outcome::Signal(signal) => -signal,
        Outcome::TimedOut(Some(code)) => *code,
        Outcome::TimedOut(None) => return vec![(Level::Error, format!("{number:x} -- unable to kill the command"))],
        Outcome::CouldNotStart(_) | Outcome::Refused(_) => return Vec::new(),
    };
    if is_good {
        return vec![(Level::Debug, format!("{number:x} -- returned successfully {code}"))];
    }
    if !(0..=128).contains(&code) {
        // A shell reports the signal that ended its last command as a code.
        let signal = if code < 0 { -code } else { code - 128 };
        let text = format!(
            "{number:x} -- killed with {} (return code: {code})",
            signal_name(signal)
        );
        return vec![(Level::Error, text)];
    }
    let mut lines = vec![(Level::Error, format!("{number:x} -- returned {code}"))];
    if code == 127 {
        let hint = format!("HINT on 127: \"Command not found\". Is all that {shown} calls in the service's PATH?");
        lines.push((Level::Info, hint));
    }
    lines
}

/// A command without values as it is, one with values as Python prints the list.
fn shown(command: &Command) -> String {
    if command.values.is_empty() {
        return command.script.clone();
    }
    let all = std::iter::once(&command.script).chain(&command.values);
    Value::List(all.map(|text| text.as_str().into()).collect()).repr()
}

/// Lines as Python splits bytes: at `\n`, `\r` and both together.
fn split(output: &str) -> impl Iterator<Item = &str> {
    output.split_inclusive(['\n', '\r']).filter_map({
        let mut after_return = false;
        move |line| {
            let is_rest = after_return && line == "\n";
            after_return = line.ends_with('\r');
            (!is_rest).then(|| line.trim_end_matches(['\n', '\r']))
        }
    })
}

fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "POLL", "PWR", "SYS",
    ];
    let name = usize::try_from(signal - 1).ok().and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("signal {signal}"), |name| format!("SIG{name}"))
}

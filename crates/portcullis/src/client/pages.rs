//! `pages`: the man pages and the completions of the shells, for whoever makes a package. Both come from what the
//! command lines are read by and from the help texts, so that neither can say something else.

mod configuration;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::failure::fail;
use super::namesake::help::{COMMANDS, OPTIONS};
use super::{Cli, exit};

/// The shells, and the folder of each.
const SHELLS: [(Shell, &str); 3] = [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")];

/// `pages`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The folder to write into: man/, bash/, zsh/, fish/
    folder: PathBuf,
}

/// Writes them.
pub(crate) fn main(options: &Options) -> ExitCode {
    match write(&options.folder) {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => fail(
            false,
            &format!("cannot write below {}: {error}", options.folder.display()),
            exit::REFUSED,
        ),
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(own(), &man)?;
    for program in ["fail2ban-client", "fail2ban-server", "fail2ban-regex"] {
        fs::write(man.join(format!("{program}.1")), page(program)?)?;
    }
    fs::write(man.join(configuration::NAME), configuration::page().to_roff())?;
    fs::write(man.join("jail.conf.5"), format!(".so man5/{}\n", configuration::NAME))?;
    for (shell, name) in SHELLS {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        generate_to(shell, &mut own(), "portcullis", &folder)?;
        for program in ["fail2ban-client", "fail2ban-server", "fail2ban-regex"] {
            generate_to(shell, &mut namesake(program), program, &folder)?;
        }
    }
    Ok(())
}

/// Our own verbs, without those that are not meant for people.
fn own() -> Command {
    let command = Cli::command();
    let hidden: Vec<String> = hidden(&command);
    // The generators of completions know no hidden verb.
    let mut shown = Command::new("portcullis")
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        .after_help(command.get_after_help().cloned().unwrap_or_default())
        .subcommand_required(true);
    for verb in command.get_subcommands() {
        if !hidden.iter().any(|name| name == verb.get_name()) {
            shown = shown.subcommand(verb.clone());
        }
    }
    shown
}

fn hidden(command: &Command) -> Vec<String> {
    let hidden = command.get_subcommands().filter(|verb| verb.is_hide_set());
    hidden.map(|verb| verb.get_name().to_owned()).collect()
}

/// One of Fail2Ban's names, as its command line reads.
fn namesake(program: &'static str) -> Command {
    if program == "fail2ban-regex" {
        return crate::regex::command().name(program).bin_name(program);
    }
    let about = match program {
        "fail2ban-client" => "ask a server of Fail2Ban or portcullis, or tell it what to do",
        _ => "start a server that is asked and told by fail2ban-client",
    };
    let mut command = Command::new(program)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(OPTIONS.iter().flat_map(|(names, meaning)| options(names, meaning)));
    if program == "fail2ban-client" {
        for word in first_words() {
            command = command.subcommand(verb(word));
        }
    }
    command
}

/// One line of the help as options: `-c, --conf DIR`, or `-v, -q`, which are two.
fn options(names: &'static str, meaning: &'static str) -> Vec<Arg> {
    let value = names.split(' ').nth(1 + names.matches(", ").count());
    let mut found: Vec<Arg> = Vec::new();
    for name in names.split(", ") {
        let name = name.split(' ').next().unwrap_or(name);
        let long = name.strip_prefix("--");
        let short = name.strip_prefix('-').and_then(|rest| rest.chars().next());
        match (long, found.last_mut()) {
            // A long name behind a short one is the same option; behind a long one, another name of it.
            (Some(long), Some(last)) if last.get_long().is_some() => *last = last.clone().visible_alias(long),
            (Some(long), Some(last)) => *last = last.clone().long(long),
            (Some(long), None) => found.push(Arg::new(long).long(long)),
            (None, _) => found.push(Arg::new(name).short(short)),
        }
    }
    let whole = |arg: Arg| match value {
        Some(value) => arg.value_name(value).help(meaning),
        None => arg.action(clap::ArgAction::SetTrue).help(meaning),
    };
    found.into_iter().map(whole).collect()
}

/// The first words of the client's commands, each once.
fn first_words() -> Vec<&'static str> {
    let mut words = Vec::new();
    for (line, _) in COMMANDS.iter().flat_map(|(_, commands)| *commands) {
        for word in names(line) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    words
}

/// The first word of a line of the help; `statistics, stats` are two names of one command.
fn names(line: &'static str) -> Vec<&'static str> {
    line.split(", ").filter_map(|part| part.split(' ').next()).collect()
}

/// A command of the client by its first word; what may follow is completed where the help names it.
fn verb(word: &'static str) -> Command {
    let lines: Vec<_> = COMMANDS
        .iter()
        .flat_map(|(_, commands)| *commands)
        .filter(|(line, _)| names(line).contains(&word))
        .collect();
    let about = lines.first().map_or("", |(_, meaning)| meaning);
    let mut options: Vec<&'static str> = Vec::new();
    for (line, _) in &lines {
        for part in line.split([' ', '[', ']', '|']).filter(|part| part.starts_with("--")) {
            if !options.contains(&part) {
                options.push(part);
            }
        }
    }
    let flags = options.iter().filter_map(|name| name.strip_prefix("--"));
    let flags = flags.map(|name| Arg::new(name).long(name).action(clap::ArgAction::SetTrue));
    let rest = Arg::new("words").value_name("WORD").num_args(0..);
    Command::new(word)
        .about(about)
        .disable_help_flag(true)
        .args(flags)
        .arg(rest)
}

/// The page of one of Fail2Ban's names: what clap knows, and the client's commands.
fn page(program: &'static str) -> io::Result<Vec<u8>> {
    let mut command = namesake(program);
    if program == "fail2ban-client" {
        // Each has more than one line here; they follow by themselves.
        let words: Vec<String> = command
            .get_subcommands()
            .map(|verb| verb.get_name().to_owned())
            .collect();
        for word in words {
            command = command.mut_subcommand(word, |verb| verb.hide(true));
        }
    }
    let man = Man::new(command).source(format!("portcullis {}", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    let mut more = Roff::new();
    if program == "fail2ban-client" {
        more.control("SH", ["COMMANDS"]);
        for (title, commands) in COMMANDS {
            more.control("SS", [*title]);
            for (line, meaning) in *commands {
                more.control("TP", []).text([bold(*line)]).text([roman(*meaning)]);
            }
        }
    }
    more.control("SH", ["SEE ALSO"]);
    more.text([
        bold("portcullis"),
        roman("(1); this program is portcullis under the name that Fail2Ban gives it"),
    ]);
    more.to_writer(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_help() {
        let check = |names, expect: &[(Option<char>, Option<&str>, bool)]| {
            let got = options(names, "");
            let got: Vec<_> = got
                .iter()
                .map(|arg| (arg.get_short(), arg.get_long(), arg.get_action().takes_values()))
                .collect();
            assert_eq!(got, expect, "{names}");
        };
        check("-c, --conf DIR", &[(Some('c'), Some("conf"), true)]);
        check("-d", &[(Some('d'), None, false)]);
        check("-v, -q", &[(Some('v'), None, false), (Some('q'), None, false)]);
        check("--dp, --dump-pretty", &[(None, Some("dp"), false)]);
        check("--loglevel LEVEL", &[(None, Some("loglevel"), true)]);
    }

    #[test]
    fn everything_is_written_and_nothing_hidden() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read = |part: &str| fs::read_to_string(folder.path().join(part)).unwrap();
        for word in first_words() {
            assert!(read("bash/fail2ban-client.bash").contains(word), "{word}");
        }
        let client = read("man/fail2ban-client.1");
        for (line, _) in COMMANDS.iter().flat_map(|(_, commands)| *commands) {
            let begin = line.split(['-', '.', '\'']).next().unwrap();
            assert!(client.contains(begin), "{line}");
        }
        for part in [
            "bash/portcullis.bash",
            "zsh/_portcullis",
            "fish/portcullis.fish",
            "man/portcullis.1",
        ] {
            let text = read(part);
            assert!(text.contains("banned") && !text.contains("detached"), "{part}");
        }
        assert!(folder.path().join("man/portcullis-status.1").exists());
        assert!(!folder.path().join("man/portcullis-daemon.1").exists());
        assert!(read("man/fail2ban-regex.1").contains("datepattern"));
    }
}

//! The gcloud commands that mean a ban in a firewall rule.
//!
//! In goes the text of a command, its tag included; out comes what it does to which rule, or why nobody can be sure. It
//! is read as a shell and gcloud would read it, and every word of it must be known: a command with a word too many is
//! left to the shell. Only `gcloud compute firewall-rules update NAME` with one address more or less in its list is
//! taken; gcloud has no flags for that, in any track, so that such a command never did anything but fail.

#[cfg(test)]
mod tests;

use super::options::{Options, checked_project, checked_rule};
use crate::action::{Action, Scope, Verb};
use crate::address::Family;
use crate::config::plan::ActionPlan;

/// The tag that stands for who is banned.
const ADDRESS: &str = "<ip>";

/// What a shell cuts words at.
const BLANKS: [char; 3] = [' ', '\t', '\n'];

/// The folders of Google's own gcloud. Elsewhere it may be a program of the same name that does something else.
const FOLDERS: [&str; 6] = [
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/snap/bin",
    "/usr/lib/google-cloud-sdk/bin",
    "/usr/lib64/google-cloud-sdk/bin",
];

/// Where gcloud's own installer puts it, below any folder.
const INSTALLED: &str = "/google-cloud-sdk/bin";

/// Variables of the environment that make gcloud somebody else, or let it talk to somebody else, in a way that is not
/// ours too. `CLOUDSDK_CORE_PROJECT`, `CLOUDSDK_AUTH_ACCESS_TOKEN_FILE` and
/// `CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE` mean the same to us as to gcloud and are honoured.
pub const FOREIGN: [&str; 16] = [
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_CORE_ACCOUNT",
    "CLOUDSDK_CORE_UNIVERSE_DOMAIN",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_AUTH_DISABLE_CREDENTIALS",
    "CLOUDSDK_AUTH_LOGIN_CONFIG_FILE",
    "CLOUDSDK_BILLING_QUOTA_PROJECT",
    "CLOUDSDK_CONTEXT_AWARE_USE_CLIENT_CERTIFICATE",
    "CLOUDSDK_API_CLIENT_OVERRIDES_COMPUTE",
    "CLOUDSDK_PROXY_ADDRESS",
    "CLOUDSDK_PROXY_PORT",
    "CLOUDSDK_PROXY_TYPE",
    "CLOUDSDK_PROXY_USERNAME",
];

/// Flags that say who acts, and as what.
const IDENTITY: [&str; 7] = [
    "--account",
    "--configuration",
    "--impersonate-service-account",
    "--access-token-file",
    "--billing-project",
    "--flags-file",
    "--universe-domain",
];

/// Flags that say how much is printed, and take a value.
const PRINTED: [&str; 2] = ["--format", "--verbosity"];

/// What a command does with the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `--add-source-ranges <ip>`
    Add,
    /// `--remove-source-ranges <ip>`
    Remove,
    /// `--source-ranges <ip>`: to gcloud the whole list would be this one address
    Replace,
}

impl Change {
    /// Its flag.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Change::Add => "--add-source-ranges",
            Change::Remove => "--remove-source-ranges",
            Change::Replace => "--source-ranges",
        }
    }
}

/// A command, known word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The rule
    pub rule: String,
    /// `--project`
    pub project: Option<String>,
    /// What is done with the address
    pub change: Change,
}

/// An action whose commands are done by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The rule, and how
    pub options: Options,
    /// The flag of `actionban`; one of [`Change::Add`] and [`Change::Replace`]
    pub ban: Change,
}

impl Recognised {
    /// What log, `status` and `check` say of it.
    #[must_use]
    pub fn said(&self) -> String {
        let rule = &self.options.rule;
        match self.ban {
            Change::Replace => format!(
                "--source-ranges with one address would replace the whole list of the rule {rule}; read as --add-source-ranges, and done by portcullis itself"
            ),
            Change::Add | Change::Remove => format!(
                "gcloud has no flags --add-source-ranges and --remove-source-ranges; done by portcullis itself in the rule {rule}"
            ),
        }
    }
}

/// Whether a command is about firewall rules of the cloud, recognised or not.
#[must_use]
pub fn is_about(script: &str) -> bool {
    let mut words = script.split(|c: char| c.is_whitespace() || "\"';|&()`".contains(c));
    script.contains("firewall-rules") && words.any(|word| word == "gcloud" || word.ends_with("/gcloud"))
}

/// Reads one command: `gcloud compute firewall-rules update NAME --add-source-ranges <ip>` and its like.
///
/// # Errors
/// Why it is left to the shell: half a sentence, such as `--account changes who acts`.
pub fn recognise(script: &str) -> Result<Command, String> {
    let words = words(script)?;
    let mut words = words.iter().map(String::as_str);
    program(words.next().unwrap_or_default())?;
    let mut reading = Reading::default();
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            reading.flag(word, &mut words)?;
        } else {
            reading.word(word)?;
        }
    }
    reading.command()
}

/// Finds out whether an action bans by such commands, and nothing else: `Ok(None)` for an action that is not about
/// firewall rules of the cloud at all, an error for one that is and is left to the shell.
///
/// Options of [`Options`] may stand beside the commands, as parameters of the action (`gcloud-ban[local=no]`); `rule` and
/// `project` are the commands', and `project` is taken from the parameters where the commands name none. What
/// `environment` answers is the environment that the commands would run in. The caller sees to `native = no`, with which
/// this is not to be asked, and to actions that have a `layer`.
///
/// # Errors
/// Why it is left to the shell: half a sentence.
pub fn of_action(
    plan: &ActionPlan,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Recognised>, String> {
    if plan.property("layer").is_some() || plan.property(ActionPlan::FILE).is_some() {
        return Ok(None);
    }
    // What cannot be compiled is complained of where it is to be run.
    let Ok(action) = Action::compile(plan, true) else {
        return Ok(None);
    };
    if !action.scripts().any(|script| is_about(script.text())) {
        return Ok(None);
    }
    let ban = command(&action, Verb::Ban)?;
    let unban = command(&action, Verb::Unban)?;
    pair(&ban, &unban)?;
    nothing_else(&action, &ban)?;
    let is_set = |name: &&&str| environment(name).is_some_and(|value| !value.trim().is_empty());
    if let Some(name) = FOREIGN.iter().find(is_set) {
        return Err(format!("{name} in the environment changes who acts, or where"));
    }
    let mut options = Options::new(&checked_rule(&ban.rule)?);
    options.read(plan)?;
    let inherited = || environment("CLOUDSDK_CORE_PROJECT").filter(|name| !name.trim().is_empty());
    let given = options.project.take();
    let project = ban.project.clone().or(given).or_else(inherited);
    options.project = project.map(|name| checked_project(name.trim())).transpose()?;
    Ok(Some(Recognised {
        options,
        ban: ban.change,
    }))
}

/// The commands of a verb, which must be the same for both families.
fn command(action: &Action, verb: Verb) -> Result<Command, String> {
    let option = verb.option();
    let scopes = [Scope::Whole, Scope::Family(Family::Inet4), Scope::Family(Family::Inet6)];
    let mut found: Option<Command> = None;
    for scope in scopes {
        let Some(script) = action.script(verb, scope) else {
            return Err(format!("it has no {option}"));
        };
        let command = recognise(script.text()).map_err(|reason| format!("in {option} {reason}"))?;
        if found.as_ref().is_some_and(|other| *other != command) {
            return Err(format!("its {option} differs by family"));
        }
        found = Some(command);
    }
    found.ok_or_else(|| format!("it has no {option}"))
}

/// A ban adds, an unban takes the same away.
fn pair(ban: &Command, unban: &Command) -> Result<(), String> {
    if ban.change == Change::Remove {
        return Err("its actionban takes addresses out of the rule".to_owned());
    }
    match unban.change {
        Change::Remove => {}
        Change::Add => return Err("its actionunban adds addresses to the rule".to_owned()),
        Change::Replace => {
            return Err(
                "in actionunban --source-ranges would leave nothing in the rule but the address that is freed: \
                 write --remove-source-ranges <ip>"
                    .to_owned(),
            );
        }
    }
    if (&ban.rule, &ban.project) != (&unban.rule, &unban.project) {
        return Err("its actionban and its actionunban name different rules or projects".to_owned());
    }
    Ok(())
}

/// Nothing of an action may be lost.
fn nothing_else(action: &Action, ban: &Command) -> Result<(), String> {
    let others = [
        Verb::Start,
        Verb::Stop,
        Verb::Check,
        Verb::Repair,
        Verb::Reban,
        Verb::Prolong,
        Verb::Flush,
        Verb::Reload,
    ];
    for verb in others {
        for scope in [Scope::Whole, Scope::Family(Family::Inet4), Scope::Family(Family::Inet6)] {
            let text = action.script(verb, scope).map_or("", |script| script.text().trim());
            let is_ban = || verb == Verb::Reban && recognise(text).as_ref() == Ok(ban);
            if !text.is_empty() && !is_ban() {
                return Err(format!("it has a command in {} too", verb.option()));
            }
        }
    }
    Ok(())
}

/// The words of one simple command, as a shell cuts them. Quotes may stand round a word or a part of it.
fn words(script: &str) -> Result<Vec<String>, String> {
    let script = script.trim_matches(BLANKS);
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = script;
    while let Some(c) = rest.chars().next() {
        // The tag is filled in before a shell sees it, within quotes too.
        if let Some(behind) = rest.strip_prefix(ADDRESS) {
            word.get_or_insert_default().push_str(ADDRESS);
            rest = behind;
            continue;
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match (c, quote) {
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (' ' | '\t', None) => words.extend(word.take()),
            ('\n', _) => return Err("there is more than one line".to_owned()),
            (c, _) if c.is_ascii_alphanumeric() || "_-./:=,@+".contains(c) => word.get_or_insert_default().push(c),
            ('<', _) => return Err(format!("there is a redirection, or another tag than {ADDRESS}")),
            (c, _) => return Err(format!("'{}' means something to the shell", c.escape_debug())),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// gcloud itself, and no program or assignment in front of it.
fn program(word: &str) -> Result<(), String> {
    let (folder, name) = word.rsplit_once('/').unwrap_or(("", word));
    if let Some((variable, _)) = word.split_once('=') {
        return Err(format!("{variable} is set before the command"));
    }
    if name != "gcloud" {
        return Err(format!("'{word}' comes before gcloud"));
    }
    if word.contains('/') && !FOLDERS.contains(&folder) && !folder.ends_with(INSTALLED) {
        return Err(format!("{word} is not where gcloud is installed"));
    }
    Ok(())
}

/// A command, as far as it was read.
#[derive(Default)]
struct Reading {
    /// How many of `compute firewall-rules update` came
    came: usize,
    rule: Option<String>,
    project: Option<String>,
    change: Option<Change>,
}

/// What the command is about, in this order; flags may stand in between.
const PATH: [&str; 3] = ["compute", "firewall-rules", "update"];

impl Reading {
    fn word(&mut self, word: &str) -> Result<(), String> {
        match PATH.get(self.came) {
            Some(expected) if word == *expected => self.came += 1,
            Some(_) if self.came == 0 && ["alpha", "beta", "preview"].contains(&word) => {
                return Err(format!("it is of the track {word}"));
            }
            Some(_) => {
                return Err(format!(
                    "'{word}' is another command than compute firewall-rules update"
                ));
            }
            None if self.rule.is_some() => return Err(format!("'{word}' is a word too many")),
            None => self.rule = Some(checked_rule(word)?),
        }
        Ok(())
    }

    /// A flag, whose value stands behind `=` or is the next word.
    fn flag<'w>(&mut self, word: &'w str, rest: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if IDENTITY.contains(&name) {
            return Err(format!("{name} changes who acts"));
        }
        if ["--quiet", "-q", "--no-user-output-enabled"].contains(&word) {
            return Ok(());
        }
        let change = [Change::Add, Change::Remove, Change::Replace]
            .into_iter()
            .find(|change| change.flag() == name);
        if change.is_none() && name != "--project" && !PRINTED.contains(&name) {
            return Err(format!("the flag {name} is not one that portcullis knows"));
        }
        // gcloud takes a word that begins with a hyphen for the next flag.
        let value = joined.or_else(|| rest.next().filter(|word| !word.starts_with('-')));
        let value = value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("{name} has no value"))?;
        match change {
            Some(change) => self.change(change, value),
            None if name == "--project" && self.project.is_some() => Err(format!("{name} stands there twice")),
            None if name == "--project" => {
                self.project = Some(checked_project(value)?);
                Ok(())
            }
            None if value.contains(ADDRESS) => Err(format!("{name} has {ADDRESS} in it")),
            None => Ok(()),
        }
    }

    fn change(&mut self, change: Change, value: &str) -> Result<(), String> {
        let flag = change.flag();
        if self.came < PATH.len() {
            return Err(format!("{flag} stands before the command that it belongs to"));
        }
        if let Some(other) = self.change {
            return Err(format!("there is {} and {flag}", other.flag()));
        }
        if value != ADDRESS {
            return Err(format!("{flag} is '{value}', not {ADDRESS} alone"));
        }
        self.change = Some(change);
        Ok(())
    }

    fn command(self) -> Result<Command, String> {
        if let Some(missing) = PATH.get(self.came) {
            return Err(format!("the word {missing} is missing"));
        }
        let no_change = || "no source range is added or removed".to_owned();
        Ok(Command {
            rule: self.rule.ok_or("no rule is named")?,
            project: self.project,
            change: self.change.ok_or_else(no_change)?,
        })
    }
}

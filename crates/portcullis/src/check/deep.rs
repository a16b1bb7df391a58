//! The real parts, tried on a plan: patterns are compiled, actions resolved, ports looked up, log files opened.

mod cloud;

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;

use jiff::tz::TimeZone;
use portcullis_core::action::Action;
use portcullis_core::address::Id;
use portcullis_core::allow::{Allow, Found, list_path};
use portcullis_core::config::plan::{ActionPlan, JailPlan, LogPath, Plan, Server, UseDns};
use portcullis_core::config::{self, Outcome, Tree, lint};
use portcullis_core::diagnostic::{Diagnostic, Severity};
use portcullis_core::encoding::SUPPORTED;
use portcullis_core::filter::{Error as FilterError, Filter, Settings, Tell};
use portcullis_core::pattern::{Error as PatternError, Flags, Pattern};
use portcullis_core::stamp::Error as StampError;

use crate::daemon::read_list;
use crate::daemon::way::{GCP, Manner, way};
use crate::enforce::mail;
use crate::enforce::ports::{Ports, Services, protocols};
use crate::matching::LogEncoding;
use crate::observe::log::{Target, unknown_facility};
use crate::source::journal::{self, Matches};

/// Where the names of ports are.
const SERVICES: &str = "/etc/services";

/// Tries every jail of a plan, and what the server itself needs.
pub(super) fn look(tree: &dyn Tree, base: &str, outcome: &Outcome, plan: &Plan) -> Vec<Diagnostic> {
    let mut deep = Deep {
        tree,
        outcome,
        places: lint::Places::new(tree, base),
        services: Services::read(Path::new(SERVICES)).unwrap_or_default(),
        found: Vec::new(),
    };
    for (jail, reason) in &outcome.held {
        let message = format!("jail {jail} begins no new ban until this is mended: {reason}");
        deep.found
            .push(Diagnostic::new(Severity::Error, "held", message).jail(jail.as_str()));
    }
    deep.server(&plan.server);
    for jail in &plan.jails {
        deep.patterns(jail);
        deep.source(jail);
        deep.spared(jail);
        for action in &jail.actions {
            deep.action(jail, action);
        }
    }
    deep.found
}

/// Complaints of the reading with the place of the option that they are about, where they have none.
pub(super) fn placed(tree: &dyn Tree, base: &str, told: impl Iterator<Item = Diagnostic>) -> Vec<Diagnostic> {
    let mut places = lint::Places::new(tree, base);
    let place = |told: Diagnostic| {
        let option = match told.code {
            "no-action" => "action",
            "no-filter" => "filter",
            "bad-command" | "bad-usedns" => told.message.split(' ').next().unwrap_or_default(),
            _ => return told,
        };
        match (told.jail.clone(), option.to_owned()) {
            (Some(jail), option) => places.set(told, &jail, &option),
            (None, option) => places.set_server(told, &option),
        }
    };
    told.map(place).collect()
}

struct Deep<'a> {
    tree: &'a dyn Tree,
    outcome: &'a Outcome,
    places: lint::Places<'a>,
    services: Services,
    found: Vec<Diagnostic>,
}

impl Deep<'_> {
    fn server(&mut self, server: &Server) {
        if let Some((problem, mend)) = odd_target(server) {
            let finding = Diagnostic::new(Severity::Warning, "bad-logtarget", problem).mend(mend);
            self.found.push(self.places.set_server(finding, "logtarget"));
        }
        let Some(file) = server.dbfile.as_deref().filter(|file| *file != ":memory:") else {
            return;
        };
        // The last folder of the path is made by the daemon; those above it are not.
        let above = Path::new(file).parent().and_then(Path::parent);
        if let Some(folder) = above.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            let message = format!(
                "dbfile lies below {}, which does not exist, so bans cannot be kept",
                folder.display()
            );
            let mend = "make the folder, or start the daemon with --state";
            self.found
                .push(Diagnostic::new(Severity::Warning, "no-dbfile-folder", message).mend(mend));
        }
    }

    fn patterns(&mut self, jail: &JailPlan) {
        let flags = Flags {
            multiline: jail.maxlines > 1,
            host_is_addr: jail.usedns == UseDns::No,
        };
        let before = self.found.len();
        let prefregex: Vec<String> = jail.prefregex.iter().filter(|text| !text.is_empty()).cloned().collect();
        for (option, list) in [
            ("prefregex", &prefregex),
            ("failregex", &jail.failregex),
            ("ignoreregex", &jail.ignoreregex),
        ] {
            for (index, text) in list.iter().enumerate() {
                if let Err(error) = Pattern::new(text, flags) {
                    self.bad_pattern(jail, (option, index + 1), &error);
                }
            }
        }
        if self.found.len() > before {
            return;
        }
        let settings = Settings {
            zone: TimeZone::UTC,
            check_all: false,
            check_age: true,
            tell: Tell::Failures,
        };
        match Filter::new(jail, settings) {
            Ok(_) => {}
            Err(FilterError::Stamp(error)) => {
                let message = format!("the dates of this jail cannot be read: {error}");
                let option = if matches!(error, StampError::Zone(_)) {
                    "logtimezone"
                } else {
                    "datepattern"
                };
                self.tell(
                    jail,
                    Diagnostic::new(Severity::Error, "bad-datepattern", message),
                    option,
                );
            }
            Err(FilterError::Pattern { option, number, error }) => self.bad_pattern(jail, (option, number), &error),
            Err(FilterError::Unsupported(what)) => {
                let message = format!("{what} is not supported yet, so this jail finds nothing");
                self.tell(
                    jail,
                    Diagnostic::new(Severity::Error, "not-supported", message),
                    "maxlines",
                );
            }
        }
    }

    fn bad_pattern(&mut self, jail: &JailPlan, which: (&str, usize), error: &PatternError) {
        let (option, number) = which;
        let (code, reason) = match error {
            PatternError::Compile { reason, .. } => ("bad-regex", reason.clone()),
            PatternError::Unsupported { what, .. } => ("not-supported", what.clone()),
            PatternError::Empty => ("bad-regex", "it is empty".to_owned()),
            PatternError::NoFailureId(_) => ("no-failure-id", "it names no address".to_owned()),
        };
        let message = format!("this {option} cannot be used: {reason}");
        let key = if option == "prefregex" {
            option.to_owned()
        } else {
            format!("{option}#{number}")
        };
        let mut finding = self.placed(jail, Diagnostic::new(Severity::Error, code, message), &key, option);
        if let PatternError::Compile {
            regex,
            offset: Some(offset),
            ..
        } = error
            && let (Some(position), Some(line)) = (&mut finding.position, &finding.line)
        {
            position.column = column(line, regex, *offset).unwrap_or(1);
        }
        self.found
            .push(finding.mend("mend the pattern, or take the line out; the other patterns stay in force"));
    }

    /// Which entries of which journal.
    fn journal(&mut self, jail: &JailPlan) {
        if let Err(wrong) = journal::excerpt(&journal::name(&jail.backend)) {
            let finding = Diagnostic::new(Severity::Error, "bad-backend", wrong.to_string());
            let mend = "the options are journalpath, journalfiles, journalflags, namespace and rotated";
            self.tell(jail, finding.mend(mend), "backend");
        }
        match Matches::new(&jail.journalmatch) {
            Err(error) => {
                let finding = Diagnostic::new(Severity::Error, "bad-journalmatch", error.to_string());
                let mend = "write journalmatch = _SYSTEMD_UNIT=NAME.service";
                self.tell(jail, finding.mend(mend), "journalmatch");
            }
            Ok(matches) if matches.is_empty() => {
                let text = "it reads every entry of the journal: there is no journalmatch";
                let finding = Diagnostic::new(Severity::Warning, "no-journalmatch", text);
                let mend = "name the service: journalmatch = _SYSTEMD_UNIT=NAME.service";
                self.tell(jail, finding.mend(mend), "backend");
            }
            Ok(_) => {}
        }
    }

    /// Where the lines come from.
    fn source(&mut self, jail: &JailPlan) {
        if is_journal(jail) {
            self.journal(jail);
        } else if jail.logpath.is_empty() && !self.told_no_log(jail) {
            let finding = Diagnostic::new(
                Severity::Warning,
                "no-logpath",
                "this jail has no log file, so it finds nothing",
            );
            self.tell(jail, finding.mend("set logpath in this jail"), "logpath");
        }
        for (index, log) in jail.logpath.iter().enumerate() {
            let Some((problem, mend)) = closed(&log.path) else {
                continue;
            };
            let finding = Diagnostic::new(Severity::Error, "unreadable-log", problem).mend(mend);
            let finding = self.placed(jail, finding, &format!("logpath#{}", index + 1), "logpath");
            self.found.push(finding);
        }
        if LogEncoding::named(&jail.logencoding).is_err() {
            let message = format!(
                "logencoding '{}' is not supported, so this jail finds nothing",
                jail.logencoding
            );
            let finding = Diagnostic::new(Severity::Error, "not-supported", message);
            self.tell(jail, finding.mend(format!("supported are {SUPPORTED}")), "logencoding");
        }
    }

    fn told_no_log(&self, jail: &JailPlan) -> bool {
        let told =
            |told: &&Diagnostic| told.code.starts_with("no-log-file") && told.jail.as_deref() == Some(&jail.name);
        self.outcome.diagnostics.iter().find(told).is_some()
    }

    /// `ignoreip`: an entry that cannot be honoured, or that is no address although it looks like one.
    fn spared(&mut self, jail: &JailPlan) {
        for entry in &jail.ignoreip {
            if let Some(reason) = unreadable(entry) {
                let message = format!("ignoreip = {entry}: {reason}; this jail bans nobody until it can be read");
                let diagnostic = Diagnostic::new(Severity::Error, "bad-ignoreip", message);
                self.tell(
                    jail,
                    diagnostic.mend("write the file, or take the entry out"),
                    "ignoreip",
                );
            } else if let Err(error) = Allow::new(false, std::slice::from_ref(entry)) {
                let message = format!("{error}; this jail bans nobody until it is mended");
                let mend = "write addresses, networks such as 192.0.2.0/24, or names";
                self.tell(
                    jail,
                    Diagnostic::new(Severity::Error, "bad-ignoreip", message).mend(mend),
                    "ignoreip",
                );
            } else if let Some((address, longest)) = too_long(entry) {
                let message = format!(
                    "ignoreip = {entry}: no prefix of it is longer than {longest}, so {address} alone is spared"
                );
                let diagnostic = Diagnostic::new(Severity::Warning, "odd-ignoreip", message);
                self.tell(
                    jail,
                    diagnostic.mend(format!("write {address}, or a shorter prefix")),
                    "ignoreip",
                );
            } else if looks_like_address(entry) && matches!(Id::parse(entry), Ok(Id::Raw(_))) {
                let message = format!(
                    "ignoreip = {entry} is no address and no network, so it is taken for a host name and spares nobody"
                );
                let mend = "write it as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32";
                self.tell(
                    jail,
                    Diagnostic::new(Severity::Warning, "odd-ignoreip", message).mend(mend),
                    "ignoreip",
                );
            }
        }
    }

    fn action(&mut self, jail: &JailPlan, action: &ActionPlan) {
        if action.property(ActionPlan::FILE).is_some() {
            self.python(jail, action);
            return;
        }
        self.gcloud(jail, action);
        let origin = format!("actionban@{}", action.name);
        if let Err(error) = Action::compile(action, true) {
            let message = format!("action {} cannot be used, so it bans nobody: {error}", action.name);
            let finding = self.placed(
                jail,
                Diagnostic::new(Severity::Error, "bad-action", message),
                &origin,
                "action",
            );
            self.found.push(finding);
        }
        match action.property("layer").as_deref() {
            Some("nft") => self.native(jail, action),
            Some(GCP) => self.firewall(jail, action),
            Some(layer) => {
                let message = format!("action {} asks for the layer '{layer}', which is none", action.name);
                self.tell(
                    jail,
                    Diagnostic::new(Severity::Error, "no-layer", message)
                        .mend("write layer = nft or layer = gcp-firewall"),
                    "action",
                );
            }
            // An action that has nothing at all lost it to a complaint that is made elsewhere.
            None if !action.properties.is_empty()
                && action.property("actionban").is_none_or(|text| text.trim().is_empty()) =>
            {
                let message = format!("action {} has no actionban, so it bans nobody", action.name);
                let mend = "write actionban into its [Definition]";
                self.tell(
                    jail,
                    Diagnostic::new(Severity::Warning, "no-actionban", message).mend(mend),
                    "action",
                );
            }
            // What a command means by its port is its own affair, unless it is the jail's.
            None if action.property("port").as_deref() == self.places.text(&jail.name, "port") => {
                self.ports(jail, action, Severity::Warning);
            }
            None => {}
        }
    }

    /// An action of ours: its ports, then whatever else would keep it from being in force.
    fn native(&mut self, jail: &JailPlan, action: &ActionPlan) {
        let before = self.found.len();
        self.ports(jail, action, Severity::Error);
        if self.found.len() > before {
            return;
        }
        let manner = Manner {
            dry_run: false,
            is_own_face: true,
        };
        if let Err(reason) = way(action, manner) {
            self.not_in_force("bad-action", jail, action, &reason);
        }
    }

    /// An action written in Python: Fail2Ban's own one is known.
    fn python(&mut self, jail: &JailPlan, action: &ActionPlan) {
        let Err(reason) = mail::of(action) else { return };
        self.not_in_force("python-action", jail, action, &reason);
    }

    /// An action that is left out, and why.
    fn not_in_force(&mut self, code: &'static str, jail: &JailPlan, action: &ActionPlan, reason: &str) {
        let message = format!("action {} is not in force: {reason}", action.name);
        let finding = Diagnostic::new(Severity::Error, code, message);
        let placed = self.placed(jail, finding, &format!("addaction@{}", action.name), "action");
        self.found.push(placed);
    }

    /// Ports and protocols of an action, as far as they are written out.
    fn ports(&mut self, jail: &JailPlan, action: &ActionPlan, severity: Severity) {
        let is_all = |name: &str| action.property(name).is_some_and(|kind| kind == "allports");
        let text = |name: &str| action.property(name).filter(|text| !text.contains(['<', '$', '{']));
        let port = text("port").filter(|_| !is_all("type"));
        let bad_port = port.and_then(|text| Ports::parse(&text, &self.services).err());
        let bad_protocol = text("protocol").and_then(|text| protocols(&text).err());
        for (option, error) in [("port", bad_port), ("protocol", bad_protocol)] {
            let Some(error) = error else { continue };
            let finding = Diagnostic::new(severity, "bad-port", error.to_string());
            self.tell(
                jail,
                finding.mend("write numbers, ranges such as 8000:8010, or names of /etc/services"),
                option,
            );
        }
    }

    /// Tells of a jail's option.
    fn tell(&mut self, jail: &JailPlan, finding: Diagnostic, option: &str) {
        let placed = self.placed(jail, finding, option, option);
        self.found.push(placed);
    }

    /// With the place that the reading knows, or where the jail writes the option.
    fn placed(&mut self, jail: &JailPlan, finding: Diagnostic, origin: &str, option: &str) -> Diagnostic {
        let finding = finding.jail(&*jail.name);
        let origin = self.outcome.origins.get(&(jail.name.to_string(), origin.to_owned()));
        let line = origin.and_then(|origin| lint::line_at(self.tree, origin));
        match (origin, line) {
            (Some(origin), Some(line)) => finding.at(origin.clone(), line),
            _ => self.places.set(finding, &jail.name, option),
        }
    }
}

/// Whether a jail reads the journal.
pub(super) fn is_journal(jail: &JailPlan) -> bool {
    jail.backend.to_ascii_lowercase().starts_with("systemd")
}

/// Why a log that is there cannot be followed.
fn closed(path: &str) -> Option<(String, &'static str)> {
    if LogPath::is_stream(path) {
        return None;
    }
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_dir() {
        let mend = "name the file, or write a pattern such as /var/log/service/*.log";
        return Some((format!("the logpath {path} is a folder, not a file"), mend));
    }
    let error = metadata.is_file().then(|| File::open(path).err()).flatten()?;
    let mend = "run the check, and the daemon, as a user who may read it";
    Some((
        format!("the log file {path} cannot be read by whoever runs this check: {error}"),
        mend,
    ))
}

/// What is wrong with where the log is to go, and what to do about it.
fn odd_target(server: &Server) -> Option<(String, &'static str)> {
    // One that cannot be taken apart at all was told of already.
    let named = config::extract(&server.logtarget).ok()?;
    if let Err(error) = Target::read(&named.name, &named.options, &server.syslogsocket) {
        let problem = format!("logtarget cannot be used, the log goes to the state folder: {error}");
        return Some((problem, "mend the format, or take it out"));
    }
    let complaint = unknown_facility(&named.options)?;
    Some((complaint, "write one of syslog's facilities, such as AUTH or LOCAL0"))
}

/// An address with a prefix that is longer than it, and how long it could be.
fn too_long(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let is_longer = prefix.parse::<u8>().map_or(true, |prefix| prefix > longest);
    (is_number && is_longer).then_some((address, longest))
}

/// Why a file of addresses cannot be used, if it cannot (contract §4.1).
fn unreadable(entry: &str) -> Option<String> {
    let path = list_path(entry).filter(|path| !path.is_empty())?;
    match read_list(&Path::new("/").join(path), None) {
        Ok(Found::Failed(reason, _)) | Err(reason) => Some(reason),
        Ok(Found::Read(..) | Found::Same) => None,
    }
}

/// Digits, dots, colons and slashes only, or nearly so: no host has such a name.
fn looks_like_address(text: &str) -> bool {
    let digits = text.chars().any(|c| c.is_ascii_digit());
    let has_colon = text.contains(':');
    let fits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '/' | ':' | '*') || has_colon && c.is_ascii_hexdigit();
    digits && text.chars().all(fits) && text.contains(['.', ':', '/'])
}

/// The column in a file's line of what stands at `offset` in the regex that came of it. The regex is longer than
/// the line, because tags and `%(…)s` were put in, so the place is found by what stands around it.
fn column(line: &str, regex: &str, offset: usize) -> Option<usize> {
    const REACH: usize = 12;
    let regex: Vec<char> = regex.chars().collect();
    let around = |left: usize, right: usize| -> Option<usize> {
        let start = offset.checked_sub(left)?;
        let part: String = regex.get(start..(offset + right).min(regex.len()))?.iter().collect();
        let mut places = line.match_indices(&part).filter(|_| part.chars().count() >= 3);
        let (at, _) = places.next()?;
        let is_only = places.next().is_none();
        is_only.then(|| line.get(..at).map_or(0, |before| before.chars().count()) + left + 1)
    };
    (1..=REACH).rev().find_map(|reach| {
        around(reach.min(offset), reach)
            .or_else(|| around(0, reach))
            .or_else(|| around(reach, 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_is_found_by_what_stands_around_it() {
        let cases = [
            ("failregex = ^a(b <HOST>", "^a(b (?:XXXX)", 2, Some(15)),
            ("failregex = %(pre)s [z-a] end", "long prefix [z-a] end", 13, Some(22)),
            ("failregex = ab", "somewhere else", 4, None),
        ];
        for (line, regex, offset, expect) in cases {
            assert_eq!(column(line, regex, offset), expect, "{line}");
        }
    }

    #[test]
    fn what_looks_like_an_address() {
        for (text, expect) in [
            ("192.0.2.300", true),
            ("192.0.2.0/33", true),
            ("192.0.2.*", true),
            ("2001:db8:::1", true),
            ("mail.example.org", false),
            ("cafe", false),
            ("8ball", false),
        ] {
            assert_eq!(looks_like_address(text), expect, "{text}");
        }
    }
}

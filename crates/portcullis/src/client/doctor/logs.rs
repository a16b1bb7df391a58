//! The logs: whether each is there, may be read, is written to, is read up to its end, and has dates of this clock.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use portcullis_core::config::plan::{JailPlan, LogPath};
use portcullis_core::time::{Seconds, Timestamp, print_length};

use super::disk::{self, Place};
use super::scene::Scene;
use super::unit;
use crate::client::finding::Finding;
use crate::daemon::zone;

/// A log to which nothing was written for so long is told of: 24 hours.
const QUIET: Seconds = Seconds::new(86_400);
/// A date this far ahead of the clock is not of now.
const AHEAD: Seconds = Seconds::new(120);
/// A last line whose date lies so far before the moment in which it was written is of another zone, or another clock.
const BEHIND: Seconds = Seconds::new(1800);
/// So many bytes may wait for a reader at work.
const BACKLOG: u64 = 1 << 20;
/// The state of a file with which the daemon has no trouble.
pub(super) const READING: &str = "reading";

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let mut readers: BTreeMap<&str, Vec<&JailPlan>> = BTreeMap::new();
    for jail in scene.jails().filter(|jail| !is_journal(jail)) {
        for log in &jail.logpath {
            readers.entry(&log.path).or_default().push(jail);
        }
    }
    let places = disk::places(scene);
    let mut found: Vec<Finding> = Vec::new();
    for (path, jails) in readers {
        let log = Log { scene, path, jails };
        if LogPath::is_stream(path) {
            found.push(log.stream());
            continue;
        }
        found.extend(log.look(&places));
    }
    found
}

/// Whether a jail reads the journal.
pub(super) fn is_journal(jail: &JailPlan) -> bool {
    jail.backend.to_ascii_lowercase().starts_with("systemd")
}

struct Log<'s> {
    scene: &'s Scene,
    path: &'s str,
    jails: Vec<&'s JailPlan>,
}

impl Log<'_> {
    fn look(&self, places: &[Place]) -> Vec<Finding> {
        let metadata = match fs::metadata(self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return vec![self.missing()],
            Err(error) => return vec![self.closed(&format!("cannot be reached: {error}"))],
        };
        if metadata.is_dir() {
            let mend = "name the file in logpath, or write a pattern such as /var/log/service/*.log";
            return vec![
                Finding::bad("log-folder", "it is a folder, not a file")
                    .of(self.path)
                    .mend(mend),
            ];
        }
        if !metadata.is_file() {
            let mend = "name a file that the service writes in logpath";
            return vec![
                Finding::bad("log-kind", "it is no regular file")
                    .of(self.path)
                    .mend(mend),
            ];
        }
        if let Some(finding) = self.unreadable(&metadata) {
            return vec![finding];
        }
        let mut found: Vec<Finding> = [
            self.quiet(&metadata),
            self.dates(&metadata),
            self.backlog(&metadata, places),
        ]
        .into_iter()
        .flatten()
        .collect();
        if found.is_empty() {
            found.push(Finding::ok("log", self.read_by(&metadata)).of(self.path));
        }
        found
    }

    /// A program's output, or standard input: only the daemon can tell how it stands.
    fn stream(&self) -> Finding {
        let Some(_) = self.scene.status() else {
            let text = format!("is read as soon as the daemon runs, for {}", self.names());
            return Finding::note("log", text).of(self.path);
        };
        let Some(state) = self.told() else {
            return Finding::ok("log", format!("is read for {}", self.names())).of(self.path);
        };
        let mend = match LogPath::program(self.path) {
            Some(script) => format!(
                "run it by hand and see: sh -c {}\nit must go on printing for as long as the daemon runs, as docker \
                 logs -f and tail -F do; write another logcommand, then: portcullis reload",
                quoted(script)
            ),
            None => "start the daemon again behind what writes the log: PROGRAM | portcullis run".to_owned(),
        };
        let text = format!("gives nothing to {}: {state}", self.names());
        Finding::bad("log-program", text).of(self.path).mend(mend)
    }

    /// What the daemon says of it where it has trouble with it.
    fn told(&self) -> Option<String> {
        let states = self.jails.iter().filter_map(|jail| self.scene.jail(&jail.name));
        let mut states = states
            .flat_map(|jail| &jail.files)
            .filter(|file| file.path == self.path);
        states.find(|file| file.state != READING).map(|file| file.state.clone())
    }

    /// The names of the jails that read it.
    fn names(&self) -> String {
        let names: Vec<&str> = self.jails.iter().map(|jail| &*jail.name).collect();
        names.join(", ")
    }

    fn read_by(&self, metadata: &Metadata) -> String {
        let written = self.scene.ago(modified(metadata));
        format!("can be read, last written {written} ago, for {}", self.names())
    }

    fn missing(&self) -> Finding {
        let text = format!("does not exist, and is waited for by {}", self.names());
        Finding::bad("log-missing", text)
            .of(self.path)
            .mend(no_log(self.scene, &self.jails))
    }

    /// Whoever reads it for us may be another than we are.
    fn unreadable(&self, metadata: &Metadata) -> Option<Finding> {
        let own = File::open(self.path).err();
        let why = match (self.told(), own) {
            (Some(state), _) => state,
            (None, Some(error)) if self.scene.status().is_none() => error.to_string(),
            // The daemon reads it, whoever asks may not.
            (None, _) => return None,
        };
        let root = &self.scene.root;
        let (owner, group) = (
            unit::name_of(root, "etc/passwd", metadata.uid()),
            unit::name_of(root, "etc/group", metadata.gid()),
        );
        let mode = metadata.permissions().mode() & 0o7777;
        Some(self.closed(&format!("{why} (it belongs to {owner}:{group}, mode {mode:04o})")))
    }

    fn closed(&self, why: &str) -> Finding {
        let user = self.user();
        let text = format!("{user} cannot read it for {}: {why}", self.names());
        let mend = if user == "root" {
            format!(
                "ls -ldZ {} and the folders above it: a mount or a security module keeps root out",
                self.path
            )
        } else {
            format!(
                "run the daemon as root, or let {user} read it: setfacl -m u:{user}:r {}",
                self.path
            )
        };
        Finding::bad("log-unreadable", text).of(self.path).mend(mend)
    }

    /// Who reads: the daemon's user, or ourselves.
    fn user(&self) -> String {
        let root = &self.scene.root;
        let status = self.scene.status().map(|status| status.pid);
        let text = status.and_then(|pid| fs::read_to_string(root.join(format!("proc/{pid}/status"))).ok());
        let of_daemon = text.as_deref().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        });
        let user = of_daemon.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        unit::name_of(root, "etc/passwd", user)
    }

    /// Nothing was written for long.
    fn quiet(&self, metadata: &Metadata) -> Option<Finding> {
        let written = modified(metadata);
        let age = self.scene.now.wall - written;
        if age < QUIET {
            return None;
        }
        let what = if metadata.len() == 0 { "is empty, and " } else { "" };
        let text = format!(
            "{what}nothing was written to it for {} (told from {} hours on)",
            self.scene.ago(written),
            QUIET.whole() / 3600
        );
        let mend = format!(
            "look where the service logs to now (ls -lt {} | head), and correct logpath; {}",
            Path::new(self.path).parent().unwrap_or(Path::new("/var/log")).display(),
            unit::logger(self.scene)
        );
        Some(Finding::warn("log-quiet", text).of(self.path).mend(mend))
    }

    /// Dates that are not found, or that are of another clock.
    fn dates(&self, metadata: &Metadata) -> Option<Finding> {
        let mut trials = self.scene.trials.iter().filter(|trial| trial.path == self.path);
        let undated = trials
            .clone()
            .find(|trial| trial.lines > 0 && trial.undated * 2 > trial.lines);
        if let Some(trial) = undated {
            let text = format!(
                "jail {} finds no date in {} of the last {} lines, and takes them as of now",
                trial.jail, trial.undated, trial.lines
            );
            let mend = format!(
                "set datepattern in [{}]; this shows what is found: {}",
                trial.jail,
                self.typed_regex(&trial.jail)
            );
            return Some(Finding::warn("log-undated", text).of(self.path).mend(mend));
        }
        let last = trials.find_map(|trial| trial.last)?;
        let (now, written) = (self.scene.now.wall, modified(metadata));
        let off = last - written;
        let (code, side) = if last - now > AHEAD {
            ("log-future", "ahead of")
        } else if written - last > BEHIND {
            ("log-past", "behind")
        } else {
            return None;
        };
        let length = print_length(Seconds::new(off.whole().abs()));
        let text = format!("the date of its last line is {length} {side} the moment in which it was written");
        let mend = match zone_of(off, last) {
            Some(zone) => format!(
                "it looks like another time zone: set logtimezone = {zone} in {}",
                self.names()
            ),
            None => "set the clock of the machine that writes it (timedatectl set-ntp true)".to_owned(),
        };
        Some(Finding::warn(code, text).of(self.path).mend(mend))
    }

    fn typed_regex(&self, jail: &str) -> String {
        let filter = self.scene.configured.as_ref().and_then(|setup| setup.filters.get(jail));
        let filter = filter.map_or("FILTER", String::as_str);
        format!("portcullis regex {} {filter}", self.path)
    }

    /// How far the jails have come in it.
    fn backlog(&self, metadata: &Metadata, places: &[Place]) -> Option<Finding> {
        let of_file = places.iter().filter(|place| place.path == self.path);
        let waiting = of_file.map(|place| {
            let is_same = (place.device, place.inode) == (metadata.dev(), metadata.ino());
            let begin = if is_same { place.offset } else { 0 };
            (metadata.len().saturating_sub(begin), place)
        });
        let (bytes, place) = waiting.max_by_key(|(bytes, _)| *bytes)?;
        if self.scene.status().is_none() && bytes > 0 {
            let text = format!("{bytes} bytes wait for the daemon; it reads them when it starts");
            return Some(Finding::note("backlog", text).of(self.path));
        }
        if bytes < BACKLOG {
            return None;
        }
        let text = format!(
            "jail {} is {bytes} bytes behind its end: the reader does not keep up, or stands still",
            place.jail
        );
        let mend = format!(
            "look again in a minute (portcullis doctor); where it does not shrink: {}",
            unit::restart(self.scene)
        );
        Some(Finding::warn("backlog", text).of(self.path).mend(mend))
    }
}

/// A script as one word for a shell.
fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', r"'\''"))
}

/// When a file was last written to.
fn modified(metadata: &Metadata) -> Timestamp {
    Timestamp::from_seconds(metadata.mtime())
}

/// The zone that makes dates right which are off by so much, where they are off by what zones differ by.
fn zone_of(off: Seconds, at: Timestamp) -> Option<String> {
    const STEP: i64 = 900;
    const ROUGHLY: i64 = 120;
    let rest = off.whole().rem_euclid(STEP);
    let nearest = off.whole() - rest + if rest > STEP / 2 { STEP } else { 0 };
    let is_near = (off.whole() - nearest).abs() <= ROUGHLY && nearest != 0 && nearest.abs() <= 14 * 3600;
    let at = jiff::Timestamp::from_second(at.seconds()).ok()?;
    let own = i64::from(zone().to_offset(at).seconds());
    let minutes = (own + nearest) / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    is_near.then(|| format!("UTC{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60))
}

/// What to do where a log is not there that these jails wait for.
pub(super) fn no_log(scene: &Scene, jails: &[&JailPlan]) -> String {
    let root = &scene.root;
    let has = |path: &str| root.join(path).exists();
    let has_logger = ["usr/sbin/rsyslogd", "usr/sbin/syslog-ng", "usr/sbin/syslogd"]
        .into_iter()
        .any(has);
    let has_journal = ["run/systemd/journal", "run/log/journal", "var/log/journal"]
        .into_iter()
        .any(has);
    if has_logger || !has_journal {
        return format!(
            "let the service log there, or correct logpath in the jail; {}",
            unit::logger(scene)
        );
    }
    let mut ways: Vec<String> = jails.iter().map(|jail| to_journal(jail)).collect();
    if ways.is_empty() {
        ways.push("write backend = systemd in the jail".to_owned());
    }
    format!(
        "nothing writes log files on this machine, only the journal has the lines: {}, then: {}\n\
         or: apt-get install rsyslog",
        ways.join("; "),
        scene.typed("reload")
    )
}

/// How a jail comes to read the journal. `auto` reads it until the log is there, where it is known which entries are the
/// service's; without that every entry of every service would be read.
fn to_journal(jail: &JailPlan) -> String {
    let (name, is_auto) = (&jail.name, jail.backend.starts_with("auto"));
    match (jail.journalmatch.is_empty(), is_auto) {
        (true, _) => format!("write backend = systemd and journalmatch = _SYSTEMD_UNIT=SERVICE.service in [{name}]"),
        (false, true) => format!("write backend = systemd in [{name}]"),
        (false, false) => format!("write backend = auto in [{name}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_are_off_by_a_zone() {
        let here = i64::from(zone().to_offset(jiff::Timestamp::UNIX_EPOCH).seconds());
        let check = |off: i64, expect: Option<i64>| {
            let expect = expect.map(|zone| {
                let minutes = (here + zone) / 60;
                let sign = if minutes < 0 { '-' } else { '+' };
                format!("UTC{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
            });
            assert_eq!(zone_of(Seconds::new(off), Timestamp::from_seconds(0)), expect, "{off}");
        };
        check(7200, Some(7200));
        check(-7195, Some(-7200));
        check(19_800, Some(19_800));
        check(4000, None);
        check(90_000, None);
        check(10, None);
    }
}

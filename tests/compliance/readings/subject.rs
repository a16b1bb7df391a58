//! What is compared: the stock filters, each in all its modes, and the sample lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use portcullis_core::config::plan::{JailPlan, Plan};
use portcullis_core::config::{Face, FilterName, MemoryTree, filter_options};
use portcullis_core::value::Value;
use serde_json::json;

use crate::oracle::{configuration, sample_logs};

pub(crate) type Options = BTreeMap<String, String>;

/// A filter under one set of options.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) filter: String,
    pub(crate) options: Options,
    /// Commands in place of a stock filter: verb and value
    pub(super) commands: Vec<(String, String)>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.filter, self.options)
    }
}

impl Subject {
    /// All stock filters in all modes: those that their files tell apart, and those of the sample files.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = BTreeSet::new();
        for filter in names() {
            let mut add = |options| {
                all.insert(Self {
                    filter: filter.clone(),
                    options,
                    commands: Vec::new(),
                })
            };
            add(Options::new());
            modes(&filter).into_iter().for_each(|mode| {
                add(mode);
            });
            if let Ok(text) = fs::read_to_string(sample_logs().join(&filter)) {
                sampled(&text).into_iter().for_each(|options| {
                    add(options);
                });
            }
        }
        all.into_iter().collect()
    }

    /// Whether lines come as the journal's entries, with their time beside them.
    pub(super) fn journal(&self) -> bool {
        self.options.get("logtype").is_some_and(|logtype| logtype == "journal")
    }

    /// Adds what the driver is to read to a question.
    pub(super) fn ask_into(&self, question: &mut serde_json::Value) {
        if !self.commands.is_empty() {
            let command = |(verb, value)| json!(["set", "jail", verb, value]);
            question["commands"] = self
                .commands
                .iter()
                .map(|(verb, value)| command((verb, value)))
                .collect();
        }
        question["configuration"] = json!(configuration());
        question["filter"] = json!(self.filter);
        question["options"] = json!(self.options);
    }

    /// The filter in a jail of its own.
    pub(crate) fn plan(&self, usedns: &str) -> JailPlan {
        let jail = "fail2ban-regex-jail";
        let command = |verb: &str, value: &str| vec!["set".into(), jail.into(), verb.into(), value.into()];
        let stream = if self.commands.is_empty() {
            self.stock()
        } else {
            self.commands.iter().map(|(verb, value)| command(verb, value)).collect()
        };
        let first: [Vec<Value>; 2] = [
            vec!["add".into(), jail.into(), "auto".into()],
            command("usedns", usedns),
        ];
        let stream: Vec<_> = first.into_iter().chain(stream).collect();
        let (plan, refused) = Plan::from_stream(&stream, Face::Fail2Ban);
        assert!(refused.is_empty(), "{self}: {refused:?}");
        plan.jails.into_iter().next().unwrap()
    }

    /// The commands of a stock filter.
    fn stock(&self) -> Vec<Vec<Value>> {
        let options: Vec<_> = self.options.clone().into_iter().collect();
        let name = FilterName::Stock(&self.filter);
        filter_options(&tree(), "/etc", name, &options, "auto").unwrap().stream
    }
}

/// The filters that jails can use.
pub(super) fn names() -> Vec<String> {
    let entries = fs::read_dir(configuration().join("filter.d")).unwrap().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry
                .file_name()
                .into_string()
                .unwrap()
                .strip_suffix(".conf")
                .map(str::to_owned)
        })
        .filter(|name| !name.ends_with("common"))
        .collect();
    names.sort();
    assert!(names.len() > 90, "{names:?}");
    names
}

/// The stock filters as our reader wants them.
fn tree() -> MemoryTree {
    let folder = configuration().join("filter.d");
    let files = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_file());
    MemoryTree(
        files
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (format!("/etc/filter.d/{name}"), fs::read(entry.path()).unwrap())
            })
            .collect(),
    )
}

/// The modes of a filter: where a value stands for a part of an option's name, `mdre-<mode>`, every option of such a
/// name is one.
fn modes(filter: &str) -> Vec<Options> {
    let file = configuration().join("filter.d").join(format!("{filter}.conf"));
    let text = fs::read_to_string(file).unwrap();
    let mut modes = Vec::new();
    for (place, _) in text.match_indices('<') {
        let (head, rest) = text.split_at(place);
        let stem = &head[head
            .trim_end_matches(|c: char| c.is_alphanumeric() || "-_".contains(c))
            .len()..];
        let Some((parameter, _)) = rest[1..].split_once('>') else {
            continue;
        };
        if !(stem.ends_with('-') || stem == "type") || parameter.contains(|c: char| !c.is_alphanumeric()) {
            continue;
        }
        for line in text.lines() {
            let Some((name, _)) = line.split_once('=') else {
                continue;
            };
            if let Some(value) = name.trim_end().strip_prefix(stem).filter(|value| !value.is_empty()) {
                modes.push(Options::from([(parameter.to_owned(), value.to_owned())]));
            }
        }
    }
    modes
}

/// The options under which a sample file wants its lines to be read.
fn sampled(text: &str) -> Vec<Options> {
    let mut common = Options::new();
    let mut sets = Vec::new();
    for line in text.lines() {
        match super::annotations::Mark::of(line) {
            Some(super::annotations::Mark::Common(options)) => common = plain(&options),
            Some(super::annotations::Mark::Options(list)) => {
                let merged = |options| common.clone().into_iter().chain(plain(options)).collect();
                sets.extend(list.iter().map(merged));
            }
            _ => {}
        }
    }
    sets
}

/// Options without those that steer the test.
pub(super) fn plain(options: &Options) -> Options {
    options
        .clone()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("test."))
        .collect()
}

/// All lines of all sample files, annotations and comments too.
pub(super) fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    add_lines(&sample_logs(), &mut lines);
    assert!(lines.len() > 3_000, "{} lines", lines.len());
    lines
}

/// The lines that a service wrote.
pub(super) fn log_lines() -> Vec<String> {
    let mut lines = lines();
    lines.retain(|line| !line.trim().is_empty() && !line.starts_with('#'));
    assert!(lines.len() > 1_100, "{} lines", lines.len());
    lines
}

fn add_lines(folder: &Path, lines: &mut Vec<String>) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            add_lines(&path, lines);
        } else {
            lines.extend(read(&path));
        }
    }
}

/// The lines of a file, decoded.
pub(crate) fn read(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    text.split_terminator('\n')
        .map(|line| line.trim_end_matches(['\r', '\n']).to_owned())
        .collect()
}

//! REGEX: a jail, a filter, a filter file or a failregex itself, made into a plan (contract §9).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use portcullis_core::config::plan::{JailPlan, UseDns};
use portcullis_core::config::{self, Command, FAIL2BAN_VERSION, Face, FilterName, Request, Tree};
use portcullis_core::diagnostic::Diagnostic;
use portcullis_core::stamp::{Detector, PatternName};
use portcullis_core::value::{Value, repr_str};

use super::entries::is_journal;
use super::lines::short;
use super::options::Options;
use super::screen::Screen;

/// Reads REGEX into a plan, and says on the way what is used.
pub(crate) struct Subject<'a, W: Write> {
    options: &'a Options,
    tree: &'a dyn Tree,
    screen: &'a mut Screen<W>,
    /// What was found
    pub(crate) plan: JailPlan,
}

/// How REGEX ended: read, refused with what is to be printed, or the output is gone.
pub(crate) type Outcome = io::Result<Result<(), String>>;

impl<'a, W: Write> Subject<'a, W> {
    /// A plan of the options alone.
    pub(crate) fn new(options: &'a Options, tree: &'a dyn Tree, screen: &'a mut Screen<W>) -> Self {
        let log = options.inputs.first().map(String::as_str).unwrap_or_default();
        let backend = if is_journal(log) { "systemd" } else { "auto" };
        let mut plan = JailPlan::new("fail2ban-regex-jail", backend);
        plan.usedns = usedns(options);
        plan.logtimezone.clone_from(&options.timezone);
        Subject {
            options,
            tree,
            screen,
            plan,
        }
    }

    /// What the options of the command line set.
    pub(crate) fn preset(&mut self) -> Outcome {
        if let Some(text) = &self.options.journalmatch {
            match config::split_shell(text) {
                Ok(words) => self.plan.journalmatch = vec![words],
                Err(reason) => return Ok(Err(format!("ERROR: {reason}"))),
            }
        }
        if self.options.maxlines != 0
            && let Err(error) = self.maxlines(self.options.maxlines)?
        {
            return Ok(Err(error));
        }
        match self.options.datepattern.clone() {
            Some(pattern) => self.datepattern(&pattern),
            None => Ok(self.detector(None).map(drop)),
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        if self.options.out.is_some() {
            Ok(())
        } else {
            self.screen.line(text)
        }
    }

    fn maxlines(&mut self, lines: i64) -> Outcome {
        if lines <= 0 {
            return Ok(Err("ERROR: maxlines must be integer greater than zero".to_owned()));
        }
        // So many lines are never kept (D-050), so that more of them make no difference.
        self.plan.maxlines = u32::try_from(lines).unwrap_or(u32::MAX);
        self.say(&format!("Use         maxlines : {lines}"))?;
        Ok(Ok(()))
    }

    fn detector(&self, pattern: Option<&str>) -> Result<Detector, String> {
        Detector::new(pattern, self.options.timezone.as_deref(), jiff::tz::TimeZone::UTC)
            .map_err(|error| format!("ERROR: {error}"))
    }

    fn datepattern(&mut self, pattern: &str) -> Outcome {
        let detector = match self.detector(Some(pattern)) {
            Ok(detector) => detector,
            Err(error) => return Ok(Err(error)),
        };
        let name = match detector.pattern_name() {
            PatternName::Default => "Default Detectors",
            PatternName::Template { name, .. } => name,
        };
        self.plan.datepattern = Some(pattern.to_owned());
        self.say(&format!("Use      datepattern : {pattern} : {name}"))?;
        Ok(Ok(()))
    }

    /// Reads REGEX.
    pub(crate) fn read(&mut self, text: &str) -> Outcome {
        if looks_like_name(text) {
            let named = match config::extract(text) {
                Ok(named) => named,
                Err(error) => {
                    let error = format!("ERROR: Wrong filter name or options: {error}\n       while parsing: {text}");
                    return Ok(Err(error));
                }
            };
            let wrong =
                |error: &str| format!("ERROR: Wrong filter name or options: {error}\n       while parsing: {text}");
            if !named.name.contains('/') && !has_extension(&named.name) {
                let base = &self.options.config;
                if !self.tree.is_dir(base) {
                    return Ok(Err(wrong(&format!(
                        "Base configuration directory {base} does not exist "
                    ))));
                }
                match self.jail(&named.name, &named.options, text)? {
                    Ok(true) => return Ok(Ok(())),
                    Ok(false) => {}
                    Err(error) => return Ok(Err(error)),
                }
            }
            if let Some(place) = self.place(&named.name) {
                return self.filter(&place, &named.options, text);
            }
        }
        self.literal(text)
    }

    fn literal(&mut self, text: &str) -> Outcome {
        self.say(&format!("Use   failregex line : {}", short(text)))?;
        self.plan.failregex = vec![text.to_owned()];
        Ok(Ok(()))
    }

    /// Reads IGNOREREGEX, which stands in place of the filter's own.
    pub(crate) fn ignore(&mut self, text: &str) -> io::Result<()> {
        self.say(&format!("Use ignoreregex line : {}", short(text)))?;
        self.plan.ignoreregex = vec![text.to_owned()];
        Ok(())
    }

    /// Reads the jail of that name; false if there is none.
    fn jail(&mut self, name: &str, options: &[(String, String)], text: &str) -> io::Result<Result<bool, String>> {
        let mut forced = options.to_vec();
        forced.push(("backend".to_owned(), self.plan.backend.clone()));
        let request = Request {
            jail: Some(name),
            forced: Some(&forced),
            allow_no_files: true,
            ..Request::new(&self.options.config, Face::Fail2Ban, FAIL2BAN_VERSION)
        };
        let outcome = config::read(self.tree, &request);
        if outcome
            .diagnostics
            .iter()
            .any(|found| matches!(found.code, "no-jail" | "no-jails"))
        {
            return Ok(Ok(false));
        }
        self.say(&format!("Use {:>11} jail : {name}", ""))?;
        if !options.is_empty() {
            self.say(&format!("Use jail/flt options : {}", repr_options(options)))?;
        }
        if !outcome.usable {
            let why = complaints(&outcome.diagnostics);
            return Ok(Err(format!("{why}ERROR: Failed to get jail for {}", repr_str(text))));
        }
        if let Some(used) = outcome.filters.get(name) {
            let names: Vec<String> = forced.iter().map(|(name, _)| name.clone()).collect();
            self.say_real(&used.options, &names)?;
        }
        Ok(self.apply(&outcome.stream)?.map(|()| true))
    }

    /// With `-vv`: what became of the options in brackets, and of those that matter most.
    fn say_real(&mut self, all: &BTreeMap<String, String>, given: &[String]) -> io::Result<()> {
        if self.options.verbosity() < 2 {
            return Ok(());
        }
        let mut shown: Vec<(String, String)> = Vec::new();
        for name in ["logtype", "datepattern"]
            .into_iter()
            .chain(given.iter().map(String::as_str))
        {
            if let Some(value) = all.get(name).filter(|_| shown.iter().all(|(known, _)| known != name)) {
                shown.push((name.to_owned(), value.clone()));
            }
        }
        self.say(&format!("Real  filter options : {}", repr_options(&shown)))
    }

    /// Where the file of a filter is, if there is one.
    fn place(&self, name: &str) -> Option<String> {
        let base = self.options.config.as_str();
        let in_filters = base_name(base) == "filter.d";
        let candidates = if dot_near_end(name) {
            vec![name.to_owned()]
        } else {
            vec![name.to_owned(), format!("{name}.conf"), format!("{name}.local")]
        };
        candidates
            .into_iter()
            .map(|candidate| match candidate.rsplit_once('/') {
                Some(("filter.d", _)) => join(base, &candidate),
                Some(_) => candidate,
                None if in_filters => join(base, &candidate),
                None => join(base, &format!("filter.d/{candidate}")),
            })
            .find(|path| self.tree.is_file(path))
    }

    fn filter(&mut self, path: &str, options: &[(String, String)], text: &str) -> Outcome {
        let named = config::extract(text).map(|named| named.name).unwrap_or_default();
        let config = self.options.config.clone();
        // A path of the user's own is looked up beside itself, all else in the configuration folder.
        let own = named.contains('/') && dir_name(&named) != "filter.d";
        let folder = if own {
            dir_name(&named).to_owned()
        } else {
            config.clone()
        };
        let standard = folder == config || base_name(&folder) == "filter.d" || !dot_near_end(&named) && !own;
        let read = if standard {
            let base = if base_name(&folder) == "filter.d" {
                dir_name(&folder)
            } else {
                folder.as_str()
            };
            let name = stem(base_name(&named));
            self.say(&format!("Use {:>11} file : {name}, basedir: {base}", "filter"))?;
            self.say_options(options)?;
            config::filter_options(self.tree, base, FilterName::Stock(name), options, &self.plan.backend)
        } else {
            self.say(&format!("Use {:>11} file : {named}", "filter"))?;
            self.say_options(options)?;
            let absolute = std::path::absolute(path)?;
            let path = absolute.to_string_lossy();
            config::filter_options(
                self.tree,
                dir_name(&path),
                FilterName::Path(&path),
                options,
                &self.plan.backend,
            )
        };
        match read {
            Ok(alone) => {
                self.say_real(&alone.options, &alone.parameters)?;
                if alone.stream.is_empty() {
                    // A filter without anything in it leaves its name to be a failregex.
                    return self.literal(text);
                }
                self.apply(&alone.stream)
            }
            Err(found) => {
                let why = complaints(&found);
                Ok(Err(format!("{why}ERROR: failed to load filter {text}")))
            }
        }
    }

    fn say_options(&mut self, options: &[(String, String)]) -> io::Result<()> {
        if options.is_empty() {
            return Ok(());
        }
        self.say(&format!("Use   filter options : {}", repr_options(options)))
    }

    /// Takes from the commands what concerns reading lines.
    fn apply(&mut self, stream: &[Command]) -> Outcome {
        for command in stream {
            let (verb, values): (&str, &[Value]) = match command.as_slice() {
                [Value::Str(set), _, Value::Str(verb), values @ ..] if set == "set" => (verb, values),
                [Value::Str(set), _, Value::Str(verb), Value::List(values)] if set == "multi-set" => (verb, values),
                _ => continue,
            };
            if verb == "addjournalmatch" {
                if self.options.journalmatch.is_none() {
                    self.plan
                        .journalmatch
                        .push(values.iter().map(ToString::to_string).collect());
                }
                continue;
            }
            for value in values {
                if let Err(error) = self.set(verb, value)? {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }

    fn set(&mut self, verb: &str, value: &Value) -> Outcome {
        match verb {
            "prefregex" => self.plan.prefregex = Some(value.to_string()),
            "addfailregex" => self.plan.failregex.push(value.to_string()),
            "addignoreregex" => self.plan.ignoreregex.push(value.to_string()),
            "maxlines" if self.options.maxlines == 0 => {
                let lines = value.to_string().trim().parse();
                return self.maxlines(lines.unwrap_or_default());
            }
            "datepattern" if self.options.datepattern.is_none() => return self.datepattern(&value.to_string()),
            _ => {}
        }
        Ok(Ok(()))
    }
}

/// `--usedns` and `--raw`; what is no value of `usedns` counts as `no`.
fn usedns(options: &Options) -> UseDns {
    match options.usedns.as_deref().map(str::to_lowercase).as_deref() {
        Some("no") => UseDns::No,
        None | Some("warn") if !options.raw => UseDns::Warn,
        Some("yes") if !options.raw => UseDns::Yes,
        None | Some("warn" | "yes" | "raw") => UseDns::Raw,
        Some(_) => UseDns::No,
    }
}

fn complaints(found: &[Diagnostic]) -> String {
    found
        .iter()
        .map(|found| format!("Wrong config file: {}\n", found.message))
        .collect()
}

/// Python's `repr()` of a dict of texts.
fn repr_options(options: &[(String, String)]) -> String {
    let pairs = options
        .iter()
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    Value::Dict(pairs.collect()).repr()
}

/// Whether a line of the text could be the name of a jail or filter, with options or without.
fn looks_like_name(text: &str) -> bool {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with('\n');
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    starts.filter_map(|at| text.get(at..)).any(|line| {
        let rest = line.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '-' | '.'));
        let closed = |rest: &str| {
            rest.match_indices(']')
                .any(|(at, _)| rest.get(at + 1..).is_some_and(ends))
        };
        rest.len() < line.len() && (ends(rest) || rest.starts_with('[') && closed(rest))
    })
}

fn has_extension(name: &str) -> bool {
    name.lines()
        .any(|line| line.ends_with(".conf") || line.ends_with(".local"))
}

/// Whether one of the last six characters is a dot.
fn dot_near_end(name: &str) -> bool {
    name.chars().rev().take(6).any(|c| c == '.')
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn dir_name(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// A file name without its last extension; a leading dot begins none.
fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if stem.chars().any(|c| c != '.') => stem,
        _ => name,
    }
}

fn join(folder: &str, name: &str) -> String {
    Path::new(folder).join(name).to_string_lossy().into_owned()
}

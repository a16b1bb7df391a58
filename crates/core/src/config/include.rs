//! From a name (`jail`, `filter.d/sshd`) to one merged document: which files, in which order (contract §1.1, §1.2).
//!
//! The [`Shelf`] keeps every file that was read, so that a file included by many is read once, a complaint can
//! show the line it is about, and all parts of one reading see the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::Face;
use super::complaint::{explain, severity};
use super::document::{Datum, Document};
use super::expand::{Ask, Miss, Problem};
use super::ini::{self, FILE_CAP, Fault, Flaw, Parsed};
use super::text::Mark;
use super::tree::{ReadError, Tree};
use crate::diagnostic::{Diagnostic, Position, Severity};

/// How deep files may include each other.
const DEPTH_CAP: usize = 64;
/// The most files that one name may come to.
const FILES_CAP: usize = 1000;

/// Why a file is closed that is not there.
const MISSING: &str = "no such file";

/// A file that was read.
struct Source {
    name: Arc<str>,
    bytes: Vec<u8>,
}

/// What became of reading one file.
#[derive(Clone)]
enum File {
    /// It is here.
    Read(Rc<Parsed>),
    /// It is not there or cannot be opened; the text says why.
    Closed(String),
    /// It is no UTF-8.
    Bytes,
}

/// What must not be guessed where a file of jails was damaged: the jails that may be concerned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    /// Every jail, and why
    pub(crate) all: Option<String>,
    /// Single jails, and why
    pub(crate) jails: BTreeMap<String, String>,
}

/// All files of one reading.
pub(crate) struct Shelf<'t> {
    tree: &'t dyn Tree,
    base: String,
    face: Face,
    sources: Vec<Source>,
    files: BTreeMap<String, File>,
    include_lists: BTreeMap<String, Rc<Vec<String>>>,
    documents: BTreeMap<String, Option<Rc<Document>>>,
    pub(crate) damage: Damage,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'t> Shelf<'t> {
    pub(crate) fn new(tree: &'t dyn Tree, base: &str, face: Face) -> Self {
        Shelf {
            tree,
            base: base.trim_end_matches('/').to_owned(),
            face,
            sources: Vec::new(),
            files: BTreeMap::new(),
            include_lists: BTreeMap::new(),
            documents: BTreeMap::new(),
            damage: Damage::default(),
            diagnostics: Vec::new(),
        }
    }

    pub(crate) fn tree(&self) -> &'t dyn Tree {
        self.tree
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn face(&self) -> Face {
        self.face
    }

    /// The place of a mark, if it is one.
    pub(crate) fn position(&self, mark: Mark) -> Option<Position> {
        let source = self.source(mark)?;
        Some(Position {
            file: Arc::clone(&source.name),
            line: usize::try_from(mark.line).ok()?,
            column: 1,
        })
    }

    fn source(&self, mark: Mark) -> Option<&Source> {
        let index = usize::try_from(mark.file).ok()?.checked_sub(1)?;
        self.sources.get(index).filter(|_| mark.line > 0)
    }

    /// A complaint about the line of a mark.
    pub(crate) fn complain(&mut self, diagnostic: Diagnostic, mark: Mark) {
        let line = self
            .source(mark)
            .and_then(|source| ini::shown_line(&source.bytes, mark.line));
        let diagnostic = match (self.position(mark), line) {
            (Some(position), Some(line)) => diagnostic.at(position, line),
            _ => diagnostic,
        };
        self.diagnostics.push(diagnostic);
    }

    /// Complains about a problem.
    pub(crate) fn report(&mut self, problem: &Problem, severity: Severity, jail: Option<&str>) {
        let mut diagnostic = Diagnostic::new(severity, problem.code, problem.message.clone());
        diagnostic.mend.clone_from(&problem.mend);
        diagnostic.jail = jail.map(str::to_owned);
        self.complain(diagnostic, problem.mark);
    }

    /// The merged document of a name, read at the first call. `None`: there is none, or a file of it cannot be
    /// read; a diagnostic says so.
    ///
    /// # Errors
    /// In Fail2Ban's face, what makes it give up the whole configuration.
    pub(crate) fn load(&mut self, name: &str) -> Result<Option<Rc<Document>>, Problem> {
        if let Some(document) = self.documents.get(name) {
            return Ok(document.clone());
        }
        let document = self.read_name(name)?.map(Rc::new);
        self.documents.insert(name.to_owned(), document.clone());
        Ok(document)
    }

    /// One file outside of the folder's order, with what it includes.
    pub(crate) fn load_file(&mut self, path: &str) -> Result<Option<Rc<Document>>, Problem> {
        let (document, read) = self.merge_all(vec![path.to_owned()])?;
        Ok((!read.is_empty()).then(|| Rc::new(document)))
    }

    fn read_name(&mut self, name: &str) -> Result<Option<Document>, Problem> {
        if !self.tree.exists(&self.base) {
            let message = format!("the folder of the configuration, {}, does not exist", self.base);
            return Err(Problem::new("no-folder", message, Mark::default()));
        }
        let files = self.files_of(name);
        if files.is_empty() {
            let message = format!("there is no configuration of the name {name} under {}", self.base);
            self.report(
                &Problem::new("not-found", message, Mark::default()),
                Severity::Error,
                None,
            );
            return Ok(None);
        }
        let (document, read) = self.merge_all(files.clone())?;
        let missed: Vec<&String> = files.iter().filter(|file| !read.contains(*file)).collect();
        if missed.is_empty() {
            return Ok(Some(document));
        }
        for file in &missed {
            self.unreadable(name, file);
        }
        let usable = self.face == Face::Portcullis && missed.len() < files.len();
        Ok(usable.then_some(document))
    }

    /// `N.conf`, `N.d/*.conf`, `N.local`, `N.d/*.local`: those that exist.
    fn files_of(&self, name: &str) -> Vec<String> {
        let stem = if name.starts_with("./") {
            name.to_owned()
        } else {
            joined(&self.base, name)
        };
        let folder = format!("{stem}.d");
        let names = self.tree.list(&folder);
        let mut files = Vec::new();
        for extension in [".conf", ".local"] {
            files.push(format!("{stem}{extension}"));
            let fits = |name: &&String| !name.starts_with('.') && name.ends_with(extension);
            files.extend(names.iter().filter(fits).map(|name| format!("{folder}/{name}")));
        }
        files.retain(|file| self.tree.exists(file));
        files
    }

    /// What Python says of the fault at a place, if it is one of the reading itself.
    pub(crate) fn python_words(&self, mark: Mark) -> Option<String> {
        let source = self.source(mark)?;
        let parsed = ini::parse(&source.bytes, mark.file);
        match parsed.refusal(&source.bytes)? {
            ini::Refusal::Fault(fault) if fault.line == mark.line => {
                Some(ini::python_words(&source.bytes, &parsed, fault, &source.name))
            }
            _ => None,
        }
    }

    fn unreadable(&mut self, name: &str, path: &str) {
        let reason = match self.files.get(path) {
            Some(File::Closed(reason)) => format!(": {reason}"),
            Some(File::Bytes) => ": it is no UTF-8".to_owned(),
            _ => String::new(),
        };
        let message = format!("Could not read config files: {path}{reason}");
        if name == "jail" && self.damage.all.is_none() {
            self.damage.all = Some(message.clone());
        }
        self.report(
            &Problem::new("unreadable", message, Mark::default()),
            Severity::Error,
            None,
        );
    }

    /// Reads files with what they include, one over the other; also which of them could be read.
    fn merge_all(&mut self, files: Vec<String>) -> Result<(Document, BTreeSet<String>), Problem> {
        let order = self.with_includes(files, &[])?;
        let mut document = Document::default();
        let mut read = BTreeSet::new();
        for path in order.iter() {
            if let File::Read(parsed) = self.file(path)? {
                document.merge(&parsed.document);
                read.insert(path.clone());
            }
        }
        Ok((document, read))
    }

    fn with_includes(&mut self, files: Vec<String>, above: &[String]) -> Result<Rc<Vec<String>>, Problem> {
        let mut files = self.with_local(files);
        files.truncate(FILES_CAP + 1);
        let key = files.join("\u{1}");
        if let Some(list) = self.include_lists.get(&key) {
            return Ok(Rc::clone(list));
        }
        let mut list = Vec::new();
        for file in &files {
            list.extend(self.includes_of(file, above)?);
            if list.len() > FILES_CAP {
                let message = format!("{file} comes to more than {FILES_CAP} files with all that it includes");
                return Err(Problem::new("too-many-files", message, Mark::default()));
            }
        }
        let list = Rc::new(list);
        self.include_lists.insert(key, Rc::clone(&list));
        Ok(list)
    }

    /// Behind each file its `.local` sibling, if there is one that is not listed anyway.
    fn with_local(&self, files: Vec<String>) -> Vec<String> {
        let mut all = Vec::new();
        for file in &files {
            let local = format!("{}.local", without_extension(file));
            let add = !files.contains(&local) && self.tree.is_file(&local);
            all.push(file.clone());
            all.extend(add.then_some(local));
        }
        all
    }

    fn includes_of(&mut self, path: &str, above: &[String]) -> Result<Vec<String>, Problem> {
        let parsed = match self.file(path)? {
            File::Read(parsed) => parsed,
            File::Closed(reason) if reason != MISSING && !above.is_empty() => {
                let name = if concerns_jails(path) { "jail" } else { "" };
                self.unreadable(name, path);
                return Ok(Vec::new());
            }
            _ => return Ok(Vec::new()),
        };
        if above.len() >= DEPTH_CAP {
            let message = format!("files include each other deeper than {DEPTH_CAP} levels, last {path}");
            return Err(Problem::new("include-depth", message, Mark::default()));
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut chain = above.to_vec();
        chain.push(path.to_owned());
        let mut lists = Vec::new();
        for option in ["before", "after"] {
            let mut list = Vec::new();
            for (name, mark) in self.include_names(&parsed, option)? {
                let file = if name.starts_with('/') || folder.is_empty() && !path.starts_with('/') {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                if !above.contains(&file) {
                    self.note_missing(&file, option, mark);
                    list.extend(self.with_includes(vec![file], &chain)?.iter().cloned());
                }
            }
            lists.push(list);
        }
        let after = lists.pop().unwrap_or_default();
        let mut all = lists.pop().unwrap_or_default();
        all.push(path.to_owned());
        all.extend(after);
        Ok(all)
    }

    /// Fail2Ban passes over an include that is not there without a word, and so do we; but a word is due, unless it is
    /// a place for local changes.
    fn note_missing(&mut self, file: &str, option: &str, mark: Mark) {
        let local = format!("{}.local", without_extension(file));
        let is_meant = self.face == Face::Portcullis && !file.ends_with('/') && !file.ends_with(".local");
        if is_meant && !self.tree.exists(file) && !self.tree.is_file(&local) {
            let message = format!("{option} names {file}, which is not there");
            let problem = Problem::new("missing-include", message, mark).mend("mend the name, or take it out");
            self.report(&problem, Severity::Warning, None);
        }
    }

    fn include_names(&mut self, parsed: &Parsed, option: &str) -> Result<Vec<(String, Mark)>, Problem> {
        let ask = Ask {
            document: &parsed.document,
            section: "INCLUDES",
            vars: None,
            address_names: &[],
        };
        match ask.get(option) {
            Ok(Datum::Text(text)) => Ok(text.lines().map(|(line, mark)| (line.to_owned(), mark)).collect()),
            Ok(_) | Err(Miss::Section | Miss::Option) => Ok(Vec::new()),
            Err(Miss::Bad(problem)) if self.face == Face::Portcullis => {
                self.report(&problem, Severity::Error, None);
                Ok(Vec::new())
            }
            Err(Miss::Bad(problem)) => Err(problem),
        }
    }

    fn file(&mut self, path: &str) -> Result<File, Problem> {
        if let Some(file) = self.files.get(path) {
            return Ok(file.clone());
        }
        let file = match self.tree.read(path) {
            Ok(bytes) if bytes.len() > FILE_CAP => File::Closed("it is larger than 16 MiB".to_owned()),
            Ok(bytes) => self.parse(path, bytes)?,
            Err(ReadError::NotFound) => File::Closed(MISSING.to_owned()),
            Err(ReadError::Other(reason)) => File::Closed(reason),
        };
        self.files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn parse(&mut self, path: &str, bytes: Vec<u8>) -> Result<File, Problem> {
        let number = u32::try_from(self.sources.len() + 1).unwrap_or_default();
        let parsed = ini::parse(&bytes, number);
        let refusal = match parsed.refusal(&bytes) {
            Some(ini::Refusal::Fault(fault)) => Some(Err(explain(fault, number, self.face))),
            Some(ini::Refusal::Bytes) => Some(Ok(File::Bytes)),
            None => None,
        };
        self.sources.push(Source {
            name: path.into(),
            bytes,
        });
        if self.face == Face::Fail2Ban {
            if matches!(refusal, Some(Ok(File::Bytes))) {
                self.not_utf8(path, &parsed, number);
            }
            return refusal.unwrap_or_else(|| Ok(File::Read(Rc::new(parsed))));
        }
        for fault in &parsed.faults {
            let problem = explain(fault, number, self.face);
            let severity = severity(fault);
            self.report(&problem, severity, None);
        }
        self.weigh_damage(path, &parsed);
        Ok(File::Read(Rc::new(parsed)))
    }

    fn not_utf8(&mut self, path: &str, parsed: &Parsed, file: u32) {
        let is_bytes = |fault: &&Fault| matches!(fault.flaw, Flaw::Bytes | Flaw::CommentBytes);
        let line = parsed.faults.iter().find(is_bytes).map_or(0, |fault| fault.line);
        let problem = Problem::new(
            "not-utf8",
            format!("{path} is no UTF-8, so it is left out"),
            Mark { file, line },
        )
        .mend("save the file as UTF-8");
        self.report(&problem, Severity::Error, None);
    }

    /// Which jails must not begin new bans because a file that says whom to spare, for how long or how to ban was
    /// not read whole. Files of filters and actions set none of these.
    fn weigh_damage(&mut self, path: &str, parsed: &Parsed) {
        if !concerns_jails(path) {
            return;
        }
        let Some(first) = parsed.faults.iter().find(|fault| fault.loses() && !is_harmless(fault)) else {
            return;
        };
        let reason = format!(
            "{path}, line {}, could not be read, and the file sets what a ban depends on",
            first.line
        );
        let sets = |options: &super::document::Options| options.keys().any(decides_bans);
        let mut sections: BTreeSet<&str> = BTreeSet::new();
        for fault in parsed.faults.iter().filter(|fault| fault.loses()) {
            if fault.option.as_deref().is_some_and(decides_bans) {
                sections.insert(fault.section.as_deref().unwrap_or("DEFAULT"));
            }
        }
        let named = parsed.document.sections.iter().filter(|(_, options)| sets(options));
        sections.extend(named.map(|(name, _)| name));
        if sets(&parsed.document.defaults) || sections.contains("DEFAULT") {
            self.damage.all.get_or_insert(reason);
            return;
        }
        for section in sections {
            self.damage
                .jails
                .entry(section.to_owned())
                .or_insert_with(|| reason.clone());
        }
    }
}

/// Whether a file may say something about jails; files of filters and actions do not.
fn concerns_jails(path: &str) -> bool {
    !path.contains("/filter.d/") && !path.contains("/action.d/")
}

/// Options that say whom to spare, for how long, and how to ban.
fn decides_bans(option: &str) -> bool {
    matches!(option, "ignoreip" | "action" | "banaction" | "banaction_allports") || option.starts_with("bantime")
}

/// A second value of an option that decides nothing about bans: both are known, so nothing is in doubt.
fn is_harmless(fault: &Fault) -> bool {
    matches!(&fault.flaw, Flaw::OptionTwice { option, .. } if !decides_bans(option))
}

/// A path below a folder, unless it is absolute.
pub(crate) fn joined(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    format!("{folder}/{path}")
}

/// A path without its last extension, as Python's `splitext` cuts it.
pub(crate) fn without_extension(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let base = path.get(name..).unwrap_or_default();
    let lead = base.len() - base.trim_start_matches('.').len();
    match base.rfind('.') {
        Some(dot) if dot >= lead && dot > 0 => path.get(..name + dot).unwrap_or(path),
        _ => path,
    }
}

//! `reload NAME OPTIONS STREAM`: another configuration for a server that runs (contract §8.6).
//!
//! What stands in the stream is in force afterwards, and nothing else: an option that is not in it has its default, and
//! jails that it does not start are gone. A stream that fails leaves every jail that it had not yet started as it was
//! (rulings ).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::kind::{self, Words};
use super::{Session, check_backend};
use crate::config::plan::JailPlan;
use crate::exception::Exception;
use crate::value::Value;

/// A reload under way.
pub(super) struct Reload {
    /// All jails before it
    before: Vec<JailPlan>,
    /// The jails that it is about
    scope: BTreeSet<Arc<str>>,
    /// Of these, the ones that the stream has named and has not started yet
    begun: BTreeSet<Arc<str>>,
    /// Jails that the stream has started
    done: BTreeSet<Arc<str>>,
}

impl Session<'_> {
    /// `reload NAME OPTIONS STREAM`
    pub(super) fn reload(&mut self, words: Words<'_>) -> Result<Value, Exception> {
        let missing = |what: &str| Exception::builtin("TypeError", format!("Server.reloadJails() missing {what}"));
        let (name, options) = match words.0 {
            [] => return Err(missing("2 required positional arguments: 'name' and 'opts'")),
            [_] => return Err(missing("1 required positional argument: 'opts'")),
            [name, options, ..] => (name, options),
        };
        if self.reload.is_some() {
            return Err(Exception::value("Reload already in progress"));
        }
        let is_all = name.as_str() == Some("--all");
        let has = |option: &str| has(options, option);
        let (may_lack, frees, restarts) = (has("--if-exists")?, has("--unban")?, has("--restart")?);
        let scope: BTreeSet<Arc<str>> = if is_all {
            self.plan.jails.iter().map(|jail| Arc::clone(&jail.name)).collect()
        } else if may_lack && self.find(name).is_none() {
            BTreeSet::new()
        } else {
            BTreeSet::from([Arc::clone(&self.plan.jails[self.jail(name)?].name)])
        };
        let commands = kind::items(words.at(2)?)?;
        self.amended.is_stream = true;
        if frees {
            self.amended.freed.clone_from(&scope);
        }
        let before = self.plan.jails.clone();
        if restarts {
            self.plan.jails.retain(|jail| !scope.contains(&jail.name));
        }
        self.reload = Some(Reload {
            before,
            scope,
            begun: BTreeSet::new(),
            done: BTreeSet::new(),
        });
        self.is_quiet = true;
        let result = self.run(&commands);
        self.is_quiet = false;
        if let Some(reload) = self.reload.take() {
            self.end(&reload, result.is_ok());
        }
        result.map(|()| "OK".into())
    }

    fn end(&mut self, reload: &Reload, is_good: bool) {
        if is_good {
            let jails = &mut self.plan.jails;
            jails.retain(|jail| !reload.scope.contains(&jail.name) || reload.done.contains(&jail.name));
            let kept: BTreeSet<Arc<str>> = jails.iter().map(|jail| Arc::clone(&jail.name)).collect();
            let gone = reload.scope.difference(&kept).cloned();
            self.amended.jails.extend(gone);
            return;
        }
        let now = std::mem::take(&mut self.plan.jails);
        let is_changed = |name: &Arc<str>| reload.done.contains(name) || !reload.scope.contains(name);
        let is_old = |name: &Arc<str>| reload.before.iter().any(|jail| jail.name == *name);
        let mut jails = Vec::new();
        for old in &reload.before {
            if !is_changed(&old.name) {
                self.amended.jails.remove(&old.name);
                self.amended.restarted.remove(&old.name);
                self.amended.reloaded.remove(&old.name);
                jails.push(old.clone());
            } else if let Some(new) = now.iter().find(|jail| jail.name == old.name) {
                jails.push(new.clone());
            }
        }
        for new in now {
            if reload.done.contains(&new.name) && !is_old(&new.name) {
                jails.push(new);
            } else if !is_old(&new.name) {
                self.amended.jails.remove(&new.name);
            }
        }
        self.plan.jails = jails;
    }

    /// `add` of a jail that is reloaded: it begins anew with all defaults, and goes on with its bans unless it reads
    /// from elsewhere.
    pub(super) fn renew(&mut self, at: usize, backend: &Value) -> Result<Option<Value>, Exception> {
        let jail = &self.plan.jails[at];
        let name = Arc::clone(&jail.name);
        let Some(reload) = &mut self.reload else {
            return Ok(None);
        };
        if !reload.scope.contains(&name) || reload.begun.contains(&name) || reload.done.contains(&name) {
            return Ok(None);
        }
        reload.begun.insert(Arc::clone(&name));
        let mut fresh = JailPlan::new(&name, &jail.backend);
        if backend.as_str() == Some(&jail.backend) {
            fresh.started = jail.started;
            self.amended.reloaded.insert(Arc::clone(&name));
            self.plan.jails[at] = fresh;
        } else {
            fresh.backend = check_backend(backend)?.to_owned();
            self.amended.restarted.insert(Arc::clone(&name));
            self.plan.jails.remove(at);
            self.plan.jails.push(fresh);
        }
        self.amended.jails.insert(Arc::clone(&name));
        Ok(Some(Value::from(&*name)))
    }

    /// The stream has come to the end of a jail.
    pub(super) fn commit(&mut self, name: &Arc<str>) {
        if let Some(reload) = &mut self.reload {
            reload.done.insert(Arc::clone(name));
        }
    }

    /// Whether a jail of that name was there when the reload began.
    pub(super) fn was_there(&self, name: &Arc<str>) -> bool {
        let reload = self.reload.as_ref();
        reload.is_some_and(|reload| reload.before.iter().any(|jail| jail.name == *name))
    }

    /// Whether a jail read a log before the reload; it need not be there now.
    pub(super) fn read_before(&self, name: &Arc<str>, path: &str) -> bool {
        let Some(reload) = self.reload.as_ref().filter(|reload| reload.scope.contains(name)) else {
            return false;
        };
        let old = reload.before.iter().find(|jail| jail.name == *name);
        old.is_some_and(|old| old.logpath.iter().any(|log| log.path == path))
    }
}

/// Python's `in`.
fn has(options: &Value, option: &str) -> Result<bool, Exception> {
    match options {
        Value::Str(text) => Ok(text.contains(option)),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            Ok(items.iter().any(|item| item.as_str() == Some(option)))
        }
        Value::Dict(pairs) => Ok(pairs.iter().any(|(key, _)| key.as_str() == Some(option))),
        other => {
            let text = format!("argument of type '{}' is not iterable", other.class());
            Err(Exception::builtin("TypeError", text))
        }
    }
}

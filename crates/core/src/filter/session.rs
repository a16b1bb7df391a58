//! Sessions: lines that carry the same connection id (`<F-MLFID>`) are one case (contract §3.6).
//!
//! A line that tells the address, one that names the user and one that closes the connection each add to the
//! case; only when it amounts to a failure is it reported, with all lines that belong to it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use smol_str::SmolStr;

use super::Captured;
use super::fields::Fields;
use crate::ledger::{Data, Field};
use crate::time::{Seconds, Timestamp};
use crate::value::Value;

/// Fail2Ban keeps this many sessions a jail, the oldest out first.
const MOST: usize = 100;
/// A session is forgotten this long after its first line.
const LIFETIME: Seconds = Seconds::new(300);
/// Keys of sessions that are compared together.
const TOGETHER: usize = 16;
/// Lines kept of one session: an attacker who never closes it must not fill the memory.
const MOST_LINES: usize = 1000;

/// What is known of one session, or of one line that belongs to none.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    mlfid: Option<SmolStr>,
    /// That of its session, if it has one
    key: u64,
    fields: Fields,
    users: Vec<Field>,
    matches: Vec<Arc<str>>,
    quiet_matches: Vec<Arc<str>>,
    nofail: bool,
    gained: bool,
    pending: bool,
    forgotten: bool,
    /// The present line began it.
    fresh: bool,
}

impl Case {
    /// A line without a session: it is its own case. `<F-NOFAIL>` has no effect then.
    pub(super) fn single(groups: Fields, lines: Vec<Arc<str>>) -> Case {
        Case {
            matches: lines,
            fields: groups,
            forgotten: true,
            ..Case::default()
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    pub(super) fn set(&mut self, name: &str, text: String) {
        self.fields.set(name, Some(Field::Text(text.into())));
    }

    /// The id of its session.
    pub(super) fn mlfid(&self) -> Option<&str> {
        self.mlfid.as_deref()
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The names tried so far, as a field.
    pub(super) fn users(&self) -> Option<Field> {
        (!self.users.is_empty()).then(|| Field::Set(self.users.clone()))
    }

    pub(super) fn nofail(&self) -> bool {
        self.nofail
    }

    pub(super) fn matches(&self) -> &[Arc<str>] {
        &self.matches
    }

    /// Nobody is known yet: the next line with an address reports it.
    pub(super) fn wait(&mut self) {
        self.pending = true;
    }

    /// The captured fields as the ticket carries them.
    pub(super) fn data(&self) -> Data {
        let known = |(name, field): (SmolStr, Option<Field>)| field.map(|field| (name, field));
        self.fields().into_iter().filter_map(known).collect()
    }

    /// The captured fields in order, those without a value included.
    pub(super) fn fields(&self) -> Captured {
        let field = |(name, field): (&SmolStr, Option<&Field>)| {
            let users = || self.users().filter(|_| name == "users");
            (name.clone(), users().or_else(|| field.cloned()))
        };
        self.fields.iter().map(field).collect()
    }

    /// The first line of a session.
    fn first((mlfid, key): (SmolStr, u64), groups: Fields, user: Option<Field>) -> Case {
        let mut case = Case {
            mlfid: Some(mlfid),
            key,
            fields: groups,
            fresh: true,
            ..Case::default()
        };
        case.add_user(user);
        case
    }

    /// What an earlier line said of the session no longer holds.
    fn clear_flags(&mut self) {
        (self.nofail, self.gained) = (false, false);
        self.fields.remove("nofail");
        self.fields.remove("mlfgained");
    }

    fn to_value(&self) -> Value {
        let list = |texts: &[Arc<str>]| Value::List(texts.iter().map(|text| (**text).into()).collect());
        let fields = self
            .fields
            .iter()
            .filter_map(|(name, field)| Some((name.as_str().into(), field?.to_value())))
            .collect();
        let flags = [self.nofail, self.gained, self.pending].map(Value::Bool);
        Value::List(vec![
            Value::Dict(fields),
            Value::List(self.users.iter().map(Field::to_value).collect()),
            list(&self.matches),
            list(&self.quiet_matches),
            Value::List(flags.into()),
        ])
    }

    fn from_value(mlfid: &str, value: &Value) -> Option<Case> {
        let texts = |value: &Value| -> Option<Vec<Arc<str>>> {
            value
                .as_items()?
                .iter()
                .map(|text| text.as_str().map(Arc::from))
                .collect()
        };
        let [Value::Dict(fields), users, matches, quiet_matches, flags] = value.as_items()? else {
            return None;
        };
        let [Value::Bool(nofail), Value::Bool(gained), Value::Bool(pending)] = *flags.as_items()? else {
            return None;
        };
        let pair = |(name, field): &(Value, Value)| Some((name.as_str()?.into(), Some(Field::from_value(field)?)));
        Some(Case {
            mlfid: Some(mlfid.into()),
            key: key(mlfid),
            fields: fields.iter().map(pair).collect::<Option<_>>()?,
            users: users.as_items()?.iter().map(Field::from_value).collect::<Option<_>>()?,
            matches: texts(matches)?,
            quiet_matches: texts(quiet_matches)?,
            nofail,
            gained,
            pending,
            forgotten: false,
            fresh: false,
        })
    }

    fn add_user(&mut self, user: Option<Field>) {
        let Some(user) = user.filter(Field::is_true) else {
            return;
        };
        if self.users.is_empty() {
            // The list itself is in `users`; this keeps its place among the fields.
            self.fields.set("users", Some(Field::Text("".into())));
        }
        if !self.users.contains(&user) && self.users.len() < MOST {
            self.users.push(user);
        }
    }
}

/// The open sessions of one jail. A clone shares what does not change.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    /// The oldest first
    open: VecDeque<Arc<Open>>,
    /// Of each in the same order, by which it is looked for; one after the other, so that several are compared at once
    keys: Vec<u64>,
    changed: bool,
}

#[derive(Clone, Debug)]
struct Open {
    mlfid: SmolStr,
    until: Timestamp,
    case: Case,
}

impl Sessions {
    /// Whether anything changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The open sessions as a value, to be kept and given to [`Sessions::from_value`] by a later run.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let session = |open: &Arc<Open>| {
            Value::List(vec![
                open.mlfid.as_str().into(),
                open.until.micros().into(),
                open.case.to_value(),
            ])
        };
        Value::List(self.open.iter().map(session).collect())
    }

    /// Sessions kept by an earlier run. What cannot be understood is left out: a lost session is a failure seen
    /// later, never one counted twice.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        let mut sessions = Sessions::default();
        for item in value.as_items().unwrap_or_default().iter().take(MOST) {
            let Some([Value::Str(mlfid), Value::Int(until), case]) = item.as_items() else {
                continue;
            };
            let Some(case) = Case::from_value(mlfid, case) else {
                continue;
            };
            sessions.push(mlfid.as_str().into(), key(mlfid), Timestamp::from_micros(*until), case);
        }
        sessions
    }

    /// Adds a line's groups to its session and says what the case is now. The case is to be given back with
    /// [`Sessions::keep`].
    pub(super) fn merge(&mut self, now: Timestamp, mlfid: &str, mut groups: Fields, lines: Vec<Arc<str>>) -> Case {
        let gained = groups.is_true("mlfgained");
        if gained && !groups.is_true("nofail") {
            groups.set("nofail", groups.get("mlfgained").cloned());
        }
        let nofail = groups.is_true("nofail");
        let forget = groups.remove("mlfforget").is_some_and(|field| field.is_true());
        let pending = groups.remove("mlfpending").map(|field| field.is_true());
        let user = groups.get("user").cloned();
        let key = key(mlfid);
        let mut case = match self.take(now, mlfid, key) {
            Some(mut case) => {
                case.fresh = false;
                case.add_user(user);
                let was_quiet = case.nofail || case.gained;
                case.clear_flags();
                if gained {
                    case.pending = false;
                }
                if !was_quiet && !case.pending {
                    case.matches.clear();
                }
                case.fields.update(groups);
                case
            }
            None => {
                let mlfid: SmolStr = mlfid.into();
                if !forget {
                    self.insert(now, &mlfid, key);
                }
                Case::first((mlfid, key), groups, user.filter(|_| !forget))
            }
        };
        case.forgotten = forget;
        // A pattern may say that somebody fails who is not known yet.
        case.pending = pending.unwrap_or(case.pending);
        if forget {
            self.remove(mlfid, key);
        }
        settle(&mut case, Flags { nofail, gained, forget }, lines);
        case
    }

    /// What a case tells of a failure. It goes back into its session, if it has one.
    pub(super) fn told(&mut self, case: Case) -> (Data, Vec<Arc<str>>) {
        if case.mlfid.is_some() {
            let told = (case.data(), case.matches.clone());
            self.keep(case);
            return told;
        }
        let fields = case.fields.into_list().into_iter();
        let known = fields.filter_map(|(name, field)| field.map(|field| (name, field)));
        (known.collect(), case.matches)
    }

    /// Puts a case back into its session, unless that is over.
    pub(super) fn keep(&mut self, case: Case) {
        self.changed |= case.mlfid.is_some();
        if case.forgotten {
            return;
        }
        let open = case.mlfid.as_ref().and_then(|mlfid| self.place(mlfid, case.key));
        if let Some(open) = open.and_then(|place| self.open.get_mut(place)) {
            Arc::make_mut(open).case = case;
        }
    }

    /// Where a session is; most are young.
    fn place(&self, mlfid: &str, key: u64) -> Option<usize> {
        let is_it = |place: usize| self.open.get(place).is_some_and(|open| open.mlfid == mlfid);
        let mut end = self.keys.len();
        for some in self.keys.rchunks(TOGETHER) {
            end -= some.len();
            // Without a way out in the middle, whole vectors of them are compared.
            if !some.iter().fold(false, |found, known| found | (*known == key)) {
                continue;
            }
            let places = some.iter().enumerate().filter(|(_, known)| **known == key);
            if let Some(place) = places.map(|(place, _)| end + place).find(|&place| is_it(place)) {
                return Some(place);
            }
        }
        None
    }

    fn push(&mut self, mlfid: SmolStr, key: u64, until: Timestamp, case: Case) {
        self.keys.push(key);
        self.open.push_back(Arc::new(Open { mlfid, until, case }));
    }

    fn pop_oldest(&mut self) -> Option<Arc<Open>> {
        let oldest = self.open.pop_front()?;
        self.keys.remove(0);
        Some(oldest)
    }

    fn remove_at(&mut self, place: usize) {
        self.keys.remove(place);
        self.open.remove(place);
    }

    /// The case of a session that is open. What was cloned before stays as it was.
    fn take(&mut self, now: Timestamp, mlfid: &str, key: u64) -> Option<Case> {
        let place = self.place(mlfid, key)?;
        let open = self.open.get_mut(place)?;
        if open.until <= now {
            self.remove_at(place);
            return None;
        }
        Some(match Arc::get_mut(open) {
            Some(own) => std::mem::take(&mut own.case),
            None => open.case.clone(),
        })
    }

    fn remove(&mut self, mlfid: &str, key: u64) {
        if let Some(place) = self.place(mlfid, key) {
            self.remove_at(place);
        }
    }

    /// Makes room as Fail2Ban's cache does: the oldest go until one of them was still alive.
    fn insert(&mut self, now: Timestamp, mlfid: &SmolStr, key: u64) {
        while self.open.len() >= MOST {
            let Some(oldest) = self.pop_oldest() else { break };
            if oldest.until <= now {
                while self.pop_oldest().is_some_and(|next| next.until <= now) {}
            }
        }
        self.push(mlfid.clone(), key, now + LIFETIME, Case::default());
    }
}

fn key(mlfid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    mlfid.hash(&mut hasher);
    hasher.finish()
}

/// What the present line says of the session.
struct Flags {
    nofail: bool,
    gained: bool,
    forget: bool,
}

/// Whether the case is a failure now, and which lines belong to it.
fn settle(case: &mut Case, flags: Flags, lines: Vec<Arc<str>>) {
    let Flags {
        mut nofail,
        mut gained,
        forget,
    } = flags;
    case.nofail = nofail;
    case.gained = gained;
    // Something failed before, or one connection tried several names: a success does not wash that off.
    if std::mem::take(&mut case.pending) || case.users.len() > 1 {
        (nofail, gained) = (false, false);
        case.clear_flags();
    }
    if !nofail {
        let mut matches = std::mem::take(&mut case.quiet_matches);
        matches.append(&mut case.matches);
        if !gained {
            matches.extend(lines);
        }
        case.matches = matches;
        trim(&mut case.matches);
    } else if !forget {
        case.quiet_matches.extend(lines);
        trim(&mut case.quiet_matches);
    }
}

fn trim(lines: &mut Vec<Arc<str>>) {
    if lines.len() > MOST_LINES {
        lines.drain(..lines.len() - MOST_LINES);
    }
}

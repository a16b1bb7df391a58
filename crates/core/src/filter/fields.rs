//! What was captured, by name, in the order in which Fail2Ban's dictionaries have it.
//!
//! Tools print the fields of a failure in that order, groups that took no part included; there are few of them,
//! so that a list is faster than a map.

use smol_str::SmolStr;

use super::Captured;
use crate::ledger::Field;

/// Named values; a group that took no part in the match is there with `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Captured);

impl Fields {
    /// The value of a field, if it is there and took part.
    pub(super) fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(own, _)| **own == *name)?.1.as_ref()
    }

    /// The text of a field, if it is there, took part and is not combined.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Field::Text(text) => Some(text),
            Field::Tuple(_) | Field::Set(_) => None,
        }
    }

    /// Whether a field is there and counts as true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(Field::is_true)
    }

    /// Sets a field in its place, or at the end if it is new.
    pub(super) fn set(&mut self, name: &str, field: Option<Field>) {
        match self.0.iter_mut().find(|(own, _)| **own == *name) {
            Some(pair) => pair.1 = field,
            None => self.0.push((name.into(), field)),
        }
    }

    /// Takes a field out.
    pub(super) fn remove(&mut self, name: &str) -> Option<Field> {
        let place = self.0.iter().position(|(own, _)| **own == *name)?;
        self.0.remove(place).1
    }

    /// Takes over what took part in `other`.
    pub(super) fn update(&mut self, other: Fields) {
        for (name, field) in other.0.into_iter().filter(|(_, field)| field.is_some()) {
            self.set(&name, field);
        }
    }

    /// All fields in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SmolStr, Option<&Field>)> {
        self.0.iter().map(|(name, field)| (name, field.as_ref()))
    }

    /// The fields as a list.
    pub(super) fn into_list(self) -> Captured {
        self.0
    }
}

impl FromIterator<(SmolStr, Option<Field>)> for Fields {
    fn from_iter<T: IntoIterator<Item = (SmolStr, Option<Field>)>>(pairs: T) -> Self {
        Fields(pairs.into_iter().collect())
    }
}

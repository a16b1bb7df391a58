//! What was captured from log lines, by the names of the groups.

use std::ops::Index;
use std::sync::{Arc, LazyLock};

use smol_str::SmolStr;

use super::Field;
use crate::handful::Handful;

/// Fields by name, in the order of the names. Clones share them, because one case goes to many layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data(Arc<Handful<Field, SmolStr>>);

impl Default for Data {
    fn default() -> Self {
        // Most bans by hand have none: they share one.
        static NONE: LazyLock<Arc<Handful<Field, SmolStr>>> = LazyLock::new(Arc::default);
        Data(Arc::clone(&NONE))
    }
}

impl Data {
    /// The field of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.get(name)
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Gives a name a field, in the place of its former one.
    pub fn insert(&mut self, name: impl Into<SmolStr>, field: Field) {
        Arc::make_mut(&mut self.0).insert(&name.into(), field);
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Field> {
        self.contains_key(name)
            .then(|| Arc::make_mut(&mut self.0).remove(name))?
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&SmolStr, &Field)> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over the fields of another case; of those of one name the other's.
    pub fn extend(&mut self, other: Data) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for (name, field) in other.iter() {
            self.insert(name.clone(), field.clone());
        }
    }
}

impl Index<&str> for Data {
    type Output = Field;

    /// # Panics
    /// Where there is no such field.
    fn index(&self, name: &str) -> &Field {
        match self.get(name) {
            Some(field) => field,
            None => unreachable!("no field {name}"),
        }
    }
}

impl<N: Into<SmolStr>> FromIterator<(N, Field)> for Data {
    fn from_iter<T: IntoIterator<Item = (N, Field)>>(fields: T) -> Self {
        Data(Arc::new(
            fields.into_iter().map(|(name, field)| (name.into(), field)).collect(),
        ))
    }
}

//! A map of very few names: for what each of very many things has of its own.
//!
//! A `BTreeMap` takes room for eleven entries with its first, nearly a kibibyte of it for each ban in force. Here there is
//! room for what there is, in the order of the names.

use std::ops::Deref;
use std::sync::Arc;

/// Values by name; every look goes through them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handful<V, N = Arc<str>>(Vec<(N, V)>);

impl<V, N> Default for Handful<V, N> {
    fn default() -> Self {
        Handful(Vec::new())
    }
}

impl<V, N: Clone + Deref<Target = str>> Handful<V, N> {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let place = self.place(name).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Gives a name a value, in the place of its former one.
    pub(crate) fn insert(&mut self, name: &N, value: V) {
        match self.place(name) {
            Ok(place) => {
                if let Some((_, old)) = self.0.get_mut(place) {
                    *old = value;
                }
            }
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (name.clone(), value));
            }
        }
    }

    /// The value of a name, to change it.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let place = self.place(name).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        let place = self.place(name).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Leaves those for whose value this holds.
    pub(crate) fn retain(&mut self, mut holds: impl FnMut(&V) -> bool) {
        self.0.retain(|(_, value)| holds(value));
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&N, &V)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl<V, N: Ord> FromIterator<(N, V)> for Handful<V, N> {
    /// Of several values of one name the last.
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut list: Vec<(N, V)> = pairs.into_iter().collect();
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        list.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        Handful(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut handful = Handful::default();
        for (name, value) in [("c", 1), ("a", 2), ("b", 3), ("c", 4)] {
            handful.insert(&name.into(), value);
        }
        let all = |handful: &Handful<i32>| {
            handful
                .iter()
                .map(|(name, value)| format!("{name}{value}"))
                .collect::<String>()
        };
        assert_eq!(all(&handful), "a2b3c4");
        assert_eq!((handful.get("b"), handful.get("d")), (Some(&3), None));
        *handful.get_mut("b").unwrap() = 9;
        handful.remove("a");
        handful.remove("d");
        assert_eq!(all(&handful), "b9c4");
        handful.retain(|value| *value == 4);
        assert_eq!((all(&handful).as_str(), handful.is_empty()), ("c4", false));
    }
}

//! A map of very few names: for what each of very many things has of its own.
//!
//! A `BTreeMap` takes room for eleven entries with its first, nearly a kibibyte of it for each ban in force. Here there is
//! room for what there is, in the order of the names.

use std::sync::Arc;

/// Values by name; every look goes through them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handful<V>(Vec<(Arc<str>, V)>);

impl<V> Default for Handful<V> {
    fn default() -> Self {
        Handful(Vec::new())
    }
}

impl<V> Handful<V> {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let place = self.place(name).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Gives a name a value, in the place of its former one.
    pub(crate) fn insert(&mut self, name: &Arc<str>, value: V) {
        match self.place(name) {
            Ok(place) => {
                if let Some((_, old)) = self.0.get_mut(place) {
                    *old = value;
                }
            }
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (Arc::clone(name), value));
            }
        }
    }

    /// The value of a name, to change it.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let place = self.place(name).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Ok(place) = self.place(name) {
            self.0.remove(place);
        }
    }

    /// Leaves those for whose value this holds.
    pub(crate) fn retain(&mut self, mut holds: impl FnMut(&V) -> bool) {
        self.0.retain(|(_, value)| holds(value));
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
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

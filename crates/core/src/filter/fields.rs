//! What was captured, by name, in the order in which Fail2Ban's dictionaries have it.
//!
//! Tools print the fields of a failure in that order, groups that took no part included; there are few of them,
//! so that a list is faster than a map.

/// Named texts; a group that took no part in the match is there with `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Option<String>)>);

impl Fields {
    /// The text of a field, if it is there and took part.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name)?.1.as_deref()
    }

    /// The text of a field that is not empty: what counts as true.
    pub(super) fn truth(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// Sets a field in its place, or at the end if it is new.
    pub(super) fn set(&mut self, name: &str, text: Option<String>) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some(pair) => pair.1 = text,
            None => self.0.push((name.to_owned(), text)),
        }
    }

    /// Takes a field out.
    pub(super) fn remove(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(own, _)| own == name)?;
        self.0.remove(place).1
    }

    /// Takes over what took part in `other`.
    pub(super) fn update(&mut self, other: Fields) {
        for (name, text) in other.0.into_iter().filter(|(_, text)| text.is_some()) {
            self.set(&name, text);
        }
    }

    /// All fields in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_deref()))
    }

    /// The fields as a list.
    pub(super) fn into_list(self) -> Vec<(String, Option<String>)> {
        self.0
    }
}

impl FromIterator<(String, Option<String>)> for Fields {
    fn from_iter<T: IntoIterator<Item = (String, Option<String>)>>(pairs: T) -> Self {
        Fields(pairs.into_iter().collect())
    }
}

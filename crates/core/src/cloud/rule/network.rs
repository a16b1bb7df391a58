//! Whether two spellings mean the same VPC network.
//!
//! Rules name their network by URL and project id, the metadata server by `projects/NUMBER/networks/NAME` and project
//! number, and people by its bare name. Under Shared VPC the project is the one that holds the network.

/// What two spellings of a network say about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// They mean one network
    Same,
    /// They mean two
    Different,
    /// One gives the project by number and the other by id, or not at all: nobody can tell
    Unknown,
}

/// A network's place: its project where that is said, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) project: Option<&'a str>,
    pub(super) name: &'a str,
}

impl Place<'_> {
    /// Reads `…/projects/P/global/networks/N`, `projects/P/networks/N`, `global/networks/N` or `N`; none where it is
    /// none of them.
    pub(super) fn of(text: &str) -> Option<Place<'_>> {
        let text = text.trim_end_matches('/');
        let (before, name) = match text.rsplit_once('/') {
            None => ("", text),
            Some(("networks", name)) => ("", name),
            Some((before, name)) => (before.strip_suffix("/networks")?, name),
        };
        let mut parts = before.split('/').skip_while(|part| *part != "projects");
        let project = parts.nth(1).filter(|project| !project.is_empty());
        (!name.is_empty()).then_some(Place { project, name })
    }
}

/// Compares two spellings of a network. Networks of different names are different, whatever their projects.
#[must_use]
pub fn same_network(one: &str, other: &str) -> Sameness {
    let (Some(one), Some(other)) = (Place::of(one), Place::of(other)) else {
        return Sameness::Unknown;
    };
    if one.name != other.name {
        return Sameness::Different;
    }
    match (one.project, other.project) {
        (Some(one), Some(other)) if one == other => Sameness::Same,
        (Some(one), Some(other)) if is_number(one) == is_number(other) => Sameness::Different,
        _ => Sameness::Unknown,
    }
}

fn is_number(project: &str) -> bool {
    project.bytes().all(|byte| byte.is_ascii_digit())
}

//! Judgements about the machine and its way to the API: where it runs, its token, its scopes, its clock.

use portcullis_core::cloud::trouble::{Kind, Place, Trouble};

use crate::client::finding::Finding;

/// Scopes that let a token change firewall rules.
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/compute",
];
/// A clock that is further off makes signed tokens invalid (Google takes up to ten minutes; five leave room).
const OFF: i64 = 300;
/// A clock that is this far off is worth a word.
const LATE: i64 = 30;

/// What is known of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Whether a metadata server answers
    pub(super) is_on_gce: bool,
    /// The scopes of its service account; `None` where it has no account, or nobody could tell
    pub(super) scopes: Option<Vec<String>>,
    /// Its name and zone
    pub(super) instance: String,
    pub(super) zone: String,
    /// Whether it has an external IPv6 address
    pub(super) has_ipv6: bool,
}

/// Where it runs.
pub(super) fn place(machine: &Machine) -> Finding {
    if machine.is_on_gce {
        let text = format!("runs on the virtual machine {} in {}", machine.instance, machine.zone);
        return Finding::ok("machine", text);
    }
    Finding::warn(
        "machine",
        "no metadata server answers: this is no virtual machine of Google's, or the server is blocked. Whether a rule meets this \
         machine cannot be told",
    )
    .mend("on such a machine: let root reach 169.254.169.254; elsewhere: name the project and a key file (project=…, GOOGLE_APPLICATION_CREDENTIALS)")
}

/// Whether there is a token, and from where.
pub(super) fn token(place: &Place, source: &str, result: &Result<(), Trouble>) -> Finding {
    match result {
        Ok(()) => Finding::ok("token", format!("has a token from {source}")),
        Err(trouble) => {
            let finding = Finding::bad("token", format!("no token from {source}: {trouble}"));
            mended(finding, trouble, place)
        }
    }
}

fn mended(finding: Finding, trouble: &Trouble, place: &Place) -> Finding {
    match trouble.mend(place) {
        Some(mend) => finding.mend(mend),
        None => finding,
    }
}

/// Whether the machine's own token may change rules.
pub(super) fn scopes(machine: &Machine, place: &Place) -> Option<Finding> {
    let scopes = machine.scopes.as_ref()?;
    if let Some(scope) = scopes.iter().find(|scope| SCOPES.contains(&scope.as_str())) {
        return Some(Finding::ok(
            "scopes",
            format!("the machine's scopes cover the API ({scope})"),
        ));
    }
    let text = format!(
        "the machine's scopes do not cover the API; it was made with: {}",
        scopes
            .iter()
            .map(|scope| scope.rsplit('/').next().unwrap_or(scope))
            .collect::<Vec<_>>()
            .join(", ")
    );
    Some(mended(
        Finding::bad("scopes", text),
        &Trouble::without_answer(Kind::Scope, ""),
        place,
    ))
}

/// How far our clock is off, in seconds: positive where it is ahead.
pub(super) fn clock(ahead: Option<i64>) -> Finding {
    match ahead {
        None => Finding::warn("clock", "the API's answers bear no date, so the clock was not compared"),
        Some(ahead) if ahead.abs() < LATE => Finding::ok("clock", "the clock is right"),
        Some(ahead) => {
            let text = format!(
                "the clock is {} s {}",
                ahead.abs(),
                if ahead > 0 { "ahead" } else { "behind" }
            );
            let mend = "timedatectl set-ntp true";
            if ahead.abs() < OFF {
                Finding::warn("clock", text).mend(mend)
            } else {
                Finding::bad("clock", text + ": tokens that are signed here are refused").mend(mend)
            }
        }
    }
}

/// What a call that failed says about the whole way to the API.
pub(super) fn reach(place: &Place, trouble: &Trouble) -> Finding {
    let (code, what) = match trouble.kind {
        Kind::ApiOff => ("api", "the Compute Engine API is off in the project"),
        Kind::Scope => ("scopes", "the token's scopes do not cover the API"),
        Kind::Token | Kind::Credentials => ("token", "the token is refused"),
        Kind::Permission => ("permission", "the API does not permit it"),
        Kind::Rate => {
            let text = format!("the project's calls in this minute are used up: {trouble}");
            return Finding::warn("quota", text).mend("ask again in a minute, and look who else calls so often");
        }
        Kind::Unknown => {
            let mend = "let this machine reach compute.googleapis.com on port 443 (Private Google Access, where it has no \
                        external address)";
            return Finding::bad("api", format!("the API cannot be reached: {trouble}")).mend(mend);
        }
        _ => ("api", "the API refuses"),
    };
    mended(Finding::bad(code, format!("{what}: {trouble}")), trouble, place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::finding::Level;
    use crate::client::gcp::pace::tests::trouble;

    #[test]
    fn scopes_of_a_machine_as_it_is_made() {
        let machine = |scopes: Option<&[&str]>| Machine {
            scopes: scopes.map(|list| list.iter().map(|&scope| scope.to_owned()).collect()),
            instance: "vm-1".into(),
            zone: "z".into(),
            ..Machine::default()
        };
        let place = Place {
            instance: Some("vm-1".into()),
            zone: Some("z".into()),
            project: Some("my-project".into()),
            ..Place::default()
        };
        assert_eq!(scopes(&machine(None), &place), None);
        let level = |list: &[&str]| scopes(&machine(Some(list)), &place).unwrap().level;
        assert_eq!(level(&[SCOPES[0]]), Level::Ok);
        assert_eq!(level(&[SCOPES[1]]), Level::Ok);
        assert_eq!(level(&["https://www.googleapis.com/auth/compute.readonly"]), Level::Bad);
        let mend = scopes(&machine(Some(&[])), &place).unwrap().mend.unwrap();
        assert!(mend.contains("set-service-account vm-1 --zone z"), "{mend}");
    }

    #[test]
    fn clocks() {
        let check = |ahead: Option<i64>, level: Level, text: &str| {
            let finding = clock(ahead);
            assert_eq!(finding.level, level);
            assert!(finding.text.contains(text), "{}", finding.text);
        };
        check(None, Level::Warn, "no date");
        check(Some(-3), Level::Ok, "right");
        check(Some(-60), Level::Warn, "60 s behind");
        check(Some(900), Level::Bad, "900 s ahead");
    }

    #[test]
    fn what_a_failed_call_says() {
        let check = |kind: Kind, level: Level, code: &str, mend: &str| {
            let place = Place {
                project: Some("my-project".into()),
                ..Place::default()
            };
            let finding = reach(&place, &trouble(kind));
            assert_eq!((finding.level, finding.code), (level, code));
            assert!(finding.mend.unwrap_or_default().contains(mend));
        };
        check(
            Kind::ApiOff,
            Level::Bad,
            "api",
            "gcloud services enable compute.googleapis.com --project my-project",
        );
        check(Kind::Scope, Level::Bad, "scopes", "set-service-account");
        check(Kind::Rate, Level::Warn, "quota", "in a minute");
        check(Kind::Unknown, Level::Bad, "api", "443");
        check(Kind::Refused, Level::Bad, "api", "");
    }
}

//! Which API, and which project in it: from an action's options, the environment and the machine.
//!
//! The action's own word wins, then the variables that gcloud knows, then what the machine says about itself. An
//! address without TLS is taken for this machine alone, since a token goes with every call.

use std::net::IpAddr;
use std::path::PathBuf;

use portcullis_core::cloud::options::Options;
use reqwest::Url;

use super::metadata::Metadata;
use super::token;

/// Google's own.
const COMPUTE: &str = "https://compute.googleapis.com/compute/v1/";
const RESOURCES: &str = "https://cloudresourcemanager.googleapis.com/";

/// gcloud's variables.
const COMPUTE_VARIABLE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE";
const RESOURCES_VARIABLE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER";
const PROJECT_VARIABLE: &str = "CLOUDSDK_CORE_PROJECT";

/// What a variable of the environment holds; `None` also for an empty one.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where calls go. Layers with an equal one share a client, and with it a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Api {
    /// Base address of compute v1, with a slash at its end
    pub(crate) endpoint: String,
    /// Base address of the resource manager, which knows who may do what; `None` where only the other was overridden
    pub(crate) resources: Option<String>,
    /// Id of the project that holds the rules
    pub(crate) project: String,
    /// The file with the token, where the action names one
    pub(crate) token_file: Option<PathBuf>,
}

impl Api {
    /// For an action, on a machine that says `metadata` about itself, if it says anything.
    ///
    /// # Errors
    /// In words, with the mend: the address is none that may be called, or nobody names the project.
    pub(crate) fn of(options: &Options, metadata: Option<&Metadata>) -> Result<Api, String> {
        Api::within(options, metadata, &variable)
    }

    fn within(options: &Options, metadata: Option<&Metadata>, environment: Environment<'_>) -> Result<Api, String> {
        let (endpoint, resources) = match options.endpoint.clone().or_else(|| environment(COMPUTE_VARIABLE)) {
            Some(given) => (base(&given)?, None),
            None => (COMPUTE.to_owned(), Some(RESOURCES.to_owned())),
        };
        let resources = match environment(RESOURCES_VARIABLE) {
            Some(given) => Some(base(&given)?),
            None => resources,
        };
        let project = options
            .project
            .clone()
            .or_else(|| environment(PROJECT_VARIABLE))
            .or_else(|| {
                metadata
                    .map(|metadata| metadata.project.clone())
                    .filter(|id| !id.is_empty())
            })
            .or_else(|| token::project(environment))
            .ok_or("nobody names the project that holds the rule: say project=ID in the action, or --project ID, or set CLOUDSDK_CORE_PROJECT")?;
        if !is_project(&project) {
            return Err(format!("'{}' is no project id", project.escape_default()));
        }
        Ok(Api {
            endpoint,
            resources,
            project,
            token_file: options.token_file.as_deref().map(PathBuf::from),
        })
    }

    /// Whether calls stay on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let is_near = |address: &str| Url::parse(address).is_ok_and(|url| is_loopback(&url));
        is_near(&self.endpoint) && self.resources.as_deref().is_none_or(is_near)
    }
}

/// The process's own environment.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A base address with a slash at its end, if it may be called.
fn base(given: &str) -> Result<String, String> {
    let shown = given.escape_default();
    let url = Url::parse(given).map_err(|error| format!("endpoint '{shown}' is no address: {error}"))?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !is_plain || url.fragment().is_some() || !url.has_host() {
        return Err("an endpoint is https://HOST/PATH/ and nothing else".to_owned());
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            return Err(format!(
                "endpoint '{shown}' would send the token without TLS: https, or this machine"
            ));
        }
        other => return Err(format!("endpoint '{shown}': {other} cannot be spoken here, only https")),
    }
    let mut text = url.to_string();
    if !text.ends_with('/') {
        text.push('/');
    }
    Ok(text)
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// An id or a number, with a domain before it in old organisations (`example.com:mail`).
fn is_project(text: &str) -> bool {
    let is_ours = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    (1..=100).contains(&text.len()) && text.chars().all(is_ours) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[(&str, &str)], options: (Option<&str>, Option<&str>), expect: Result<(&str, &str), &str>) {
        let environment = |name: &str| {
            let of_it = given.iter().find(|(key, _)| *key == name);
            of_it.map(|(_, value)| (*value).to_owned())
        };
        let mut wanted = Options::new("block-ip");
        wanted.endpoint = options.0.map(str::to_owned);
        wanted.project = options.1.map(str::to_owned);
        let metadata = Metadata {
            project: "of-the-machine".to_owned(),
            ..Metadata::default()
        };
        let found = Api::within(&wanted, Some(&metadata), &environment);
        match (&found, expect) {
            (Ok(api), Ok((endpoint, project))) => assert_eq!((&*api.endpoint, &*api.project), (endpoint, project)),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            _ => panic!("{given:?} {options:?}: {found:?}"),
        }
    }

    #[test]
    fn the_action_wins_then_the_environment_then_the_machine() {
        let environment = [
            (COMPUTE_VARIABLE, "http://127.0.0.1:8080/compute/v1"),
            (PROJECT_VARIABLE, "of-the-environment"),
        ];
        let near = "http://127.0.0.1:8080/compute/v1/";
        check(&[], (None, None), Ok((COMPUTE, "of-the-machine")));
        check(&environment, (None, None), Ok((near, "of-the-environment")));
        let private = "https://compute.example.org/compute/v1/";
        check(&environment, (Some(private), Some("mail-1")), Ok((private, "mail-1")));
    }

    #[test]
    fn a_token_goes_nowhere_without_tls() {
        for (endpoint, part) in [
            ("http://compute.googleapis.com/compute/v1/", "without TLS"),
            ("http://127.0.0.1.example.org/", "without TLS"),
            ("http://192.0.2.1/", "without TLS"),
            ("ftp://127.0.0.1/", "only https"),
            ("https://me:word@example.org/", "nothing else"),
            ("https://example.org/?a=b", "nothing else"),
            ("compute/v1", "is no address"),
        ] {
            check(&[], (Some(endpoint), None), Err(part));
        }
        for near in ["http://[::1]:9/", "http://localhost:9/", "http://127.8.8.8/"] {
            check(&[], (Some(near), None), Ok((near, "of-the-machine")));
        }
    }

    #[test]
    fn a_project_is_an_id() {
        for (project, is_one) in [
            ("example.com:mail", true),
            ("123456789012", true),
            ("../x", false),
            ("A", false),
        ] {
            assert_eq!(is_project(project), is_one, "{project}");
        }
        check(&[], (None, Some("a/../../b")), Err("is no project id"));
    }

    #[test]
    fn the_resource_manager_is_not_asked_about_a_project_of_another_api() {
        let environment = |_: &str| None;
        let mut options = Options::new("block-ip");
        options.project = Some("p".to_owned());
        let api = Api::within(&options, None, &environment).unwrap();
        assert_eq!(api.resources.as_deref(), Some(RESOURCES));
        assert!(!api.is_loopback());
        options.endpoint = Some("http://127.0.0.1:1/".to_owned());
        let api = Api::within(&options, None, &environment).unwrap();
        assert_eq!(api.resources, None);
        assert!(api.is_loopback());
    }
}

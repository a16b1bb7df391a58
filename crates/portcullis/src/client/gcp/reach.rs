//! The way to the API: whose project, with which credentials, from the command line, the configuration, the environment
//! and the machine.

use std::path::PathBuf;

use portcullis_core::cloud::options::{self, Options};
use portcullis_core::cloud::trouble::{Kind, Place, Trouble};
use serde_json::Value;

use super::aims::Aims;
use super::session;
use crate::client::Where;
use crate::enforce::gcp::api::Api;
use crate::enforce::gcp::client::{Client, Method};
use crate::enforce::gcp::metadata::Metadata;

/// How the API is reached, where the configuration does not say, or says otherwise.
#[derive(clap::Args, Debug, Clone, Default)]
pub(super) struct Reach {
    /// Project that holds the rule [default: the action's, CLOUDSDK_CORE_PROJECT, the machine's own]
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Base address of the API [default: the action's, CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE, Google's]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// File with an access token [default: the action's, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE, application default
    /// credentials, the machine's service account]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Reach {
    /// The options of a rule: the configuration's where a jail bans in it, and the command line's above all.
    ///
    /// # Errors
    /// A name or an address is none.
    pub(super) fn options(&self, rule: &str, place: &Where) -> Result<Options, String> {
        named(rule)?;
        let known = Aims::read(place).of(rule).cloned();
        let mut options = known.unwrap_or_else(|| Options::new(rule));
        if let Some(project) = &self.project {
            if !options::is_project(project) {
                return Err(format!(
                    "'{}' is no id of a project; gcloud projects list shows them",
                    project.escape_default()
                ));
            }
            options.project = Some(project.clone());
        }
        if let Some(endpoint) = &self.endpoint {
            options.endpoint = Some(options::endpoint(endpoint)?);
        }
        if let Some(file) = &self.token_file {
            options.token_file = Some(file.to_string_lossy().into_owned());
        }
        Ok(options)
    }
}

/// Refuses what is no name of a rule.
///
/// # Errors
/// What a name is.
pub(super) fn named(rule: &str) -> Result<(), String> {
    if options::is_rule(rule) {
        return Ok(());
    }
    Err(format!(
        "'{}' is no name of a firewall rule: small letters, digits and hyphens, a letter first, at most 63",
        rule.escape_default()
    ))
}

/// The API of one project.
pub(super) struct Line {
    pub(super) client: Client,
    /// What mends something there
    pub(super) place: Place,
}

impl Line {
    /// For a rule's options, on a machine that says this about itself.
    ///
    /// # Errors
    /// In words, with the mend.
    pub(super) fn open(options: &Options, machine: Option<&Metadata>) -> Result<Line, String> {
        let api = Api::of(options, machine)?;
        let network = machine.and_then(|machine| machine.interfaces.first());
        let network = network.and_then(|interface| interface.network.rsplit('/').next());
        let client = Client::open(&api)?;
        let place = Place {
            project: Some(api.project),
            rule: options.rule.clone(),
            network: network.map(str::to_owned),
            instance: machine.map(|machine| machine.instance.clone()),
            zone: machine.map(|machine| machine.zone.clone()),
            home: machine.map(|machine| machine.project.clone()),
            account: client.account(machine.and_then(|machine| machine.account.as_deref())),
        };
        Ok(Line { client, place })
    }

    /// The project's id.
    pub(super) fn project(&self) -> &str {
        &self.client.api().project
    }

    /// What went wrong, with what mends it.
    pub(super) fn explain(&self, trouble: &Trouble) -> String {
        match trouble.mend(&self.place) {
            Some(mend) if trouble.kind == Kind::Missing => {
                let project = self.place.project();
                format!(
                    "{trouble}; mend: {mend}; which rules there are: gcloud compute firewall-rules list --project {project}"
                )
            }
            Some(mend) => format!("{trouble}; mend: {mend}"),
            None if trouble.is_unknown() => format!(
                "{trouble}; what is in the way: portcullis gcp doctor {}",
                self.place.rule
            ),
            None => trouble.to_string(),
        }
    }
}

impl session::Api for Line {
    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let method = match method {
            "POST" => Method::POST,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => Method::GET,
        };
        let project = &self.client.api().project;
        let path = format!("projects/{project}/{path}");
        self.client.send(method, path.trim_end_matches('/'), body)
    }
}

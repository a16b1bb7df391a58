//! Who we are to the API: an access token from a file, or from Google's own library of credentials.
//!
//! In order: the action's `token_file`; `CLOUDSDK_AUTH_ACCESS_TOKEN_FILE`, gcloud's variable; the application default
//! credentials, which are `GOOGLE_APPLICATION_CREDENTIALS`, the file that gcloud leaves in the home folder, or the
//! metadata server of the machine. A file is read anew for every call, so that whoever renews it needs to tell nobody.
//! The token itself leaves this module only in a header that does not show it.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use google_cloud_auth::build_errors;
use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use google_cloud_auth::errors::CredentialsError;
use portcullis_core::cloud::trouble::Trouble;
use serde_json::Value;

use super::api::{Environment, variable};
use super::http::{HeaderMap, HeaderValue, Http, plain};
use super::metadata;

const TOKEN_VARIABLE: &str = "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE";
const CREDENTIALS_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const QUOTA_VARIABLE: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";

/// For a token, which may take a call to another server; the library itself would wait without end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most bytes of a file with a token or credentials.
const MOST: u64 = 64 * 1024;

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// A file with nothing but the token
    Token(PathBuf),
    /// A file with credentials: a service account's key, or a federated identity
    Credentials(PathBuf),
    /// The metadata server
    Machine,
}

/// The headers that say who we are.
pub(super) struct Tokens {
    source: Source,
    /// Google's library, which renews the token in time
    credentials: Option<Credentials>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({:?})", self.source)
    }
}

impl Tokens {
    /// From the action's file, or from where the environment says.
    pub(super) fn new(token_file: Option<&Path>) -> Tokens {
        Tokens::within(token_file, &variable)
    }

    fn within(token_file: Option<&Path>, environment: Environment<'_>) -> Tokens {
        let given = token_file.map(Path::to_owned);
        let source = match given.or_else(|| environment(TOKEN_VARIABLE).map(PathBuf::from)) {
            Some(path) => Source::Token(path),
            None => credentials_file(environment).map_or(Source::Machine, Source::Credentials),
        };
        Tokens {
            source,
            credentials: None,
        }
    }

    /// Where tokens come from, for people.
    pub(super) fn origin(&self) -> String {
        match &self.source {
            Source::Token(path) => format!("token file {}", path.display()),
            Source::Credentials(path) => format!("credentials file {}", path.display()),
            Source::Machine => "the machine's service account (metadata server)".to_owned(),
        }
    }

    /// The account that we act as: the machine's, or the one that the file names.
    pub(super) fn account(&self, machine: Option<&str>) -> Option<String> {
        match &self.source {
            Source::Machine => machine.map(str::to_owned),
            Source::Token(_) => None,
            Source::Credentials(path) => {
                let content: Value = serde_json::from_str(&read(path).ok()?).ok()?;
                Some(content.get("client_email")?.as_str()?.to_owned())
            }
        }
    }

    /// What is to be mended about the file, though it works.
    pub(super) fn warning(&self) -> Option<String> {
        let (Source::Token(path) | Source::Credentials(path)) = &self.source else {
            return None;
        };
        let meta = std::fs::metadata(path).ok()?;
        (meta.mode() & 0o077 != 0).then(|| {
            let path = path.display();
            format!("others than its owner can get at {path}, which opens the firewall: chmod 600 {path}")
        })
    }

    /// The headers for the next call.
    ///
    /// # Errors
    /// There are no credentials, they are not usable, or nobody could be reached who gives a token for them.
    pub(super) fn headers(&mut self, http: &Http) -> Result<HeaderMap, Trouble> {
        if let Source::Token(path) = &self.source {
            return bearer(path).map_err(|reason| Trouble::credentials(&reason));
        }
        let credentials = &mut self.credentials;
        let asked = http.wait_for(async { tokio::time::timeout(PATIENCE, ask(credentials)).await });
        let failure = match asked {
            Ok(Ok(Ok(headers))) => return Ok(headers),
            Ok(Ok(Err(failure))) => failure,
            Ok(Err(_late)) => Failure::Silent(format!("no token within {} s", PATIENCE.as_secs())),
            Err(reason) => Failure::Silent(reason),
        };
        // What the library has learned it keeps, a failure for ever: the next call begins from the start.
        self.forget();
        Err(self.explain(&failure))
    }

    /// The next call begins from the start: the token was refused.
    pub(super) fn forget(&mut self) {
        self.credentials = None;
    }

    fn explain(&self, failure: &Failure) -> Trouble {
        let origin = self.origin();
        match failure {
            Failure::Silent(_) if self.source == Source::Machine && !metadata::is_expected() => {
                Trouble::credentials(&format!(
                    "there are no credentials: {CREDENTIALS_VARIABLE} names no file, gcloud has left none, and this \
                     machine has no metadata server"
                ))
            }
            Failure::Silent(reason) => Trouble::lost(&format!("no token from {origin}: {reason}")),
            Failure::Unusable(reason) => Trouble::credentials(&format!("no token from {origin}: {reason}")),
        }
    }
}

/// Why Google's library has no token.
enum Failure {
    /// Nobody could be reached; it may be better next time.
    Silent(String),
    /// It would be the same next time.
    Unusable(String),
}

async fn ask(held: &mut Option<Credentials>) -> Result<HeaderMap, Failure> {
    let credentials = match held {
        Some(credentials) => credentials,
        None => held.insert(Builder::default().build().map_err(|error| unbuilt(&error))?),
    };
    match credentials.headers(http::Extensions::new()).await {
        Ok(CacheableResource::New { data, .. }) => Ok(data),
        Ok(CacheableResource::NotModified) => Err(Failure::Silent("nothing new".to_owned())),
        Err(error) => Err(refused(&error)),
    }
}

/// In words of ours: the library's own may quote the file, in which there is a private key.
fn unbuilt(error: &build_errors::Error) -> Failure {
    let reason = if error.is_loading() {
        "the file cannot be read"
    } else if error.is_unknown_type() || error.is_not_supported() {
        "the file is of a kind that cannot be used"
    } else if error.is_missing_field() {
        "the file is not complete"
    } else {
        "the file is no credentials file"
    };
    Failure::Unusable(reason.to_owned())
}

fn refused(error: &CredentialsError) -> Failure {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = if text.is_empty() {
                words
            } else {
                format!("{text}: {words}")
            };
        }
        next = cause.source();
    }
    let text = plain(&text);
    if error.is_transient() {
        Failure::Silent(text)
    } else {
        Failure::Unusable(text)
    }
}

/// The header from a file with nothing but the token.
fn bearer(path: &Path) -> Result<HeaderMap, String> {
    let shown = path.display();
    let text = read(path).map_err(|error| format!("cannot read token file {shown}: {error}"))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(format!("token file {shown} is empty"));
    }
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .filter(|_| is_token);
    let mut value = value.ok_or_else(|| format!("token file {shown} holds something else than one token"))?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(http::header::AUTHORIZATION, value);
    Ok(headers)
}

/// The file of the application default credentials, if there is one.
fn credentials_file(environment: Environment<'_>) -> Option<PathBuf> {
    let named = environment(CREDENTIALS_VARIABLE).map(PathBuf::from);
    named.or_else(|| {
        let home = PathBuf::from(environment("HOME")?);
        Some(home.join(".config/gcloud/application_default_credentials.json")).filter(|path| path.exists())
    })
}

/// The project that the credentials are of, where they are in a file that says so.
pub(super) fn project(environment: Environment<'_>) -> Option<String> {
    if let Some(project) = environment(QUOTA_VARIABLE) {
        return Some(project);
    }
    let text = read(&credentials_file(environment)?).ok()?;
    let content: Value = serde_json::from_str(&text).ok()?;
    let named = ["project_id", "quota_project_id"];
    let named = named.iter().find_map(|key| content.get(key)?.as_str());
    named.map(str::to_owned)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;

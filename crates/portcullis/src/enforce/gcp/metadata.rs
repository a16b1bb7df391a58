//! What the virtual machine's own server says about it: who and where it is.
//!
//! Every Google Compute Engine machine has that server beside it, at a link-local address. In come a handful of
//! answers to plain HTTP requests, out goes [`Metadata`]. An answer without Google's header is somebody else's (other
//! clouds have a server at the same address), and is not taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::cloud::reconcile::Host;
use serde_json::Value;

use super::api::variable;
use super::http::{HeaderMap, HeaderValue, Http, Method, Reach, Reply, Request};

/// Names another server, as Google's own libraries understand it: HOST or HOST:PORT.
const HOST_VARIABLE: &str = "GCE_METADATA_HOST";

/// The address, since a name would have to be looked up where there is no such server.
const SERVER: &str = "169.254.169.254";

/// In the question, so that no web page can make a browser ask it; in the answer, so that nobody else's is taken.
const FLAVOR: &str = "metadata-flavor";

/// The maker's name in the firmware's tables.
const MAKER: &str = "/sys/class/dmi/id/product_name";

/// For the first answer, where nothing says that there is such a server.
const SHORT: Duration = Duration::from_millis(800);

/// The same where there must be one, and for all further answers: it is slow at times while a machine starts.
const LONG: Duration = Duration::from_secs(5);

/// Most interfaces, and most entries of a list.
const MOST: usize = 64;

/// What the machine says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Id of the project that the machine is in
    pub(crate) project: String,
    /// Its number
    pub(crate) number: String,
    /// The instance's name
    pub(crate) instance: String,
    /// The instance's number
    pub(crate) id: String,
    /// Its zone (`europe-west3-a`)
    pub(crate) zone: String,
    /// Its network interfaces, the first one first
    pub(crate) interfaces: Vec<Interface>,
    /// Its network tags
    pub(crate) tags: Vec<String>,
    /// The service account that it runs as, if it has one
    pub(crate) account: Option<String>,
    /// What tokens of that account are good for (URLs)
    pub(crate) scopes: Vec<String>,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    /// `projects/P/global/networks/NAME`; P is a number as long as nobody has said whose ([`Metadata::resolve`])
    pub(crate) network: String,
    /// Addresses within the network
    pub(crate) internal: Vec<IpAddr>,
    /// Addresses under which the Internet reaches it
    pub(crate) external4: Vec<Ipv4Addr>,
    /// The same, IPv6: on Google's machines, those that are not unique local (fc00::/7) or link-local
    pub(crate) external6: Vec<Ipv6Addr>,
}

impl Metadata {
    /// Asks the server; within a second where there is none. `None` where this is no machine of Google's.
    ///
    /// # Errors
    /// It should be there and does not answer, or what it says is not understood: worth another try.
    pub(crate) fn read() -> Result<Option<Metadata>, String> {
        let server = variable(HOST_VARIABLE).unwrap_or_else(|| SERVER.to_owned());
        read_from(&server, is_expected())
    }

    /// The network's project is named by number here, and by id in a rule: says that this number is this id's.
    pub(crate) fn resolve(&mut self, number: &str, id: &str) {
        let numbered = format!("projects/{number}/");
        for interface in &mut self.interfaces {
            if let Some(rest) = interface.network.strip_prefix(&numbered) {
                interface.network = format!("projects/{id}/{rest}");
            }
        }
    }

    /// The machine as the rules' state machine wants to know it.
    pub(crate) fn host(&self) -> Host {
        Host {
            writer: self.instance.clone(),
            networks: self.interfaces.iter().map(|it| it.network.clone()).collect(),
            has_ipv6: self.interfaces.iter().any(|it| !it.external6.is_empty()),
            is_on_gce: true,
            tags: self.tags.clone(),
            accounts: self.account.iter().cloned().collect(),
        }
    }
}

/// Whether there should be a metadata server, from what can be known without asking it.
pub(super) fn is_expected() -> bool {
    let is_made_by_google = || std::fs::read_to_string(MAKER).is_ok_and(|name| name.starts_with("Google"));
    variable(HOST_VARIABLE).is_some() || is_made_by_google()
}

fn read_from(server: &str, is_expected: bool) -> Result<Option<Metadata>, String> {
    let first = if is_expected { LONG } else { SHORT };
    let ask = Ask {
        server,
        http: Http::new(Reach::Neighbour(first))?,
    };
    let project = match ask.reply("project/project-id", first) {
        // Nobody there, or another cloud's server.
        Err(_) if !is_expected => return Ok(None),
        Ok(reply) if !is_expected && !is_googles(&reply) => return Ok(None),
        Err(reason) => return Err(reason),
        Ok(reply) => ask.value(&reply, "project/project-id")?,
    };
    let project = project.ok_or("the metadata server knows no project")?;
    let number = ask.text("project/numeric-project-id")?.unwrap_or_default();
    let part = |path: &str| ask.text(path).map(Option::unwrap_or_default);
    let mut metadata = Metadata {
        instance: part("instance/name")?,
        id: part("instance/id")?,
        zone: last(&part("instance/zone")?).to_owned(),
        interfaces: interfaces(&ask.json("instance/network-interfaces/?recursive=true")?),
        tags: strings(&ask.json("instance/tags?alt=json")?),
        account: ask.text("instance/service-accounts/default/email")?,
        scopes: lines(&part("instance/service-accounts/default/scopes")?),
        project: project.clone(),
        number: number.clone(),
    };
    metadata.resolve(&number, &project);
    Ok(Some(metadata))
}

struct Ask<'a> {
    server: &'a str,
    http: Http,
}

impl Ask<'_> {
    fn reply(&self, path: &str, patience: Duration) -> Result<Reply, String> {
        let url = format!("http://{}/computeMetadata/v1/{path}", self.server);
        let mut headers = HeaderMap::new();
        headers.insert(FLAVOR, HeaderValue::from_static("Google"));
        let request = Request {
            method: Method::GET,
            url: &url,
            headers,
            body: None,
            patience,
        };
        let reply = self.http.send(request);
        reply.map_err(|reason| format!("the metadata server {} does not answer: {reason}", self.server))
    }

    /// The value in an answer; `None` where the server says that there is none.
    fn value(&self, reply: &Reply, path: &str) -> Result<Option<String>, String> {
        if !is_googles(reply) {
            return Err(format!(
                "{} answers without Google's header: it is no metadata server",
                self.server
            ));
        }
        match reply.status {
            200 => Ok(Some(String::from_utf8_lossy(&reply.body).trim().to_owned())),
            404 => Ok(None),
            status => Err(format!(
                "the metadata server {} answers to {path} with {status}",
                self.server
            )),
        }
    }

    fn text(&self, path: &str) -> Result<Option<String>, String> {
        self.value(&self.reply(path, LONG)?, path)
    }

    fn json(&self, path: &str) -> Result<Value, String> {
        let Some(text) = self.text(path)? else {
            return Ok(Value::Null);
        };
        serde_json::from_str(&text).map_err(|error| format!("{} answers to {path} no JSON: {error}", self.server))
    }
}

fn is_googles(reply: &Reply) -> bool {
    reply.headers.get(FLAVOR).is_some_and(|flavor| flavor == "Google")
}

fn interfaces(value: &Value) -> Vec<Interface> {
    let interfaces = value.as_array().map(Vec::as_slice).unwrap_or_default();
    interfaces.iter().take(MOST).map(interface).collect()
}

fn interface(value: &Value) -> Interface {
    let network = value.get("network").and_then(Value::as_str).unwrap_or_default();
    let mut found = Interface {
        network: match network.split('/').collect::<Vec<_>>()[..] {
            ["projects", project, "networks", name] => format!("projects/{project}/global/networks/{name}"),
            _ => network.to_owned(),
        },
        ..Interface::default()
    };
    let accesses = value.get("accessConfigs").and_then(Value::as_array);
    for access in accesses.into_iter().flatten().take(MOST) {
        let external = access.get("externalIp").and_then(Value::as_str);
        found
            .external4
            .extend(external.and_then(|ip| ip.parse::<Ipv4Addr>().ok()));
    }
    let inside = value.get("ip").and_then(Value::as_str);
    let six = value.get("ipv6s").map(strings).unwrap_or_default();
    for address in inside.into_iter().chain(six.iter().map(String::as_str)) {
        // A range may be written instead of the address, the first of which is the machine's.
        let address = address.split('/').next().unwrap_or_default();
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V6(six)) if is_global(six) => found.external6.push(six),
            Ok(address) => found.internal.push(address),
            Err(_) => {}
        }
    }
    found
}

fn is_global(address: Ipv6Addr) -> bool {
    let is_near = address.is_unique_local() || address.is_unicast_link_local();
    !(is_near || address.is_loopback() || address.is_unspecified())
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .take(MOST)
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines()
        .take(MOST)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;

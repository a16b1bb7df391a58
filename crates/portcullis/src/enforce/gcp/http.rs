//! HTTP, one request at a time: the only place that knows the asynchronous libraries underneath.
//!
//! A request goes in and an answer comes out, or words why there is none; the calling thread waits, within a time that
//! the request names. Connections are not kept: between two calls nobody would look after them, and one that the
//! server has closed meanwhile would look like an answer that was lost.

use std::error::Error as _;
use std::future::Future;
use std::sync::Once;
use std::time::Duration;

pub(crate) use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
pub(super) use reqwest::header::{HeaderMap, HeaderValue};
use tokio::runtime::{Builder, Runtime};

/// Time for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// Most bytes of an answer: a rule with 5,000 IPv6 ranges has a quarter of a million.
pub(super) const MOST: usize = 8 * 1024 * 1024;

/// Most characters of a reason.
const WORDS: usize = 300;

/// Whom the requests may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Over TLS alone, through a proxy if the environment names one.
    Tls,
    /// This machine, also without TLS.
    Loopback,
    /// The metadata server: next to this machine, without TLS, never through a proxy; whether it is there at all is
    /// known after this time.
    Neighbour(Duration),
}

/// One request.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: HeaderMap,
    /// JSON
    pub(super) body: Option<Vec<u8>>,
    /// For the whole of it
    pub(super) patience: Duration,
}

/// One answer, of whatever status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A client for one kind of address.
pub(super) struct Http {
    /// Always there until the end
    runtime: Option<Runtime>,
    client: reqwest::Client,
}

impl Http {
    /// A client, which has reached nobody yet.
    ///
    /// # Errors
    /// No certificates of authorities are on this machine, or the system has no more descriptors.
    pub(super) fn new(reach: Reach) -> Result<Http, String> {
        choose_cryptography();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot begin: {error}"))?;
        let builder = reqwest::Client::builder()
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(0);
        let builder = match reach {
            Reach::Tls => builder.connect_timeout(CONNECT).https_only(true),
            Reach::Loopback => builder.connect_timeout(CONNECT).no_proxy(),
            Reach::Neighbour(within) => builder.connect_timeout(within).no_proxy(),
        };
        let client = builder.build().map_err(|error| words(&error))?;
        Ok(Http {
            runtime: Some(runtime),
            client,
        })
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// There was no answer, or a longer one than [`MOST`]; whether the request was carried out, nobody knows.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Reply, String> {
        let mut headers = request.headers;
        let is_post = request.method == Method::POST;
        let mut building = self
            .client
            .request(request.method, request.url)
            .timeout(request.patience);
        if let Some(body) = request.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            building = building.body(body);
        } else if is_post {
            // Google's servers refuse a POST that does not say how long it is (411).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.wait_for(async move {
            let mut answer = building.headers(headers).send().await.map_err(|error| words(&error))?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|error| words(&error))? {
                if body.len() + chunk.len() > MOST {
                    return Err(format!("the answer is longer than {MOST} bytes"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Reply {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                body,
            })
        })?
    }

    /// Waits for what one of the libraries promises.
    pub(super) fn wait_for<T>(&self, promise: impl Future<Output = T>) -> Result<T, String> {
        match &self.runtime {
            Some(runtime) => Ok(runtime.block_on(promise)),
            None => Err("it has ended".to_owned()),
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // Dropping it in the plain way would wait for a name look-up that has no end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Says once for the whole process whose cryptography TLS and signatures use.
fn choose_cryptography() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails where somebody has chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// An error with what is behind it, without the address, on one line.
fn words(error: &reqwest::Error) -> String {
    let mut text = match error {
        error if error.is_timeout() => "no answer in time".to_owned(),
        error if error.is_connect() => "cannot connect".to_owned(),
        error if error.is_builder() => "cannot be asked for".to_owned(),
        _ => "the connection broke".to_owned(),
    };
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    plain(&text)
}

/// A text from outside as it may be shown: one line, cut, and without anything that may be a secret.
pub(super) fn plain(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut shown = String::new();
    for word in text.split_inclusive([' ', '"', '\'', ',', ':', '<', '>', '{', '}']) {
        // Tokens and keys are the only such long runs without a break.
        if word.chars().count() > LONGEST_WORD {
            shown.push_str("[…]");
        } else {
            shown.push_str(word);
        }
    }
    if shown.chars().count() > WORDS {
        shown = shown.chars().take(WORDS).collect();
        shown.push('…');
    }
    shown
}

/// Longer runs of characters are not shown: a token of Google's has some two hundred, a line of a key 64.
const LONGEST_WORD: usize = 63;

//! One letter on its way: the conversation with the mail server, as Python's `smtplib` holds it.

use std::error::Error as _;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{SmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use portcullis_core::mail::Mail;

/// For the connection, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why a letter was not sent.
pub(super) struct Failure {
    /// The server's words, or the system's
    pub(super) reason: String,
    /// Whether the server did not say anything at all
    pub(super) silent: bool,
}

/// Sends the letter; answers which recipients were refused, where others were not. `name` is the machine's full name.
pub(super) fn send(mail: &Mail, name: &str, text: &str) -> Result<Vec<(String, String)>, Failure> {
    let failure = |error: &Error| Failure {
        reason: words(error),
        silent: error.status().is_none() && !error.is_client(),
    };
    let hello = hello(name);
    let server = (mail.host.as_str(), mail.port);
    let mut server = SmtpConnection::connect(server, Some(TIMEOUT), &hello, None, None).map_err(|e| failure(&e))?;
    let sent = converse(&mut server, mail, &hello, text);
    if !server.has_broken() {
        // The letter is sent or is not; a farewell changes nothing.
        let _ = server.quit();
    }
    sent.map_err(|error| match error {
        Trouble::Smtp(error) => failure(&error),
        Trouble::Refused(reason) => Failure { reason, silent: false },
    })
}

enum Trouble {
    Smtp(Error),
    Refused(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Smtp(error)
    }
}

fn converse(
    server: &mut SmtpConnection,
    mail: &Mail,
    hello: &ClientId,
    text: &str,
) -> Result<Vec<(String, String)>, Trouble> {
    if mail.encrypted {
        // Fail2Ban believes every certificate: mail servers of the own machine mostly have one that nobody has signed.
        let tls = TlsParameters::builder(mail.host.clone())
            .dangerous_accept_invalid_certs(true)
            .dangerous_accept_invalid_hostnames(true)
            .build()?;
        server.starttls(&tls, hello)?;
    }
    if let Some((user, password)) = &mail.login {
        let credentials = Credentials::new(user.clone(), password.clone());
        server.auth(&[Mechanism::Plain, Mechanism::Login], &credentials)?;
    }
    // lettre's own commands take addresses with a domain only, and `root` is one for a mail server.
    server.command(format!("MAIL FROM:<{}>\r\n", mail.sender))?;
    let mut refused = Vec::new();
    for recipient in &mail.recipients {
        match server.command(format!("RCPT TO:<{recipient}>\r\n")) {
            Ok(_) => {}
            Err(error) if error.status().is_some() => refused.push((recipient.clone(), words(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    if refused.len() == mail.recipients.len() {
        let all: Vec<_> = refused.iter().map(|(who, reason)| format!("{who}: {reason}")).collect();
        return Err(Trouble::Refused(all.join(", ")));
    }
    server.command("DATA\r\n")?;
    // The end of the last line is sent with the point that ends the letter.
    server.message(text.strip_suffix("\r\n").unwrap_or(text).as_bytes())?;
    Ok(refused)
}

fn words(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Who we say that we are: the full name, or an address where the machine has none.
fn hello(name: &str) -> ClientId {
    if name.contains('.') {
        return ClientId::Domain(name.to_owned());
    }
    let found = (name, 0).to_socket_addrs().into_iter().flatten();
    let first = found.filter_map(|address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    });
    ClientId::Ipv4(first.min().unwrap_or(Ipv4Addr::LOCALHOST))
}

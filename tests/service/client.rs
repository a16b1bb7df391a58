//! Whoever talks to the mail servers, from an address of their choice, over real connections.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::namespace::Namespace;
use crate::site::{SERVER, SERVER6};

/// So long a dropped client waits for an answer. An unhindered one gets in within a millisecond.
const DROPPED: Duration = Duration::from_millis(1500);
/// So long an answer to a command may take.
const SLOW: Duration = Duration::from_secs(20);

/// So long the answer to a good-bye is waited for.
const POLITE: Duration = Duration::from_millis(200);

/// What became of an attempt to connect.
#[derive(Debug)]
pub(crate) enum Knock {
    /// Connected and greeted.
    Open(Dialogue),
    /// Connected, but closed again before the greeting.
    Silent,
    /// Nobody listens, or a firewall says no.
    Refused,
    /// Nothing came back: dropped.
    Dropped,
}

impl Knock {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Knock::Open(_))
    }

    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self, Knock::Dropped)
    }
}

/// One address on the client's machine.
pub(crate) struct Client<'s> {
    machine: &'s Namespace,
    address: IpAddr,
}

impl<'s> Client<'s> {
    pub(crate) fn new(machine: &'s Namespace, address: &str) -> Client<'s> {
        let address = address.parse().unwrap();
        Client { machine, address }
    }

    /// Tries to connect and to be greeted.
    pub(crate) fn knock(&self, server: &str, port: u16) -> Knock {
        let server = SocketAddr::new(server.parse().unwrap(), port);
        let own = SocketAddr::new(self.address, 0);
        let stream = match self.machine.within(|| dial(own, server)) {
            Ok(stream) => stream,
            Err(Errno::INPROGRESS | Errno::TIMEDOUT | Errno::AGAIN) => return Knock::Dropped,
            Err(Errno::CONNREFUSED) => return Knock::Refused,
            Err(error) => panic!("{own} cannot connect to {server}: {error}"),
        };
        let stream = TcpStream::from(stream);
        stream.set_read_timeout(Some(SLOW)).unwrap();
        let mut dialogue = Dialogue {
            lines: BufReader::new(stream),
        };
        match dialogue.line() {
            Some(_) => Knock::Open(dialogue),
            None => Knock::Silent,
        }
    }

    /// The mail server that this address reaches.
    fn server(&self) -> &'static str {
        if self.address.is_ipv4() { SERVER } else { SERVER6 }
    }

    /// Knocks at Postfix.
    pub(crate) fn smtp(&self) -> Knock {
        self.knock(self.server(), 25)
    }

    /// Knocks at Dovecot.
    pub(crate) fn imap(&self) -> Knock {
        self.knock(self.server(), 143)
    }

    pub(crate) fn greeted(&self, knock: Knock) -> Dialogue {
        match knock {
            Knock::Open(dialogue) => dialogue,
            other => panic!("{} does not get in: {other:?}", self.address),
        }
    }

    /// Tries a wrong password over SMTP and leaves in good manners.
    pub(crate) fn guess_smtp(&self) {
        let smtp = self.wrong_password();
        smtp.leave("QUIT");
    }

    /// Tries a wrong password over SMTP and hangs up.
    pub(crate) fn guess_and_hang_up(&self) {
        drop(self.wrong_password());
    }

    fn wrong_password(&self) -> Dialogue {
        let mut smtp = self.greeted(self.smtp());
        smtp.ask("EHLO client.example.net", "250 ");
        // "\0bob\0wrong" in base64
        smtp.ask("AUTH PLAIN AGJvYgB3cm9uZw==", "535 ");
        smtp
    }

    /// Hangs up in the middle of logging in.
    pub(crate) fn hang_up_after_auth(&self) {
        let mut smtp = self.greeted(self.smtp());
        smtp.ask("EHLO client.example.net", "250 ");
        smtp.ask("AUTH LOGIN", "334 ");
    }

    /// Asks Postfix to relay mail, which it does not.
    pub(crate) fn relay(&self) {
        let mut smtp = self.greeted(self.smtp());
        smtp.ask("EHLO client.example.net", "250 ");
        smtp.ask("MAIL FROM:<mallory@example.net>", "250 ");
        smtp.ask("RCPT TO:<victim@example.org>", "554 ");
        smtp.leave("QUIT");
    }

    /// Tries a wrong password over IMAP.
    pub(crate) fn guess_imap(&self) {
        let mut imap = self.greeted(self.imap());
        imap.ask(&format!("a LOGIN {} wrong", crate::dovecot::USER), "a NO");
        imap.leave("b LOGOUT");
    }

    /// Logs in as who may. The session lasts as long as what is returned.
    pub(crate) fn log_in(&self) -> Dialogue {
        let mut imap = self.greeted(self.imap());
        let (user, password) = (crate::dovecot::USER, crate::dovecot::PASSWORD);
        imap.ask(&format!("a LOGIN {user} \"{password}\""), "a OK");
        imap
    }
}

/// Connects from an address of ours. The time limit on sending is one on connecting, too.
fn dial(own: SocketAddr, server: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if server.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(DROPPED))?;
    bind(&socket, &own)?;
    connect(&socket, &server)?;
    Ok(socket)
}

/// A conversation, line by line.
#[derive(Debug)]
pub(crate) struct Dialogue {
    lines: BufReader<TcpStream>,
}

impl Dialogue {
    /// Says a line and reads up to the answer that begins so.
    pub(crate) fn ask(&mut self, line: &str, answer: &str) {
        self.lines
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
        let mut heard = String::new();
        while let Some(reply) = self.line() {
            if reply.starts_with(answer) {
                return;
            }
            heard += &reply;
        }
        panic!("'{line}' was to be answered by '{answer}', but: {heard}");
    }

    /// Says a line; what is heard within a time.
    pub(crate) fn try_ask(&mut self, line: &str, within: Duration) -> io::Result<String> {
        let stream = self.lines.get_mut();
        stream.set_read_timeout(Some(within))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut heard = String::new();
        self.lines.read_line(&mut heard)?;
        Ok(heard)
    }

    /// The client's port.
    pub(crate) fn port(&self) -> u16 {
        self.lines.get_ref().local_addr().unwrap().port()
    }

    /// Says good-bye. The answer may not come: the ban may be faster.
    fn leave(mut self, line: &str) {
        let stream = self.lines.get_mut();
        stream.set_read_timeout(Some(POLITE)).unwrap();
        let _ = stream.write_all(format!("{line}\r\n").as_bytes());
        while self.line().is_some() {}
    }

    /// The next line, unless the other side has closed or is silent.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line),
        }
    }
}

//! A name server for one house: made-up names, whose answers may be late, wrong, huge or missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::house::House;

/// What is said about a name.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// These addresses
    Addresses(Vec<IpAddr>),
    /// It is another name for this one
    Alias(String),
    /// An address has this name (asked for as `….in-addr.arpa`)
    Pointer(String),
    /// An error code of DNS: 2 for a server that failed, 3 for no such name
    Error(u8),
    /// Nothing is ever said
    Silence,
    /// This, so many milliseconds later
    Late(u64, Box<Said>),
}

/// The names, which may change while the server runs; how often each was asked for.
#[derive(Clone, Default)]
pub(crate) struct Names {
    said: Arc<Mutex<BTreeMap<String, Said>>>,
    asked: Arc<Mutex<BTreeMap<String, u64>>>,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const AAAA: u16 = 28;
/// What fits into one datagram of old.
const SMALL: usize = 512;

impl Names {
    /// Serves the house: its network gets a loopback, its `/etc` a `resolv.conf` that names this server.
    pub(crate) fn serve(house: &House, options: &str, hosts: &str) -> Names {
        house.write("resolv.conf", format!("nameserver 127.0.0.1\noptions {options}\n"));
        house.write("hosts", hosts);
        house.write("nsswitch.conf", "hosts: files dns\n");
        let mut script = "ip link set lo up".to_owned();
        for file in ["resolv.conf", "hosts", "nsswitch.conf"] {
            let own = house.path(file);
            script += &format!(
                " && {{ [ ! -e /etc/{file} ] || mount --bind '{}' /etc/{file}; }}",
                own.display()
            );
        }
        let made = house.inside("sh").args(["-c", &script]).status().unwrap();
        assert!(made.success(), "{script}");
        let names = Names::default();
        let (datagrams, streams) = within(house, || {
            (
                UdpSocket::bind("127.0.0.1:53").unwrap(),
                TcpListener::bind("127.0.0.1:53").unwrap(),
            )
        });
        let server = names.clone();
        thread::spawn(move || server.answer_datagrams(&datagrams));
        let server = names.clone();
        thread::spawn(move || server.answer_streams(&streams));
        names
    }

    /// Says this about a name from now on.
    pub(crate) fn say(&self, name: &str, said: Said) {
        self.said.lock().unwrap().insert(name.to_ascii_lowercase(), said);
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self, name: &str) -> u64 {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    fn answer_datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let (names, question, socket) = (self.clone(), buffer[..length].to_vec(), socket.try_clone().unwrap());
            thread::spawn(move || {
                if let Some(mut answer) = names.answer(&question) {
                    if answer.len() > SMALL {
                        answer.truncate(question_end(&question));
                        answer[2] |= 2;
                        answer[6..12].fill(0);
                    }
                    let _ = socket.send_to(&answer, from);
                }
            });
        }
    }

    fn answer_streams(&self, listener: &TcpListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            let (names, mut stream) = (self.clone(), stream);
            thread::spawn(move || {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut question).unwrap();
                    if let Some(answer) = names.answer(&question) {
                        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                        let _ = stream.write_all(&[&length[..], &answer].concat());
                    }
                }
            });
        }
    }

    /// The answer to a question; the thread sleeps where it is to be late.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let end = question_end(question);
        let name = name_of(question);
        let kind = u16::from_be_bytes([question[end - 4], question[end - 3]]);
        *self.asked.lock().unwrap().entry(name.clone()).or_default() += 1;
        let (mut records, mut count, mut code, mut asked) = (Vec::new(), 0, 0, name);
        let mut first = self.said.lock().unwrap().get(&asked).cloned();
        if let Some(Said::Late(late, said)) = first {
            thread::sleep(Duration::from_millis(late));
            first = Some(*said);
        }
        loop {
            match first.take().or_else(|| self.said.lock().unwrap().get(&asked).cloned()) {
                Some(Said::Addresses(addresses)) => {
                    for address in addresses {
                        let (is, bytes) = match address {
                            IpAddr::V4(v4) => (A, v4.octets().to_vec()),
                            IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
                        };
                        if is == kind {
                            count += 1;
                            record(&mut records, &asked, is, &bytes);
                        }
                    }
                }
                Some(Said::Pointer(name)) if kind == PTR => {
                    count += 1;
                    record(&mut records, &asked, PTR, &labels(&name));
                }
                Some(Said::Alias(name)) => {
                    count += 1;
                    record(&mut records, &asked, CNAME, &labels(&name));
                    asked = name;
                    continue;
                }
                Some(Said::Error(error)) => code = error,
                Some(Said::Silence | Said::Late(..)) => return None,
                Some(Said::Pointer(_)) => {}
                None => code = 3,
            }
            break;
        }
        let mut answer = question[..end].to_vec();
        answer[2] = 0x81;
        answer[3] = 0x80 | code;
        answer[4..12].copy_from_slice(&[0, 1, 0, count, 0, 0, 0, 0]);
        answer.extend(records);
        Some(answer)
    }
}

fn record(records: &mut Vec<u8>, name: &str, kind: u16, data: &[u8]) {
    records.extend(labels(name));
    records.extend(kind.to_be_bytes());
    records.extend([0, 1, 0, 0, 0, 60]);
    records.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    records.extend(data);
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

fn name_of(question: &[u8]) -> String {
    let (mut at, mut parts) = (12, Vec::new());
    while question[at] != 0 {
        let length = usize::from(question[at]);
        parts.push(String::from_utf8_lossy(&question[at + 1..at + 1 + length]).to_ascii_lowercase());
        at += length + 1;
    }
    parts.join(".")
}

/// Where the question ends and further records begin.
fn question_end(question: &[u8]) -> usize {
    let mut at = 12;
    while question[at] != 0 {
        at += usize::from(question[at]) + 1;
    }
    at + 5
}

/// Opens sockets in the house's network, where they stay.
fn within<T: Send>(house: &House, act: impl FnOnce() -> T + Send) -> T {
    let entrance = File::open(Path::new("/proc").join(house.holder().to_string()).join("ns/net")).unwrap();
    thread::scope(|threads| {
        let inside = threads.spawn(move || {
            move_into_link_name_space(entrance.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The name under which the name of an address is asked for.
pub(crate) fn pointer(address: &str) -> String {
    match address.parse().unwrap() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let digits: Vec<String> = format!("{:032x}", v6.to_bits())
                .chars()
                .rev()
                .map(String::from)
                .collect();
            format!("{}.ip6.arpa", digits.join("."))
        }
    }
}

/// Addresses from text.
pub(crate) fn addresses(texts: &[&str]) -> Said {
    Said::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
}

//! A server for tests: it answers what it was told to, in order, and remembers what it was asked.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// What the server does about one request.
pub(super) enum Move {
    /// Status, further headers, body
    Answer(u16, &'static str, String),
    /// It closes the connection without an answer.
    Hangs,
    /// It refuses the token, and somebody writes another one into this file.
    Renews(PathBuf, &'static str),
    /// It says nothing for so long.
    Sleeps(Duration),
}

/// A good answer.
pub(super) fn good(body: &str) -> Move {
    Move::Answer(200, "", body.to_owned())
}

/// One request as it came.
#[derive(Debug)]
pub(super) struct Asked {
    /// Method and target: `GET /compute/v1/…`
    pub(super) line: String,
    /// Header lines, names in small letters
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Asked {
    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers.iter().find_map(|line| line.strip_prefix(&prefix))
    }
}

pub(super) struct Stage {
    /// HOST:PORT
    pub(super) address: String,
    asked: Receiver<Asked>,
}

impl Stage {
    /// A server that makes these moves, one for each request, and is gone after the last.
    pub(super) fn set(moves: Vec<Move>) -> Stage {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, asked) = channel();
        thread::spawn(move || {
            for it in moves {
                let (stream, _) = listener.accept().unwrap();
                let _ = tell.send(read(&stream));
                act(stream, it);
            }
        });
        Stage { address, asked }
    }

    /// The next request that came.
    pub(super) fn asked(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// All that came and were not looked at yet.
    pub(super) fn rest(&self) -> Vec<Asked> {
        self.asked.try_iter().collect()
    }
}

fn read(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers: Vec<String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect();
    let mut asked = Asked {
        line: lines[0].strip_suffix(" HTTP/1.1").unwrap().to_owned(),
        headers,
        body: String::new(),
    };
    let length = asked
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    asked.body = String::from_utf8(body).unwrap();
    asked
}

fn act(mut stream: TcpStream, it: Move) {
    match it {
        Move::Answer(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
            // Whoever asked may have gone.
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body.as_bytes()));
        }
        Move::Renews(file, token) => {
            fs::write(file, token).unwrap();
            act(stream, Move::Answer(401, "", "{}".to_owned()));
        }
        Move::Hangs => drop(stream),
        Move::Sleeps(length) => thread::sleep(length),
    }
}

//! A client that sends what it is told, and knows nothing about the API.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::fake::{Fake, PROJECT};

/// One connection after another to a fake.
pub(crate) struct Raw {
    host: String,
    agent: String,
    pub(crate) token: String,
    stream: Option<BufReader<TcpStream>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
    /// Null for what is no JSON
    pub(crate) body: Value,
}

impl Answer {
    /// The API's word for what went wrong.
    pub(crate) fn reason(&self) -> &str {
        self.body["error"]["errors"][0]["reason"].as_str().unwrap_or_default()
    }

    /// The status with the reason.
    pub(crate) fn short(&self) -> String {
        format!("{} {}", self.status, self.reason()).trim_end().to_owned()
    }

    /// The name of the operation that a write began.
    pub(crate) fn operation(&self) -> String {
        let name = self.body["name"].as_str();
        name.unwrap_or_else(|| panic!("no operation: {self:?}")).to_owned()
    }
}

impl Raw {
    pub(crate) fn new(fake: &Fake) -> Raw {
        Raw::called(fake, "raw/1")
    }

    /// With this `User-Agent`.
    pub(crate) fn called(fake: &Fake, agent: &str) -> Raw {
        Raw {
            host: fake.host(),
            agent: agent.to_owned(),
            token: "text".to_owned(),
            stream: None,
        }
    }

    /// A call to the API about the usual project; `path` goes on behind `projects/P`.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        self.try_call(method, path, body).expect("an answer")
    }

    /// The same, where no answer may come.
    pub(crate) fn try_call(&mut self, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
        self.to(method, &format!("/compute/v1/projects/{PROJECT}{path}"), body)
    }

    /// Asks the resource manager which of these permissions the account has in the project.
    pub(crate) fn manager(&mut self, body: &Value) -> Answer {
        let path = format!("/v1/projects/{PROJECT}:testIamPermissions");
        self.to("POST", &path, body).expect("an answer")
    }

    fn to(&mut self, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut head = format!("User-Agent: {}\r\nContent-Type: application/json\r\n", self.agent);
        if !self.token.is_empty() {
            head += &format!("Authorization: Bearer {}\r\n", self.token);
        }
        self.send(method, path, &head, &text)
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null)
    }

    /// Waits for the operation that a write began, and answers with its end.
    pub(crate) fn finish(&mut self, answer: &Answer) -> Value {
        assert_eq!(answer.status, 200, "{answer:?}");
        let path = format!("/global/operations/{}/wait", answer.operation());
        let mut body = Value::Null;
        while body["status"] != "DONE" {
            body = self.call("POST", &path, &Value::Null).body;
        }
        body
    }

    /// A write to its end, which is a good one.
    pub(crate) fn done(&mut self, method: &str, path: &str, body: &Value) {
        let answer = self.call(method, path, body);
        let end = self.finish(&answer);
        assert_eq!(end.get("error"), None, "{end}");
    }

    /// A question to the metadata server.
    pub(crate) fn metadata(&mut self, path: &str, head: &str) -> Answer {
        self.send("GET", path, head, "").expect("an answer")
    }

    fn send(&mut self, method: &str, path: &str, head: &str, body: &str) -> std::io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.host)?;
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                BufReader::new(stream)
            }
        };
        let length = body.len();
        let host = &self.host;
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{head}Content-Length: {length}\r\n\r\n{body}");
        stream.get_mut().write_all(text.as_bytes())?;
        let answer = read(&mut stream)?;
        self.stream = Some(stream);
        Ok(answer)
    }
}

fn read(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a status");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut bytes = vec![0; length.expect("a length").parse().expect("a number")];
    stream.read_exact(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer {
        status,
        head,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    })
}

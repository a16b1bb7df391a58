//! Fail2Ban's protocol as its client speaks it: Python pickles over the socket.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::house::House;

/// Reads commands as JSON, one a line, and writes `[code, value]` in the same way. Exceptions come as their class and
/// their arguments.
const PROGRAM: &str = r#"
import io, json, pickle, socket, sys

class Reader(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("builtins", "str"):
            return str
        return lambda *arguments: [name, *arguments]

end = b"<F2B_END_COMMAND>"
for line in sys.stdin:
    link = socket.socket(socket.AF_UNIX)
    link.connect(sys.argv[1])
    link.sendall(pickle.dumps(json.loads(line), 4) + end)
    reply = b""
    while not reply.endswith(end):
        part = link.recv(65536)
        if not part:
            break
        reply += part
    code, value = Reader(io.BytesIO(reply)).load() if reply else (2, "closed")
    print(json.dumps([code, value], default=str), flush=True)
"#;

pub(crate) struct Client {
    process: Child,
    words: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn new(house: &House) -> Client {
        let mut process = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(house.path("socket"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Client {
            words: process.stdin.take().unwrap(),
            replies: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    /// Sends a command without waiting for its answer.
    pub(crate) fn send(&mut self, words: &Value) {
        writeln!(self.words, "{words}").unwrap();
    }

    pub(crate) fn receive(&mut self) -> Result<Value, Value> {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        let mut reply: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let value = reply[1].take();
        if reply[0] == json!(0) { Ok(value) } else { Err(value) }
    }

    /// The answer or the exception.
    pub(crate) fn ask(&mut self, words: &Value) -> Result<Value, Value> {
        self.send(words);
        self.receive()
    }

    /// The answer to a command that must not be refused.
    pub(crate) fn tell(&mut self, words: &Value) -> Value {
        self.ask(words)
            .unwrap_or_else(|error| panic!("{words} was refused: {error}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

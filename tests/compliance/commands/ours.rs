//! Our side: the commands of the core on a plan and an engine, with a system that the test makes up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use portcullis_core::command::{Amended, Deed, Live, Obeyed, World, flushed, obey};
use portcullis_core::config::plan::Plan;
use portcullis_core::encoding::Encoding;
use portcullis_core::engine::{Answer, Arrangement, Effect, Engine, Input, Question, ReplyTo, Request};
use portcullis_core::exception::Exception;
use portcullis_core::time::Timestamp;
use portcullis_core::value::{Value, repr_float};
use serde_json::{Value as Json, json};

/// A server without threads, sockets and actions.
pub(super) struct Ours {
    plan: Plan,
    engine: Engine,
    now: Timestamp,
    /// What the last command changed
    pub(super) amended: Amended,
}

struct System;

impl World for System {
    fn can_read(&self, path: &str) -> Result<(), (i32, String)> {
        let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut [0]));
        read.map(|_| ()).map_err(|error| {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
            (error.raw_os_error().unwrap_or(0), text)
        })
    }

    fn knows_encoding(&self, name: &str) -> bool {
        Encoding::named(name).is_ok()
    }

    fn local_time(&self, time: Timestamp) -> String {
        let time = jiff::Timestamp::from_second(time.seconds()).unwrap();
        time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn can_log(&self, target: &str, _: &str) -> bool {
        !target.starts_with("/nowhere")
    }

    fn backend(&self, _: &str) -> &'static str {
        "polling"
    }
}

impl Ours {
    pub(super) fn new(now: i64, database: Option<&str>) -> Self {
        let mut plan = Plan::default();
        plan.server.dbfile = database.map(str::to_owned);
        Ours {
            plan,
            engine: Engine::new(),
            now: Timestamp::from_seconds(now),
            amended: Amended::default(),
        }
    }

    /// One command, or a time that passes, as the driver has it.
    pub(super) fn obey(&mut self, command: &Json) -> Json {
        if let Some(seconds) = command.get("tick") {
            let seconds = seconds.as_i64().unwrap();
            self.now = Timestamp::from_seconds(self.now.seconds() + seconds);
            self.input(Input::Tick);
            return Json::Null;
        }
        let Value::List(words) = typed(command) else {
            panic!("{command} is no list")
        };
        let mut live = Live {
            plan: &mut self.plan,
            engine: &self.engine,
            world: &System,
        };
        let Obeyed { amended, outcome } = obey(&mut live, &words);
        self.amend(&amended);
        self.amended = amended;
        let answer = outcome.and_then(|deed| match deed {
            Deed::Answer(value) => Ok(value),
            Deed::Ask(request) => self.ask(request),
            Deed::FlushLogs => Ok(flushed(&self.plan)),
            Deed::Sleep(_) | Deed::Stop => Ok(Value::None),
            // Without commands, an action does all that it is told.
            Deed::Call { method, .. } => Ok(match method.as_str() {
                "start" | "stop" | "flush" | "reload" => true.into(),
                _ => Value::None,
            }),
        });
        self.input(Input::Tick);
        match answer {
            Ok(value) => json!({ "value": plain(&value) }),
            Err(exception) => refusal(&exception),
        }
    }

    /// Puts the plan in force, in the order that the daemon does it.
    fn amend(&mut self, amended: &Amended) {
        for jail in &amended.freed {
            let jail = Some(Arc::clone(jail));
            let _ = self.ask(Request::Unban { ids: None, jail });
        }
        if !amended.restarted.is_empty() {
            self.arrange(&amended.restarted);
        }
        if !amended.jails.is_empty() {
            self.arrange(&BTreeSet::new());
        }
    }

    fn arrange(&mut self, without: &BTreeSet<Arc<str>>) {
        let jails = self.plan.jails.iter().filter(|jail| !without.contains(&jail.name));
        let arrange = |plan: &portcullis_core::config::plan::JailPlan| {
            let mut plan = plan.clone();
            plan.idle |= !plan.started;
            Arrangement {
                plan,
                held: None,
                native: BTreeSet::new(),
                cloud: BTreeSet::new(),
                reloaded: false,
            }
        };
        let arrangements = jails.map(arrange).collect();
        self.input(Input::Plan(arrangements));
    }

    fn ask(&mut self, request: Request) -> Result<Value, Exception> {
        self.input(Input::Request(request, ReplyTo(1)))
            .unwrap_or_else(|| Err("no answer".into()))
    }

    /// Handles an input and all that comes of it; the reply, if there is one.
    fn input(&mut self, input: Input) -> Option<Result<Value, Exception>> {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        let mut reply = None;
        for effect in out {
            match effect {
                Effect::Reply(_, answer) => reply = Some(answer),
                Effect::Ask(question) => {
                    let answered = self.input(Input::Answer(answer(question)));
                    reply = answered.or(reply);
                }
                _ => {}
            }
        }
        reply
    }
}

/// What the driver's Fail2Ban finds out.
fn answer(question: Question) -> Answer {
    match question {
        Question::Name { name, .. } => {
            let addresses: &[&str] = match name.as_str() {
                "host.example" => &["192.0.2.50", "2001:db8::50"],
                "other.example" => &["198.51.100.9"],
                _ => &[],
            };
            let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
            Answer::Name {
                name,
                addresses: addresses.collect(),
            }
        }
        Question::Command { number, script, .. } => Answer::Command {
            number,
            ignore: script.starts_with("/bin/true"),
        },
        Question::List { path, .. } => Answer::List {
            path,
            found: portcullis_core::allow::Found::Failed("no such file".into(), None),
        },
        Question::Facts { number, .. } => Answer::Facts {
            number,
            fetched: Default::default(),
        },
    }
}

fn refusal(exception: &Exception) -> Json {
    let arguments: Vec<Json> = exception.arguments.iter().map(plain).collect();
    json!({ "error": exception.class.path().1, "arguments": arguments, "text": exception.to_string() })
}

/// A typed value as the driver writes it.
fn plain(value: &Value) -> Json {
    let list = |items: &[Value]| Json::Array(items.iter().map(plain).collect());
    match value {
        Value::None => Json::Null,
        Value::Bool(truth) => json!(truth),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!({ "float": repr_float(*number) }),
        Value::Str(text) => json!(text),
        Value::List(items) => list(items),
        Value::Tuple(items) | Value::Set(items) => json!({ "tuple": list(items) }),
        Value::Dict(pairs) => {
            let pairs: Vec<Json> = pairs
                .iter()
                .map(|(key, item)| json!([plain(key), plain(item)]))
                .collect();
            json!({ "dict": pairs })
        }
    }
}

fn typed(json: &Json) -> Value {
    let list = |items: &Json| items.as_array().unwrap().iter().map(typed).collect::<Vec<_>>();
    match json {
        Json::Null => Value::None,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::String(text) => text.as_str().into(),
        Json::Array(_) => Value::List(list(json)),
        Json::Object(object) => match object.iter().next().unwrap() {
            (kind, inner) if kind == "float" => Value::Float(inner.as_str().unwrap().parse().unwrap()),
            (kind, inner) if kind == "tuple" => Value::Tuple(list(inner)),
            (_, inner) => {
                let pairs = inner.as_array().unwrap().iter();
                Value::Dict(pairs.map(|pair| (typed(&pair[0]), typed(&pair[1]))).collect())
            }
        },
    }
}

//! A plan written down: the command stream that makes it; and a stream as one value.
//!
//! [`Plan::from_stream`] reads back what [`Plan::to_stream`] wrote. A value is written in the words
//! that a client used, so that `get` answers with them again.

use super::Command;
use super::plan::{ActionPlan, JailPlan, LogPath, Plan};
use crate::prefix::Prefix;
use crate::time::Seconds;
use crate::value::Value;

impl Plan {
    /// The commands that make this plan, beginning with none.
    #[must_use]
    pub fn to_stream(&self) -> Vec<Command> {
        let server = &self.server;
        let given = |option: &str, value: Value| server.given.get(option).cloned().unwrap_or(value);
        let options: [(&str, Value); 7] = [
            ("syslogsocket", server.syslogsocket.as_str().into()),
            ("loglevel", server.loglevel.as_str().into()),
            ("logtarget", server.logtarget.as_str().into()),
            ("allowipv6", server.allowipv6.as_str().into()),
            ("dbfile", server.dbfile.as_deref().unwrap_or("None").into()),
            (
                "dbmaxmatches",
                given("dbmaxmatches", i64::from(server.dbmaxmatches).into()),
            ),
            ("dbpurgeage", given("dbpurgeage", seconds(server.dbpurgeage))),
        ];
        let command = |(option, value): (&str, Value)| vec!["set".into(), option.into(), value];
        let mut stream: Vec<Command> = options.into_iter().map(command).collect();
        for jail in &self.jails {
            Writer {
                jail,
                stream: &mut stream,
            }
            .write();
        }
        stream
    }
}

/// A stream as one value, as it stands in a request and in what is kept.
#[must_use]
pub fn stream_value(stream: Vec<Command>) -> Value {
    Value::List(stream.into_iter().map(Value::List).collect())
}

/// The stream that is such a value. What is no command in it is left out; nothing if it is no list at all.
#[must_use]
pub fn stream_of(value: &Value) -> Option<Vec<Command>> {
    let commands = value.as_items()?.iter();
    Some(
        commands
            .filter_map(|command| command.as_items().map(<[Value]>::to_vec))
            .collect(),
    )
}

struct Writer<'w> {
    jail: &'w JailPlan,
    stream: &'w mut Vec<Command>,
}

impl Writer<'_> {
    fn write(mut self) {
        let jail = self.jail;
        let name = || Value::from(&*jail.name);
        self.stream
            .push(vec!["add".into(), name(), jail.backend.as_str().into()]);
        self.reading();
        self.deciding();
        jail.actions.iter().for_each(|action| self.action(action));
        if jail.started {
            self.stream.push(vec!["start".into(), name()]);
        }
        if jail.idle {
            self.text("idle", Some("on"));
        }
    }

    fn set(&mut self, option: &str, values: impl IntoIterator<Item = Value>) {
        let mut command: Command = vec!["set".into(), Value::from(&*self.jail.name), option.into()];
        command.extend(values);
        self.stream.push(command);
    }

    /// Sets an option in the words that a client used, where they are known.
    fn given(&mut self, option: &str, value: Value) {
        let value = self.jail.given.get(option).cloned().unwrap_or(value);
        self.set(option, [value]);
    }

    fn text(&mut self, option: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.set(option, [text.into()]);
        }
    }

    fn many(&mut self, option: &str, texts: &[String]) {
        if !texts.is_empty() {
            let texts = texts.iter().map(|text| text.as_str().into()).collect();
            let name = Value::from(&*self.jail.name);
            let command = vec!["multi-set".into(), name, option.into(), Value::List(texts)];
            self.stream.push(command);
        }
    }

    /// What it reads, and how.
    fn reading(&mut self) {
        let jail = self.jail;
        self.text("usedns", Some(jail.usedns.word()));
        self.text("prefregex", jail.prefregex.as_deref());
        self.given("maxlines", i64::from(jail.maxlines).into());
        self.text("datepattern", jail.datepattern.as_deref());
        if let Some(zone) = &jail.logtimezone {
            self.given("logtimezone", zone.as_str().into());
        }
        self.text("logencoding", Some(&jail.logencoding));
        for group in &jail.journalmatch {
            self.set("addjournalmatch", group.iter().map(|term| term.as_str().into()));
        }
        self.many("addfailregex", &jail.failregex);
        self.many("addignoreregex", &jail.ignoreregex);
        for log in &jail.logpath {
            if let Some(script) = LogPath::program(&log.path) {
                self.text("addlogcommand", Some(script));
                continue;
            }
            let tail = log.tail.then(|| "tail".into());
            self.set("addlogpath", std::iter::once(log.path.as_str().into()).chain(tail));
        }
    }

    /// Whom it bans, when and for how long.
    fn deciding(&mut self) {
        let jail = self.jail;
        self.given("maxretry", i64::from(jail.maxretry).into());
        self.given("maxmatches", i64::from(jail.maxmatches).into());
        self.given("findtime", seconds(jail.findtime));
        self.set("bantime", [seconds(jail.bantime)]);
        for (part, value) in &jail.increment {
            self.given(&format!("bantime.{part}"), value.as_str().into());
        }
        for part in Prefix::PARTS {
            if let Some(value) = jail.prefix.get(part) {
                self.set(&format!("prefix.{part}"), [i64::from(value).into()]);
            }
        }
        self.set("ignoreself", [jail.ignoreself.into()]);
        for entry in &jail.ignoreip {
            self.text("addignoreip", Some(entry));
        }
        self.given("ignorecommand", jail.ignorecommand.as_str().into());
        self.text("ignorecache", jail.ignorecache.as_deref());
    }

    fn action(&mut self, action: &ActionPlan) {
        let pair = |(name, value): &(String, Value)| Value::List(vec![name.as_str().into(), value.clone()]);
        let pairs = Value::List(action.properties.iter().map(pair).collect());
        let (jail, name) = (Value::from(&*self.jail.name), Value::from(&*action.name));
        self.set("addaction", [name.clone()]);
        self.stream
            .push(vec!["multi-set".into(), jail, "action".into(), name, pairs]);
    }
}

fn seconds(length: Seconds) -> Value {
    if length.micros() % 1_000_000 == 0 {
        return Value::Int(length.whole());
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a length of time in microseconds is far below 2^52"
    )]
    let micros = length.micros() as f64;
    Value::Float(micros / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Face, split_line};

    #[test]
    fn what_is_written_is_read_back() {
        let lines = [
            "set loglevel debug",
            "set logtarget SYSLOG[facility=local0]",
            "set dbfile None",
            "set dbpurgeage 90m",
            "set allowipv6 no",
            "add a polling",
            "set a usedns raw",
            "set a prefregex '^x <F-CONTENT>.*</F-CONTENT>$'",
            "set a addfailregex '^\"a\" <HOST>$'",
            "set a addfailregex '^b <HOST>$'",
            "set a addignoreregex ^c$",
            "set a maxlines 3",
            "set a datepattern %Y",
            "set a logtimezone UTC+2",
            "set a logencoding utf-8",
            "set a addjournalmatch _A=1 + _B=2",
            "set a addlogpath /x/y",
            "set a addlogpath /x/z tail",
            "set a maxretry 2",
            "set a maxmatches 4",
            "set a findtime 1.5",
            "set a bantime 1h",
            "set a bantime.increment True",
            "set a bantime.multipliers '1 2 4'",
            "set a prefix.ipv6 64",
            "set a prefix.widen 4",
            "set a prefix.widen.ipv6 /52",
            "set a ignoreself false",
            "set a addignoreip 192.0.2.1 198.51.100.0/24",
            "set a ignorecommand 'true <ip>'",
            "set a ignorecache 'key=\"<ip>\", max-count=5'",
            "set a addaction one",
            "set a action one actionban 'echo <ip>'",
            "set a action one timeout 10",
            "start a",
            "set a idle on",
            "add b systemd[journalflags=1]",
        ];
        let stream: Vec<Command> = lines
            .iter()
            .map(|line| split_line(line).unwrap().into_iter().map(Value::from).collect())
            .collect();
        let (plan, wrong) = Plan::from_stream(&stream, Face::Fail2Ban);
        assert!(wrong.is_empty(), "{wrong:?}");
        let (mut again, wrong) = Plan::from_stream(&plan.to_stream(), Face::Fail2Ban);
        assert!(wrong.is_empty(), "{wrong:?}");
        // What nobody has set is set by now, to what it was.
        again
            .server
            .given
            .retain(|option, _| plan.server.given.contains_key(option));
        for (jail, before) in again.jails.iter_mut().zip(&plan.jails) {
            jail.given.retain(|option, _| before.given.contains_key(option));
        }
        assert_eq!(again, plan);
    }
}

//! What is under way: one call at a time, and the operation that it became.

use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp as Moment;
use sha1::{Digest, Sha1};

use super::draft::{Draft, touches};
use super::{Call, Output, Reconciler};
use crate::cloud::books::{Claim, Entry};
use crate::cloud::rule::{Mark, Rule};
use crate::time::{Clock, Timestamp};

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step {
    Read(Target),
    /// An operation whose end nobody knows
    Resume(Target, String),
    Write(Target, Draft),
    Create(Target, Draft),
    Claim(Target),
    Delete(Target),
    /// A look whether there is such a rule
    Probe(Target),
}

/// Which rule of which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) base: Arc<str>,
    pub(super) rule: Arc<str>,
}

/// What a call is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Read,
    Resume,
    Write(Vec<IpNet>),
    Create(Vec<IpNet>),
    Claim,
    Delete,
    Probe,
}

/// A call that was made and not answered, or waits to be made again.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) task: Task,
    pub(super) target: Target,
    /// What was asked for at first: what is asked for again while nobody knows what became of it
    pub(super) call: Call,
    pub(super) number: u64,
    pub(super) began: Timestamp,
    /// How often its last call went unanswered
    pub(super) attempts: u32,
    pub(super) operation: Option<String>,
    /// When it is asked for again; it is not under way until then
    pub(super) retry_at: Option<Timestamp>,
}

impl Work {
    /// Whether it changes something.
    pub(super) fn is_write(&self) -> bool {
        !matches!(self.task, Task::Read | Task::Resume | Task::Probe)
    }

    /// What is asked now: how the operation stands, once there is one.
    fn question(&self) -> Call {
        match &self.operation {
            Some(operation) => Call::Follow {
                operation: operation.clone(),
            },
            None => self.call.clone(),
        }
    }

    /// In words, for a person.
    pub(super) fn text(&self) -> String {
        let rule = &self.target.rule;
        let what = match &self.task {
            Task::Read => format!("reading {rule}"),
            Task::Resume => format!("waiting for an operation on {rule}"),
            Task::Write(_) => format!("writing {rule}"),
            Task::Create(_) => format!("creating {rule}"),
            Task::Claim => format!("marking {rule}"),
            Task::Delete => format!("deleting {rule}"),
            Task::Probe => format!("looking for {rule}"),
        };
        match (&self.operation, self.retry_at) {
            (_, Some(_)) => format!("{what}, to be tried again"),
            (Some(operation), None) => format!("{what}: {operation}"),
            (None, None) => what,
        }
    }
}

impl Reconciler {
    /// Does the next thing, if there is one and none is under way.
    pub(super) fn advance(&mut self, now: Clock, out: &mut Vec<Output>) {
        self.wake = None;
        match self.work.as_ref().map(|work| work.retry_at) {
            Some(None) => return,
            Some(Some(at)) if at > now.steady => return self.wake_at(at),
            Some(Some(_)) if !self.is_overtaken() => return self.ask(out),
            Some(Some(_)) => self.drop_overtaken(),
            None => {}
        }
        if let Some(at) = self.pace.held(now.steady) {
            return self.wake_at(at);
        }
        if let Some(step) = self.next_step(now, out) {
            self.perform(now, step, out);
        }
    }

    /// Whether a list that is to be sent again has somebody in it who is protected by now.
    fn is_overtaken(&self) -> bool {
        let Some(work) = self.work.as_ref().filter(|work| work.operation.is_none()) else {
            return false;
        };
        let sent = super::outcome::ranges(&work.call);
        work.is_write() && sent.iter().any(|range| touches(&self.protected, range))
    }

    /// It is not sent again; what became of the first try shows when the rule is read.
    fn drop_overtaken(&mut self) {
        if let Some(work) = self.work.take() {
            self.read_again(&work);
        }
    }

    /// Makes the call of the work that is under way.
    pub(super) fn ask(&mut self, out: &mut Vec<Output>) {
        self.calls += 1;
        let number = self.calls;
        if let Some(work) = &mut self.work {
            work.number = number;
            work.retry_at = None;
            out.push(Output::Call(number, work.question()));
        }
    }

    /// Keeps entries, if there are any.
    pub(super) fn keep(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        for entry in &entries {
            self.books.apply(entry);
        }
        if !entries.is_empty() {
            out.push(Output::Keep(entries));
        }
    }

    fn perform(&mut self, now: Clock, step: Step, out: &mut Vec<Output>) {
        match step {
            Step::Read(target) => {
                let rule = target.rule.to_string();
                self.begin(now, (Task::Read, target), Call::Read { rule }, out);
            }
            Step::Probe(target) => {
                let rule = target.rule.to_string();
                self.begin(now, (Task::Probe, target), Call::Read { rule }, out);
            }
            Step::Resume(target, operation) => {
                let call = Call::Follow {
                    operation: operation.clone(),
                };
                self.begin(now, (Task::Resume, target), call, out);
                if let Some(work) = &mut self.work {
                    work.operation = Some(operation);
                }
            }
            Step::Write(target, draft) => self.write(now, target, draft, out),
            Step::Create(target, draft) => self.create(now, target, draft, out),
            Step::Claim(target) => self.claim(now, target, out),
            Step::Delete(target) => {
                let request = self.intend(now, (&target, "delete"), Vec::new(), out);
                let rule = target.rule.to_string();
                self.begin(now, (Task::Delete, target), Call::Delete { rule, request }, out);
            }
        }
    }

    fn begin(&mut self, now: Clock, (task, target): (Task, Target), call: Call, out: &mut Vec<Output>) {
        let work = Work {
            task,
            target,
            call,
            number: 0,
            began: now.steady,
            attempts: 0,
            operation: None,
            retry_at: None,
        };
        if work.is_write() {
            self.pace.spend(now.steady);
            if let Some(group) = self.groups.get_mut(&work.target.base) {
                group.idle_plan = None;
            }
        }
        self.work = Some(work);
        self.ask(out);
    }

    /// Keeps what a write needs to be known by afterwards, and gives the id under which it is sent: the former one
    /// only where the very same was meant before and nobody knows how that ended.
    fn intend(
        &mut self,
        now: Clock,
        (target, body): (&Target, &str),
        mut entries: Vec<Entry>,
        out: &mut Vec<Output>,
    ) -> String {
        let body = hash(body);
        let account = self.books.rules.get(&*target.rule);
        let former = account.and_then(|account| account.intent.as_ref());
        let request = match former.filter(|intent| intent.body == body) {
            Some(intent) => intent.request.clone(),
            None => {
                self.dice.stir(now.wall);
                self.dice.uuid()
            }
        };
        entries.push(Entry::Intend {
            rule: target.rule.to_string(),
            request: request.clone(),
            body,
            at: now.wall,
        });
        self.keep(entries, out);
        request
    }

    fn write(&mut self, now: Clock, target: Target, draft: Draft, out: &mut Vec<Output>) {
        let rule = target.rule.to_string();
        let entries = claims(&rule, &draft);
        let request = self.intend(now, (&target, &list(&draft.ranges)), entries, out);
        let call = Call::Write {
            rule,
            ranges: draft.ranges,
            request,
        };
        self.begin(now, (Task::Write(draft.adds), target), call, out);
    }

    fn create(&mut self, now: Clock, target: Target, draft: Draft, out: &mut Vec<Output>) {
        let base = self.groups.get(&target.base);
        let model = base.and_then(|group| group.part(&target.base)?.found());
        let Some(model) = model.map(|found| found.rule.clone()) else {
            return;
        };
        let name = target.rule.to_string();
        let mut rule: Rule = model.shard(&name, &Mark::write("", &self.mark(now, true)));
        rule.source_ranges = draft.ranges.iter().map(IpNet::to_string).collect();
        let mut entries = vec![Entry::Made {
            rule: name.clone(),
            base: target.base.to_string(),
        }];
        entries.extend(claims(&name, &draft));
        let body = format!("create {name} {} {}", rule.description, list(&draft.ranges));
        let request = self.intend(now, (&target, &body), entries, out);
        let rule = Box::new(rule);
        self.begin(
            now,
            (Task::Create(draft.adds), target),
            Call::Create { rule, request },
            out,
        );
    }

    fn claim(&mut self, now: Clock, target: Target, out: &mut Vec<Output>) {
        let group = self.groups.get(&target.base);
        let found = group.and_then(|group| group.part(&target.rule)?.found());
        let Some(found) = found else { return };
        let is_shared = group.is_some_and(|group| !group.options.own_rule);
        let mark = match Mark::of(&found.rule.description).filter(|_| is_shared) {
            // Whose rule it is stays as it is; only that nobody else writes there is true no more.
            Some(mark) => Mark {
                is_alone: false,
                ..mark
            },
            None => self.mark(now, found.is_ours(&self.books)),
        };
        let description = Mark::write(&found.rule.description, &mark);
        let request = self.intend(now, (&target, &format!("describe {description}")), Vec::new(), out);
        let call = Call::Describe {
            rule: target.rule.to_string(),
            description,
            request,
        };
        self.begin(now, (Task::Claim, target), call, out);
    }

    fn mark(&self, now: Clock, is_alone: bool) -> Mark {
        let moment = Moment::from_second(now.wall.seconds()).unwrap_or_default();
        Mark {
            writer: self.host.writer.clone(),
            at: moment.to_string(),
            is_alone,
        }
    }
}

/// What becomes ours with this write, and what is to go.
fn claims(rule: &str, draft: &Draft) -> Vec<Entry> {
    let put = |claim| {
        move |range: &IpNet| Entry::Put {
            rule: rule.to_owned(),
            range: *range,
            claim,
        }
    };
    let adds = draft.adds.iter().map(put(Claim::Want));
    adds.chain(draft.removes.iter().map(put(Claim::Gone))).collect()
}

fn list(ranges: &[IpNet]) -> String {
    ranges.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
}

/// SHA-1, hexadecimal: it tells one body from another, nothing more.
fn hash(body: &str) -> String {
    Sha1::digest(body.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

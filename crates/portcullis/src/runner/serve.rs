//! The runner's ear for one daemon: it learns templates and puts commands into lanes.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::action::{self, Batch, Form, Operation, Values};

use super::execute::Task;
use super::lane::{Job, Mailbox, Queue};
use super::outputs::Outputs;
use super::wire::{
    self, Answer, BATCH_MOST, BESIDE_MOST, Item, Lane, Look, Outcome, Ran, Request, Template, TemplateId,
};
use super::{journal, program};
use crate::observe::notify;
use crate::store::holder::{holder, holders};
use crate::visitors::visitors;

/// The lanes, which outlive daemons.
pub(super) struct Lanes {
    actions: Queue,
    /// Started when the first action asks for them
    beside: Vec<OnceLock<Queue>>,
    ignore: Vec<Queue>,
    /// What was started for each daemon and may still run
    outputs: Mutex<Vec<Outputs>>,
}

/// So many ignore commands run at a time. The daemon never asks for two of one address in one jail at once.
const IGNORE_AT_ONCE: usize = 4;

impl Lanes {
    pub(super) fn start() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Lanes {
            actions: Queue::start("lane-actions")?,
            beside: (0..BESIDE_MOST).map(|_| OnceLock::new()).collect(),
            ignore: (0..IGNORE_AT_ONCE)
                .map(|_| Queue::start("lane-ignore"))
                .collect::<io::Result<_>>()?,
            outputs: Mutex::default(),
        }))
    }

    fn lane(&self, lane: Lane) -> &Queue {
        match lane {
            // Programs whose output is a log never wait in a lane.
            Lane::Actions | Lane::Logs => &self.actions,
            Lane::Beside(number) => self.beside(number),
            Lane::Ignore => self
                .ignore
                .iter()
                .min_by_key(|queue| queue.load())
                .unwrap_or(&self.actions),
        }
    }

    /// A lane of its own; where there is no thread to be had, the common one does as well.
    fn beside(&self, number: u8) -> &Queue {
        let Some(place) = self.beside.get(usize::from(number)) else {
            return &self.actions;
        };
        if place.get().is_none()
            && let Ok(queue) = Queue::start("lane-beside")
        {
            // Only one thread asks, so that the place is still free.
            let _ = place.set(queue);
        }
        place.get().unwrap_or(&self.actions)
    }

    fn outputs(&self) -> MutexGuard<'_, Vec<Outputs>> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Programs for another daemon: those of the one before end with it.
    fn new_outputs(&self) -> Outputs {
        let new = Outputs::default();
        let mut all = self.outputs();
        all.retain(|old| !old.are_over());
        all.push(new.clone());
        new
    }

    /// Ends all lanes; their running commands are given this long, all together. No program that printed a log
    /// outlives this.
    pub(super) fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let outputs = std::mem::take(&mut *self.outputs());
        outputs.iter().for_each(Outputs::stop_all);
        let beside = self.beside.iter().filter_map(OnceLock::get);
        for queue in std::iter::once(&self.actions).chain(beside) {
            queue.close(until.saturating_duration_since(Instant::now()));
        }
        self.ignore.iter().for_each(|queue| queue.close(Duration::ZERO));
        outputs.iter().for_each(|outputs| outputs.wait(until));
    }
}

/// Serves one daemon in a thread of its own, until that closes or says what cannot be understood.
pub(super) fn serve(stream: UnixStream, lanes: Arc<Lanes>) -> io::Result<Arc<Mailbox>> {
    let mailbox = Mailbox::new(stream.try_clone()?)?;
    let answers = mailbox.clone();
    let outputs = lanes.new_outputs();
    thread::Builder::new().name("runner".to_owned()).spawn(move || {
        let mut requests = BufReader::new(stream);
        let mut known = BTreeMap::new();
        while let Ok(Some(request)) = wire::receive(&mut requests) {
            match request {
                Request::Journal { number, excerpt } => {
                    outputs.start(number, &answers, move |mailbox, running| {
                        journal::run(number, &excerpt, mailbox, running)
                    });
                }
                Request::Program { number, template } => {
                    let script = learned(&known, (Lane::Logs, template)).map(|(template, _)| template.script.clone());
                    outputs.start(number, &answers, move |mailbox, running| {
                        program::run(number, script, mailbox, running)
                    });
                }
                Request::Input { number } => program::input(number, &answers),
                Request::Hush { number } => outputs.stop(number),
                request => obey(request, &mut known, &lanes, &answers),
            }
        }
        answers.close();
        outputs.stop_all();
    })?;
    Ok(mailbox)
}

/// A template, and what it is recognised as.
type Known = BTreeMap<(Lane, TemplateId), (Template, Option<Form>)>;

fn obey(request: Request, known: &mut Known, lanes: &Lanes, mailbox: &Arc<Mailbox>) {
    let (number, lane, task) = match request {
        Request::Learn { lane, templates } => {
            known.retain(|(other, _), _| *other != lane);
            known.extend(templates.into_iter().map(|template| {
                let form = Form::of(&template.script);
                ((lane, template.id), (template, form))
            }));
            return;
        }
        Request::Run {
            number,
            template,
            tags,
            fields,
            lane,
        } => (number, lane, run(known, (lane, template), &Values { tags, fields })),
        Request::Look { number, look } => {
            let found: Vec<String> = match look {
                Look::Visitors => visitors().iter().map(ToString::to_string).collect(),
                Look::Holder(database) => holder(&database).into_iter().collect(),
                Look::Holders(file) => holders(&file),
            };
            let ran = Ran {
                stdout: found.join("\n"),
                ..Ran::nothing(Outcome::Exit(0))
            };
            mailbox.send(&Answer::Ran { number, ran });
            return;
        }
        Request::Batch { number, items, lane } => (number, lane, batch(known, lane, &items)),
        Request::Journal { .. } | Request::Program { .. } | Request::Input { .. } | Request::Hush { .. } => return,
        Request::Tell { state } => return notify::pass_on(&state),
    };
    match task {
        Ok((task, timeout)) => lanes.lane(lane).push(Job {
            number,
            task,
            timeout,
            mailbox: mailbox.clone(),
        }),
        Err(why) => {
            let ran = Ran::nothing(Outcome::Refused(why));
            mailbox.send(&Answer::Ran { number, ran });
        }
    }
}

fn learned(known: &Known, key: (Lane, TemplateId)) -> Result<&(Template, Option<Form>), String> {
    known
        .get(&key)
        .ok_or_else(|| format!("template {} was not learned", key.1.0))
}

fn run(known: &Known, key: (Lane, TemplateId), values: &Values) -> Result<(Task, Duration), String> {
    let (template, _) = learned(known, key)?;
    let command = action::render(&template.script, values);
    Ok((Task::Shell(command), Duration::from_millis(template.timeout_ms)))
}

/// A batch is made here, of templates that were learned and are recognised here, and of values that are read here.
fn batch(known: &Known, lane: Lane, items: &[Item]) -> Result<(Task, Duration), String> {
    if items.len() > BATCH_MOST {
        return Err("the batch is too long".to_owned());
    }
    let mut commands = Vec::with_capacity(items.len());
    let mut timeout = 0;
    for item in items {
        let (template, form) = learned(known, (lane, item.template))?;
        let form = form.as_ref().ok_or("a template is for no batch")?;
        let operation = Operation::new(&item.element, item.bantime).ok_or("a value is no address")?;
        timeout = timeout.max(template.timeout_ms);
        commands.push((form, operation));
    }
    let batch = Batch::of(commands.iter().map(|(form, operation)| (*form, operation)));
    let batch = batch.ok_or("the commands make no batch")?;
    Ok((Task::Batch(batch), Duration::from_millis(timeout)))
}

//! The runner's ear for one daemon: it learns templates and puts commands into lanes.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis_core::action::{self, Values};

use super::lane::{Job, Mailbox, Queue};
use super::wire::{self, Answer, Lane, Outcome, Ran, Request, Template, TemplateId};

/// The lanes, which outlive daemons.
pub(super) struct Lanes {
    actions: Queue,
    ignore: Vec<Queue>,
}

/// So many ignore commands run at a time. The daemon never asks for two of one address in one jail at once.
const IGNORE_AT_ONCE: usize = 4;

impl Lanes {
    pub(super) fn start() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Lanes {
            actions: Queue::start("lane-actions")?,
            ignore: (0..IGNORE_AT_ONCE)
                .map(|_| Queue::start("lane-ignore"))
                .collect::<io::Result<_>>()?,
        }))
    }

    fn lane(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Actions => &self.actions,
            Lane::Ignore => self
                .ignore
                .iter()
                .min_by_key(|queue| queue.load())
                .unwrap_or(&self.actions),
        }
    }

    /// Ends all lanes; their running commands are given this long.
    pub(super) fn close(&self, patience: Duration) {
        self.actions.close(patience);
        self.ignore.iter().for_each(|queue| queue.close(Duration::ZERO));
    }
}

/// Serves one daemon in a thread of its own, until that closes or says what cannot be understood.
pub(super) fn serve(stream: UnixStream, lanes: Arc<Lanes>) -> io::Result<Arc<Mailbox>> {
    let mailbox = Mailbox::new(stream.try_clone()?)?;
    let answers = mailbox.clone();
    thread::Builder::new().name("runner".to_owned()).spawn(move || {
        let mut requests = BufReader::new(stream);
        let mut known = BTreeMap::new();
        while let Ok(Some(request)) = wire::receive(&mut requests) {
            obey(request, &mut known, &lanes, &answers);
        }
        answers.close();
    })?;
    Ok(mailbox)
}

type Known = BTreeMap<(Lane, TemplateId), Template>;

fn obey(request: Request, known: &mut Known, lanes: &Lanes, mailbox: &Arc<Mailbox>) {
    match request {
        Request::Learn { lane, templates } => {
            known.retain(|(other, _), _| *other != lane);
            known.extend(templates.into_iter().map(|template| ((lane, template.id), template)));
        }
        Request::Run {
            number,
            template,
            tags,
            fields,
            lane,
        } => match known.get(&(lane, template)) {
            Some(template) => lanes.lane(lane).push(Job {
                number,
                command: action::render(&template.script, &Values { tags, fields }),
                timeout: Duration::from_millis(template.timeout_ms),
                mailbox: mailbox.clone(),
            }),
            None => {
                let why = format!("template {} was not learned", template.0);
                let ran = Ran::nothing(Outcome::Refused(why));
                mailbox.send(&Answer::Ran { number, ran });
            }
        },
    }
}

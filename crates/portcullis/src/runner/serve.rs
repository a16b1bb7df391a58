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
    ignore: Queue,
}

impl Lanes {
    pub(super) fn start() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Lanes {
            actions: Queue::start("lane-actions")?,
            ignore: Queue::start("lane-ignore")?,
        }))
    }

    fn lane(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Actions => &self.actions,
            Lane::Ignore => &self.ignore,
        }
    }

    /// Ends both lanes; their running commands are given this long.
    pub(super) fn close(&self, patience: Duration) {
        self.actions.close(patience);
        self.ignore.close(Duration::ZERO);
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

fn obey(request: Request, known: &mut BTreeMap<TemplateId, Template>, lanes: &Lanes, mailbox: &Arc<Mailbox>) {
    match request {
        Request::Learn { templates } => {
            *known = templates.into_iter().map(|template| (template.id, template)).collect();
        }
        Request::Run {
            number,
            template,
            tags,
            fields,
            lane,
        } => match known.get(&template) {
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

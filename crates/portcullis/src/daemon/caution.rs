//! After a death the daemon reads one line at a time for a while, and knows which one it was that killed it.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::matching::Careful;
use crate::observe::log::{Level, note as say};
use crate::place::Places;
use crate::source::{Limits, Reader};

const SERVER: &str = "fail2ban.server";
/// As long as the runner takes a death for one of a row.
const LASTS: Duration = Duration::from_secs(60);

/// Careful reading, while it lasts.
#[derive(Default)]
pub(super) struct Caution {
    careful: Option<Arc<Careful>>,
    until: Option<Instant>,
    /// Groups that wait until the turn is over
    pub(super) through: Vec<Sender<()>>,
}

impl Caution {
    /// Begins, where the daemon died before.
    pub(super) fn begin(deaths: u32, places: &Places, reader: &Reader) -> Caution {
        let path = places.line_in_hand();
        if deaths == 0 {
            // Whatever stands there is of an earlier service.
            let _ = fs::remove_file(path);
            return Caution::default();
        }
        match Careful::open(&path) {
            Ok(careful) => {
                say(
                    Level::Warning,
                    SERVER,
                    "the daemon died; it reads carefully for a minute, line by line",
                );
                reader.limit(Limits {
                    lines: 1,
                    ..Limits::default()
                });
                Caution {
                    careful: Some(Arc::new(careful)),
                    until: Some(Instant::now() + LASTS),
                    through: Vec::new(),
                }
            }
            Err(error) => {
                let text = format!("cannot read carefully: {}: {error}", path.display());
                say(Level::Error, SERVER, &text);
                Caution::default()
            }
        }
    }

    /// What the groups are given.
    pub(super) fn careful(&self) -> Option<Arc<Careful>> {
        self.careful.clone()
    }

    /// A turn is over: its records are kept. Ends the caution in its time.
    pub(super) fn turn(&mut self, reader: &Reader) {
        self.through.clear();
        if self.until.is_some_and(|until| Instant::now() >= until)
            && let Some(careful) = self.careful.take()
        {
            self.until = None;
            reader.limit(Limits::default());
            careful.end();
        }
    }
}

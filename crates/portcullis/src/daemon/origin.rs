//! Where the configuration in force comes from: files, or a client's stream; and what of it outlives a death of the
//! daemon.
//!
//! What commands changed stands in no file of the user's. It is kept in the state folder as a stream, written anew with
//! each change before the client is answered, and taken up by a daemon that follows one which died. An ordinary start
//! begins with the files, or waits for a client, and forgets it.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use portcullis_core::config::plan::Plan;
use portcullis_core::config::{self, Face};
use portcullis_core::json;
use portcullis_core::note;
use portcullis_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use crate::place;

/// A kept configuration that is longer is not taken up: no honest one is.
const LONGEST: u64 = 64 << 20;

/// Which of the two rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The configuration folder
    #[default]
    Files,
    /// Nothing yet: a client is to send it
    Waiting,
    /// What a client sent
    Stream,
}

/// The source of what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) kind: Kind,
    /// When the files were read or the stream was taken, in seconds of the wall clock
    since: i64,
    /// Commands that changed something since
    changes: u64,
    /// What the files came to when they were read
    #[serde(default)]
    fingerprint: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    origin: Origin,
    stream: serde_json::Value,
}

/// What a configuration comes to, in a few characters: two that are alike have the same.
pub(crate) fn fingerprint(plan: &Plan) -> String {
    let stream: serde_json::Value = json::from_value(&config::stream_value(plan.to_stream()));
    let digest = Sha1::digest(stream.to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Origin {
    /// As of now.
    pub(super) fn new(kind: Kind, wall: Timestamp) -> Origin {
        Origin {
            kind,
            since: wall.seconds(),
            changes: 0,
            fingerprint: None,
        }
    }

    /// The same, of files that came to this.
    pub(super) fn of(mut self, plan: &Plan) -> Origin {
        self.fingerprint = (self.kind == Kind::Files).then(|| fingerprint(plan));
        self
    }

    /// When the files were read or the stream was taken, by the wall clock.
    pub(super) fn since(&self) -> Timestamp {
        Timestamp::from_seconds(self.since)
    }

    /// What the files came to when they were read; nothing where a client sent the configuration.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.fingerprint.clone()
    }

    /// One command more.
    pub(super) fn changed(&mut self) {
        self.changes = self.changes.saturating_add(1);
    }

    /// Whether commands changed something.
    pub(super) fn has_changed(&self) -> bool {
        self.changes > 0
    }

    /// As status shows it.
    pub(super) fn describe(&self, folder: &Path, zone: &TimeZone) -> String {
        let since = note::shown(Timestamp::from_seconds(self.since), zone);
        let mut text = match self.kind {
            Kind::Files => format!("files {} (read at {since})", folder.display()),
            Kind::Stream => format!("stream of a client (since {since})"),
            Kind::Waiting => format!("none yet: waiting for a client's stream (since {since})"),
        };
        match self.changes {
            0 => {}
            1 => text += ", changed by 1 command since",
            more => text += &format!(", changed by {more} commands since"),
        }
        text
    }

    /// Keeps the configuration for a daemon that follows this one after a death.
    ///
    /// # Errors
    /// As the file system has them.
    pub(super) fn keep(&self, path: &Path, plan: &Plan) -> std::io::Result<()> {
        let kept = Kept {
            origin: self.clone(),
            stream: json::from_value(&config::stream_value(plan.to_stream())),
        };
        place::replace(path, &serde_json::to_vec(&kept)?)
    }

    /// What a daemon that died had in force, where commands had a part in it.
    pub(super) fn kept(path: &Path) -> Option<(Origin, Plan)> {
        let length = fs::metadata(path).ok()?.len();
        let bytes = (length <= LONGEST).then(|| fs::read(path).ok()).flatten()?;
        let Kept { origin, stream } = serde_json::from_slice(&bytes).ok()?;
        let stream = config::stream_of(&json::to_value(&stream))?;
        Some((origin, Plan::from_stream(&stream, Face::Portcullis).0))
    }

    /// Forgets it.
    pub(super) fn forget(path: &Path) {
        // Where there is none, there is nothing to forget.
        let _ = fs::remove_file(path);
    }
}

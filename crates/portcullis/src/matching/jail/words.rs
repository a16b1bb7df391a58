//! What a jail has to say of the lines it reads: in the log, at most once a day each, and beside its status.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::config::plan::LogPath;
use portcullis_core::filter::{Age, Warning, Which};
use portcullis_core::time::{Clock, Seconds, print_length};

use super::{News, Reading};

/// What is said at most once a day and jail.
const DAILY: Seconds = Seconds::new(86_400);
/// So much of a line is quoted in the log.
const QUOTED: usize = 300;

impl Reading {
    pub(super) fn warn_of_age(&mut self, clock: Clock, age: Age, line: &str, news: &mut Vec<News>) {
        match age {
            Age::Usual => {}
            Age::Odd(off) => self.say(clock, "odd", news, || {
                format!("{} Line with odd timestamp: {}", odd(off), quote(line))
            }),
            Age::Old(findtime) => self.say(clock, "old", news, || {
                let what = format!("Ignoring all log entries older than {}s", findtime.whole());
                format!("{what}; these were written while nobody was watching: {}", quote(line))
            }),
        }
    }

    pub(super) fn warn(&mut self, clock: Clock, warning: &Warning, news: &mut Vec<News>) {
        match warning {
            Warning::NoDate { line, .. } => self.say(clock, "undated", news, || {
                format!("Found a match but no valid date/time found: {}", quote(line))
            }),
            Warning::Crowded => self.say(clock, "crowded", news, || {
                "maxlines: the lines are too long to be kept all".to_owned()
            }),
            Warning::Refused { why, line } => self.say(clock, "refused", news, || {
                format!("Failed to process line: {}: {why}", quote(line))
            }),
            Warning::BadDate { text } => self.say(clock, "bad date", news, || {
                format!("failed to parse timeText: {}", quote(text))
            }),
        }
    }

    fn say(&mut self, clock: Clock, kind: &'static str, news: &mut Vec<News>, text: impl FnOnce() -> String) {
        if self.warned.get(kind).is_some_and(|until| clock.steady < *until) {
            return;
        }
        self.warned.insert(kind, clock.steady + DAILY);
        let text = format!("[{}] {}", self.name, text());
        news.push(News::Said {
            logger: "fail2ban.filter",
            warning: true,
            text,
        });
    }

    /// What status shows beside, where it changed.
    pub(in crate::matching) fn remarks(&mut self, news: &mut Vec<News>) {
        if self.counts == self.shown {
            return;
        }
        self.shown = self.counts.clone();
        let counts = &self.counts;
        let mut remark = |kind, count: u64, text: String| {
            if count > 0 {
                news.push(News::Remark {
                    jail: Arc::clone(&self.name),
                    kind,
                    text,
                });
            }
        };
        remark(
            "cut",
            counts.cut,
            format!("{} lines were longer than the cap and cut there", group(counts.cut)),
        );
        remark("unknown", counts.unknown.values().sum(), over_budget(&counts.unknown));
        remark(
            "broken",
            counts.broken,
            format!("{} lines broke the matcher and were skipped", group(counts.broken)),
        );
        remark(
            "deadly",
            counts.deadly,
            format!("{} lines ended the daemon twice and were skipped", group(counts.deadly)),
        );
        remark(
            "bytes",
            counts.odd_bytes,
            format!("{} lines held invalid bytes", group(counts.odd_bytes)),
        );
        if let Some(unseen) = &self.unseen {
            let text = format!(
                "{} {} seen, not counted: use `{}`",
                group(counts.unseen),
                unseen.what,
                unseen.mend
            );
            remark("unseen", counts.unseen, text);
        }
    }
}

/// How many lines which patterns could not decide about.
fn over_budget(counts: &BTreeMap<Which, u64>) -> String {
    let each = counts
        .iter()
        .map(|(which, &count)| format!("{which}: {}", group(count)));
    let each: Vec<String> = each.collect();
    let lines = group(counts.values().sum());
    format!(
        "{lines} lines went over the step budget, so that it is unknown whether they match ({})",
        each.join(", ")
    )
}

/// Which line is meant; the output of a program has no places.
pub(super) fn place_of(path: &str, end: u64) -> String {
    if LogPath::is_stream(path) {
        return path.to_owned();
    }
    format!("{path} before byte {end}")
}

fn odd(off: Seconds) -> String {
    let side = if off.micros() < 0 { "before" } else { "after" };
    let problem = if (-3300..0).contains(&off.whole()) {
        "latency"
    } else {
        "timezone"
    };
    let length = print_length(Seconds::from_micros(off.micros().abs()));
    format!(
        "Detected a log entry {length} {side} the current time in operation mode. This looks like a {problem} problem. \
         Treating such entries as if they just happened."
    )
}

/// What Fail2Ban says when the entries of a journal are new ones.
pub(super) fn in_operation(jail: &str) -> News {
    News::Said {
        logger: "fail2ban.filtersystemd",
        warning: false,
        text: format!("[{jail}] Jail is in operation now (process new journal entries)"),
    }
}

/// A number as people read it: 1,204.
fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A line as it is quoted: cut, and escaped so that no terminal obeys it.
pub(super) fn quote(line: &str) -> String {
    let cut: String = line.chars().take(QUOTED).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_quotes() {
        assert_eq!([group(7), group(1204), group(1_234_567)], ["7", "1,204", "1,234,567"]);
        let counts = [(Which::Prefregex, 1), (Which::Failregex(3), 1203)]
            .into_iter()
            .collect();
        assert_eq!(
            over_budget(&counts),
            "1,204 lines went over the step budget, so that it is unknown whether they match (prefregex: 1, failregex 4: 1,203)"
        );
        assert_eq!(quote("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
    }
}

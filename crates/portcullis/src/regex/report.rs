//! The results, as Fail2Ban prints them (contract §9).

use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;
use portcullis_core::filter::Filter;
use portcullis_core::ledger::Field;
use portcullis_core::pattern::Pattern;
use portcullis_core::time::Timestamp;
use portcullis_core::value::{Value, repr_str};

use super::options::Options;
use super::screen::Screen;
use super::tally::{Hits, Kept, Tally};

/// The results of a run.
pub(crate) struct Report<'r> {
    /// What was asked for
    pub(crate) options: &'r Options,
    /// The filter that was tried
    pub(crate) filter: &'r Filter,
    /// Whether it looks for dates
    pub(crate) looks_for_dates: bool,
    /// What was counted
    pub(crate) tally: &'r Tally,
    /// The zone in which times are shown
    pub(crate) zone: &'r TimeZone,
    /// Now: an undated match is shown with it
    pub(crate) now: Timestamp,
    /// How long it took
    pub(crate) took: Duration,
}

impl Report<'_> {
    /// Prints everything.
    pub(crate) fn print<W: Write>(&self, screen: &mut Screen<W>) -> io::Result<()> {
        let tally = self.tally;
        screen.line("\nResults\n=======")?;
        self.prefregex(screen)?;
        self.regexes(
            "Failregex",
            self.filter.failregex(),
            &|number| tally.fail.get(&number),
            screen,
        )?;
        let ignore: Vec<Hits> = (0..self.filter.ignoreregex().len())
            .map(|number| Hits {
                count: tally.ignore.get(&number).copied().unwrap_or_default(),
                found: Vec::new(),
            })
            .collect();
        self.regexes(
            "Ignoreregex",
            self.filter.ignoreregex(),
            &|number| ignore.get(number),
            screen,
        )?;
        self.templates(screen)?;
        let (ignored, matched, missed) = (&tally.ignored, &tally.matched, &tally.missed);
        screen.line(&format!(
            "\nLines: {} lines, {} ignored, {} matched, {} missed\n[processed in {:.2} sec]\n",
            tally.tested(),
            ignored.count,
            matched.count,
            missed.count,
            self.took.as_secs_f64()
        ))?;
        let options = self.options;
        if options.print_all_matched {
            self.lines("matched", matched, true, screen)?;
        }
        if !options.print_no_ignored {
            self.lines("ignored", ignored, options.print_all_ignored, screen)?;
        }
        if !options.print_no_missed {
            self.lines("missed", missed, options.print_all_missed, screen)?;
        }
        Ok(())
    }

    fn prefregex<W: Write>(&self, screen: &mut Screen<W>) -> io::Result<()> {
        let Some(prefregex) = self.filter.prefregex() else {
            return Ok(());
        };
        let mut items = vec![prefregex.expanded().to_owned()];
        for (number, groups) in self.tally.prefixes.iter().enumerate() {
            if i64::try_from(number).is_ok_and(|number| number == self.tally.most) {
                items.push("    ...".to_owned());
                break;
            }
            let pairs: Vec<String> = groups
                .iter()
                .map(|(name, field)| {
                    let field = field.as_ref().map_or(Value::None, Field::to_value);
                    format!("{}: {}", repr_str(name), field.repr())
                })
                .collect();
            items.push(format!("    {{{}}}", pairs.join(", ")));
        }
        screen.line(&format!("\nPrefregex: {} total", self.tally.prefix))?;
        screen.list(None, &items)
    }

    fn regexes<'h, W: Write>(
        &self,
        title: &str,
        regexes: &[Pattern],
        hits: &dyn Fn(usize) -> Option<&'h Hits>,
        screen: &mut Screen<W>,
    ) -> io::Result<()> {
        let verbose = self.options.verbosity() > 0;
        let mut total = 0;
        let mut items = Vec::new();
        for (number, regex) in regexes.iter().enumerate() {
            let count = hits(number).map_or(0, |hits| hits.count);
            total += count;
            if count > 0 || verbose {
                items.push(format!("{:>2}) [{count}] {}", number + 1, regex.source()));
            }
            for (who, when, several) in hits(number).map(|hits| hits.found.as_slice()).unwrap_or_default() {
                let who = who.as_deref().unwrap_or("None");
                let several = if *several { " (multiple regex matched)" } else { "" };
                items.push(format!("    {who}  {}{several}", self.moment(when.unwrap_or(self.now))));
            }
        }
        screen.line(&format!("\n{title}: {total} total"))?;
        screen.list(Some(" #) [# of hits] regular expression"), &items)
    }

    /// `Sun Nov 22 10:00:00 2026`
    fn moment(&self, at: Timestamp) -> String {
        let at = jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default();
        at.to_zoned(self.zone.clone())
            .strftime("%a %b %d %H:%M:%S %Y")
            .to_string()
    }

    fn templates<W: Write>(&self, screen: &mut Screen<W>) -> io::Result<()> {
        // The journal's entries come with their dates, so that none is looked for unless a pattern asks for it.
        if !self.looks_for_dates {
            return Ok(());
        }
        let mut items = Vec::new();
        for template in self.filter.detector().templates() {
            if template.hits == 0 && self.options.verbosity() == 0 {
                continue;
            }
            items.push(format!("[{}] {}", template.hits, template.name));
            if self.options.verbose_date {
                items.push(format!(
                    "    # weight: {:.3} ({:.3}), pattern: {}",
                    template.weight,
                    template.base_weight,
                    template.pattern.unwrap_or_default()
                ));
                items.push(format!("    # regex:   {}", template.regex));
            }
        }
        screen.line("\nDate template hits:")?;
        screen.list(Some("[# of hits] date format"), &items)
    }

    fn lines<W: Write>(&self, kind: &str, kept: &Kept, all: bool, screen: &mut Screen<W>) -> io::Result<()> {
        if kept.count == 0 {
            return Ok(());
        }
        let mut title = kind.to_owned();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let header = format!("{title} line(s):");
        if kept.count < self.tally.most || all {
            let items: Vec<String> = kept
                .lines
                .iter()
                .map(|line| line.trim_end_matches(is_space).to_owned())
                .collect();
            return screen.list(Some(&header), &items);
        }
        let count = kept.count;
        screen.line(&format!(
            "{header} too many to print.  Use --print-all-{kind} to print all {count} lines"
        ))
    }
}

/// What Python's `rstrip` takes off.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

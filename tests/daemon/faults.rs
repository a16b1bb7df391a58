//! A daemon that dies, as by `kill -9`, at each step of its work in turn: afterwards ledger and kernel are one, nothing
//! is lost, nothing happened twice. The list of steps is the program's own. Only a debug build can die so.

#![cfg_attr(
    not(debug_assertions),
    expect(dead_code, reason = "what a release cannot do is not tried there")
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::elements;
use crate::house::{House, Jail, PROGRAM, append, eventually, failure, is_gone};

/// Houses that are tried side by side.
const WORKERS: usize = 3;
/// A batch beyond the largest part that a lane works off at once.
const LARGE: usize = 4200;

/// All steps, as the program names them, but for those of the cloud, which are passed with a cloud only
/// (`gcp::joined`).
fn steps() -> Vec<String> {
    let mut house = house();
    house.environment.push(("PORTCULLIS_FAULT".into(), "?".into()));
    house.start_without_waiting();
    assert_eq!(house.wait(), Some(1));
    let said = house.read("stderr");
    let (_, names) = said.split_once("there are: ").unwrap_or_else(|| panic!("{said}"));
    let names = names.lines().next().unwrap().split(' ');
    names
        .filter(|name| !name.starts_with("cloud-"))
        .map(str::to_owned)
        .collect()
}

fn house() -> House {
    let house = House::empty();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = nft[type=allports]\nbantime.increment = true",
    }]);
    house
}

/// Which time the step is passed is the interesting one: what comes at the start is passed first.
fn moment(step: &str) -> u32 {
    match step {
        "records" | "committed" | "orders" | "transaction" | "confirmed" | "facts" | "learned" => 3,
        _ => 1,
    }
}

/// So long after the last verb but `stop` a daemon is dead, or alive until it stops.
const SETTLED: Duration = Duration::from_millis(1000);

/// One life that ends at a step, and what is there after it.
struct Trial {
    house: House,
    step: String,
    with_runner: bool,
    /// Who failed by the log
    offenders: Vec<String>,
    /// Who was asked to be freed
    freed: Vec<String>,
}

impl Trial {
    /// A house where some are banned already, up to its daemon's second life, in which it is to die.
    fn begin(step: &str, nth: u32, with_runner: bool) -> Trial {
        let mut trial = Trial {
            house: house(),
            step: step.to_owned(),
            with_runner,
            offenders: Vec::new(),
            freed: Vec::new(),
        };
        trial.house.start();
        trial.offend("192.0.2", 1..12);
        trial.until_all_banned();
        elements::until_equal(&trial.house);
        trial.house.kill();
        let runner = if with_runner { "+runner" } else { "" };
        let fault = format!("{step}:{nth}{runner}");
        trial.house.environment.push(("PORTCULLIS_FAULT".into(), fault));
        trial.house.start_without_waiting();
        trial
    }

    fn offend(&mut self, network: &str, hosts: std::ops::Range<u32>) {
        let who: Vec<String> = hosts.map(|host| format!("{network}.{host}")).collect();
        let lines: String = who.iter().map(|who| failure(who)).collect();
        append(&self.house.log_of("plain"), lines.as_bytes());
        self.offenders.extend(who);
    }

    fn is_dead(&self) -> bool {
        if self.with_runner {
            is_gone(self.house.runner())
        } else {
            self.house.read("stderr").contains("was killed by signal 9")
        }
    }

    fn ask(&self, words: &[&str]) {
        // It may die meanwhile, and then there is no answer.
        self.house.ask(words);
    }

    /// Everything that passes a step, until it is dead.
    fn work(&mut self) {
        let alive = |trial: &Trial| !trial.house.said("Server ready").is_empty() && !trial.is_dead();
        eventually("it is ready or dead", || {
            self.house.said("Server ready").len() == 2 || self.is_dead()
        });
        self.offend("198.51.100", 1..60);
        let freed: Vec<String> = (1..6).map(|host| format!("192.0.2.{host}")).collect();
        let list = self.house.path("list");
        let many: String = (0..LARGE)
            .map(|at| format!("203.0.{}.{}\n", 113 + at / 250, 1 + at % 250))
            .collect();
        fs::write(
            &list,
            if self.step == "between" {
                many
            } else {
                "203.0.113.1\n203.0.113.2\n".into()
            },
        )
        .unwrap();
        let list = list.display().to_string();
        let verbs: [&[&str]; 6] = [
            &["ban", "--jail", "plain", "--for", "1h", "--file", &list],
            &[
                "unban", "--jail", "plain", &freed[0], &freed[1], &freed[2], &freed[3], &freed[4],
            ],
            &["ban", "--jail", "plain", "--for", "3h", "192.0.2.7", "192.0.2.8"],
            &["verify"],
            &["reload"],
            &["stop"],
        ];
        for verb in verbs {
            if !alive(self) {
                break;
            }
            if verb[0] == "unban" {
                self.freed.clone_from(&freed);
            }
            if verb[0] == "verify" {
                let words = ["delete", "table", "inet", "portcullis"];
                self.house.inside("nft").args(words).output().unwrap();
                std::thread::sleep(Duration::from_millis(700));
            }
            if verb[0] == "stop" {
                // One that has come up again in the meantime is not to be stopped.
                std::thread::sleep(SETTLED);
                self.pass_again();
                if self.is_dead() {
                    break;
                }
            }
            self.ask(verb);
        }
        let step = self.step.clone();
        eventually(&format!("it dies at '{step}'"), || self.is_dead());
    }

    /// What was ordered in quick succession may have gone as one, so that the step was passed less often than it takes.
    fn pass_again(&mut self) {
        if moment(&self.step) == 1 {
            return;
        }
        for host in 60..90 {
            if self.is_dead() {
                break;
            }
            self.offend("198.51.100", host..host + 1);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Up again, by the runner or as a whole.
    fn revive(&mut self) {
        self.offend("198.51.100", 100..105);
        if self.with_runner {
            self.house.wait();
            self.house.environment.clear();
            self.house.start();
        }
        self.until_all_banned();
        elements::until_equal(&self.house);
    }

    fn until_all_banned(&self) {
        let meant: Vec<&String> = self.offenders.iter().filter(|who| !self.freed.contains(who)).collect();
        eventually("all offenders are banned", || {
            let output = self.house.ask(&["banned", "--json"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            meant.iter().all(|who| text.contains(&format!("\"{who}\"")))
        });
    }

    fn check(&self) {
        let house = &self.house;
        let verified = house.ask(&["verify", "--json"]);
        let text = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert_eq!(verified.status.code(), Some(0), "{}: {text}", self.step);
        let rows = rows(house);
        for who in self.offenders.iter().filter(|who| !self.freed.contains(who)) {
            assert_eq!(rows.get(who), Some(&(1, 1)), "{}: {who}: rows and count", self.step);
        }
        for (who, row) in &rows {
            assert_eq!(*row, (1, 1), "{}: {who}: rows and count", self.step);
        }
        let mut begun: BTreeMap<String, usize> = BTreeMap::new();
        for line in house.said("[plain] Ban ") {
            let who = line.rsplit(' ').next().unwrap().to_owned();
            *begun.entry(who).or_default() += 1;
        }
        let twice: Vec<_> = begun.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{}: banned twice: {twice:?}", self.step);
    }
}

/// For each address: how many rows Fail2Ban's table of bans has, and how often it was banned by the other.
fn rows(house: &House) -> BTreeMap<String, (i64, i64)> {
    let db = house.database().unwrap();
    let sql = "SELECT bans.ip, count(*), (SELECT bancount FROM bips WHERE bips.ip = bans.ip AND bips.jail = bans.jail) \
               FROM bans WHERE jail = 'plain' GROUP BY bans.ip";
    let mut rows = db.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get::<_, Option<i64>>(2)?.unwrap_or(0))));
    rows.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// What is tried: the step, which time it is passed, and whether the runner goes with it.
fn jobs(steps: &[String]) -> Vec<(String, u32, bool)> {
    let is_full = std::env::var_os("DAEMON_FULL").is_some();
    let mut jobs = Vec::new();
    for with_runner in [false, true] {
        for step in steps {
            let moment = moment(step);
            let moments = if is_full { 1..=moment } else { moment..=moment };
            jobs.extend(moments.map(|nth| (step.clone(), nth, with_runner)));
        }
    }
    jobs
}

/// A daemon that dies at any step leaves nothing behind that the next does not put right.
#[cfg(debug_assertions)]
#[test]
fn a_death_at_every_step() {
    let steps = steps();
    let jobs = jobs(&steps);
    let (total, jobs) = (jobs.len(), std::sync::Mutex::new(jobs));
    std::thread::scope(|threads| {
        for _ in 0..WORKERS {
            threads.spawn(|| {
                loop {
                    let Some((step, nth, with_runner)) = jobs.lock().unwrap().pop() else {
                        return;
                    };
                    let begun = std::time::Instant::now();
                    let mut trial = Trial::begin(&step, nth, with_runner);
                    trial.work();
                    trial.revive();
                    trial.check();
                    println!("{step} {nth}, with the runner: {with_runner}: {:?}", begun.elapsed());
                }
            });
        }
    });
    println!("{total} deaths at {} steps, nothing lost, nothing twice", steps.len());
}

/// A release does not read the variable.
#[cfg(not(debug_assertions))]
#[test]
fn a_release_lives_on() {
    let mut house = house();
    house.environment.push(("PORTCULLIS_FAULT".into(), "?".into()));
    house.start();
    assert_eq!(house.terminate(), Some(0));
}

/// Where nothing is checked for debugging, the module is constant and empty, and the variable's name is nowhere.
#[test]
fn a_release_knows_nothing_of_it() {
    let names = |file: &Path| {
        let (bytes, name) = (fs::read(file).unwrap(), b"PORTCULLIS_FAULT");
        bytes.windows(name.len()).any(|part| part == name)
    };
    assert_eq!(names(Path::new(PROGRAM)), cfg!(debug_assertions));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fault.rs");
    let folder = tempfile::tempdir().unwrap();
    let (root, object) = (folder.path().join("root.rs"), folder.path().join("object"));
    let text = format!(
        "#[path = {source:?}]\nmod fault;\n\
         #[unsafe(no_mangle)] pub fn work() -> bool {{ const _: () = fault::reach(fault::Step::Commit); \
         fault::reach(fault::Step::Mend); fault::arm(0).is_ok() }}\n"
    );
    fs::write(&root, text).unwrap();
    let words = "--edition 2024 --crate-type lib --emit obj -O -A warnings -C debug-assertions=off -o";
    let mut rustc = Command::new("rustc");
    rustc.args(words.split(' ')).arg(&object).arg(&root);
    let output = rustc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!names(&object));
}

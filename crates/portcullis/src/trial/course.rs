//! The course of a trial: the attack, the proof, the way back in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::attack::{self, Client, Scene};
use super::house::House;
use super::show::{Ban, Result as Report, Screen, Spared, Unbanned};
use super::{Interrupt, Stop, wire};
use crate::control::answer::Banned;

/// From one connection to the next. A drop is looked for in between; one that comes later is seen when the attacker
/// dials again.
const PACE: Duration = Duration::from_millis(60);
/// Between two looks.
const GLANCE: Duration = Duration::from_micros(300);
/// How long an unban, or a layer's answer, may take.
const MERCY: Duration = Duration::from_secs(1);

pub(super) struct Course<'a> {
    pub(super) house: House,
    pub(super) cast: Vec<Client>,
    /// Whether there are packets to look at; otherwise the daemon's word is taken
    pub(super) has_network: bool,
    pub(super) interrupt: &'a Interrupt,
    pub(super) screen: &'a Screen,
    pub(super) bans: Vec<Ban>,
    pub(super) missing: Vec<String>,
}

impl Course<'_> {
    pub(super) fn run(mut self) -> Result<Report, Stop> {
        let lines_count = self.attack()?;
        let spared = self.prove()?;
        let unbanned = self.show_mercy()?;
        if !self.house.is_same_daemon() {
            self.missing
                .push("the daemon died on the way and was started again".to_owned());
        }
        Ok(Report {
            ok: self.missing.is_empty(),
            missing: self.missing,
            dry_run: !self.has_network,
            lines_count,
            banned: self.bans,
            spared,
            unbanned,
            ..Report::default()
        })
    }

    /// Plays the script. How many lines were written.
    fn attack(&mut self) -> Result<usize, Stop> {
        let script = attack::script(&self.cast);
        let mut last_lines: BTreeMap<usize, Instant> = BTreeMap::new();
        let mut count = 0;
        for (at, scene) in script.iter().enumerate() {
            let percent = at * 100 / script.len();
            let text = format!("{percent}% of the attack, {} banned", self.bans.len());
            self.screen.progress(&text);
            self.house.check_alive()?;
            if self.is_known(scene.client) {
                continue;
            }
            if let Some(seen) = self.shut_out(scene.client)? {
                let last = last_lines.get(&scene.client);
                self.note_ban(scene.client, last.map(|last| seen - *last))?;
                continue;
            }
            let written = Instant::now();
            last_lines.insert(scene.client, written);
            count += self.write(scene, &scene.lines)?;
            self.watch(scene, written)?;
            count += self.write(scene, &scene.after)?;
        }
        Ok(count)
    }

    fn write(&mut self, scene: &Scene, lines: &[String]) -> Result<usize, Stop> {
        for line in lines {
            self.house.write(scene.log, line)?;
            self.screen.line(line);
        }
        Ok(lines.len())
    }

    /// Looks until the next scene is due whether the client of this one still gets in. `written` is the moment before
    /// its lines were, so what is measured is never too short.
    fn watch(&mut self, scene: &Scene, written: Instant) -> Result<(), Stop> {
        while written.elapsed() < PACE {
            if let Some(seen) = self.shut_out(scene.client)? {
                return self.note_ban(scene.client, Some(seen - written));
            }
            self.interrupt.pause(GLANCE)?;
        }
        Ok(())
    }

    fn is_known(&self, client: usize) -> bool {
        let client = self.cast.get(client);
        client.is_some_and(|client| self.bans.iter().any(|ban| ban.ip == client.ip.to_string()))
    }

    /// Whether this client's next connection gets no answer, and when that connection began; without a network, whether
    /// the daemon calls it banned, and when it said so.
    fn shut_out(&self, client: usize) -> Result<Option<Instant>, Stop> {
        self.interrupt.check()?;
        let Some(client) = self.cast.get(client) else {
            return Ok(None);
        };
        if !self.has_network {
            let banned = self.house.banned()?;
            let is_banned = banned.iter().any(|ban| ban.ip == client.ip.to_string());
            return Ok(is_banned.then(Instant::now));
        }
        let begun = Instant::now();
        match wire::dial(client.ip, client.port) {
            Ok(answered) => Ok((!answered).then_some(begun)),
            Err(error) => {
                // A signal breaks a dial off.
                self.interrupt.check()?;
                let (ip, port) = (client.ip, client.port);
                Err(Stop::Failed(format!("{ip} cannot dial port {port}: {error}")))
            }
        }
    }

    /// A client is shut out: the daemon must say why.
    fn note_ban(&mut self, client: usize, after: Option<Duration>) -> Result<(), Stop> {
        let Some(client) = self.cast.get(client) else {
            return Ok(());
        };
        let ip = client.ip.to_string();
        let Some(banned) = self.find(&ip)? else {
            self.missing.push(format!("{ip} gets no answer, but is not banned"));
            return Ok(());
        };
        let evidence = self.house.evidence(&banned)?;
        let ban = Ban {
            ip,
            jail: banned.jail,
            story: client.story.to_owned(),
            port: client.port,
            failures: evidence.failures,
            lines: evidence.lines,
            ms: after.map(|after| rounded(after.as_secs_f64() * 1000.0)),
            layers: banned.layers,
            dropped: None,
        };
        self.screen.ban(&ban, self.has_network);
        self.bans.push(ban);
        Ok(())
    }

    fn find(&self, ip: &str) -> Result<Option<Banned>, Stop> {
        Ok(self.house.banned()?.into_iter().find(|ban| ban.ip == ip))
    }

    /// Everybody dials once more; what comes of it is compared with what must. Gives what became of the honest.
    fn prove(&mut self) -> Result<Vec<Spared>, Stop> {
        self.screen.progress("everybody dials once more");
        let banned = self.settled()?;
        let mut spared = Vec::new();
        for (index, client) in self.cast.clone().iter().enumerate() {
            let is_out = self.shut_out(index)?.is_some();
            let ip = client.ip.to_string();
            let bans: Vec<&Banned> = banned.iter().filter(|ban| ban.ip == ip).collect();
            if let Some(jail) = client.jail {
                self.judge(&ip, jail, &bans, is_out);
            } else {
                spared.push(self.acquit(client, !bans.is_empty(), is_out));
            }
        }
        let is_stranger = |ban: &&Banned| !self.cast.iter().any(|client| client.ip.to_string() == ban.ip);
        let strangers = banned.iter().filter(is_stranger);
        let strangers: Vec<String> = strangers
            .map(|ban| format!("{} is banned, but never came", ban.ip))
            .collect();
        self.missing.extend(strangers);
        Ok(spared)
    }

    /// Who is banned, once the layers have answered for all of them; they are given a moment for it.
    fn settled(&self) -> Result<Vec<Banned>, Stop> {
        let asked = Instant::now();
        loop {
            let banned = self.house.banned()?;
            let is_open = |ban: &Banned| ban.layers.values().any(|standing| standing == "decided");
            if !banned.iter().any(is_open) || asked.elapsed() > MERCY {
                return Ok(banned);
            }
            self.interrupt.pause(GLANCE)?;
        }
    }

    /// An attacker must be banned by its jail and by no other, the layer must have confirmed it, and there must be no
    /// answer. What the layer says is taken now: when the ban was first seen, its word could still be on the way.
    fn judge(&mut self, ip: &str, jail: &str, bans: &[&Banned], is_out: bool) {
        let words: &[&str] = if self.has_network {
            &["applied", "verified"]
        } else {
            &["dry"]
        };
        let is_done = |standing: &String| words.contains(&standing.as_str());
        match bans {
            [ban] if ban.jail == jail => {
                if ban.layers.is_empty() || !ban.layers.values().all(is_done) {
                    let text = format!("the ban of {ip} is not confirmed: {:?}", ban.layers);
                    self.missing.push(text);
                }
                if !is_out {
                    self.missing.push(format!("{ip} is banned, but still gets in"));
                }
            }
            _ => self
                .missing
                .push(format!("{ip} is not banned by {jail}, or not by that alone")),
        }
        if let Some(seen) = self.bans.iter_mut().find(|seen| seen.ip == ip) {
            seen.dropped = self.has_network.then_some(is_out);
            if let Some(ban) = bans.first() {
                seen.layers.clone_from(&ban.layers);
            }
        }
    }

    fn acquit(&mut self, client: &Client, is_banned: bool, is_out: bool) -> Spared {
        let ip = client.ip.to_string();
        if is_out || is_banned {
            self.missing.push(format!("{ip} is honest, but shut out"));
        }
        Spared {
            ip,
            story: client.story.to_owned(),
            port: client.port,
            banned: is_banned,
            connects: self.has_network.then_some(!is_out),
        }
    }

    /// Lifts the first ban: its address must get in again.
    fn show_mercy(&mut self) -> Result<Option<Unbanned>, Stop> {
        let first = self
            .cast
            .iter()
            .position(|client| self.bans.first().is_some_and(|ban| ban.ip == client.ip.to_string()));
        let Some((index, client)) = first.and_then(|index| Some((index, self.cast.get(index)?))) else {
            return Ok(None);
        };
        let (ip, port) = (client.ip, client.port);
        let count = self.house.unban(ip)?;
        let asked = Instant::now();
        while self.shut_out(index)?.is_some() && asked.elapsed() < MERCY {
            self.interrupt.pause(GLANCE)?;
        }
        let is_out = self.shut_out(index)?.is_some();
        if count == 0 || is_out {
            self.missing.push(format!("{ip} was unbanned, but is still shut out"));
        }
        Ok(Some(Unbanned {
            ip: ip.to_string(),
            port,
            connects: self.has_network.then_some(!is_out),
        }))
    }
}

/// To three places.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

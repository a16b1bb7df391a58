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
/// How long an unban may take.
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
            self.screen.progress(at, script.len(), self.bans.len());
            self.house.check_alive()?;
            if self.is_known(scene.client) {
                continue;
            }
            let dialled = Instant::now();
            if self.is_shut_out(scene.client)? {
                self.note_ban(scene.client, last_lines.get(&scene.client).map(|last| dialled - *last))?;
                continue;
            }
            last_lines.insert(scene.client, Instant::now());
            count += self.write(scene, &scene.lines)?;
            self.watch(scene)?;
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

    /// Looks until the next scene is due whether the client of this one still gets in.
    fn watch(&mut self, scene: &Scene) -> Result<(), Stop> {
        let written = Instant::now();
        while written.elapsed() < PACE {
            let dialled = Instant::now();
            if self.is_shut_out(scene.client)? {
                return self.note_ban(scene.client, Some(dialled - written));
            }
            self.interrupt.pause(GLANCE)?;
        }
        Ok(())
    }

    fn is_known(&self, client: usize) -> bool {
        let client = self.cast.get(client);
        client.is_some_and(|client| self.bans.iter().any(|ban| ban.ip == client.ip.to_string()))
    }

    /// Whether this client's next connection gets no answer; without a network, whether the daemon calls it banned.
    fn is_shut_out(&self, client: usize) -> Result<bool, Stop> {
        self.interrupt.check()?;
        let Some(client) = self.cast.get(client) else {
            return Ok(false);
        };
        if !self.has_network {
            let banned = self.house.banned()?;
            return Ok(banned.iter().any(|ban| ban.ip == client.ip.to_string()));
        }
        match wire::dial(client.ip, client.port) {
            Ok(answered) => Ok(!answered),
            Err(error) => {
                self.interrupt.check()?;
                Err(Stop::Failed(format!(
                    "{} cannot dial port {}: {error}",
                    client.ip, client.port
                )))
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
            ms: after.map(|after| after.as_secs_f64() * 1000.0),
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
        self.screen.proof();
        let banned = self.house.banned()?;
        let mut spared = Vec::new();
        for index in 0..self.cast.len() {
            let is_out = self.is_shut_out(index)?;
            let Some(client) = self.cast.get(index) else { continue };
            let ip = client.ip.to_string();
            let jails: Vec<&str> = banned
                .iter()
                .filter(|ban| ban.ip == ip)
                .map(|ban| ban.jail.as_str())
                .collect();
            match client.jail {
                Some(jail) => {
                    if jails != [jail] {
                        self.missing.push(format!("{ip} is not banned by {jail}"));
                    } else if !is_out {
                        self.missing.push(format!("{ip} is banned, but still gets in"));
                    }
                    if let Some(ban) = self.bans.iter_mut().find(|ban| ban.ip == ip) {
                        ban.dropped = self.has_network.then_some(is_out);
                    }
                }
                None => {
                    if is_out || !jails.is_empty() {
                        self.missing.push(format!("{ip} is honest, but shut out"));
                    }
                    spared.push(Spared {
                        ip,
                        story: client.story.to_owned(),
                        port: client.port,
                        banned: !jails.is_empty(),
                        connects: self.has_network.then_some(!is_out),
                    });
                }
            }
        }
        let strangers = banned
            .iter()
            .filter(|ban| !self.cast.iter().any(|client| client.ip.to_string() == ban.ip));
        self.missing
            .extend(strangers.map(|ban| format!("{} is banned, but never came", ban.ip)));
        Ok(spared)
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
        while self.is_shut_out(index)? && asked.elapsed() < MERCY {
            self.interrupt.pause(GLANCE)?;
        }
        let is_out = self.is_shut_out(index)?;
        if count == 0 || is_out {
            self.missing.push(format!("{ip} was unbanned, but is still shut out"));
        }
        let unbanned = Unbanned {
            ip: ip.to_string(),
            port,
            connects: self.has_network.then_some(!is_out),
        };
        self.screen.unbanned(&unbanned);
        Ok(Some(unbanned))
    }
}

//! `verify --probe`: bans one address for a moment and sends real packets from it.
//!
//! In front of the ban they must get through and after it again, so that what happens in between is the ban's doing.
//! The address is out of the network for measurements, in a namespace of the probe's own; no other packet is touched.

mod net;

use std::fs;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::address::Id;
use portcullis_core::time::Seconds;
use portcullis_core::wire::Verb;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Ask, call};
use crate::control::answer::{Banned, Done, Probe, Status};
pub(crate) use net::is_ours;
use net::{Net, SILENCE, hears, listens};

/// What a probe came to.
pub(crate) const PROVEN: &str = "proven";
pub(crate) const NOT_DROPPED: &str = "not dropped";
pub(crate) const INCONCLUSIVE: &str = "inconclusive";

/// The jail of bans by hand.
const JAIL: &str = "manual";
/// Whatever happens to the probe, its ban is over then.
const BANTIME: Seconds = Seconds::new(60);
/// How long the ban, and its end, may take to reach the packets; the kernel sends again what was lost after 1 s at most.
const PATIENCE: Duration = Duration::from_secs(3);
const GLANCE: Duration = Duration::from_millis(5);

/// Whether this user may probe.
pub(crate) fn is_allowed() -> bool {
    rustix::process::geteuid().is_root()
}

/// Probes. What keeps it from saying anything is the reason of an inconclusive result.
pub(crate) fn probe(ask: &Ask) -> Probe {
    let mut probe = Probe::default();
    let tried = Interrupt::catch().and_then(|interrupt| try_it(ask, &interrupt, &mut probe));
    judge(&mut probe, tried);
    probe
}

fn judge(probe: &mut Probe, tried: Result<(), String>) {
    let dropped = [probe.tcp, probe.udp, probe.established];
    let word = if dropped.contains(&Some(false)) {
        let passed = ["a new connection", "a datagram", "an open connection"]
            .into_iter()
            .zip(dropped);
        let passed: Vec<&str> = passed
            .filter(|(_, is)| *is == Some(false))
            .map(|(what, _)| what)
            .collect();
        let text = format!("{} got an answer in spite of the ban", passed.join(" and "));
        probe.reason.get_or_insert(text);
        NOT_DROPPED
    } else if let Err(reason) = tried {
        probe.reason = Some(reason);
        INCONCLUSIVE
    } else {
        PROVEN
    };
    word.clone_into(&mut probe.result);
}

fn try_it(ask: &Ask, interrupt: &Interrupt, probe: &mut Probe) -> Result<(), String> {
    check_daemon(ask)?;
    let net = Net::build()?;
    probe.address = Some(net.ip.to_string());
    interrupt.check()?;
    let open = before(&net, interrupt)?;
    let asked = Instant::now();
    let ban = Ban::order(ask, IpAddr::V4(net.ip))?;
    let silent = until(interrupt, || Ok(net.dial().unwrap_or_default().is_none()))?;
    probe.tcp = Some(silent.is_some());
    match silent {
        Some(at) => probe.ms = Some(((at - asked).as_secs_f64() * 1e6).round() / 1e3),
        None => probe.reason = ban.why_not(),
    }
    probe.udp = Some(!net.datagram().unwrap_or(false));
    // A connection that was reset is cut off as well.
    probe.established = Some(!hears(&open, SILENCE).unwrap_or(false));
    ban.lift()?;
    let answered = until(interrupt, || Ok(net.dial().unwrap_or_default().is_some()))?;
    probe.freed = Some(answered.is_some() && listens(&open, PATIENCE).unwrap_or(false));
    match probe.freed {
        Some(true) => Ok(()),
        _ => Err("it got no answer after the ban either, so that what dropped its packets is not known".to_owned()),
    }
}

/// The probe must meet the packet filter that the daemon fills.
fn check_daemon(ask: &Ask) -> Result<(), String> {
    let status = call::json::<Status>(ask, &Verb::Status { jail: None });
    let (status, _) = status.map_err(|error| error.to_string())?;
    if status.dry_run {
        return Err("the daemon enforces nothing: dry run".to_owned());
    }
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    match (network("self"), network(&status.pid.to_string())) {
        (Some(own), Some(daemons)) if own != daemons => {
            Err("the daemon runs in another network namespace; probe from there".to_owned())
        }
        _ => Ok(()),
    }
}

/// Before the ban everything must get through; an open connection.
fn before(net: &Net, interrupt: &Interrupt) -> Result<TcpStream, String> {
    let firewall = "before any ban; perhaps this machine's own firewall drops what comes from new links, or its \
                    reverse path filter does";
    let refused = |error: std::io::Error| format!("a connection was refused {firewall} ({error})");
    // A new link carries nothing for up to a second, until the kernel has seen that both ends are up.
    let mut open = None;
    until(interrupt, || {
        open = net.dial().map_err(refused)?;
        Ok(open.is_some())
    })?;
    let open = open.ok_or_else(|| format!("a connection got no answer {firewall}"))?;
    match net.datagram() {
        Ok(true) => Ok(open),
        Ok(false) => Err(format!("a datagram got no answer {firewall}")),
        Err(error) => Err(format!("a datagram was refused {firewall} ({error})")),
    }
}

/// Tries until it holds, for as long as that may take; the beginning of the try that did.
fn until(interrupt: &Interrupt, mut holds: impl FnMut() -> Result<bool, String>) -> Result<Option<Instant>, String> {
    let begun = Instant::now();
    loop {
        interrupt.check()?;
        let at = Instant::now();
        if holds()? {
            return Ok(Some(at));
        }
        if begun.elapsed() > PATIENCE {
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

/// The ban; it is lifted when this is dropped.
struct Ban<'a> {
    ask: &'a Ask,
    ip: IpAddr,
    is_lifted: bool,
}

impl<'a> Ban<'a> {
    fn order(ask: &'a Ask, ip: IpAddr) -> Result<Ban<'a>, String> {
        let mut ban = Ban {
            ask,
            ip,
            is_lifted: false,
        };
        let verb = Verb::Ban {
            ids: vec![Id::Ip(ip)],
            jail: Some(JAIL.into()),
            bantime: Some(BANTIME),
            reason: None,
        };
        match call::json::<Done>(ask, &verb) {
            Ok((done, _)) if done.count > 0 => Ok(ban),
            Ok((done, _)) => {
                // It is not the probe's to lift.
                ban.is_lifted = true;
                let why = done.notes.into_iter().next();
                Err(why.unwrap_or_else(|| format!("{ip} was banned before")))
            }
            Err(error) => Err(format!("{ip} cannot be banned: {error}")),
        }
    }

    /// What the layer says, where it did not ban.
    fn why_not(&self) -> Option<String> {
        let jail = Some(JAIL.into());
        let (banned, _) = call::json::<Vec<Banned>>(self.ask, &Verb::Banned { jail }).ok()?;
        let ip = self.ip.to_string();
        let (action, word) = banned.into_iter().find(|ban| ban.ip == ip)?.layers.pop_first()?;
        Some(format!(
            "a new connection got an answer in spite of the ban; the layer '{action}' says: {word}"
        ))
    }

    fn lift(mut self) -> Result<(), String> {
        self.unban()
    }

    fn unban(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.is_lifted, true) {
            return Ok(());
        }
        let verb = Verb::Unban {
            ids: Some(vec![Id::Ip(self.ip)]),
            jail: Some(JAIL.into()),
        };
        let done = call::json::<Done>(self.ask, &verb);
        done.map(drop)
            .map_err(|error| format!("{} cannot be unbanned: {error}", self.ip))
    }
}

impl Drop for Ban<'_> {
    fn drop(&mut self) {
        // Where the daemon is gone, the ban ends by its time.
        let _ = self.unban();
    }
}

/// Whether somebody wants it to end; everything is taken away then, too.
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn catch() -> Result<Interrupt, String> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .map_err(|error| format!("cannot catch signals: {error}"))?;
        }
        Ok(Interrupt(flag))
    }

    fn check(&self) -> Result<(), String> {
        if self.0.load(Ordering::Relaxed) {
            Err("interrupted".to_owned())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_comes_to() {
        let check = |dropped: [Option<bool>; 3], tried: Result<(), &str>, expect: (&str, Option<&str>)| {
            let [tcp, udp, established] = dropped;
            let mut probe = Probe {
                tcp,
                udp,
                established,
                ..Probe::default()
            };
            judge(&mut probe, tried.map_err(str::to_owned));
            assert_eq!((probe.result.as_str(), probe.reason.as_deref()), expect);
        };
        let all = [Some(true); 3];
        check(all, Ok(()), (PROVEN, None));
        check(all, Err("no way back"), (INCONCLUSIVE, Some("no way back")));
        check([None; 3], Err("not root"), (INCONCLUSIVE, Some("not root")));
        let text = "a datagram and an open connection got an answer in spite of the ban";
        check(
            [Some(true), Some(false), Some(false)],
            Ok(()),
            (NOT_DROPPED, Some(text)),
        );
    }
}

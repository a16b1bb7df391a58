//! From the line that is written to the first packet that is dropped: a figure, not a verdict.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::site::{Logs, SERVER, Site};

/// How often it is measured.
const TIMES: usize = 20;
/// Between two packets: the figure is no finer than this.
const PACE: Duration = Duration::from_micros(100);
/// Packets go on for so long after the last failure.
const LONG: Duration = Duration::from_millis(400);

/// Bans that also close UDP, where each packet is an attempt of its own.
const JAIL: &str = "\
[postfix]
enabled = true
maxretry = 3
action = nft[port=smtp, protocol=\"tcp,udp\"]
";

#[test]
fn from_the_line_to_the_drop() {
    let site = Site::new(Logs::Own);
    fs::write(site.log("mail.log"), "").unwrap();
    let daemon = site.guard(JAIL);
    let mut figures: Vec<Duration> = (0..TIMES)
        .map(|round| {
            let attacker = format!("198.51.100.{}", 100 + round);
            site.client_machine().address(&format!("{attacker}/32"));
            let figure = measure(&site, &attacker);
            daemon.wait_for_ban("postfix", &attacker);
            figure
        })
        .collect();
    figures.sort();
    report(&figures);
}

fn report(figures: &[Duration]) {
    let millis = |figure: Duration| figure.as_secs_f64() * 1e3;
    let (median, worst) = (millis(figures[figures.len() / 2]), millis(figures[figures.len() - 1]));
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let text = format!(
        "latency: line written → dropped: {median:.1} ms (median of {TIMES}, worst {worst:.1} ms, {build} build)\n"
    );
    // Past the capture of the test harness, which would keep it to itself.
    let _ = std::io::stderr().write_all(text.as_bytes());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("measured");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("latency.txt"), text).unwrap();
}

/// Sends packets at a steady pace, writes the third failure meanwhile, and finds the first that did not arrive.
fn measure(site: &Site, attacker: &str) -> Duration {
    let receiver = site.server_machine().within(|| UdpSocket::bind((SERVER, 25)).unwrap());
    let sender = site.client_machine().within(|| UdpSocket::bind((attacker, 0)).unwrap());
    sender.connect((SERVER, 25)).unwrap();
    receiver.set_read_timeout(Some(LONG)).unwrap();
    let written = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let arrived = threads.spawn(|| last_packet(&receiver));
        let sent = threads.spawn(|| send(&sender, &written));
        std::thread::sleep(Duration::from_millis(20));
        for _ in 0..2 {
            fail(site, attacker);
        }
        std::thread::sleep(Duration::from_millis(50));
        let start = fail(site, attacker);
        written.store(true, Ordering::Relaxed);
        let (arrived, sent) = (arrived.join().unwrap(), sent.join().unwrap());
        let dropped = sent.get(arrived + 1).expect("no packet was dropped");
        dropped.saturating_duration_since(start)
    })
}

/// Writes one failure and says when.
fn fail(site: &Site, attacker: &str) -> Instant {
    let stamp = jiff::Zoned::now().strftime("%b %e %H:%M:%S");
    let line = format!(
        "{stamp} mail postfix/smtpd[4711]: warning: unknown[{attacker}]: SASL PLAIN authentication failed: \
         authentication failure\n"
    );
    let mut log = OpenOptions::new().append(true).open(site.log("mail.log")).unwrap();
    log.write_all(line.as_bytes()).unwrap();
    Instant::now()
}

/// The numbers' times of sending.
fn send(sender: &UdpSocket, written: &AtomicBool) -> Vec<Instant> {
    let mut sent = Vec::new();
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        if end.is_none() && written.load(Ordering::Relaxed) {
            end = Some(Instant::now() + LONG);
        }
        let number = u32::try_from(sent.len()).unwrap();
        sent.push(Instant::now());
        // A dropped packet is no error to its sender.
        let _ = sender.send(&number.to_be_bytes());
        std::thread::sleep(PACE);
    }
    sent
}

/// The number of the last packet that came through.
fn last_packet(receiver: &UdpSocket) -> usize {
    let mut last = 0;
    let mut bytes = [0; 4];
    while receiver.recv(&mut bytes).is_ok() {
        last = usize::try_from(u32::from_be_bytes(bytes)).unwrap();
    }
    last
}

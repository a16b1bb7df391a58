//! Clients of the control socket that want no good: they neither end the daemon, nor delay a ban, nor fill the memory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::house::House;

const END: &[u8] = b"<F2B_END_COMMAND>";
/// Messages that there must have been at the end.
const MESSAGES: u64 = 10_000;
/// Bans that are timed in peace and as many under attack, in turns of so many each.
const TURNS: usize = 12;
const EACH: usize = 6;
/// What an attack may add to the time from a line to its ban.
const DELAY: Duration = Duration::from_millis(10);
/// What all requests and replies may have together, and what goes with it (threads, what the allocator keeps).
const MEMORY_KIB: u64 = (128 + 64) << 10;

/// What the attackers share.
struct Attack {
    socket: PathBuf,
    on: AtomicBool,
    over: AtomicBool,
    sent: AtomicU64,
}

impl Attack {
    /// Sends messages of one kind while the attack is on.
    fn run(&self, kind: usize) {
        // The test's own work must not be what delays the daemon, which has two processors at most.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
        let mut round = kind;
        while !self.over.load(Ordering::Relaxed) {
            if !self.on.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(2));
                continue;
            }
            round += 1;
            let Ok(stream) = UnixStream::connect(&self.socket) else {
                continue;
            };
            // The daemon may close the connection, when another needs the place.
            let _ = match kind {
                0..=2 => self.malformed(&stream, round),
                3 => self.bombs(&stream),
                4 => self.huge(&stream, round),
                5 => self.slow(&stream),
                _ => self.unread(&stream),
            };
        }
    }

    fn send(&self, mut stream: &UnixStream, message: &[u8]) -> std::io::Result<()> {
        stream.write_all(message)?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn exchange(&self, stream: &UnixStream, message: &[u8]) -> std::io::Result<()> {
        self.send(stream, &[message, END].concat())?;
        reply(stream)
    }

    fn malformed(&self, stream: &UnixStream, round: usize) -> std::io::Result<()> {
        for step in 0..40_usize {
            let noise: Vec<u8> = (0..60 * step)
                .map(|at| (at * (round + step) * 31 % 251) as u8)
                .collect();
            self.exchange(stream, &noise)?;
            self.exchange(stream, b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")?;
            self.exchange(stream, b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.")?;
        }
        Ok(())
    }

    fn bombs(&self, stream: &UnixStream) -> std::io::Result<()> {
        let mut laughs = b"\x80\x04]\x94K\x01a".to_vec();
        for level in 0..9_u8 {
            laughs.extend(b"]\x94(");
            laughs.extend([b'h', level].repeat(10));
            laughs.push(b'e');
        }
        laughs.push(b'.');
        self.exchange(stream, &laughs)?;
        self.exchange(
            stream,
            &[vec![b'('; 100_000], vec![b'l'; 100_000], b".".to_vec()].concat(),
        )?;
        self.exchange(stream, &[b"]".repeat(200_000), b".".to_vec()].concat())
    }

    fn huge(&self, stream: &UnixStream, round: usize) -> std::io::Result<()> {
        if round.is_multiple_of(2) {
            // Longer than any request may be.
            return self.exchange(stream, &vec![b'N'; 17 << 20]);
        }
        // As large as a request may be, and good: a list of a few million things, which is too many.
        self.exchange(
            stream,
            &[b"(".to_vec(), b"K\x01".repeat(7 << 20), b"l.".to_vec()].concat(),
        )
    }

    fn slow(&self, mut stream: &UnixStream) -> std::io::Result<()> {
        for _ in 0..50 {
            stream.write_all(b"(")?;
            sleep(Duration::from_millis(2));
        }
        self.exchange(stream, b"")
    }

    /// Requests whose replies nobody reads.
    fn unread(&self, stream: &UnixStream) -> std::io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_millis(50)))?;
        let request = [
            b"\x80\x04]\x8c\x04echoa\x8d\x00\x00\x01\x00\x00\x00\x00\x00".as_slice(),
            &[b'x'; 1 << 16],
            b"a.",
            END,
        ]
        .concat();
        for _ in 0..20 {
            self.send(stream, &request)?;
        }
        Ok(())
    }
}

fn reply(mut stream: &UnixStream) -> std::io::Result<()> {
    let mut tail = Vec::new();
    let mut chunk = [0; 4096];
    while !tail.ends_with(END) {
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => tail.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(())
}

/// From a line in the log to the ban in the daemon's own: it is decided, kept in the database, and on its way to the
/// kernel.
fn time_of_ban(house: &House, seen: &mut File, who: &str) -> Duration {
    let mut text = String::new();
    seen.read_to_string(&mut text).unwrap();
    let start = Instant::now();
    house.fail("plain", who);
    let ban = format!("] Ban {who}\n");
    text.clear();
    while !text.contains(&ban) {
        assert!(start.elapsed() < Duration::from_secs(30), "{who} is not banned");
        sleep(Duration::from_micros(200));
        seen.read_to_string(&mut text).unwrap();
    }
    start.elapsed()
}

/// A number of KiB out of `/proc/PID/status`.
fn memory(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

struct Figures {
    median: Duration,
    most: Duration,
    worst: Duration,
}

fn figures(mut times: Vec<Duration>) -> Figures {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    Figures {
        median: at(50),
        most: at(90),
        worst: at(100),
    }
}

/// Times in peace and under attack, by turns, so that whatever else the machine does falls on both alike.
fn times(house: &House, attack: &Attack, attempt: usize) -> [Figures; 2] {
    let mut seen = File::open(house.path("fail2ban.log")).unwrap();
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..2 * TURNS {
        let attacked = turn % 2;
        attack.on.store(attacked == 1, Ordering::Relaxed);
        // What the other turn has left behind comes to its end.
        sleep(Duration::from_millis(150));
        for number in 0..EACH {
            let who = format!("198.{}.{turn}.{number}", 51 + attempt);
            times[attacked].push(time_of_ban(house, &mut seen, &who));
            sleep(Duration::from_millis(15));
        }
    }
    times.map(figures)
}

/// What is compared is the median and the ninth decile. The worst of either is chance where other work runs on the same
/// two processors, and is printed only; a ninth decile may be chance once, but hardly three times in a row.
#[test]
fn no_client_delays_a_ban() {
    let mut house = House::native();
    house.start();
    let daemon = house.daemon().as_raw_nonzero().get();
    let before = memory(daemon, "VmRSS:");
    let attack = Attack {
        socket: house.path("socket"),
        on: AtomicBool::new(false),
        over: AtomicBool::new(false),
        sent: AtomicU64::new(0),
    };
    let (mut attempts, mut is_delayed) = (0, true);
    std::thread::scope(|threads| {
        for kind in 0..7 {
            let attack = &attack;
            threads.spawn(move || attack.run(kind));
        }
        while is_delayed && attempts < 3 {
            let [peace, war] = times(&house, &attack, attempts);
            attempts += 1;
            is_delayed = war.median >= peace.median + DELAY || war.most >= peace.most + DELAY;
            report(&peace, &war);
        }
        attack.on.store(true, Ordering::Relaxed);
        let start = Instant::now();
        while attack.sent.load(Ordering::Relaxed) < MESSAGES && start.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(20));
        }
        attack.over.store(true, Ordering::Relaxed);
    });
    let sent = attack.sent.load(Ordering::Relaxed);
    let (now, most) = (memory(daemon, "VmRSS:"), memory(daemon, "VmHWM:"));
    let [shown_before, shown_now, shown_most] = [before, now, most].map(|kib| kib / 1024);
    say(&format!(
        "{sent} hostile messages; resident {shown_before} MiB before, {shown_now} after, {shown_most} at the most\n"
    ));
    assert!(!is_delayed, "three times in a row");
    assert!(sent >= MESSAGES, "{sent} messages");
    assert_eq!(house.daemon().as_raw_nonzero().get(), daemon, "it is the same daemon");
    assert!(most < before + MEMORY_KIB, "{most} KiB");
    assert_eq!(house.banned().len(), 2 * TURNS * EACH * attempts);
    assert!(house.kernel().contains("198.51.0.0"), "and it is in the kernel");
    assert!(!Path::new("/tmp/owned").exists());
}

fn report(peace: &Figures, war: &Figures) {
    let line = |name: &str, figures: &Figures| {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let [median, most, worst] = [figures.median, figures.most, figures.worst].map(millis);
        format!("{name}: median {median:.1} ms, ninth decile {most:.1} ms, worst {worst:.1} ms\n")
    };
    say(&format!(
        "from a line to its ban, {} each\n{}{}",
        TURNS * EACH,
        line("in peace", peace),
        line("under attack", war),
    ));
}

/// To the terminal, past the capture of the test harness, which would keep it to itself; and into the folder of what was
/// measured.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../measured");
    fs::create_dir_all(&folder).unwrap();
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(folder.join("hostile.txt"))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A hundred clients that hang about are no more than the daemon has places for, and the one that comes last is heard.
#[test]
fn who_hangs_about_makes_way() {
    let mut house = House::empty();
    house.jails(&[]);
    house.start();
    let idle: Vec<UnixStream> = (0..100)
        .map(|_| UnixStream::connect(house.path("socket")).unwrap())
        .collect();
    assert!(house.ask(&["status"]).status.code().is_some_and(|code| code != 3));
    let closed = |mut stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.read(&mut [0]), Ok(0))
    };
    let closed = idle.iter().filter(|stream| closed(stream)).count();
    assert!((36..=40).contains(&closed), "{closed} of 100 were closed");
    for stream in idle {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

//! Writes a log to standard output; what is in it is told on standard error.
//!
//! ```text
//! logs mail|auth|flood|quiet [--lines 1000000] [--hostile 10%] [--seed 7] [--stamps traditional|iso|mixed]
//!                            [--until now|SECONDS] [--span SECONDS] [--addresses 10000]
//! ```

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_logs::{Log, Order, Stamps, Writer};

const USAGE: &str = "logs mail|auth|flood|quiet [--lines N] [--hostile N%] [--seed N] \
                     [--stamps traditional|iso|mixed] [--until now|SECONDS] [--span SECONDS] [--addresses N]";
/// 2026-01-15 12:00:00 UTC: without `--until` every run writes the same.
const UNTIL: u64 = 1_768_478_400;

fn main() -> ExitCode {
    match order(std::env::args().skip(1)).and_then(|order| write(order).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("logs: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn order(mut words: impl Iterator<Item = String>) -> Result<Order, String> {
    let log = match words.next().as_deref() {
        Some("mail") => Log::Mail,
        Some("auth") => Log::Auth,
        Some("flood") => Log::Flood,
        Some("quiet") => Log::Quiet,
        _ => return Err("which log?".to_owned()),
    };
    let flood = log == Log::Flood;
    let mut order = Order {
        log,
        lines: 1_000_000,
        share: if log == Log::Mail { 100 } else { 500 },
        seed: 7,
        stamps: Stamps::Traditional,
        until: UNTIL,
        span: 3600,
        addresses: if flood { 100_000 } else { 10_000 },
    };
    if flood {
        order.share = 600;
    }
    if log == Log::Quiet {
        order.share = 0;
    }
    while let Some(option) = words.next() {
        let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
        set(&mut order, &option, &value)?;
    }
    Ok(order)
}

fn set(order: &mut Order, option: &str, value: &str) -> Result<(), String> {
    let number = || value.parse().map_err(|_| format!("{option}: {value} is no number"));
    match option {
        "--lines" => order.lines = number()?,
        "--seed" => order.seed = number()?,
        "--span" => order.span = number()?,
        "--addresses" => order.addresses = number()?,
        "--hostile" => order.share = share(value).ok_or_else(|| format!("{value} is no share, such as 10%"))?,
        "--until" if value == "now" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            order.until = now.map_err(|error| error.to_string())?.as_secs();
        }
        "--until" => order.until = number()?,
        "--stamps" => {
            order.stamps = match value {
                "traditional" => Stamps::Traditional,
                "iso" => Stamps::Iso,
                "mixed" => Stamps::Mixed,
                _ => return Err(format!("no such stamps: {value}")),
            };
        }
        _ => return Err(format!("no such option: {option}")),
    }
    Ok(())
}

/// Of `12.5%` the 125 in a thousand.
fn share(text: &str) -> Option<u64> {
    let share: f64 = text.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&share).then(|| (share * 10.0).round() as u64)
}

fn write(order: Order) -> io::Result<()> {
    let mut writer = Writer::new(order.clone()).map_err(io::Error::other)?;
    let mut out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let (mut line, mut shapes) = (String::new(), BTreeSet::new());
    let (mut matched, mut shortest, mut longest, mut bytes) = (0_u64, usize::MAX, 0, 0);
    while let Some(written) = writer.next_line(&mut line) {
        out.write_all(line.as_bytes())?;
        matched += u64::from(written.kind.is_matched());
        shapes.insert(written.shape.as_ptr());
        let length = line.len() - 1;
        (shortest, longest) = (shortest.min(length), longest.max(length));
        bytes += length + 1;
    }
    out.flush()?;
    let share = matched as f64 * 100.0 / order.lines.max(1) as f64;
    eprintln!(
        "seed {}, {} lines ({bytes} bytes), {matched} of them matched ({share:.1} %), {} message shapes, lines of \
         {shortest} to {longest} bytes, {} attackers",
        order.seed,
        order.lines,
        shapes.len(),
        order.addresses
    );
    Ok(())
}

//! When addresses came into the kernel's sets, as the kernel itself tells.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::house::{House, eventually};

type Seen = Arc<Mutex<BTreeMap<IpAddr, Instant>>>;

/// `nft monitor`, which prints every element as it is added; ended on drop.
pub(crate) struct Monitor {
    child: Child,
    seen: Seen,
    reader: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Begins to look; what was there before is not seen.
    pub(crate) fn start(house: &House) -> Monitor {
        let mut command = house.inside("nft");
        let command = command.args(["monitor", "new"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let seen = Seen::default();
        let notes = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let now = Instant::now();
                for address in line.split([' ', '{', '}', ',']).filter_map(|word| word.parse().ok()) {
                    notes.lock().unwrap().entry(address).or_insert(now);
                }
            }
        });
        let monitor = Monitor {
            child,
            seen,
            reader: Some(reader),
        };
        monitor.until_it_sees(house);
        monitor
    }

    /// It sees nothing before it listens, and does not say when that is.
    fn until_it_sees(&self, house: &House) {
        let mut number = 0;
        eventually("nft monitor listens", || {
            number += 1;
            let script = format!(
                "nft add table inet probe; nft add set inet probe s '{{ type ipv4_addr; }}'
                 nft add element inet probe s '{{ 240.0.0.{number} }}'; nft delete table inet probe"
            );
            assert!(house.inside("sh").args(["-ec", &script]).status().unwrap().success());
            std::thread::sleep(Duration::from_millis(20));
            !self.seen.lock().unwrap().is_empty()
        });
    }

    /// When an address was first added, if it was.
    pub(crate) fn seen(&self, who: IpAddr) -> Option<Instant> {
        self.seen.lock().unwrap().get(&who).copied()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

//! inotify: which paths have to be looked at because something happened to a file or a directory of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Watches for a set of paths. Two paths may share a watch: the kernel has one an inode.
pub(crate) struct Watch {
    /// To be polled.
    pub(crate) events: OwnedFd,
    by_path: BTreeMap<Arc<str>, BTreeSet<i32>>,
    refused: bool,
}

impl Watch {
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Watch {
            events: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            by_path: BTreeMap::new(),
            refused: false,
        })
    }

    /// Sets what is watched for a path. Returns whether that is something new; then what happened before must
    /// be looked for once more.
    pub(crate) fn cover<'f>(
        &mut self,
        path: &Arc<str>,
        files: impl Iterator<Item = &'f File>,
        directories: &[PathBuf],
    ) -> bool {
        let file = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let inside = WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        let itself = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
        let mut wanted = BTreeSet::new();
        for open in files {
            // By its descriptor a file is watched that has been renamed in the meantime.
            let name = format!("/proc/self/fd/{}", open.as_raw_fd());
            wanted.extend(self.add(Path::new(&name), file));
        }
        for directory in directories {
            wanted.extend(self.add(directory, inside | itself));
            // A directory further up may be renamed with everything in it.
            wanted.extend(
                directory
                    .ancestors()
                    .skip(1)
                    .filter_map(|above| self.add(above, itself)),
            );
        }
        let before = self.by_path.insert(path.clone(), wanted.clone()).unwrap_or_default();
        self.drop_unused(&before);
        wanted.difference(&before).next().is_some()
    }

    /// Watches nothing for a path any longer.
    pub(crate) fn remove(&mut self, path: &str) {
        let before = self.by_path.remove(path).unwrap_or_default();
        self.drop_unused(&before);
    }

    /// Takes all events there are. Returns the paths that they concern; `None` when events were lost and every
    /// path has to be looked at.
    pub(crate) fn take(&mut self) -> Option<BTreeSet<Arc<str>>> {
        let mut hit = BTreeSet::new();
        let mut room = [MaybeUninit::uninit(); 16 << 10];
        let mut gone = Vec::new();
        let mut reader = inotify::Reader::new(&self.events, &mut room);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(_) => return None,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return None;
            }
            let watch = event.wd();
            if event.events().contains(ReadFlags::IGNORED) {
                gone.push(watch);
            }
            let concerned = self.by_path.iter().filter(|(_, watches)| watches.contains(&watch));
            hit.extend(concerned.map(|(path, _)| path.clone()));
        }
        for watches in self.by_path.values_mut() {
            watches.retain(|watch| !gone.contains(watch));
        }
        Some(hit)
    }

    fn add(&mut self, path: &Path, flags: WatchFlags) -> Option<i32> {
        // One inode has one watch, for whatever any of the paths wants to know of it.
        match inotify::add_watch(&self.events, path, flags | WatchFlags::MASK_ADD) {
            Ok(watch) => Some(watch),
            Err(Errno::NOSPC | Errno::NOMEM) => {
                if !mem::replace(&mut self.refused, true) {
                    log::warn!(
                        "No more inotify watches (fs.inotify.max_user_watches): logs are polled, and seen later"
                    );
                }
                None
            }
            Err(_) => None,
        }
    }

    fn drop_unused(&mut self, watches: &BTreeSet<i32>) {
        for watch in watches {
            if !self.by_path.values().any(|used| used.contains(watch)) {
                let _ = inotify::remove_watch(&self.events, *watch);
            }
        }
    }
}

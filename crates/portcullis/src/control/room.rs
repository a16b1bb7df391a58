//! The room for sessions: how many there are at a time, which one goes when a further comes, and the memory that all of
//! them have together.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::peer::Role;

/// Sessions at a time.
const MOST_SESSIONS: usize = 64;
/// Of these, the ones of clients that may not do everything, so that root always finds a place.
const MOST_GUESTS: usize = 32;
/// Bytes for the requests and replies of all sessions: what is read, what it is read into, and what is sent.
/// The largest request fits (16 MiB, read into 64), and 32 MiB of others. What the allocator keeps of freed
/// memory comes on top.
const MOST_MEMORY: usize = 112 << 20;

/// The sessions that there are.
pub(super) struct Room {
    seats: Mutex<(u64, Vec<Seat>)>,
    /// A reply is written, or given up
    answered: Condvar,
    memory: Arc<AtomicUsize>,
    large: Mutex<()>,
}

struct Seat {
    number: u64,
    role: Role,
    stream: Arc<UnixStream>,
    /// Since when the client keeps the session waiting; none while the daemon works for it
    waiting: Option<Instant>,
    /// A request has come whose reply is not written yet
    owed: bool,
}

/// A session's place; it is free when this is dropped.
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    pub(super) role: Role,
    pub(super) stream: Arc<UnixStream>,
}

/// A part of the memory of all sessions, given back when this is dropped.
pub(super) struct Lease {
    from: Arc<AtomicUsize>,
    held: usize,
}

impl Room {
    pub(super) fn new() -> Arc<Room> {
        Room::with_memory(MOST_MEMORY)
    }

    fn with_memory(bytes: usize) -> Arc<Room> {
        Arc::new(Room {
            seats: Mutex::default(),
            answered: Condvar::new(),
            memory: Arc::new(AtomicUsize::new(bytes)),
            large: Mutex::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    fn seats(&self) -> MutexGuard<'_, (u64, Vec<Seat>)> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a client. Where there is none, the session that waits longest for its client is closed in its
    /// favour: one that was forgotten, sends a request by the byte, or does not read its reply. A guest takes the place
    /// of a guest only. There is none if the daemon works for all of them.
    pub(super) fn admit(self: &Arc<Room>, stream: &Arc<UnixStream>, role: Role) -> Option<Place> {
        let mut seats = self.seats();
        let (next, seated) = &mut *seats;
        let guests = seated.iter().filter(|seat| seat.role != Role::Owner).count();
        let no_guest = role != Role::Owner && guests >= MOST_GUESTS;
        if seated.len() >= MOST_SESSIONS || no_guest {
            let may_go = |seat: &Seat| seat.role != Role::Owner || role == Role::Owner;
            let waiting = seated.iter().enumerate().filter(|(_, seat)| may_go(seat));
            let longest = waiting.filter_map(|(at, seat)| Some((seat.role == Role::Owner, seat.waiting?, at)));
            let (.., at) = longest.min()?;
            // It may be gone already.
            let _ = seated.swap_remove(at).stream.shutdown(Shutdown::Both);
        }
        *next += 1;
        seated.push(Seat {
            number: *next,
            role,
            stream: Arc::clone(stream),
            waiting: Some(Instant::now()),
            owed: false,
        });
        Some(Place {
            room: Arc::clone(self),
            number: *next,
            role,
            stream: Arc::clone(stream),
        })
    }

    /// Waits until every request that came has its reply, at most this long.
    pub(super) fn until_answered(&self, patience: Duration) {
        let is_owed = |(_, seats): &mut (u64, Vec<Seat>)| seats.iter().any(|seat| seat.owed);
        // Whether it came to that or not: the daemon ends now.
        let _ = self.answered.wait_timeout_while(self.seats(), patience, is_owed);
    }
}

impl Place {
    /// From now on the client's next request is awaited.
    pub(super) fn waits(&self) {
        self.set(Some(Instant::now()), false);
    }

    /// From now on the daemon works for it.
    pub(super) fn works(&self) {
        self.set(None, true);
    }

    /// From now on the client has a reply to read.
    pub(super) fn replies(&self) {
        self.set(Some(Instant::now()), true);
    }

    fn set(&self, waiting: Option<Instant>, owed: bool) {
        let mut seats = self.room.seats();
        if let Some(seat) = seats.1.iter_mut().find(|seat| seat.number == self.number) {
            (seat.waiting, seat.owed) = (waiting, owed);
        }
        self.room.answered.notify_all();
    }

    /// A lease of nothing yet.
    pub(super) fn lease(&self) -> Lease {
        Lease {
            from: Arc::clone(&self.room.memory),
            held: 0,
        }
    }

    /// Held while a large request is read, so that they are read one after the other and leave a processor free.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.room.large.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.seats().1.retain(|seat| seat.number != self.number);
        self.room.answered.notify_all();
    }
}

impl Lease {
    /// So many bytes more, if there are so many left.
    pub(super) fn more(&mut self, bytes: usize) -> bool {
        let take = |free: usize| free.checked_sub(bytes);
        let taken = self
            .from
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if taken {
            self.held += bytes;
        }
        taken
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.from.fetch_add(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn come(room: &Arc<Room>, role: Role) -> (Option<Place>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (room.admit(&Arc::new(ours), role), theirs)
    }

    fn is_closed(mut client: &UnixStream) -> bool {
        client.set_nonblocking(true).unwrap();
        client.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    #[test]
    fn who_waits_longest_makes_way() {
        let room = Room::new();
        let mut seated: Vec<_> = (0..MOST_SESSIONS).map(|_| come(&room, Role::Owner)).collect();
        seated[0].0.as_ref().unwrap().works();
        let (new, _client) = come(&room, Role::Owner);
        assert!(new.is_some());
        assert!(!is_closed(&seated[0].1), "the daemon works for it");
        assert!(is_closed(&seated[1].1));
        // Its thread ends, which frees no other place.
        seated.remove(1);
        assert_eq!(room.seats().1.len(), MOST_SESSIONS);
        for (place, _) in &seated {
            place.as_ref().unwrap().works();
        }
        new.as_ref().unwrap().works();
        assert!(come(&room, Role::Owner).0.is_none(), "all are worked for");
        seated.pop();
        assert!(come(&room, Role::Owner).0.is_some());
    }

    #[test]
    fn guests_take_no_owners_place() {
        let room = Room::new();
        let owners: Vec<_> = (0..MOST_SESSIONS - MOST_GUESTS)
            .map(|_| come(&room, Role::Owner))
            .collect();
        let guests: Vec<_> = (0..MOST_GUESTS + 1).map(|_| come(&room, Role::Reader)).collect();
        assert!(is_closed(&guests[0].1));
        assert!(guests[1..].iter().all(|guest| !is_closed(&guest.1)));
        assert!(owners.iter().all(|owner| !is_closed(&owner.1)));
        // An owner takes a guest's before he takes another owner's.
        let _owner = come(&room, Role::Owner);
        assert!(is_closed(&guests[1].1));
        assert!(owners.iter().all(|owner| !is_closed(&owner.1)));
    }

    #[test]
    fn replies_are_waited_for() {
        let room = Room::new();
        let ((one, _first), (other, _second)) = (come(&room, Role::Owner), come(&room, Role::Owner));
        let (one, other) = (one.unwrap(), other.unwrap());
        let waited = |patience| {
            let start = Instant::now();
            room.until_answered(patience);
            start.elapsed()
        };
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(60));
        one.works();
        other.works();
        assert!(waited(short) >= short, "both are worked for");
        one.replies();
        drop(other);
        assert!(waited(short) >= short, "one is still to read");
        std::thread::scope(|scope| {
            scope.spawn(|| one.waits());
            assert!(waited(long) < long);
        });
    }

    #[test]
    fn memory_is_given_back() {
        let room = Room::with_memory(100);
        let (place, _client) = come(&room, Role::Owner);
        let place = place.unwrap();
        let (mut one, mut other) = (place.lease(), place.lease());
        assert!(one.more(60) && !other.more(60) && other.more(40));
        drop(one);
        assert!(other.more(60) && !other.more(1));
    }
}

//! Line after line: which message comes next, about whom, and when.

use std::fmt::Write as _;

use crate::chance::Chance;
use crate::clock::{Stamps, stamp};
use crate::peer::Peer;
use crate::shapes::{Kind, Shape, auth, mail, system};
use crate::text::{Piece, fill, pieces};

/// The share is exact in every so many lines.
const BLOCK: u64 = 1000;
/// Sessions of sshd that go on at the same time, of attackers and of customers each.
const SESSIONS: usize = 8;
const HOST: &str = "mx1.example.org";
/// Ids of processes go up to here on 64-bit systems.
const PROCESSES: u64 = 4_194_304;

/// What the log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// A mail server's log; six in ten matched lines are for filter `postfix`, the others for `dovecot`
    Mail,
    /// The log of sshd and what else authenticates
    Auth,
    /// A mail server's log in which every attacker has as many matched lines as every other, one more or less; all are for
    /// filter `postfix`
    Flood,
    /// A mail server's log in which no filter matches a line
    Quiet,
}

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Order {
    /// What the log is about
    pub log: Log,
    /// How many lines
    pub lines: u64,
    /// How many of each thousand lines are matched by a filter
    pub share: u64,
    /// The same seed, the same bytes
    pub seed: u64,
    /// How the times look
    pub stamps: Stamps,
    /// The time of the last line, in seconds since 1970
    pub until: u64,
    /// Seconds from the first line to the last
    pub span: u64,
    /// How many attackers there are, and how many customers
    pub addresses: u64,
}

struct Session {
    process: u64,
    peer: Peer,
}

/// One or more tables from which messages are drawn by weight.
struct Deck {
    cards: Vec<(Shape, Vec<Piece>)>,
    /// For each unit of weight, the card
    draws: Vec<u16>,
}

/// The lines of an order, one after the other.
pub struct Writer {
    order: Order,
    chance: Chance,
    /// Matched messages; a mail log has two decks
    matched: Vec<Deck>,
    peaceful: Deck,
    sessions: [Vec<Session>; 2],
    /// Of the block: lines and matched lines that are left
    left: (u64, u64),
    written: u64,
    attacks: u64,
    process: u64,
}

/// A line that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// What filters make of it
    pub kind: Kind,
    /// The text of its shape, with the marks
    pub shape: &'static str,
}

impl Writer {
    /// A writer at the first line.
    ///
    /// # Errors
    /// Names the mark of a shape that is none; the tests of this crate show that there is no such mark.
    pub fn new(order: Order) -> Result<Self, &'static str> {
        let matched = match order.log {
            Log::Mail => vec![Deck::of(&[mail::POSTFIX_HOSTILE])?, Deck::of(&[mail::DOVECOT_HOSTILE])?],
            Log::Auth => vec![Deck::of(&[auth::MATCHED])?],
            Log::Flood => vec![Deck::of(&[mail::POSTFIX_HOSTILE])?],
            Log::Quiet => Vec::new(),
        };
        let mut peaceful = match order.log {
            Log::Auth => Deck::of(&[auth::PEACEFUL, system::PEACEFUL])?,
            Log::Mail | Log::Flood | Log::Quiet => Deck::of(&[mail::PEACEFUL, system::PEACEFUL])?,
        };
        if order.log == Log::Quiet {
            peaceful.without(Kind::Strict);
        }
        Ok(Self {
            chance: Chance::new(order.seed),
            matched,
            peaceful,
            sessions: [Vec::new(), Vec::new()],
            left: (0, 0),
            written: 0,
            attacks: 0,
            process: 900,
            order,
        })
    }

    /// Writes the next line with its end into `line`, which is cleared; nothing after the last.
    pub fn next_line(&mut self, line: &mut String) -> Option<Written> {
        if self.written == self.order.lines {
            return None;
        }
        let is_matched = self.is_next_matched();
        let deck = if is_matched { self.deck() } else { None };
        let cards = deck.map_or(&self.peaceful, |number| &self.matched[number]);
        let card = cards.draw(&mut self.chance);
        let shape = cards.cards[card].0;
        let (peer, process) = self.peer(&shape);
        line.clear();
        self.stamp(line);
        line.push(' ');
        line.push_str(HOST);
        line.push(' ');
        match shape.program.split_once('#') {
            Some((before, after)) => {
                // Writing to a string cannot fail.
                let _ = write!(line, "{before}{process}{after}: ");
            }
            None => {
                line.push_str(shape.program);
                line.push_str(": ");
            }
        }
        let cards = deck.map_or(&self.peaceful, |number| &self.matched[number]);
        for &piece in &cards.cards[card].1 {
            fill(line, piece, peer, &mut self.chance);
        }
        line.push('\n');
        self.written += 1;
        Some(Written {
            kind: shape.kind,
            shape: shape.text,
        })
    }

    /// How many shapes there are to choose from.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.matched
            .iter()
            .chain([&self.peaceful])
            .map(|deck| deck.cards.len())
            .sum()
    }

    fn is_next_matched(&mut self) -> bool {
        if self.matched.is_empty() {
            return false;
        }
        if self.left.0 == 0 {
            let lines = BLOCK.min(self.order.lines - self.written);
            self.left = (lines, lines * self.order.share / 1000);
        }
        let (lines, matched) = self.left;
        let is_matched = self.chance.below(lines) < matched;
        self.left = (lines - 1, matched - u64::from(is_matched));
        is_matched
    }

    fn deck(&mut self) -> Option<usize> {
        let second = self.matched.len() > 1 && self.chance.below(10) >= 6;
        Some(usize::from(second))
    }

    /// Who the line is about and the process that writes it. Lines of sshd belong to sessions, half of which go on.
    fn peer(&mut self, shape: &Shape) -> (Peer, u64) {
        let attacks = shape.kind == Kind::Hostile;
        if !shape.program.starts_with("sshd") {
            let process = 900 + self.chance.below(40) * 17;
            return (self.somebody(attacks), process);
        }
        let goes_on = !shape.text.contains("{ip}") || self.chance.below(2) == 0;
        let open = self.sessions[usize::from(attacks)].len() as u64;
        if goes_on && open > 0 {
            let number = self.chance.below(open) as usize;
            let session = &self.sessions[usize::from(attacks)][number];
            return (session.peer, session.process);
        }
        self.process = 900 + (self.process - 900 + self.chance.from(1, 3)) % (PROCESSES - 900);
        let (peer, process) = (self.somebody(attacks), self.process);
        let place = self.chance.below(SESSIONS as u64) as usize;
        let sessions = &mut self.sessions[usize::from(attacks)];
        let session = Session { process, peer };
        if sessions.len() < SESSIONS {
            sessions.push(session);
        } else {
            sessions[place] = session;
        }
        (peer, process)
    }

    /// Attackers with small numbers come more often, but in a flood one comes as often as the other.
    fn somebody(&mut self, attacks: bool) -> Peer {
        let count = self.order.addresses.max(1);
        if !attacks {
            return Peer::customer(self.chance.below(count));
        }
        if self.order.log == Log::Flood {
            self.attacks += 1;
            return Peer::attacker((self.attacks - 1) % count);
        }
        let most = self.chance.below(count) + 1;
        Peer::attacker(self.chance.below(most))
    }

    fn stamp(&mut self, line: &mut String) {
        let gap = self.order.span * 1_000_000 / self.order.lines.max(1);
        let last = self.order.until * 1_000_000;
        let at = last.saturating_sub((self.order.lines - 1 - self.written) * gap);
        let iso = match self.order.stamps {
            Stamps::Traditional => false,
            Stamps::Iso => true,
            Stamps::Mixed => self.chance.below(2) == 0,
        };
        stamp(line, at, iso);
    }
}

impl Deck {
    fn of(tables: &[&[Shape]]) -> Result<Self, &'static str> {
        let mut deck = Self {
            cards: Vec::new(),
            draws: Vec::new(),
        };
        for shape in tables.iter().copied().flatten() {
            deck.cards.push((*shape, pieces(shape.text)?));
        }
        deck.shuffle();
        Ok(deck)
    }

    fn without(&mut self, kind: Kind) {
        self.cards.retain(|(shape, _)| shape.kind != kind);
        self.shuffle();
    }

    fn shuffle(&mut self) {
        let repeated = |(number, (shape, _)): (usize, &(Shape, _))| (0..shape.weight).map(move |_| number as u16);
        self.draws = self.cards.iter().enumerate().flat_map(repeated).collect();
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        usize::from(self.draws[chance.below(self.draws.len() as u64) as usize])
    }
}

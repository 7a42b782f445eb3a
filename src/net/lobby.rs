//! Who is here, and who has to go when there is no room.
//!
//! A connection is a stranger until it has shown what it came for (an accepted publish, a request).
//! Only strangers make room for others: of the address that has most of them one that has come least
//! far, the oldest of these. So whoever opens thousands displaces themselves. Those who have settled
//! stay.

use crate::clock;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Lines about connections that came to nothing: at most so many in this time.
const LINES_MAX: u32 = 20;
const LINES_INTERVAL: Duration = Duration::from_secs(1);

/// How far a connection has come. Each costs its peer more than the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Progress {
    /// It is open.
    Silent = 0,
    /// Bytes came.
    Spoke = 1,
    /// It was answered.
    Greeted = 2,
    /// It has shown what it came for.
    Settled = 3,
}

/// Those that make room, in this order.
const STRANGERS: usize = Progress::Settled as usize;

/// Addresses that are taken to be one peer: an IPv4 address, or an IPv6 network of 64 bits, of which
/// a household or a machine has at least one to itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Block(IpAddr);

impl Block {
    /// The block that `address` is in.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// How many may be here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seats {
    /// Connections in all.
    pub all: usize,
    /// Connections of one address.
    pub address: usize,
    /// Connections that have not shown yet what they came for.
    pub strangers: usize,
}

/// Why a connection has no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoPlace {
    /// All places are taken by those who have settled.
    #[error("all {0} connections are taken")]
    Full(usize),
    /// Its address has as many as one may have.
    #[error("{0} has {1} connections already")]
    Address(Block, usize),
}

/// The room of one listener. Cheap to clone.
#[derive(Clone)]
pub struct Lobby(Arc<Mutex<Inner>>);

struct Inner {
    seats: Seats,
    next: u64,
    here: HashMap<u64, Here>,
    blocks: HashMap<Block, Count>,
    strangers: usize,
    lines: Lines,
}

/// Lines about connections that came to nothing.
#[derive(Default)]
struct Lines {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

struct Here {
    block: Block,
    progress: Progress,
    displaced: CancellationToken,
}

#[derive(Default)]
struct Count {
    all: usize,
    /// By progress, each by age.
    strangers: [BTreeSet<u64>; STRANGERS],
}

/// A connection's place, until it is dropped.
pub struct Place {
    lobby: Lobby,
    id: u64,
    displaced: CancellationToken,
    /// Spares the lock.
    progress: AtomicU8,
}

impl Count {
    fn waiting(&self) -> usize {
        self.strangers.iter().map(BTreeSet::len).sum()
    }
}

impl Lobby {
    /// A room with so many seats.
    pub fn new(seats: Seats) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            seats,
            next: 0,
            here: HashMap::new(),
            blocks: HashMap::new(),
            strangers: 0,
            lines: Lines::default(),
        })))
    }

    /// A place for a connection of `address`; whoever had it before is told to go. Of a proxy that
    /// will tell whose it is, any number may come.
    pub fn enter(&self, address: IpAddr, is_proxy: bool) -> Result<Place, NoPlace> {
        let mut inner = self.lock();
        let block = Block::of(address);
        if !is_proxy {
            inner.make_room_of(block)?;
        }
        inner.make_room()?;
        let id = inner.next;
        inner.next = inner.next.wrapping_add(1);
        let displaced = CancellationToken::new();
        let here = Here {
            block,
            progress: Progress::Silent,
            displaced: displaced.clone(),
        };
        inner.sit(id, here);
        Ok(Place {
            lobby: self.clone(),
            id,
            displaced,
            progress: AtomicU8::new(Progress::Silent as u8),
        })
    }

    /// Changes how many may be here from now on; nobody has to go for it.
    pub fn set_seats(&self, seats: Seats) {
        self.lock().seats = seats;
    }

    /// Whether a line may be written about a connection that came to nothing: many strangers do not
    /// bury what else is in the log. How many were left out is told with the next one that may.
    pub fn may_tell(&self) -> bool {
        let now = clock::monotonic();
        let lines = &mut self.lock().lines;
        let running = |since: Instant| now.saturating_duration_since(since) < LINES_INTERVAL;
        if !lines.since.is_some_and(running) {
            if lines.untold > 0 {
                let connections = lines.untold;
                tracing::warn!(connections, "came to nothing as well, without a line each");
            }
            *lines = Lines {
                since: Some(now),
                ..Lines::default()
            };
        }
        let may = lines.told < LINES_MAX;
        match may {
            true => lines.told += 1,
            false => lines.untold += 1,
        }
        may
    }

    /// Connections that are here.
    pub fn len(&self) -> usize {
        self.lock().here.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Sees to it that one more of `block` is not too many.
    fn make_room_of(&mut self, block: Block) -> Result<(), NoPlace> {
        let max = self.seats.address;
        let Some(count) = self.blocks.get(&block).filter(|count| count.all >= max) else {
            return Ok(());
        };
        let oldest = count.strangers.iter().find_map(BTreeSet::first).copied();
        self.displace(oldest.ok_or(NoPlace::Address(block, max))?);
        Ok(())
    }

    /// Sees to it that one more is not too many.
    fn make_room(&mut self) -> Result<(), NoPlace> {
        if self.strangers < self.seats.strangers && self.here.len() < self.seats.all {
            return Ok(());
        }
        let greediest = self.blocks.values().max_by_key(|count| count.waiting());
        let id = greediest.and_then(|count| count.strangers.iter().find_map(BTreeSet::first));
        let id = id.copied();
        self.displace(id.ok_or(NoPlace::Full(self.seats.all))?);
        Ok(())
    }

    fn displace(&mut self, id: u64) {
        if let Some(here) = self.leave(id) {
            here.displaced.cancel();
        }
    }

    fn sit(&mut self, id: u64, here: Here) {
        let count = self.blocks.entry(here.block).or_default();
        count.all += 1;
        if let Some(set) = count.strangers.get_mut(here.progress as usize) {
            set.insert(id);
            self.strangers += 1;
        }
        self.here.insert(id, here);
    }

    /// `None`: it has left already.
    fn leave(&mut self, id: u64) -> Option<Here> {
        let here = self.here.remove(&id)?;
        if let Some(count) = self.blocks.get_mut(&here.block) {
            count.all = count.all.saturating_sub(1);
            if let Some(set) = count.strangers.get_mut(here.progress as usize) {
                set.remove(&id);
                self.strangers = self.strangers.saturating_sub(1);
            }
            if count.all == 0 {
                self.blocks.remove(&here.block);
            }
        }
        Some(here)
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Here)) {
        if let Some(mut here) = self.leave(id) {
            change(&mut here);
            self.sit(id, here);
        }
    }
}

impl Place {
    /// It has come so far; one that has settled keeps its place.
    pub fn reached(&self, progress: Progress) {
        let before = self.progress.fetch_max(progress as u8, Ordering::Relaxed);
        if before < progress as u8 {
            let mut inner = self.lobby.lock();
            inner.change(self.id, |here| here.progress = here.progress.max(progress));
        }
    }

    /// A proxy has told whose connection it is: it counts as of `address` from now on.
    pub fn belongs_to(&self, address: IpAddr) -> Result<(), NoPlace> {
        let mut inner = self.lobby.lock();
        let block = Block::of(address);
        inner.make_room_of(block)?;
        inner.change(self.id, |here| here.block = block);
        Ok(())
    }

    /// Whether a line may be written if it comes to nothing; see [`Lobby::may_tell`].
    pub fn may_tell(&self) -> bool {
        self.lobby.may_tell()
    }

    /// Waits until it has to make room for another.
    pub fn displaced(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.displaced.clone().cancelled_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn lobby(all: usize, address: usize, strangers: usize) -> Lobby {
        Lobby::new(Seats {
            all,
            address,
            strangers,
        })
    }

    #[test]
    fn blocks_of_addresses() {
        let of = |text: &str| Block::of(text.parse().expect("an address")).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2::"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
    }

    #[test]
    fn the_greediest_displace_themselves() {
        let lobby = lobby(100, 100, 4);
        let honest = lobby.enter(ip(1), false).expect("room");
        let greedy: Vec<_> = (0..3)
            .map(|_| lobby.enter(ip(2), false).expect("room"))
            .collect();
        let more = lobby.enter(ip(2), false).expect("its own");
        assert!(greedy[0].displaced.is_cancelled());
        let third = lobby.enter(ip(3), false).expect("the greedy one's");
        assert!(greedy[1].displaced.is_cancelled());
        for stays in [&honest, &greedy[2], &more, &third] {
            assert!(!stays.displaced.is_cancelled());
        }
        assert_eq!(lobby.len(), 4);
        drop(greedy);
        assert_eq!(lobby.len(), 3);
    }

    #[test]
    fn who_has_settled_stays() {
        let lobby = lobby(2, 2, 2);
        let settled = lobby.enter(ip(1), false).expect("room");
        settled.reached(Progress::Settled);
        let stranger = lobby.enter(ip(1), false).expect("room");
        let next = lobby.enter(ip(1), false).expect("the stranger's");
        assert!(stranger.displaced.is_cancelled());
        next.reached(Progress::Settled);
        let address = lobby.enter(ip(1), false).err();
        assert_eq!(address, Some(NoPlace::Address(Block::of(ip(1)), 2)));
        assert_eq!(lobby.enter(ip(2), false).err(), Some(NoPlace::Full(2)));
        drop(settled);
        assert!(lobby.enter(ip(2), false).is_ok());
        drop((stranger, next));
        assert!(lobby.is_empty());
        assert!(lobby.lock().blocks.is_empty());
        assert_eq!(lobby.lock().strangers, 0);
    }

    #[test]
    fn strangers_do_not_bury_the_log() {
        let lobby = lobby(1, 1, 1);
        let told = (0..100).filter(|_| lobby.may_tell()).count();
        assert_eq!(told, LINES_MAX as usize);
        assert_eq!(lobby.lock().lines.untold, 80);
    }

    /// Many encoders behind one address come back at once, and somebody there only knocks.
    #[test]
    fn of_one_address_the_silent_go_first() {
        let lobby = lobby(100, 100, 4);
        let honest: Vec<_> = (0..3)
            .map(|_| lobby.enter(ip(1), false).expect("room"))
            .collect();
        honest[0].reached(Progress::Greeted);
        honest[1].reached(Progress::Spoke);
        let _other = lobby.enter(ip(2), false).expect("room");
        let gone = || {
            let gone = honest.iter().map(|place| place.displaced.is_cancelled());
            gone.collect::<Vec<_>>()
        };
        let _next = lobby.enter(ip(3), false).expect("the silent one's");
        assert_eq!(gone(), [false, false, true]);
        let _more = lobby.enter(ip(4), false).expect("of those who spoke");
        assert_eq!(gone(), [false, true, true]);
    }

    #[test]
    fn a_proxy_tells_whose_it_is() {
        let lobby = lobby(10, 2, 10);
        let proxied: Vec<_> = (10..20)
            .map(|last| {
                let place = lobby.enter(ip(1), true).expect("room");
                place.belongs_to(ip(last)).expect("room");
                place
            })
            .collect();
        assert!(proxied.iter().all(|place| !place.displaced.is_cancelled()));
        drop(proxied);
        assert!(lobby.lock().blocks.is_empty());
    }
}

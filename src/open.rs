//! The connections that are open: how many, whose, what they are doing, and which of them give way when there is no room.
//!
//! A connection with a request in flight never gives way. The others do, oldest first, when the limit on all connections or
//! an address's share of it is reached: those that have been silent since they were accepted before those that have been
//! served and wait for the next request. So nobody keeps others out by connecting and saying nothing.

mod entry;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

pub use self::entry::{Entry, InFlight};

/// How long a new connection may be silent before it is the first to give way, in milliseconds: longer than an honest client's
/// first bytes take.
const FRESH_MS: u64 = 1_000;

/// One in so many connections gives way at a time, so that under a flood not every new connection looks at all the others.
const EVICTION_BATCH: usize = 64;

/// How often a warning about the limits is repeated at most, in milliseconds.
const WARN_MS: u64 = 10_000;

/// What [`now_ms`] counts from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the first call, plus one: never 0.
pub fn now_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

/// When it is or was `ms` by [`now_ms`].
pub fn at_ms(ms: u64) -> Instant {
    *START + Duration::from_millis(ms.saturating_sub(1))
}

/// How many connections there may be.
pub struct Limits {
    /// In all, at least 1.
    pub total: usize,
    /// Of one address (IPv4) or one network of 64 bits (IPv6) that is not trusted; 0 is no limit.
    pub per_address: usize,
    /// Whether an address is a proxy's, which connects for many clients and has no share.
    pub is_trusted: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// What the log calls the two limits: the settings that change them, if there are any.
    pub names: [&'static str; 2],
}

/// The open connections.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    state: Mutex<State>,
    freed: Notify,
    warned: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    open: HashMap<u64, Arc<Entry>>,
    by_source: HashMap<IpAddr, usize>,
}

/// A connection's place in the table, given back when dropped.
#[derive(Debug)]
pub struct Place {
    table: Arc<Table>,
    /// What is known of the connection.
    pub entry: Arc<Entry>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken by connections with requests in flight.
    Full,
    /// The address has its share, all with requests in flight.
    Share,
}

impl Table {
    /// A table without connections.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default(), freed: Notify::new(), warned: AtomicU64::new(0) })
    }

    /// A place for the connection from `peer` to `local`. Others may have to give way for it.
    ///
    /// # Errors
    ///
    /// There is none, and none of those that count has to give way.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr, local: SocketAddr) -> Result<Place, NoPlace> {
        let Limits { total, per_address, is_trusted, .. } = &self.limits;
        let is_shared = *per_address != 0 && !is_trusted(peer.ip().to_canonical());
        let source = is_shared.then(|| source(peer.ip()));
        let mut state = self.state();
        if let Some(source) = source
            && state.by_source.get(&source).is_some_and(|count| count >= per_address)
            && self.make_room(&mut state, Some(source), *per_address) == 0
        {
            return Err(NoPlace::Share);
        }
        if state.open.len() >= *total && self.make_room(&mut state, None, *total) == 0 {
            return Err(NoPlace::Full);
        }
        state.last_id += 1;
        let entry = Arc::new(Entry::new(state.last_id, peer, local, source.is_some()));
        state.open.insert(entry.id(), Arc::clone(&entry));
        if let Some(source) = source {
            *state.by_source.entry(source).or_default() += 1;
        }
        Ok(Place { table: Arc::clone(self), entry })
    }

    /// Resolves when a place may be free: one was given back, or some time has passed, in which a connection may have become
    /// one that gives way.
    pub async fn maybe_free(&self) {
        // Nobody tells that a request has ended: that would cost every request.
        let _ = tokio::time::timeout(Duration::from_millis(20), self.freed.notified()).await;
    }

    /// All connections.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.state().open.values().cloned().collect()
    }

    /// Tells some connections to give way, of those from `source` or of all; answers how many. They are out of the table at
    /// once, though they take a moment to end.
    fn make_room(&self, state: &mut State, source: Option<IpAddr>, limit: usize) -> usize {
        let now = now_ms();
        let of_source = |entry: &&Arc<Entry>| source.is_none_or(|source| entry.source() == Some(source));
        let mut idle: Vec<_> =
            state.open.values().filter(of_source).filter_map(|entry| Some((rank(entry, now)?, entry.id()))).collect();
        let count = (limit / EVICTION_BATCH).clamp(1, idle.len().max(1));
        if count < idle.len() {
            idle.select_nth_unstable(count - 1);
            idle.truncate(count);
        }
        for (_, id) in &idle {
            if let Some(entry) = state.remove(*id) {
                entry.give_way();
            }
        }
        self.warn(now, || {
            let whose = source.map_or_else(String::new, |source| format!(" of {source}"));
            let [of_all, of_one] = self.limits.names;
            let setting = match source {
                None => of_all.to_owned(),
                Some(_) => format!("{of_one}; a proxy belongs in FORWARDED_ALLOW_IPS"),
            };
            let then = match (idle.len(), source) {
                (0, None) => "new ones wait until one ends".to_owned(),
                (0, Some(_)) => "new ones are closed".to_owned(),
                (count, _) => format!("{count} without a request gave way to new ones"),
            };
            format!("the limit of {limit} connections{whose} is reached ({setting}): {then}")
        });
        idle.len()
    }

    /// Says something about the limits, but not for every connection of a flood.
    fn warn(&self, now: u64, text: impl FnOnce() -> String) {
        let last = self.warned.load(Ordering::Relaxed);
        if last == 0 || now.saturating_sub(last) >= WARN_MS {
            self.warned.store(now, Ordering::Relaxed);
            tracing::warn!("{}", text());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Arc<Entry>> {
        let entry = self.open.remove(&id)?;
        if let Some(source) = entry.source()
            && let Some(count) = self.by_source.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        Some(entry)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.state().remove(self.entry.id());
        self.table.freed.notify_one();
    }
}

/// Who gives way first: the lowest. `None` for a connection with a request in flight.
fn rank(entry: &Entry, now: u64) -> Option<(u8, u64)> {
    let since = entry.idle_since()?;
    let class = match (entry.was_asked(), now.saturating_sub(since) < FRESH_MS) {
        (false, false) => 0,
        (true, _) => 1,
        (false, true) => 2,
    };
    Some((class, since))
}

/// What counts as one address: an IPv4 address, also in IPv6, or the network of an IPv6 address, whose lower half its user
/// chooses.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("total", &self.total)
            .field("per_address", &self.per_address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as a silent follower is there, so is this.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 144, "{}", size_of::<Entry>());
    }

    fn table(total: usize, per_address: usize) -> Arc<Table> {
        let proxy: IpAddr = "fd00::5".parse().unwrap();
        Table::new(Limits {
            total,
            per_address,
            is_trusted: Box::new(move |ip| ip.is_loopback() || ip == proxy),
            names: ["all", "one"],
        })
    }

    fn admit(table: &Arc<Table>, ip: &str) -> Result<Place, NoPlace> {
        table.admit((ip.parse::<IpAddr>().unwrap(), 1).into(), ([127, 0, 0, 1], 80).into())
    }

    fn has_to_go(place: &Place) -> bool {
        use futures_util::FutureExt;
        place.entry.told().now_or_never().is_some()
    }

    #[test]
    fn a_connection_with_a_request_never_gives_way_and_the_longest_idle_one_does() {
        let table = table(3, 0);
        let places: Vec<_> = (0..3).map(|_| admit(&table, "10.0.0.1").unwrap()).collect();
        let requests: Vec<_> = places.iter().map(|place| InFlight::new(&place.entry)).collect();
        assert_eq!(admit(&table, "10.0.0.2").unwrap_err(), NoPlace::Full);
        let mut requests = requests.into_iter();
        // The first has a request, the second ends first.
        let _first = requests.next();
        drop(requests.next());
        std::thread::sleep(Duration::from_millis(5));
        drop(requests.next());
        let _new = admit(&table, "10.0.0.2").unwrap();
        assert_eq!(places.iter().map(has_to_go).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn an_address_has_its_share_and_a_trusted_one_has_none() {
        let table = table(100, 2);
        let held: Vec<_> = (0..2).map(|_| admit(&table, "10.0.0.1").unwrap()).collect();
        let _requests: Vec<_> = held.iter().map(|place| InFlight::new(&place.entry)).collect();
        assert_eq!(admit(&table, "::ffff:10.0.0.1").unwrap_err(), NoPlace::Share);
        let _other = admit(&table, "10.0.0.2").unwrap();
        let of_proxies = ["127.0.0.1", "::ffff:127.0.0.1", "fd00::5"].into_iter().cycle().take(12);
        let local: Vec<_> = of_proxies.map(|ip| admit(&table, ip).unwrap()).collect();
        assert!(!local.iter().any(has_to_go));
        let first = admit(&table, "2001:db8::1").unwrap();
        let _second = admit(&table, "2001:db8::2:0:0:1").unwrap();
        let _third = admit(&table, "2001:db8::ffff:0:0:1").unwrap();
        assert!(has_to_go(&first), "one network, whatever the lower half is");
        drop(held);
        drop(admit(&table, "10.0.0.1").unwrap());
        assert!(!table.state().by_source.contains_key(&"10.0.0.1".parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn who_gave_way_is_counted_no_more_and_gives_nothing_back_twice() {
        let table = table(1, 0);
        let first = admit(&table, "10.0.0.1").unwrap();
        let second = admit(&table, "10.0.0.1").unwrap();
        assert!(has_to_go(&first));
        drop(first);
        assert_eq!(table.all().len(), 1);
        drop(second);
        assert!(table.all().is_empty());
    }
}

//! Places for looks at followed logs that are silent: thousands may fall silent together, and a node that is dead answers a
//! look only after half a minute.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

/// How many looks begin at the same moment, whatever their nodes.
const PLACES: usize = 4;

/// How many logs of one node are looked at in the same moment.
const PLACES_OF_NODE: usize = 2;

/// For how long a look has one of [`PLACES`]. That of its node it has to its end: what one node does not answer keeps nobody from
/// looking at another's logs, however many such nodes there are.
const LONGEST_HOLD: Duration = Duration::from_secs(2);

/// The places.
#[derive(Debug)]
pub(in crate::runtime::kubernetes) struct Looks {
    all: Semaphore,
    /// By the node's name, for as long as somebody has one or waits for one.
    nodes: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { all: Semaphore::new(PLACES), nodes: Mutex::default() }
    }
}

impl Looks {
    /// What a look at a log of this node gives, once there is a place for it.
    pub(super) async fn look<T>(&self, node: &str, look: impl Future<Output = T>) -> T {
        let places = self.places_of(node);
        // Neither is ever closed.
        let _place = places.acquire().await;
        let place_of_all = self.all.acquire().await;
        let mut look = pin!(look);
        if let Ok(found) = timeout(LONGEST_HOLD, &mut look).await {
            return found;
        }
        drop(place_of_all);
        look.await
    }

    fn places_of(&self, node: &str) -> Arc<Semaphore> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = nodes.get(node).and_then(Weak::upgrade) {
            return places;
        }
        nodes.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(PLACES_OF_NODE));
        nodes.insert(node.to_owned(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    /// Looks at a log of each node at once; answers how long each of them took at most, if it has an answer within a minute.
    async fn look_at(looks: &Looks, nodes: &[&str]) -> Vec<Option<Duration>> {
        let begun = Instant::now();
        let look = async |node: &str| {
            let answer = async {
                if node.starts_with("dead") {
                    pending().await
                } else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(Duration::from_secs(60), looks.look(node, answer)).await.ok().map(|()| begun.elapsed())
        };
        join_all(nodes.iter().map(|node| look(node))).await
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_dead_hold_nobody_up() {
        let looks = Looks::default();
        let took = look_at(&looks, &["dead-1", "dead-1", "dead-1", "dead-1", "dead-1", "well"]).await;
        assert_eq!(took[..5], [None; 5]);
        assert_eq!(took[5], Some(Duration::from_millis(100)));
        // More of them than there are places cost their 2 s once, whatever waits for them.
        let dead = ["dead-1", "dead-1", "dead-1", "dead-2", "dead-2", "dead-3", "dead-4", "dead-5"];
        let took = look_at(&looks, &[&dead[..], &["well", "other"]].concat()).await;
        assert!(took[dead.len()..].iter().all(|took| took.is_some_and(|took| took < 3 * LONGEST_HOLD)), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_begin_at_once_and_no_more() {
        let looks = Looks::default();
        let most = |took: &[Option<Duration>]| took.iter().flatten().max().copied();
        let took = look_at(&looks, &["a", "a", "a", "a", "a", "a"]).await;
        assert_eq!(most(&took), Some(Duration::from_millis(300)));
        let took = look_at(&looks, &["a", "b", "c", "d", "e", "f", "g", "h"]).await;
        assert_eq!(most(&took), Some(Duration::from_millis(200)));
    }

    #[tokio::test]
    async fn nodes_at_which_nobody_looks_are_forgotten() {
        let looks = Looks::default();
        for node in 0..100 {
            looks.look(&node.to_string(), ready(())).await;
        }
        assert_eq!(looks.nodes.lock().unwrap().len(), 1);
    }
}

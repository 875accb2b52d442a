//! Where workers count: a block for each (balancer, zone) and each (balancer, group, zone), with a part for each
//! worker. A request touches one of each; sums are made when somebody asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::histogram::{Histogram, LiveHistogram};
use crate::report::{Counters, LiveCounters, Scope, ScopeCounters};

/// How long counters are still reported after their scope has gone, so that the last requests are seen.
const RETIRED_KEPT: Duration = Duration::from_secs(180);

/// One worker's part of a block; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Part {
    pub(crate) counters: LiveCounters,
    pub(crate) response_time: LiveHistogram,
}

/// The counters of a scope.
#[derive(Debug)]
pub(crate) struct Block {
    parts: Box<[Part]>,
}

impl Block {
    fn new(n_workers: usize) -> Self {
        Block { parts: (0..n_workers).map(|_| Part::default()).collect() }
    }

    /// The part that only worker `index` writes.
    #[inline]
    pub(crate) fn part(&self, index: usize) -> &Part {
        &self.parts[index]
    }

    fn read(&self) -> (Counters, Histogram) {
        let mut sum = (Counters::default(), Histogram::default());
        for part in &self.parts {
            sum.0 += &part.counters.read();
            sum.1.add(&part.response_time.read());
        }
        sum
    }
}

/// Counts one open connection, as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    block: Arc<Block>,
    worker: usize,
}

impl OpenConnection {
    pub(crate) fn new(block: Arc<Block>, worker: usize) -> Self {
        let counters = &block.part(worker).counters;
        counters.active_connection_count.add(1);
        counters.new_connection_count.add(1);
        OpenConnection { block, worker }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.block.part(self.worker).counters.active_connection_count.sub(1);
    }
}

/// All blocks, by scope.
pub(crate) struct Blocks {
    n_workers: usize,
    live: HashMap<Scope, Entry>,
}

struct Entry {
    block: Arc<Block>,
    retired: Option<Instant>,
}

impl Blocks {
    pub(crate) fn new(n_workers: usize) -> Self {
        Blocks { n_workers, live: HashMap::new() }
    }

    /// The block of a scope that has a zone; made if it is new, and taken back into service if it was retired.
    pub(crate) fn get(&mut self, scope: Scope) -> Arc<Block> {
        let n = self.n_workers;
        let entry =
            self.live.entry(scope).or_insert_with(|| Entry { block: Arc::new(Block::new(n)), retired: None });
        entry.retired = None;
        entry.block.clone()
    }

    /// Marks the scopes that nobody uses, and forgets those that nobody has used for long.
    pub(crate) fn retire_unused(&mut self) {
        let now = Instant::now();
        self.live.retain(|_, entry| {
            if Arc::strong_count(&entry.block) > 1 {
                entry.retired = None;
                return true;
            }
            now - *entry.retired.get_or_insert(now) < RETIRED_KEPT
        });
    }

    /// Counters of each scope and its sums: a balancer's zone includes its groups' requests, and what has no zone
    /// is the sum over zones.
    pub(crate) fn report(&self) -> Vec<ScopeCounters> {
        let mut sums: BTreeMap<Scope, (Counters, Histogram)> = BTreeMap::new();
        for (scope, entry) in &self.live {
            let (counters, response_time) = entry.block.read();
            let without_group = Scope { target_group: None, ..scope.clone() };
            let mut into = vec![scope.clone(), Scope { zone: None, ..scope.clone() }];
            if scope.target_group.is_some() {
                into.push(Scope { zone: None, ..without_group.clone() });
                into.push(without_group);
            }
            for scope in into {
                let sum = sums.entry(scope).or_default();
                sum.0 += &counters;
                sum.1.add(&response_time);
            }
        }
        let one = |(scope, (counters, response_time))| ScopeCounters { scope, counters, response_time };
        sums.into_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(group: Option<&str>, zone: Option<&str>) -> Scope {
        Scope { load_balancer: "lb".into(), target_group: group.map(Into::into), zone: zone.map(Into::into) }
    }

    #[test]
    fn sums() {
        let mut blocks = Blocks::new(2);
        for (zone, worker) in [("a", 0), ("a", 1), ("b", 1)] {
            let group = blocks.get(scope(Some("g"), Some(zone)));
            group.part(worker).counters.request_count.add(1);
            group.part(worker).response_time.record(Duration::from_millis(3));
            blocks.get(scope(None, Some(zone))).part(worker).counters.processed_bytes.add(10);
        }
        let report = blocks.report();
        let get = |g, z| {
            let s = report.iter().find(|r| r.scope == scope(g, z)).unwrap();
            (s.counters.request_count, s.counters.processed_bytes, s.response_time.count)
        };
        assert_eq!(report.len(), 6);
        assert_eq!(get(None, None), (3, 30, 3));
        assert_eq!(get(None, Some("a")), (2, 20, 2));
        assert_eq!(get(Some("g"), None), (3, 0, 3));
        assert_eq!(get(Some("g"), Some("b")), (1, 0, 1));
    }

    #[test]
    fn open_connections_are_a_gauge() {
        let mut blocks = Blocks::new(1);
        let block = blocks.get(scope(None, Some("a")));
        let open = OpenConnection::new(block.clone(), 0);
        assert_eq!(block.read().0.active_connection_count, 1);
        drop(open);
        assert_eq!((block.read().0.active_connection_count, block.read().0.new_connection_count), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn retired_scopes_are_kept_for_a_while() {
        let mut blocks = Blocks::new(1);
        blocks.get(scope(None, Some("a"))).part(0).counters.request_count.add(1);
        blocks.retire_unused();
        assert_eq!(blocks.report().len(), 2);
        tokio::time::advance(RETIRED_KEPT).await;
        blocks.retire_unused();
        assert!(blocks.report().is_empty());
    }
}

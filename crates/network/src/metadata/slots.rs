//! Connections under way: so many in all, so many of each instance, so that one that opens more than it needs keeps no other
//! from its metadata.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections of one instance at a time. Clients open one or two each; at boot a handful of programs ask at once.
pub(super) const PER_SOURCE_MAX: usize = 32;

/// Counts by source; a source without connections takes no room.
#[derive(Clone, Default)]
pub(super) struct SourceSlots(Arc<Mutex<BTreeMap<Ipv4Addr, usize>>>);

/// One connection; dropped, it is free again.
pub(super) struct SourceSlot {
    slots: SourceSlots,
    source: Ipv4Addr,
}

impl SourceSlots {
    /// A slot, unless this source has all of its own taken.
    pub(super) fn take(&self, source: Ipv4Addr) -> Option<SourceSlot> {
        let mut counts = self.0.lock();
        let count = counts.entry(source).or_default();
        if *count >= PER_SOURCE_MAX {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(SourceSlot { slots: self.clone(), source })
    }

    #[cfg(test)]
    fn n_sources(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for SourceSlot {
    fn drop(&mut self) {
        let mut counts = self.slots.0.lock();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own() {
        let slots = SourceSlots::default();
        let (a, b) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2));
        let mut held: Vec<SourceSlot> = (0..PER_SOURCE_MAX).filter_map(|_| slots.take(a)).collect();
        assert_eq!(held.len(), PER_SOURCE_MAX);
        assert!(slots.take(a).is_none());
        assert!(slots.take(b).is_some());
        held.pop();
        held.extend(slots.take(a));
        assert_eq!(held.len(), PER_SOURCE_MAX);
        drop(held);
        assert_eq!(slots.n_sources(), 0);
    }
}

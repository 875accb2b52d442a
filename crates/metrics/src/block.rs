//! A stretch of buckets of one series in one tier, encoded as it lies on disk.
//!
//! Most buckets hold one sample, often a zero or a small whole number; so a bucket starts with a byte that says its
//! form and its distance from the bucket before, followed by what the form needs: nothing for a zero, four bytes for
//! a value that a 32-bit float holds exactly, eight for others. Only the last bucket takes part in the quick path; if
//! it has a distribution it stays decoded (`hot`) until the next bucket begins.

use crate::bucket::{Bucket, Values};
use crate::sketch::Sketch;
use crate::tier::Tier;

const ZERO: u8 = 0;
const SHORT: u8 = 1;
const LONG: u8 = 2;
const SAME: u8 = 3;
const STATISTICS: u8 = 4;
const LIST: u8 = 5;
const SKETCH: u8 = 6;
const KIND_BITS: u8 = 3;
/// Distance that does not fit the first byte: two more bytes follow.
const FAR: u8 = 31;
/// Bytes by which a block grows: exact growth keeps a hundred thousand blocks small.
const GROWTH_BYTES: usize = 48;
/// Sanity bound for what is read from disk.
const POINTS_MAX: usize = 1 << 16;

/// Nothing to journal.
const CLEAN: u16 = u16::MAX;

#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Start, seconds since the epoch.
    pub(crate) start_s: u32,
    pub(crate) tier: Tier,
    /// Changed since last written as a row.
    pub(crate) changed: bool,
    /// First bucket changed since last journaled, or [`CLEAN`].
    journal_from: u16,
    /// Number of the last bucket and of the one before; −1: none.
    last: i16,
    before_last: i16,
    /// Where the last bucket's bytes start (unless it is hot).
    last_at: u32,
    bytes: Vec<u8>,
    hot: Option<Box<Bucket>>,
}

impl Block {
    pub(crate) fn new(tier: Tier, start_s: u32) -> Block {
        Block {
            start_s,
            tier,
            changed: false,
            journal_from: CLEAN,
            last: -1,
            before_last: -1,
            last_at: 0,
            bytes: Vec::new(),
            hot: None,
        }
    }

    /// A block as [`Block::encoded`] gave it; `None` if damaged.
    pub(crate) fn decode(tier: Tier, start_s: u32, bytes: &[u8]) -> Option<Block> {
        let mut block = Block::new(tier, start_s);
        let mut at = 0;
        while at < bytes.len() {
            let (number, _, next) = read(bytes, at, block.last)?;
            if u32::from(number.unsigned_abs()) >= tier.span_s() / tier.resolution_s() {
                return None;
            }
            block.before_last = block.last;
            block.last = number;
            block.last_at = at as u32;
            at = next;
        }
        block.bytes = bytes.to_vec();
        Some(block)
    }

    /// Heap bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.hot.as_ref().map_or(0, |_| size_of::<Bucket>())
    }

    fn number(&self, at_s: u32) -> i16 {
        ((at_s - self.start_s) / self.tier.resolution_s()) as i16
    }

    /// Adds samples to the bucket that holds `at_s`.
    pub(crate) fn merge(&mut self, at_s: u32, bucket: &Bucket) {
        let number = self.number(at_s);
        self.touch(number);
        if number > self.last {
            self.append(number, bucket);
        } else if number == self.last {
            if let Some(hot) = &mut self.hot {
                hot.merge(bucket);
            } else if let Some((_, mut last, _)) = read(&self.bytes, self.last_at as usize, self.before_last)
            {
                last.merge(bucket);
                self.bytes.truncate(self.last_at as usize);
                self.put_last(&last);
            }
        } else {
            self.rewrite(number, |slot| match slot {
                Some(there) => there.merge(bucket),
                None => *slot = Some(bucket.clone()),
            });
        }
    }

    /// Sets the bucket that holds `at_s`, for replaying the journal. Buckets only grow, so one that holds as many samples
    /// already (the row is newer than the journal's entry) stays as it is.
    pub(crate) fn replace(&mut self, at_s: u32, bucket: &Bucket) {
        let number = self.number(at_s);
        if number > self.last {
            self.changed = true;
            self.append(number, bucket);
            return;
        }
        let mut is_newer = true;
        self.for_each_numbered(|n, b| is_newer &= n != number || b.count < bucket.count);
        if is_newer {
            self.changed = true;
            self.rewrite(number, |slot| *slot = Some(bucket.clone()));
        }
    }

    /// Visits the buckets in a block's bytes; `None` if damaged.
    pub(crate) fn visit(
        tier: Tier,
        start_s: u32,
        bytes: &[u8],
        mut visit: impl FnMut(u32, &Bucket),
    ) -> Option<()> {
        let (mut at, mut previous) = (0, -1);
        while at < bytes.len() {
            let (number, bucket, next) = read(bytes, at, previous)?;
            let offset_s = u32::from(number.unsigned_abs()) * tier.resolution_s();
            if offset_s >= tier.span_s() {
                return None;
            }
            visit(start_s + offset_s, &bucket);
            (at, previous) = (next, number);
        }
        Some(())
    }

    fn touch(&mut self, number: i16) {
        self.changed = true;
        self.journal_from = self.journal_from.min(number as u16);
    }

    fn append(&mut self, number: i16, bucket: &Bucket) {
        if let Some(hot) = self.hot.take() {
            self.last_at = self.bytes.len() as u32;
            write(&mut self.bytes, self.before_last, self.last, &hot);
        }
        self.before_last = self.last;
        self.last = number;
        self.last_at = self.bytes.len() as u32;
        self.put_last(bucket);
    }

    fn put_last(&mut self, bucket: &Bucket) {
        match bucket.values {
            Values::List(_) | Values::Sketch(_) => self.hot = Some(Box::new(bucket.clone())),
            Values::Same | Values::Unknown => write(&mut self.bytes, self.before_last, self.last, bucket),
        }
    }

    fn rewrite(&mut self, number: i16, change: impl FnOnce(&mut Option<Bucket>)) {
        let mut all: Vec<(i16, Bucket)> = Vec::new();
        self.for_each_numbered(|n, b| all.push((n, b.clone())));
        match all.binary_search_by_key(&number, |b| b.0) {
            Ok(i) => {
                let mut slot = Some(std::mem::replace(&mut all[i].1, Bucket::EMPTY));
                change(&mut slot);
                all[i].1 = slot.unwrap_or(Bucket::EMPTY);
            }
            Err(i) => {
                let mut slot = None;
                change(&mut slot);
                if let Some(bucket) = slot {
                    all.insert(i, (number, bucket));
                }
            }
        }
        self.bytes.clear();
        self.hot = None;
        self.last = -1;
        self.before_last = -1;
        for (n, bucket) in &all {
            self.append(*n, bucket);
        }
    }

    fn for_each_numbered(&self, mut visit: impl FnMut(i16, &Bucket)) {
        let mut at = 0;
        let mut previous = -1;
        while at < self.bytes.len() {
            let Some((number, bucket, next)) = read(&self.bytes, at, previous) else { break };
            visit(number, &bucket);
            previous = number;
            at = next;
        }
        if let Some(hot) = &self.hot {
            visit(self.last, hot);
        }
    }

    /// Visits the buckets with their start times, in order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(u32, &Bucket)) {
        let resolution_s = self.tier.resolution_s();
        self.for_each_numbered(|n, b| visit(self.start_s + n as u32 * resolution_s, b));
    }

    /// Visits the last bucket only.
    pub(crate) fn last_bucket(&self) -> Option<(u32, Bucket)> {
        let at_s = self.start_s + u32::from(u16::try_from(self.last).ok()?) * self.tier.resolution_s();
        match &self.hot {
            Some(hot) => Some((at_s, Bucket::clone(hot))),
            None => read(&self.bytes, self.last_at as usize, self.before_last)
                .map(|(_, bucket, _)| (at_s, bucket)),
        }
    }

    /// The whole block as bytes.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(hot) = &self.hot {
            write(&mut bytes, self.before_last, self.last, hot);
        }
        bytes
    }

    /// Whether anything waits to be journaled.
    pub(crate) fn to_journal(&self) -> bool {
        self.journal_from != CLEAN
    }

    /// The buckets changed since the last call, as a block's bytes; `None` if none.
    pub(crate) fn take_journal(&mut self) -> Option<Vec<u8>> {
        if self.journal_from == CLEAN {
            return None;
        }
        let from = self.journal_from as i16;
        self.journal_from = CLEAN;
        let mut bytes = Vec::new();
        if from == self.last {
            // The usual case: only the last bucket is new.
            if let Some((_, bucket)) = self.last_bucket() {
                write(&mut bytes, -1, self.last, &bucket);
            }
        } else {
            let mut previous = -1;
            self.for_each_numbered(|n, b| {
                if n >= from {
                    write(&mut bytes, previous, n, b);
                    previous = n;
                }
            });
        }
        Some(bytes)
    }
}

fn grow(bytes: &mut Vec<u8>, more: usize) {
    if bytes.capacity() - bytes.len() < more {
        bytes.reserve_exact(more.max(GROWTH_BYTES));
    }
}

fn write(bytes: &mut Vec<u8>, previous: i16, number: i16, bucket: &Bucket) {
    let gap = (number - previous - 1) as u16;
    let one = bucket.count == 1.0 && matches!(bucket.values, Values::Same);
    let kind = match &bucket.values {
        Values::Same if one && bucket.min.to_bits() == 0 => ZERO,
        Values::Same if one && f64::from(bucket.min as f32) == bucket.min => SHORT,
        Values::Same if one => LONG,
        Values::Same => SAME,
        Values::Unknown => STATISTICS,
        Values::List(_) => LIST,
        Values::Sketch(_) => SKETCH,
    };
    grow(bytes, 3 + if kind == STATISTICS { 32 } else { 8 });
    bytes.push(kind | (gap.min(u16::from(FAR)) as u8) << KIND_BITS);
    if gap >= u16::from(FAR) {
        bytes.extend_from_slice(&gap.to_le_bytes());
    }
    let mut put = |v: f64| bytes.extend_from_slice(&v.to_le_bytes());
    match kind {
        ZERO => {}
        SHORT => bytes.extend_from_slice(&(bucket.min as f32).to_le_bytes()),
        LONG => put(bucket.min),
        SAME => [bucket.min, bucket.count, bucket.sum].into_iter().for_each(put),
        _ => {
            [bucket.sum, bucket.count, bucket.min, bucket.max].into_iter().for_each(&mut put);
            match &bucket.values {
                Values::List(list) => {
                    bytes.extend_from_slice(&(list.len() as u32).to_le_bytes());
                    for &(value, weight) in list {
                        bytes.extend_from_slice(&value.to_le_bytes());
                        bytes.extend_from_slice(&weight.to_le_bytes());
                    }
                }
                Values::Sketch(sketch) => {
                    bytes.extend_from_slice(&sketch.zeros.to_le_bytes());
                    bytes.extend_from_slice(&(sketch.bins.len() as u32).to_le_bytes());
                    for &(bin, weight) in &sketch.bins {
                        bytes.extend_from_slice(&bin.to_le_bytes());
                        bytes.extend_from_slice(&weight.to_le_bytes());
                    }
                }
                Values::Same | Values::Unknown => {}
            }
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(taken)
    }

    fn f64(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        let n = u32::from_le_bytes(self.take()?) as usize;
        (n <= POINTS_MAX).then_some(n)
    }
}

/// The bucket at `at`: its number, itself, and where the next starts.
fn read(bytes: &[u8], at: usize, previous: i16) -> Option<(i16, Bucket, usize)> {
    let mut c = Cursor { bytes, at };
    let [head] = c.take()?;
    let mut gap = u16::from(head >> KIND_BITS);
    if gap == u16::from(FAR) {
        gap = u16::from_le_bytes(c.take()?);
    }
    let number = i16::try_from(i32::from(previous) + i32::from(gap) + 1).ok()?;
    let kind = head & ((1 << KIND_BITS) - 1);
    let bucket = match kind {
        ZERO => Bucket::same(0.0, 1.0),
        SHORT => Bucket::same(f64::from(f32::from_le_bytes(c.take()?)), 1.0),
        LONG => Bucket::same(c.f64()?, 1.0),
        SAME => {
            let (value, count, sum) = (c.f64()?, c.f64()?, c.f64()?);
            Bucket { sum, ..Bucket::same(value, count) }
        }
        STATISTICS | LIST | SKETCH => {
            let (sum, count, min, max) = (c.f64()?, c.f64()?, c.f64()?, c.f64()?);
            let values = match kind {
                LIST => {
                    let n = c.length()?;
                    let mut list = Vec::with_capacity(n);
                    for _ in 0..n {
                        list.push((c.f64()?, c.f64()?));
                    }
                    Values::List(list)
                }
                SKETCH => {
                    let zeros = c.f64()?;
                    let n = c.length()?;
                    let mut bins = Vec::with_capacity(n);
                    for _ in 0..n {
                        bins.push((i32::from_le_bytes(c.take()?), c.f64()?));
                    }
                    Values::Sketch(Sketch { zeros, bins })
                }
                _ => Values::Unknown,
            };
            Bucket { sum, count, min, max, values }
        }
        _ => return None,
    };
    Some((number, bucket, c.at))
}

//! Random shapes of any schema, from a seed.

use puffer_wire::value::Shape;
use puffer_wire::{EpochMillis, Kind, Schema, Slot};

/// A small generator (SplitMix64): the seed, which proptest prints and shrinks, says all.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn text(&mut self) -> String {
        const CHARS: [char; 24] = [
            'a', 'Z', '0', ' ', '.', '&', '<', '>', '"', '\'', '=', '+', '%', '/', '\\', '\n', '\t', '\r',
            'é', '水', '🐡', '\u{7f}', ';', ']',
        ];
        (0..self.below(9)).map(|_| CHARS[self.below(24) as usize]).collect()
    }

    /// Makes about two in five members present, and at least one: the form protocols cannot say "present but empty" of
    /// structures, nor EC2 of lists.
    pub(crate) fn fill(&mut self, shape: &mut dyn Shape, depth: usize, empty_lists: bool) {
        let members = shape.schema().members();
        let usable: Vec<usize> = (0..members.len()).filter(|i| fits(members[*i].schema, depth)).collect();
        let mut chosen: Vec<usize> = usable.iter().copied().filter(|_| self.below(5) < 2).collect();
        if chosen.is_empty() {
            chosen.extend(usable.first());
        }
        for index in chosen {
            if let Some(slot) = shape.slot(index) {
                self.value(slot, members[index].schema, depth, empty_lists);
            }
        }
    }

    fn value(&mut self, slot: Slot<'_>, schema: &'static Schema, depth: usize, empty_lists: bool) {
        match slot {
            Slot::Str(place) => *place = self.text(),
            Slot::Bool(place) => *place = self.below(2) == 0,
            Slot::I32(place) => *place = self.next() as i32,
            Slot::I64(place) => *place = self.next() as i64,
            Slot::F64(place) => *place = (self.next() as i64 as f64) / 1e9,
            Slot::Time(place) => {
                *place = EpochMillis((self.below(4_000_000_000_000)) as i64 - 1_000_000_000_000)
            }
            Slot::Blob(place) => *place = (0..self.below(20)).map(|_| self.next() as u8).collect(),
            Slot::Struct(shape) => self.fill(shape, depth + 1, empty_lists),
            Slot::List(list) => {
                let Kind::List(item, _) = schema.kind else { return };
                let least = u64::from(!empty_lists);
                for _ in 0..least + self.below(3) {
                    self.value(list.push(), item, depth + 1, empty_lists);
                }
            }
            Slot::Map(map) => {
                let Kind::Map(_, item) = schema.kind else { return };
                for _ in 0..1 + self.below(3) {
                    let key = self.text();
                    self.value(map.entry(key), item, depth + 1, empty_lists);
                }
            }
        }
    }
}

/// Whether a random value of the shape is sure to have something in it at this depth.
fn fits(schema: &Schema, depth: usize) -> bool {
    match schema.kind {
        Kind::Structure(members) => depth < 6 && members.iter().any(|m| fits(m.schema, depth + 1)),
        Kind::List(item, _) => depth < 6 && fits(item, depth + 1),
        Kind::Map(_, item) => depth < 6 && fits(item, depth + 1),
        _ => true,
    }
}

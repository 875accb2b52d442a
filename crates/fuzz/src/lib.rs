//! Everything that reads bytes from strangers, as functions of bytes: no input may make one panic, hang or break what it promises.
//!
//! `cargo nextest run -p puffer-fuzz` feeds each for a moment with mutated examples, with any toolchain. Who has a nightly one and
//! `cargo-fuzz` lets coverage lead the way: `cargo +nightly fuzz run query` (see `fuzz/`).

mod instances;
mod mutate;
mod protocols;
mod records;
mod traffic;

pub use mutate::Mutator;

/// A parser with what to begin with.
pub struct Target {
    /// Its name, also of the cargo-fuzz target.
    pub name: &'static str,
    /// Takes any bytes; panics if something is wrong.
    pub run: fn(&[u8]),
    /// Good inputs, to be mutated.
    pub seeds: &'static [&'static [u8]],
    /// Words that mean something to it.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    protocols::QUERY,
    protocols::EC2_QUERY,
    protocols::JSON,
    protocols::CBOR,
    protocols::XML,
    protocols::ANSWERS,
    protocols::AUTHORIZATION,
    protocols::ROUTE,
    protocols::GZIP,
    traffic::REQUEST_HEAD,
    traffic::RESPONSE_HEAD,
    traffic::CHUNKS,
    traffic::DNS,
    instances::METADATA_PATH,
    instances::ARCHIVE,
    records::ENVELOPE,
    records::RECURRENCE,
    records::SMALL_TEXTS,
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// A number from the first two bytes, and the rest: how bytes choose among alternatives.
fn choice(data: &[u8]) -> (usize, &[u8]) {
    match data {
        [a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        short => (0, short),
    }
}

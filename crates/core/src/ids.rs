//! Resource identifiers in AWS's forms. All randomness comes from the caller.

use rand::{Rng, RngExt};

/// `<prefix>-` and 17 hexadecimal digits: instances (`i`), images (`ami`), subnets (`subnet`), …
pub fn resource_id(prefix: &str, rng: &mut dyn Rng) -> String {
    let n: u64 = rng.random();
    let top: u8 = rng.random_range(0..16);
    format!("{prefix}-{top:01x}{n:016x}")
}

/// A version 4 UUID, as activities, tokens and policies have.
pub fn uuid(rng: &mut dyn Rng) -> String {
    let a: u64 = rng.random();
    let b: u64 = rng.random();
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}

/// A version 7 UUID: looks like any other, and sorts by time. Activities have these, so that their order in an index is
/// their order in time.
pub fn uuid_v7(now: crate::Timestamp, rng: &mut dyn Rng) -> String {
    let ms = u64::try_from(now.as_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    let a: u64 = rng.random();
    let b: u64 = rng.random();
    format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        ms >> 16,
        ms & 0xffff,
        a & 0xfff,
        0x8000 | ((a >> 16) & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}

/// A version 7 UUID whose random part follows from `seed`: the same thing at the same moment has the same id, without a source
/// of chance.
pub fn uuid_v7_of(now: crate::Timestamp, seed: &str) -> String {
    // FNV-1a from two bases: these ids must differ, not resist anybody.
    let hash =
        |base: u64| seed.bytes().fold(base, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    let (a, b) = (hash(0xcbf2_9ce4_8422_2325), hash(0x8422_2325_cbf2_9ce4).rotate_left(23));
    let ms = u64::try_from(now.as_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        ms >> 16,
        ms & 0xffff,
        a & 0xfff,
        0x8000 | ((a >> 16) & 0x3fff),
        (b ^ (a >> 32)) & 0xffff_ffff_ffff
    )
}

/// 16 hexadecimal digits, as at the end of load balancer and target group ARNs.
pub fn hex16(rng: &mut dyn Rng) -> String {
    format!("{:016x}", rng.random::<u64>())
}

/// A locally administered unicast MAC address.
pub fn mac(rng: &mut dyn Rng) -> String {
    let b: [u8; 5] = rng.random();
    format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn forms() {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(7);
        let id = resource_id("i", &mut rng);
        assert_eq!(id.len(), 2 + 17);
        let u = uuid(&mut rng);
        assert_eq!(u.len(), 36);
        assert_eq!(&u[14..15], "4");
        assert!(matches!(&u[19..20], "8" | "9" | "a" | "b"));
        let at = |s| uuid_v7(crate::Timestamp::from_secs(s), &mut rand_pcg::Pcg64::seed_from_u64(s as u64));
        assert_eq!((at(1).len(), &at(1)[14..15]), (36, "7"));
        assert!(at(1) < at(2) && at(2) < at(1_795_231_680));
        let of = |seed: &str| uuid_v7_of(crate::Timestamp::from_secs(1), seed);
        assert_eq!((of("a").len(), of("a")), (36, of("a")));
        let many: std::collections::BTreeSet<String> = (0..10_000).map(|n| of(&n.to_string())).collect();
        assert_eq!(many.len(), 10_000);
    }
}

//! The resolutions at which data are kept, and for how long: CloudWatch's figures (concepts, "Metrics retention").

/// A resolution. Data finer than their age allows are rolled up into the next coarser tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Tier {
    Second = 0,
    Minute = 1,
    FiveMinutes = 2,
    Hour = 3,
}

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3600;
const DAY_S: u32 = 86_400;

impl Tier {
    pub(crate) const ALL: [Tier; 4] = [Tier::Second, Tier::Minute, Tier::FiveMinutes, Tier::Hour];

    pub(crate) fn from_u8(n: u8) -> Option<Tier> {
        Tier::ALL.get(usize::from(n)).copied()
    }

    /// Seconds of one bucket.
    pub(crate) const fn resolution_s(self) -> u32 {
        match self {
            Tier::Second => 1,
            Tier::Minute => MINUTE_S,
            Tier::FiveMinutes => 5 * MINUTE_S,
            Tier::Hour => HOUR_S,
        }
    }

    /// Seconds of one block. Small blocks keep memory low (the current and the last one are resident), large ones
    /// make fewer rows.
    pub(crate) const fn span_s(self) -> u32 {
        match self {
            Tier::Second => 10 * MINUTE_S,
            Tier::Minute => 30 * MINUTE_S,
            Tier::FiveMinutes => 6 * HOUR_S,
            Tier::Hour => 3 * DAY_S,
        }
    }

    /// Seconds after which data of this tier are rolled up (or, in the last tier, forgotten).
    pub(crate) const fn retention_s(self) -> u32 {
        match self {
            Tier::Second => 3 * HOUR_S,
            Tier::Minute => 15 * DAY_S,
            Tier::FiveMinutes => 63 * DAY_S,
            Tier::Hour => 455 * DAY_S,
        }
    }

    /// Where data of this tier go when they grow old.
    pub(crate) const fn coarser(self) -> Option<Tier> {
        match self {
            Tier::Second => Some(Tier::Minute),
            Tier::Minute => Some(Tier::FiveMinutes),
            Tier::FiveMinutes => Some(Tier::Hour),
            Tier::Hour => None,
        }
    }

    /// Start of the block that holds `at_s`.
    pub(crate) const fn block_start(self, at_s: u32) -> u32 {
        at_s - at_s % self.span_s()
    }

    /// Blocks that start here or later are always in memory: the current one and the one before.
    pub(crate) const fn window_start(self, now_s: u32) -> u32 {
        self.block_start(now_s).saturating_sub(self.span_s())
    }
}

//! Rules broken on purpose, to see whether the simulation's invariants notice.
//!
//! Without the feature `mutations` every question here is `false` at compile time and nothing can be broken; the binary refuses to
//! compile with it. With it, a thread chooses at most one rule to break, for everything it does: a simulated world
//! lives on one thread.

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Simple policies do not wait for the cooldown.
    ForgetCooldown,
    /// Instances that warm up count as warm.
    CountWarming,
    /// Scale-in takes protected members, too.
    TerminateProtected,
    /// Policies and launches know no maximum.
    IgnoreMax,
    /// Members on their way into service are not counted when launches are planned.
    LaunchTwice,
    /// Launches do not wait after failures.
    ForgetBackOff,
    /// Requests are answered before their transaction is on disk.
    AcknowledgeEarly,
    /// Target tracking scales in while instances warm up.
    ScaleInWhileWarming,
    /// Checks count within the grace period.
    IgnoreGrace,
    /// A wait for a lifecycle hook ends only when somebody completes it.
    NeverTimeOutHook,
    /// All unhealthy members are replaced at once.
    ReplaceAllAtOnce,
    /// Members are ended without leaving their target groups.
    ForgetDeregister,
    /// Activities of members that leave stay open.
    LeaveActivityOpen,
    /// What runs without a record goes on.
    KeepOrphans,
    /// Target tracking believes data from before the capacity last changed.
    TrustStaleMetrics,
    /// Members whose Spot capacity is being taken back stay until it is.
    IgnoreNotice,
    /// Each launch counts for one unit.
    IgnoreWeights,
    /// Replacements keep to no least number of ready instances.
    IgnoreMaintenance,
    /// Nobody is told of the ends of activities.
    ForgetToAnnounce,
    /// Zones stay as uneven as they are.
    NeverRebalance,
    /// Whoever drains is taken back into service, also if it is unhealthy or a user ended it.
    TakeBackAnyone,
}

impl Mutation {
    /// All of them.
    pub const ALL: &[Mutation] = &[
        Mutation::ForgetCooldown,
        Mutation::CountWarming,
        Mutation::TerminateProtected,
        Mutation::IgnoreMax,
        Mutation::LaunchTwice,
        Mutation::ForgetBackOff,
        Mutation::AcknowledgeEarly,
        Mutation::ScaleInWhileWarming,
        Mutation::IgnoreGrace,
        Mutation::NeverTimeOutHook,
        Mutation::ReplaceAllAtOnce,
        Mutation::ForgetDeregister,
        Mutation::LeaveActivityOpen,
        Mutation::KeepOrphans,
        Mutation::TrustStaleMetrics,
        Mutation::IgnoreNotice,
        Mutation::IgnoreWeights,
        Mutation::IgnoreMaintenance,
        Mutation::ForgetToAnnounce,
        Mutation::NeverRebalance,
        Mutation::TakeBackAnyone,
    ];

    /// Whether this rule is broken on this thread.
    #[cfg(feature = "mutations")]
    pub fn is_on(self) -> bool {
        CHOSEN.get() == Some(self)
    }

    /// Whether this rule is broken: never.
    #[cfg(not(feature = "mutations"))]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Breaks a rule on this thread, or none.
    #[cfg(feature = "mutations")]
    pub fn choose(mutation: Option<Mutation>) {
        CHOSEN.set(mutation);
    }
}

#[cfg(feature = "mutations")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Whether this build can break rules at all.
pub const POSSIBLE: bool = cfg!(feature = "mutations");

//! What a seed makes of a world: which users and faults it has, how long its storm lasts, what its groups are like.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::dice::{chance, dice, one_of};
use crate::mix::MixPlan;

/// Zones of every world.
pub(crate) const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

/// Storms last between these, seconds of virtual time.
const STORM_S: std::ops::Range<u64> = 300..1500;

/// The probability with which a world has an ingredient.
const SHARE: f64 = 0.4;

macro_rules! ingredients {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Something that stirs a world: a kind of user or a kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Ingredient { $($(#[$doc])* $name,)* }

        impl Ingredient {
            /// All of them.
            pub const ALL: &[Ingredient] = &[$(Ingredient::$name),*];

            /// As the command line names it.
            pub fn name(self) -> &'static str {
                match self { $(Ingredient::$name => $text,)* }
            }
        }
    };
}

ingredients! {
    /// The server is killed.
    Crashes = "crashes",
    /// Driver calls fail, hang, take long.
    DriverErrors = "driver-errors",
    /// Instances die.
    Deaths = "deaths",
    /// Zones go and come.
    Zones = "zones",
    /// Health flaps.
    Health = "health",
    /// The clock is set.
    ClockSteps = "clock-steps",
    /// The data plane dies.
    DataPlane = "data-plane",
    /// The disk refuses or is slow.
    Disk = "disk",
    /// Demand changes.
    Load = "load",
    /// The Spot market moves: prices, capacity, interruptions, advice.
    Market = "market",
    /// The machine sleeps for a day.
    Sleeps = "sleeps",
    /// Users change sizes.
    Sizes = "sizes",
    /// Users end, detach, attach, put in standby, protect.
    Members = "members",
    /// Users call instances unhealthy.
    Verdicts = "verdicts",
    /// Users put, execute and delete policies.
    Policies = "policies",
    /// Users suspend and resume processes.
    Processes = "processes",
    /// Users delete and make groups.
    Groups = "groups",
    /// Users stop and end instances by EC2.
    Instances = "instances",
    /// Lifecycle hooks come, go and are completed, or not.
    Hooks = "hooks",
    /// Instance refreshes begin and are cancelled.
    Refresh = "refresh",
    /// Warm pools come and go.
    WarmPool = "warm-pool",
    /// Scheduled actions.
    Schedules = "schedules",
    /// Groups launch from something else: template versions, configurations, mixed instances policies.
    Sources = "sources",
    /// Zones, subnets, their distribution, zonal shifts.
    ZoneSettings = "zone-settings",
    /// Instance maintenance policies and maximum lifetimes.
    Maintenance = "maintenance",
    /// Topics are told of launches and terminations.
    Notifications = "notifications",
    /// `LaunchInstances`.
    Launches = "launches",
    /// Target groups are attached and detached.
    Traffic = "traffic",
    /// Tags, group metrics, deletion protection.
    Chores = "chores",
    /// Users who ask what there is.
    Readers = "readers",
}

impl fmt::Display for Ingredient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Ingredient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Ingredient::ALL.iter().find(|i| i.name() == text);
        let names = || Ingredient::ALL.iter().map(|i| i.name()).collect::<Vec<_>>().join(", ");
        found.copied().ok_or_else(|| format!("no ingredient is called {text}; there are {}", names()))
    }
}

/// What scales a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PolicyPlan {
    None,
    /// Target tracking on CPU at this target.
    Tracking(f64),
    /// Simple policies, set off by alarms and by hand.
    Simple,
    /// Step policies, likewise.
    Step,
}

/// A group of the world.
#[derive(Debug, Clone)]
pub(crate) struct GroupPlan {
    pub(crate) name: String,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) desired: u32,
    pub(crate) zones: usize,
    /// From a launch configuration instead of a template.
    pub(crate) by_configuration: bool,
    pub(crate) has_target_group: bool,
    /// That target group is a classic load balancer's.
    pub(crate) is_classic: bool,
    pub(crate) health_check_elb: bool,
    pub(crate) grace_s: u32,
    pub(crate) warmup_s: Option<u32>,
    pub(crate) cooldown_s: u32,
    pub(crate) policy: PolicyPlan,
    /// `puffer:metric-period`.
    pub(crate) metric_period_s: Option<u32>,
    /// `puffer:cancel-drain`.
    pub(crate) cancels_drain: bool,
    pub(crate) protects_new: bool,
    pub(crate) termination_policy: &'static str,
    /// Demand at the beginning, in busy instances.
    pub(crate) demand: f64,
    /// A mixed instances policy.
    pub(crate) mix: Option<MixPlan>,
    /// An instance maintenance policy: least and most, percent.
    pub(crate) maintenance: Option<(i32, i32)>,
}

/// A world before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) seed: u64,
    pub(crate) ingredients: BTreeSet<Ingredient>,
    pub(crate) storm: Duration,
    pub(crate) groups: Vec<GroupPlan>,
    pub(crate) keeps_lines: bool,
    /// Boots take between these, milliseconds.
    pub(crate) boot_ms: std::ops::RangeInclusive<i64>,
}

/// Boots take between these unless a plan says otherwise, milliseconds.
const BOOT_MS: std::ops::RangeInclusive<i64> = 200..=20_000;

impl Plan {
    /// The world of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut d = dice(seed, "plan");
        let ingredients = Ingredient::ALL.iter().copied().filter(|_| chance(&mut d, SHARE)).collect();
        let storm = Duration::from_secs(d.random_range(STORM_S));
        let n_groups = d.random_range(1..=2);
        let groups = (0..n_groups)
            .map(|n| {
                let plain = group(n, &mut dice(seed, &format!("group {n}")));
                refined(plain, &mut dice(seed, &format!("mix {n}")))
            })
            .collect();
        Plan { seed, ingredients, storm, groups, keeps_lines: false, boot_ms: BOOT_MS }
    }

    /// A world without groups, users and faults, whose boots take as long as said.
    pub(crate) fn quiet(boot: Duration) -> Plan {
        let boot_ms = i64::try_from(boot.as_millis()).unwrap_or(i64::MAX);
        Plan {
            seed: 0,
            ingredients: BTreeSet::new(),
            storm: Duration::ZERO,
            groups: Vec::new(),
            keeps_lines: false,
            boot_ms: boot_ms..=boot_ms,
        }
    }

    /// Only these ingredients, of whatever the seed chose or did not choose.
    #[must_use]
    pub fn only(mut self, ingredients: impl IntoIterator<Item = Ingredient>) -> Plan {
        self.ingredients = ingredients.into_iter().collect();
        self
    }

    /// A storm of another length.
    #[must_use]
    pub fn storming(mut self, storm: Duration) -> Plan {
        self.storm = storm;
        self
    }

    /// With a trace that can be read.
    #[must_use]
    pub fn traced(mut self) -> Plan {
        self.keeps_lines = true;
        self
    }

    /// The ingredients of this world.
    pub fn ingredients(&self) -> &BTreeSet<Ingredient> {
        &self.ingredients
    }

    /// How long its storm lasts.
    pub fn storm(&self) -> Duration {
        self.storm
    }

    pub(crate) fn has(&self, ingredient: Ingredient) -> bool {
        self.ingredients.contains(&ingredient)
    }
}

fn group(n: usize, d: &mut Pcg64) -> GroupPlan {
    let max = d.random_range(1..=12);
    let min = d.random_range(0..=max.min(3));
    let desired = d.random_range(min..=max);
    let has_target_group = chance(d, 0.5);
    let policies =
        [PolicyPlan::Tracking(50.0), PolicyPlan::Tracking(70.0), PolicyPlan::Simple, PolicyPlan::Step];
    let policy = match chance(d, 0.75) {
        true => one_of(d, &policies).copied().unwrap_or(PolicyPlan::None),
        false => PolicyPlan::None,
    };
    let terminations = ["Default", "OldestInstance", "NewestInstance", "ClosestToNextInstanceHour"];
    GroupPlan {
        name: format!("g{n}"),
        min,
        max,
        desired,
        zones: d.random_range(1..=ZONES.len()),
        by_configuration: chance(d, 0.3),
        has_target_group,
        // Every other group, without a die of its own.
        is_classic: has_target_group && n % 2 == 1,
        health_check_elb: has_target_group && chance(d, 0.7),
        grace_s: *one_of(d, &[0, 10, 60]).unwrap_or(&0),
        warmup_s: chance(d, 0.7).then(|| d.random_range(0..120)),
        cooldown_s: *one_of(d, &[0, 20, 60, 300]).unwrap_or(&0),
        policy,
        metric_period_s: chance(d, 0.6).then(|| *one_of(d, &[1, 5, 10]).unwrap_or(&1)),
        cancels_drain: false,
        protects_new: chance(d, 0.15),
        termination_policy: one_of(d, &terminations).copied().unwrap_or("Default"),
        demand: d.random_range(0.1..f64::from(max)),
        mix: None,
        maintenance: None,
    }
}

/// The least and the most percentages of the four behaviours that an instance maintenance policy is for.
pub(crate) const MAINTENANCE: [(i32, i32); 7] =
    [(-1, -1), (100, 110), (100, 200), (90, 100), (0, 100), (50, 150), (80, 120)];

/// A group, perhaps with a mixed instances policy and a maintenance policy, and with drains that can be cancelled.
fn refined(plain: GroupPlan, d: &mut Pcg64) -> GroupPlan {
    let mix = chance(d, 0.4).then(|| MixPlan::random(d));
    let maintenance = chance(d, 0.3).then(|| one_of(d, &MAINTENANCE[1..]).copied()).flatten();
    let cancels_drain = chance(d, 0.4);
    let by_configuration = plain.by_configuration && mix.is_none();
    GroupPlan { by_configuration, mix, maintenance, cancels_drain, ..plain }
}

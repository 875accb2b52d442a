//! ELB's quotas for application load balancers, with AWS's default values: they bound what one request, one
//! snapshot for the data plane and one describe call can cost.

/// Load balancers in the region.
pub const LOAD_BALANCERS_MAX: usize = 50;
/// Target groups in the region.
pub const TARGET_GROUPS_MAX: usize = 3_000;
/// Listeners of a load balancer.
pub const LISTENERS_PER_LOAD_BALANCER_MAX: usize = 50;
/// Rules of a load balancer, its listeners' default rules not counted.
pub const RULES_PER_LOAD_BALANCER_MAX: usize = 100;
/// Different target groups to which a load balancer forwards.
pub const TARGET_GROUPS_PER_LOAD_BALANCER_MAX: usize = 100;
/// Target groups in one forward action.
pub const TARGET_GROUPS_PER_ACTION_MAX: usize = 5;
/// Targets of a target group, those that drain included.
pub const TARGETS_PER_TARGET_GROUP_MAX: usize = 1_000;
/// Ports under which one target may be registered in a target group.
pub const REGISTRATIONS_PER_TARGET_MAX: usize = 1_000;
/// Security groups of a load balancer.
pub const SECURITY_GROUPS_PER_LOAD_BALANCER_MAX: usize = 5;
/// Values over all conditions of a rule.
pub const CONDITION_VALUES_PER_RULE_MAX: usize = 5;
/// Wildcards over all conditions of a rule.
pub const CONDITION_WILDCARDS_PER_RULE_MAX: usize = 5;
/// Characters of one condition value.
pub const CONDITION_VALUE_CHARS_MAX: usize = 128;
/// Actions of a rule.
pub const ACTIONS_PER_RULE_MAX: usize = 5;
/// Tags of a resource.
pub const TAGS_PER_RESOURCE_MAX: usize = 50;
/// Characters of a load balancer's or target group's name.
pub const NAME_CHARS_MAX: usize = 32;
/// Highest priority number of a rule.
pub const RULE_PRIORITY_MAX: u32 = 50_000;

//! Security groups and their rules.

use std::sync::Arc;

use puffer_core::ec2::{
    AddressHold, Cidr, Instance, RuleMatch, RulePeer, SecurityGroup, SecurityGroupRule, Vpc,
};
use puffer_core::{Tags, Timestamp, ids};
use puffer_store::{Reader, StoreError, Transaction};
use rand::Rng;

/// Rules of each direction in a group (AWS's default quota).
pub const RULES_PER_DIRECTION_MAX: usize = 60;
/// Groups in a VPC; AWS's default quota is 2,500 for a region.
pub const GROUPS_PER_VPC_MAX: usize = 2_500;

/// Why a group or rule cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum SecurityGroupError {
    /// No such group, by id.
    #[error("The security group '{0}' does not exist")]
    NotFound(String),
    /// No such group, by name.
    #[error("The security group '{name}' does not exist in default VPC '{vpc_id}'")]
    NameNotFound {
        /// Name as asked for.
        name: String,
        /// Where it was looked for.
        vpc_id: String,
    },
    /// No such VPC.
    #[error("The vpc ID '{0}' does not exist")]
    VpcNotFound(String),
    /// There is no default VPC to look in.
    #[error("No default VPC for this user")]
    NoDefaultVpc,
    /// The VPC has a group of that name.
    #[error("The security group '{name}' already exists for VPC '{vpc_id}'")]
    Duplicate {
        /// Name.
        name: String,
        /// VPC.
        vpc_id: String,
    },
    /// The name means something else.
    #[error("Cannot use reserved security group name: {0}")]
    ReservedName(String),
    /// The group has that rule.
    #[error("the specified rule \"{0}\" already exists")]
    DuplicateRule(String),
    /// The group has no such rule.
    #[error("The specified rule does not exist in this security group.")]
    RuleNotFound,
    /// No rule has this id.
    #[error("The security group rule ID '{0}' does not exist")]
    RuleIdNotFound(String),
    /// Something has the group, or another group's rule names it.
    #[error("resource {0} has a dependent object")]
    InUse(String),
    /// A VPC keeps its default group.
    #[error("the specified group: \"{0}\" name: \"default\" cannot be deleted by a user")]
    Default(String),
    /// Too many rules.
    #[error("The maximum number of rules per security group has been reached.")]
    RuleLimit,
    /// Too many groups.
    #[error("The maximum number of security groups has been reached.")]
    GroupLimit,
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a rule is shown in messages: `peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, ALLOW`.
fn describe(rule: &RuleMatch) -> String {
    let peer = match &rule.peer {
        RulePeer::Ipv4(cidr) => cidr.to_string(),
        RulePeer::Ipv6(address, prefix) => format!("{address}/{prefix}"),
        RulePeer::Group(id) => id.clone(),
    };
    if rule.protocol == "-1" {
        format!("peer: {peer}, ALL, ALLOW")
    } else {
        let protocol = rule.protocol.to_uppercase();
        format!("peer: {peer}, {protocol}, from port: {}, to port: {}, ALLOW", rule.from_port, rule.to_port)
    }
}

fn all_traffic(peer: RulePeer) -> RuleMatch {
    RuleMatch { protocol: "-1".into(), from_port: -1, to_port: -1, peer }
}

fn rule(egress: bool, allows: RuleMatch, rng: &mut dyn Rng) -> SecurityGroupRule {
    SecurityGroupRule {
        id: ids::resource_id("sgr", rng),
        egress,
        allows,
        description: None,
        tags: Tags::new(),
    }
}

/// The group each VPC starts with: its members may talk to each other and to everybody outside.
pub(crate) fn create_default(tx: &mut Transaction<'_>, vpc_id: &str, now: Timestamp, rng: &mut dyn Rng) {
    let id = ids::resource_id("sg", rng);
    let rules = vec![
        rule(false, all_traffic(RulePeer::Group(id.clone())), rng),
        rule(true, all_traffic(RulePeer::Ipv4(Cidr::ANY)), rng),
    ];
    tx.put(SecurityGroup {
        id,
        name: SecurityGroup::DEFAULT_NAME.into(),
        description: "default VPC security group".into(),
        vpc_id: vpc_id.into(),
        rules,
        created_at: now,
        tags: Tags::new(),
    });
}

/// Makes a group that lets everything out and nothing in.
pub fn create(
    tx: &mut Transaction<'_>,
    vpc_id: &str,
    name: &str,
    description: &str,
    tags: Tags,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Arc<SecurityGroup>, SecurityGroupError> {
    if tx.get::<Vpc>(vpc_id).is_none() {
        return Err(SecurityGroupError::VpcNotFound(vpc_id.into()));
    }
    if name == SecurityGroup::DEFAULT_NAME {
        return Err(SecurityGroupError::ReservedName(name.into()));
    }
    if find_by_name(&tx.reader(), vpc_id, name).is_some() {
        return Err(SecurityGroupError::Duplicate { name: name.into(), vpc_id: vpc_id.into() });
    }
    if tx.count_by::<SecurityGroup>("vpc", vpc_id) >= GROUPS_PER_VPC_MAX {
        return Err(SecurityGroupError::GroupLimit);
    }
    Ok(tx.put(SecurityGroup {
        id: ids::resource_id("sg", rng),
        name: name.into(),
        description: description.into(),
        vpc_id: vpc_id.into(),
        rules: vec![rule(true, all_traffic(RulePeer::Ipv4(Cidr::ANY)), rng)],
        created_at: now,
        tags,
    }))
}

/// The group of that name in the VPC.
pub fn find_by_name(reader: &Reader<'_>, vpc_id: &str, name: &str) -> Option<Arc<SecurityGroup>> {
    reader.list_by::<SecurityGroup>("name", &SecurityGroup::name_key(vpc_id, name)).pop()
}

/// Removes a group that nothing has and no other group's rule names.
pub fn delete(tx: &mut Transaction<'_>, id: &str) -> Result<(), SecurityGroupError> {
    let group = tx.get::<SecurityGroup>(id).ok_or_else(|| SecurityGroupError::NotFound(id.into()))?;
    if group.name == SecurityGroup::DEFAULT_NAME {
        return Err(SecurityGroupError::Default(id.into()));
    }
    let referred = tx.list_by::<SecurityGroup>("refers", id).iter().any(|g| g.id != id);
    let held =
        tx.count_by::<Instance>("security_group", id) + tx.count_by::<AddressHold>("security_group", id) > 0;
    if referred || held {
        return Err(SecurityGroupError::InUse(id.into()));
    }
    tx.delete::<SecurityGroup>(id);
    Ok(())
}

/// A rule to add.
#[derive(Debug, Clone)]
pub struct NewRule {
    /// What it allows.
    pub allows: RuleMatch,
    /// Text for people.
    pub description: Option<String>,
}

/// Adds rules; none if one of them exists.
pub fn authorize(
    tx: &mut Transaction<'_>,
    id: &str,
    egress: bool,
    rules: &[NewRule],
    tags: &Tags,
    rng: &mut dyn Rng,
) -> Result<Vec<SecurityGroupRule>, SecurityGroupError> {
    let group = tx.get::<SecurityGroup>(id).ok_or_else(|| SecurityGroupError::NotFound(id.into()))?;
    let mut group = SecurityGroup::clone(&group);
    let mut added = Vec::with_capacity(rules.len());
    for new in rules {
        if let RulePeer::Group(peer) = &new.allows.peer
            && tx.get::<SecurityGroup>(peer).is_none()
        {
            return Err(SecurityGroupError::NotFound(peer.clone()));
        }
        if group.rules.iter().any(|r| r.egress == egress && r.allows == new.allows) {
            return Err(SecurityGroupError::DuplicateRule(describe(&new.allows)));
        }
        let made = SecurityGroupRule {
            description: new.description.clone(),
            tags: tags.clone(),
            ..rule(egress, new.allows.clone(), rng)
        };
        group.rules.push(made.clone());
        added.push(made);
    }
    if group.rules.iter().filter(|r| r.egress == egress).count() > RULES_PER_DIRECTION_MAX {
        return Err(SecurityGroupError::RuleLimit);
    }
    tx.put(group);
    Ok(added)
}

/// Which rules to remove.
#[derive(Debug, Clone)]
pub enum Revoke {
    /// Rules that allow exactly this.
    Matches(Vec<RuleMatch>),
    /// Rules by id.
    Ids(Vec<String>),
}

/// Removes rules; none if one of them does not exist.
pub fn revoke(
    tx: &mut Transaction<'_>,
    id: &str,
    egress: bool,
    which: &Revoke,
) -> Result<Vec<SecurityGroupRule>, SecurityGroupError> {
    let group = tx.get::<SecurityGroup>(id).ok_or_else(|| SecurityGroupError::NotFound(id.into()))?;
    let mut group = SecurityGroup::clone(&group);
    let mut removed = Vec::new();
    let mut remove = |is_it: &dyn Fn(&SecurityGroupRule) -> bool| {
        let at = group.rules.iter().position(|r| r.egress == egress && is_it(r))?;
        removed.push(group.rules.remove(at));
        Some(())
    };
    match which {
        Revoke::Matches(matches) => {
            for wanted in matches {
                remove(&|r| r.allows == *wanted).ok_or(SecurityGroupError::RuleNotFound)?;
            }
        }
        Revoke::Ids(rule_ids) => {
            for wanted in rule_ids {
                remove(&|r| r.id == *wanted)
                    .ok_or_else(|| SecurityGroupError::RuleIdNotFound(wanted.clone()))?;
            }
        }
    }
    tx.put(group);
    Ok(removed)
}

/// Puts other contents into rules, by id.
pub fn modify_rules(
    tx: &mut Transaction<'_>,
    id: &str,
    changes: &[(String, NewRule)],
) -> Result<(), SecurityGroupError> {
    let group = tx.get::<SecurityGroup>(id).ok_or_else(|| SecurityGroupError::NotFound(id.into()))?;
    let mut group = SecurityGroup::clone(&group);
    for (rule_id, new) in changes {
        if let RulePeer::Group(peer) = &new.allows.peer
            && tx.get::<SecurityGroup>(peer).is_none()
        {
            return Err(SecurityGroupError::NotFound(peer.clone()));
        }
        let at = group
            .rules
            .iter()
            .position(|r| r.id == *rule_id)
            .ok_or_else(|| SecurityGroupError::RuleIdNotFound(rule_id.clone()))?;
        let egress = group.rules[at].egress;
        let twin = |r: &SecurityGroupRule| r.id != *rule_id && r.egress == egress && r.allows == new.allows;
        if group.rules.iter().any(twin) {
            return Err(SecurityGroupError::DuplicateRule(describe(&new.allows)));
        }
        group.rules[at].allows = new.allows.clone();
        group.rules[at].description = new.description.clone();
    }
    tx.put(group);
    Ok(())
}

//! Rules of security groups: in both forms that EC2 has for them, and every way of changing them.

use std::sync::Arc;

use puffer_core::ec2::{Account, RuleMatch, RulePeer, SecurityGroup, SecurityGroupRule};
use puffer_inventory::security_groups::{self, NewRule, Revoke, SecurityGroupError};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::{combination, dry_run, invalid_value, missing, unsupported};
use super::filter::{Field, Filters};
use super::instances::account;
use super::page::Page;
use super::parts::{check_ids, required, s, show_tags, tags_of_kind};
use super::security_groups::find;
use crate::{ApiError, Ctx};

/// Rules as `IpPermissions` has them: grouped by protocol and ports.
pub(super) fn show_permissions(
    account: &Account,
    g: &SecurityGroup,
    egress: bool,
) -> Vec<shapes::IpPermission> {
    let mut shown: Vec<shapes::IpPermission> = Vec::new();
    for rule in g.rules.iter().filter(|r| r.egress == egress) {
        let m = &rule.allows;
        let port = |p: i32| (m.protocol != "-1").then_some(p);
        let same = |p: &shapes::IpPermission| {
            p.ip_protocol.as_deref() == Some(&m.protocol)
                && p.from_port == port(m.from_port)
                && p.to_port == port(m.to_port)
        };
        let at = shown.iter().position(same).unwrap_or_else(|| {
            shown.push(shapes::IpPermission {
                ip_protocol: s(&m.protocol),
                from_port: port(m.from_port),
                to_port: port(m.to_port),
                user_id_group_pairs: Some(Vec::new()),
                ip_ranges: Some(Vec::new()),
                ipv6_ranges: Some(Vec::new()),
                prefix_list_ids: Some(Vec::new()),
            });
            shown.len() - 1
        });
        let permission = &mut shown[at];
        let description = rule.description.clone();
        match &m.peer {
            RulePeer::Ipv4(cidr) => permission
                .ip_ranges
                .get_or_insert_default()
                .push(shapes::IpRange { cidr_ip: s(cidr.to_string()), description }),
            RulePeer::Ipv6(address, prefix) => permission
                .ipv6_ranges
                .get_or_insert_default()
                .push(shapes::Ipv6Range { cidr_ipv6: s(format!("{address}/{prefix}")), description }),
            RulePeer::Group(id) => {
                permission.user_id_group_pairs.get_or_insert_default().push(shapes::UserIdGroupPair {
                    group_id: s(id),
                    user_id: s(&account.id),
                    description,
                    ..Default::default()
                })
            }
        }
    }
    shown
}

fn show_rule(account: &Account, group_id: &str, rule: &SecurityGroupRule) -> shapes::SecurityGroupRule {
    let m = &rule.allows;
    let mut shown = shapes::SecurityGroupRule {
        security_group_rule_id: s(&rule.id),
        group_id: s(group_id),
        group_owner_id: s(&account.id),
        is_egress: Some(rule.egress),
        ip_protocol: s(&m.protocol),
        from_port: Some(m.from_port),
        to_port: Some(m.to_port),
        description: rule.description.clone(),
        tags: Some(show_tags(&rule.tags).unwrap_or_default()),
        security_group_rule_arn: s(format!(
            "arn:aws:ec2:{}:{}:security-group-rule/{}",
            account.region, account.id, rule.id
        )),
        ..Default::default()
    };
    match &m.peer {
        RulePeer::Ipv4(cidr) => shown.cidr_ipv4 = s(cidr.to_string()),
        RulePeer::Ipv6(address, prefix) => shown.cidr_ipv6 = s(format!("{address}/{prefix}")),
        RulePeer::Group(id) => {
            shown.referenced_group_info = Some(shapes::ReferencedSecurityGroup {
                group_id: s(id),
                user_id: s(&account.id),
                ..Default::default()
            });
        }
    }
    shown
}

/// Protocol and ports, checked and in one form.
fn protocol_and_ports(
    protocol: Option<&str>,
    from: Option<i32>,
    to: Option<i32>,
) -> Result<(String, i32, i32), ApiError> {
    let protocol = match protocol.ok_or_else(|| missing("IpProtocol"))?.to_ascii_lowercase().as_str() {
        "-1" | "all" => "-1".to_owned(),
        "tcp" | "6" => "tcp".to_owned(),
        "udp" | "17" => "udp".to_owned(),
        "icmp" | "1" => "icmp".to_owned(),
        "icmpv6" | "58" => "icmpv6".to_owned(),
        number if number.parse::<u8>().is_ok() => number.to_owned(),
        other => {
            return Err(invalid_value(format!("Invalid value '{other}' for IP protocol. Unknown protocol.")));
        }
    };
    match protocol.as_str() {
        "tcp" | "udp" => {
            let (from, to) = match (from, to) {
                (Some(from), Some(to)) => (from, to),
                _ => {
                    return Err(invalid_value(
                        "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
                    ));
                }
            };
            // -1 means all ports, as some tools write it.
            let (from, to) = if (from, to) == (-1, -1) { (0, 65_535) } else { (from, to) };
            if !(0..=65_535).contains(&from) || !(0..=65_535).contains(&to) {
                let bad = if (0..=65_535).contains(&from) { to } else { from };
                return Err(invalid_value(format!(
                    "Invalid value '{bad}' for portRange. Must be between 0 and 65535."
                )));
            }
            if from > to {
                return Err(invalid_value(format!(
                    "Invalid TCP/UDP port range ({from}:{to}). The first port must not be above the last."
                )));
            }
            Ok((protocol, from, to))
        }
        "icmp" | "icmpv6" => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            if !(-1..=255).contains(&kind) || !(-1..=255).contains(&code) {
                return Err(invalid_value("An ICMP type and code must be from -1 to 255."));
            }
            Ok((protocol, kind, code))
        }
        _ => Ok((protocol, -1, -1)),
    }
}

fn ipv4(text: &str) -> Result<RulePeer, ApiError> {
    text.parse().map(RulePeer::Ipv4).map_err(|_| invalid_value(format!("CIDR block {text} is malformed")))
}

fn ipv6(text: &str) -> Result<RulePeer, ApiError> {
    let bad = || invalid_value(format!("CIDR block {text} is malformed"));
    let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
    let prefix: u8 = prefix.parse().ok().filter(|p| *p <= 128).ok_or_else(bad)?;
    Ok(RulePeer::Ipv6(address.parse().map_err(|_| bad())?, prefix))
}

/// A rule's text: up to 255 characters.
fn check_description(description: Option<String>) -> Result<Option<String>, ApiError> {
    match description {
        Some(d) if d.chars().count() > 255 => {
            Err(invalid_value("A rule's description may have up to 255 characters."))
        }
        d => Ok(d.filter(|d| !d.is_empty())),
    }
}

/// Who a pair names: a group by id, or by name beside the group it is for.
fn pair_peer(
    reader: &Reader<'_>,
    account: &Account,
    beside: &SecurityGroup,
    pair: &shapes::UserIdGroupPair,
) -> Result<RulePeer, ApiError> {
    if pair.user_id.as_ref().is_some_and(|u| *u != account.id && !u.is_empty()) {
        return Err(unsupported("A security group of another account"));
    }
    if pair.vpc_peering_connection_id.is_some() {
        return Err(unsupported("VPC peering"));
    }
    if let Some(id) = pair.group_id.as_ref().filter(|i| !i.is_empty()) {
        return find(reader, Some(id), None).map(|g| RulePeer::Group(g.id.clone()));
    }
    let name = pair.group_name.clone().ok_or_else(|| missing("GroupId"))?;
    security_groups::find_by_name(reader, &beside.vpc_id, &name)
        .map(|g| RulePeer::Group(g.id.clone()))
        .ok_or_else(|| SecurityGroupError::NotFound(name).into())
}

fn rules_of(
    reader: &Reader<'_>,
    account: &Account,
    group: &SecurityGroup,
    permissions: Vec<shapes::IpPermission>,
) -> Result<Vec<NewRule>, ApiError> {
    let mut rules = Vec::new();
    for p in permissions {
        let (protocol, from_port, to_port) =
            protocol_and_ports(p.ip_protocol.as_deref(), p.from_port, p.to_port)?;
        if p.prefix_list_ids.as_ref().is_some_and(|l| !l.is_empty()) {
            return Err(unsupported("A prefix list"));
        }
        let mut peers: Vec<(RulePeer, Option<String>)> = Vec::new();
        for range in p.ip_ranges.unwrap_or_default() {
            peers.push((ipv4(&required(range.cidr_ip, "CidrIp")?)?, range.description));
        }
        for range in p.ipv6_ranges.unwrap_or_default() {
            peers.push((ipv6(&required(range.cidr_ipv6, "CidrIpv6")?)?, range.description));
        }
        for pair in p.user_id_group_pairs.unwrap_or_default() {
            peers.push((pair_peer(reader, account, group, &pair)?, pair.description));
        }
        if peers.is_empty() {
            return Err(missing("IpPermissions: a source or destination"));
        }
        for (peer, description) in peers {
            let allows = RuleMatch { protocol: protocol.clone(), from_port, to_port, peer };
            rules.push(NewRule { allows, description: check_description(description)? });
        }
    }
    Ok(rules)
}

/// The members in which a single rule may be given instead of a list.
struct Single {
    protocol: Option<String>,
    from: Option<i32>,
    to: Option<i32>,
    cidr: Option<String>,
    group_name: Option<String>,
    group_owner: Option<String>,
}

/// Both ways of giving rules, as one.
fn permissions(
    list: Option<Vec<shapes::IpPermission>>,
    single: Single,
) -> Result<Vec<shapes::IpPermission>, ApiError> {
    let list = list.unwrap_or_default();
    let is_single = single.protocol.is_some()
        || single.cidr.is_some()
        || single.group_name.is_some()
        || single.group_owner.is_some();
    match (list.is_empty(), is_single) {
        (false, true) => {
            Err(combination("The parameters ipPermissions and ipProtocol may not be used together."))
        }
        (false, false) => Ok(list),
        (true, false) => Err(missing("IpPermissions")),
        (true, true) => {
            let by_name = single.group_name.is_some() && single.protocol.is_none();
            Ok(vec![shapes::IpPermission {
                // A group alone means all of its traffic.
                ip_protocol: if by_name { s("-1") } else { single.protocol },
                from_port: single.from,
                to_port: single.to,
                ip_ranges: single
                    .cidr
                    .map(|c| vec![shapes::IpRange { cidr_ip: Some(c), ..Default::default() }]),
                user_id_group_pairs: single.group_name.map(|g| {
                    vec![shapes::UserIdGroupPair {
                        group_name: Some(g),
                        user_id: single.group_owner,
                        ..Default::default()
                    }]
                }),
                ..Default::default()
            }])
        }
    }
}

struct Target {
    group_id: Option<String>,
    group_name: Option<String>,
    egress: bool,
    dry: bool,
}

async fn authorize(
    cx: &Ctx,
    target: Target,
    permissions: Vec<shapes::IpPermission>,
    tags: Option<Vec<shapes::TagSpecification>>,
) -> Result<Vec<shapes::SecurityGroupRule>, ApiError> {
    let tags = tags_of_kind(tags, "security-group-rule")?;
    cx.store
        .transact::<_, ApiError>(|tx| {
            let account = account(&tx.reader())?;
            let group = find(&tx.reader(), target.group_id.as_deref(), target.group_name.as_deref())?;
            let rules = rules_of(&tx.reader(), &account, &group, permissions)?;
            let added = security_groups::authorize(
                tx,
                &group.id,
                target.egress,
                &rules,
                &tags,
                &mut **cx.rng.lock(),
            )?;
            if target.dry {
                return Err(dry_run());
            }
            Ok(added.iter().map(|rule| show_rule(&account, &group.id, rule)).collect())
        })
        .await
}

pub(super) async fn authorize_ingress(
    cx: Arc<Ctx>,
    input: shapes::AuthorizeSecurityGroupIngressInput,
) -> Result<shapes::AuthorizeSecurityGroupIngressOutput, ApiError> {
    let single = Single {
        protocol: input.ip_protocol,
        from: input.from_port,
        to: input.to_port,
        cidr: input.cidr_ip,
        group_name: input.source_security_group_name,
        group_owner: input.source_security_group_owner_id,
    };
    let wanted = permissions(input.ip_permissions, single)?;
    let target = Target {
        group_id: input.group_id,
        group_name: input.group_name,
        egress: false,
        dry: input.dry_run == Some(true),
    };
    let rules = authorize(&cx, target, wanted, input.tag_specifications).await?;
    Ok(shapes::AuthorizeSecurityGroupIngressOutput { return_: Some(true), security_group_rules: Some(rules) })
}

pub(super) async fn authorize_egress(
    cx: Arc<Ctx>,
    input: shapes::AuthorizeSecurityGroupEgressInput,
) -> Result<shapes::AuthorizeSecurityGroupEgressOutput, ApiError> {
    let single = Single {
        protocol: input.ip_protocol,
        from: input.from_port,
        to: input.to_port,
        cidr: input.cidr_ip,
        group_name: input.source_security_group_name,
        group_owner: input.source_security_group_owner_id,
    };
    let wanted = permissions(input.ip_permissions, single)?;
    let target =
        Target { group_id: input.group_id, group_name: None, egress: true, dry: input.dry_run == Some(true) };
    let rules = authorize(&cx, target, wanted, input.tag_specifications).await?;
    Ok(shapes::AuthorizeSecurityGroupEgressOutput { return_: Some(true), security_group_rules: Some(rules) })
}

fn show_revoked(group_id: &str, rule: &SecurityGroupRule) -> shapes::RevokedSecurityGroupRule {
    let m = &rule.allows;
    let mut shown = shapes::RevokedSecurityGroupRule {
        security_group_rule_id: s(&rule.id),
        group_id: s(group_id),
        is_egress: Some(rule.egress),
        ip_protocol: s(&m.protocol),
        from_port: Some(m.from_port),
        to_port: Some(m.to_port),
        description: rule.description.clone(),
        ..Default::default()
    };
    match &m.peer {
        RulePeer::Ipv4(cidr) => shown.cidr_ipv4 = s(cidr.to_string()),
        RulePeer::Ipv6(address, prefix) => shown.cidr_ipv6 = s(format!("{address}/{prefix}")),
        RulePeer::Group(id) => shown.referenced_group_id = s(id),
    }
    shown
}

async fn revoke(
    cx: &Ctx,
    target: Target,
    ids: Option<Vec<String>>,
    list: Option<Vec<shapes::IpPermission>>,
    single: Single,
) -> Result<Vec<shapes::RevokedSecurityGroupRule>, ApiError> {
    let ids = ids.unwrap_or_default();
    check_ids("sgr", "InvalidSecurityGroupRuleId.Malformed", &ids)?;
    let wanted = if ids.is_empty() { Some(permissions(list, single)?) } else { None };
    cx.store
        .transact::<_, ApiError>(|tx| {
            let account = account(&tx.reader())?;
            let group = find(&tx.reader(), target.group_id.as_deref(), target.group_name.as_deref())?;
            let which = match wanted {
                None => Revoke::Ids(ids),
                Some(wanted) => {
                    let rules = rules_of(&tx.reader(), &account, &group, wanted)?;
                    Revoke::Matches(rules.into_iter().map(|r| r.allows).collect())
                }
            };
            let removed = security_groups::revoke(tx, &group.id, target.egress, &which)?;
            if target.dry {
                return Err(dry_run());
            }
            Ok(removed.iter().map(|rule| show_revoked(&group.id, rule)).collect())
        })
        .await
}

pub(super) async fn revoke_ingress(
    cx: Arc<Ctx>,
    input: shapes::RevokeSecurityGroupIngressInput,
) -> Result<shapes::RevokeSecurityGroupIngressOutput, ApiError> {
    let single = Single {
        protocol: input.ip_protocol,
        from: input.from_port,
        to: input.to_port,
        cidr: input.cidr_ip,
        group_name: input.source_security_group_name,
        group_owner: input.source_security_group_owner_id,
    };
    let target = Target {
        group_id: input.group_id,
        group_name: input.group_name,
        egress: false,
        dry: input.dry_run == Some(true),
    };
    let removed = revoke(&cx, target, input.security_group_rule_ids, input.ip_permissions, single).await?;
    Ok(shapes::RevokeSecurityGroupIngressOutput {
        return_: Some(true),
        revoked_security_group_rules: Some(removed),
        ..Default::default()
    })
}

pub(super) async fn revoke_egress(
    cx: Arc<Ctx>,
    input: shapes::RevokeSecurityGroupEgressInput,
) -> Result<shapes::RevokeSecurityGroupEgressOutput, ApiError> {
    let single = Single {
        protocol: input.ip_protocol,
        from: input.from_port,
        to: input.to_port,
        cidr: input.cidr_ip,
        group_name: input.source_security_group_name,
        group_owner: input.source_security_group_owner_id,
    };
    let target =
        Target { group_id: input.group_id, group_name: None, egress: true, dry: input.dry_run == Some(true) };
    let removed = revoke(&cx, target, input.security_group_rule_ids, input.ip_permissions, single).await?;
    Ok(shapes::RevokeSecurityGroupEgressOutput {
        return_: Some(true),
        revoked_security_group_rules: Some(removed),
        ..Default::default()
    })
}

pub(super) async fn modify(
    cx: Arc<Ctx>,
    input: shapes::ModifySecurityGroupRulesInput,
) -> Result<shapes::ModifySecurityGroupRulesOutput, ApiError> {
    let mut changes = Vec::new();
    for update in input.security_group_rules.unwrap_or_default() {
        let id = required(update.security_group_rule_id, "SecurityGroupRuleId")?;
        let rule = update.security_group_rule.ok_or_else(|| missing("SecurityGroupRule"))?;
        if rule.prefix_list_id.is_some() {
            return Err(unsupported("A prefix list"));
        }
        let (protocol, from_port, to_port) =
            protocol_and_ports(rule.ip_protocol.as_deref(), rule.from_port, rule.to_port)?;
        let peer = match (rule.cidr_ipv4, rule.cidr_ipv6, rule.referenced_group_id) {
            (Some(cidr), None, None) => ipv4(&cidr)?,
            (None, Some(cidr), None) => ipv6(&cidr)?,
            (None, None, Some(group)) => RulePeer::Group(group),
            _ => return Err(combination("Exactly one source or destination must be given for a rule.")),
        };
        let allows = RuleMatch { protocol, from_port, to_port, peer };
        changes.push((id, NewRule { allows, description: check_description(rule.description)? }));
    }
    cx.store
        .transact::<_, ApiError>(|tx| {
            let group = find(&tx.reader(), input.group_id.as_deref(), None)?;
            security_groups::modify_rules(tx, &group.id, &changes)?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            Ok(shapes::ModifySecurityGroupRulesOutput { return_: Some(true) })
        })
        .await
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeSecurityGroupRulesInput,
) -> Result<shapes::DescribeSecurityGroupRulesOutput, ApiError> {
    let ids = input.security_group_rule_ids.unwrap_or_default();
    check_ids("sgr", "InvalidSecurityGroupRuleId.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, &["group-id", "security-group-rule-id"])?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        if let Some(unknown) = ids.iter().find(|id| r.list_by::<SecurityGroup>("rule", id).is_empty()) {
            return Err(SecurityGroupError::RuleIdNotFound(unknown.clone()).into());
        }
        let mut all: Vec<(&SecurityGroupRule, &Arc<SecurityGroup>)> =
            r.iter::<SecurityGroup>().flat_map(|g| g.rules.iter().map(move |rule| (rule, g))).collect();
        all.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        let matching = all.into_iter().filter(|(rule, g)| {
            (ids.is_empty() || ids.contains(&rule.id))
                && filters.matches(&rule.tags, |name| match name {
                    "group-id" => g.id.as_str().into(),
                    "security-group-rule-id" => rule.id.as_str().into(),
                    _ => Field::Many(Vec::new()),
                })
        });
        let (found, next_token) = page.cut(matching, |(rule, _)| &rule.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let rules = found.into_iter().map(|(rule, g)| show_rule(&account, &g.id, rule)).collect();
        Ok(shapes::DescribeSecurityGroupRulesOutput { security_group_rules: Some(rules), next_token })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_and_ports() {
        for (protocol, from, to, wanted) in [
            ("tcp", Some(80), Some(80), Some(("tcp", 80, 80))),
            ("6", Some(0), Some(65_535), Some(("tcp", 0, 65_535))),
            ("TCP", Some(-1), Some(-1), Some(("tcp", 0, 65_535))),
            ("-1", None, None, Some(("-1", -1, -1))),
            ("all", Some(1), Some(2), Some(("-1", -1, -1))),
            ("icmp", Some(8), None, Some(("icmp", 8, -1))),
            ("50", None, None, Some(("50", -1, -1))),
            ("tcp", None, None, None),
            ("tcp", Some(2), Some(1), None),
            ("udp", Some(0), Some(65_536), None),
            ("icmp", Some(256), None, None),
            ("http", Some(1), Some(2), None),
            ("300", None, None, None),
        ] {
            let got = protocol_and_ports(Some(protocol), from, to).ok();
            assert_eq!(got, wanted.map(|(p, f, t)| (p.to_owned(), f, t)), "{protocol} {from:?} {to:?}");
        }
    }

    #[test]
    fn ipv6_blocks() {
        assert!(ipv6("::/0").is_ok() && ipv6("2001:db8::/32").is_ok());
        for bad in ["::", "::/129", "1.2.3.4/8", "x/1"] {
            assert!(ipv6(bad).is_err(), "{bad}");
        }
    }
}

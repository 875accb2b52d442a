//! Security groups.

use std::sync::Arc;

use puffer_core::ec2::{Account, RulePeer, SecurityGroup, SecurityGroupRule};
use puffer_inventory::security_groups::{self, SecurityGroupError};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::{combination, dry_run, invalid_value, missing};
use super::filter::{Field, Filters};
use super::instances::account;
use super::page::Page;
use super::parts::{check_ids, required, s, show_tags, tags_of_kind};
use super::security_group_rules::show_permissions;
use crate::{ApiError, Ctx};

/// Characters of a group's name and of its description (EC2's limit).
const TEXT_CHARS_MAX: usize = 255;

const FILTERS: &[&str] = &[
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.from-port",
    "egress.ip-permission.group-id",
    "egress.ip-permission.protocol",
    "egress.ip-permission.to-port",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.group-name",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "owner-id",
    "vpc-id",
];

pub(super) fn arn(account: &Account, id: &str) -> String {
    format!("arn:aws:ec2:{}:{}:security-group/{id}", account.region, account.id)
}

fn rule_field(reader: &Reader<'_>, rule: &SecurityGroupRule, name: &str) -> Option<String> {
    match (name, &rule.allows.peer) {
        ("cidr", RulePeer::Ipv4(cidr)) => Some(cidr.to_string()),
        ("from-port", _) => Some(rule.allows.from_port.to_string()),
        ("to-port", _) => Some(rule.allows.to_port.to_string()),
        ("protocol", _) => Some(rule.allows.protocol.clone()),
        ("group-id", RulePeer::Group(id)) => Some(id.clone()),
        ("group-name", RulePeer::Group(id)) => reader.get::<SecurityGroup>(id).map(|g| g.name.clone()),
        _ => None,
    }
}

fn field(reader: &Reader<'_>, account: &Account, g: &SecurityGroup, name: &str) -> Field {
    let of_rules = |egress: bool, name: &str| {
        let rules = g.rules.iter().filter(|r| r.egress == egress);
        Field::Many(rules.filter_map(|r| rule_field(reader, r, name)).collect())
    };
    if let Some(name) = name.strip_prefix("egress.ip-permission.") {
        return of_rules(true, name);
    }
    if let Some(name) = name.strip_prefix("ip-permission.") {
        return of_rules(false, name);
    }
    match name {
        "description" => g.description.as_str().into(),
        "group-id" => g.id.as_str().into(),
        "group-name" => g.name.as_str().into(),
        "owner-id" => account.id.as_str().into(),
        "vpc-id" => g.vpc_id.as_str().into(),
        _ => Field::Many(Vec::new()),
    }
}

fn show(account: &Account, g: &SecurityGroup) -> shapes::SecurityGroup {
    shapes::SecurityGroup {
        group_id: s(&g.id),
        ip_permissions: Some(show_permissions(account, g, false)),
        ip_permissions_egress: Some(show_permissions(account, g, true)),
        tags: show_tags(&g.tags),
        vpc_id: s(&g.vpc_id),
        security_group_arn: s(arn(account, &g.id)),
        owner_id: s(&account.id),
        group_name: s(&g.name),
        description: s(&g.description),
    }
}

/// The group that a request names by id, or by name in the default VPC.
pub(super) fn find(
    reader: &Reader<'_>,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Arc<SecurityGroup>, ApiError> {
    match (id.filter(|i| !i.is_empty()), name.filter(|n| !n.is_empty())) {
        (Some(id), None) => {
            check_ids("sg", "InvalidGroupId.Malformed", &[id.to_owned()])?;
            reader.get::<SecurityGroup>(id).ok_or_else(|| SecurityGroupError::NotFound(id.into()).into())
        }
        (None, Some(name)) => {
            let vpc_id = default_vpc(reader)?;
            security_groups::find_by_name(reader, &vpc_id, name)
                .ok_or_else(|| SecurityGroupError::NameNotFound { name: name.into(), vpc_id }.into())
        }
        (Some(_), Some(_)) => {
            Err(combination("The parameters groupName and groupId may not be used together."))
        }
        (None, None) => Err(missing("GroupId")),
    }
}

pub(super) fn default_vpc(reader: &Reader<'_>) -> Result<String, ApiError> {
    account(reader)?.default_vpc_id.clone().ok_or_else(|| SecurityGroupError::NoDefaultVpc.into())
}

/// Names and descriptions have letters, digits, spaces and a few signs.
fn check_text(value: &str, parameter: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if value.chars().count() > TEXT_CHARS_MAX || !value.chars().all(allowed) {
        return Err(invalid_value(format!(
            "Value ({value}) for parameter {parameter} is invalid. Up to {TEXT_CHARS_MAX} characters of a-z, A-Z, 0-9, space and ._-:/()#,@[]+=&;{{}}!$* are allowed."
        )));
    }
    Ok(())
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateSecurityGroupInput,
) -> Result<shapes::CreateSecurityGroupOutput, ApiError> {
    let name = required(input.group_name, "GroupName")?;
    let description = required(input.description, "GroupDescription")?;
    check_text(&name, "GroupName")?;
    check_text(&description, "GroupDescription")?;
    if name.starts_with("sg-") {
        return Err(invalid_value(format!(
            "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
        )));
    }
    let tags = tags_of_kind(input.tag_specifications, "security-group")?;
    let (vpc_id, now) = (input.vpc_id.filter(|v| !v.is_empty()), cx.clock.now());
    cx.store
        .transact::<_, ApiError>(|tx| {
            let vpc_id = match vpc_id {
                Some(id) => id,
                None => default_vpc(&tx.reader())?,
            };
            let group =
                security_groups::create(tx, &vpc_id, &name, &description, tags, now, &mut **cx.rng.lock())?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            let account = account(&tx.reader())?;
            Ok(shapes::CreateSecurityGroupOutput {
                group_id: s(&group.id),
                tags: show_tags(&group.tags),
                security_group_arn: s(arn(&account, &group.id)),
            })
        })
        .await
}

pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteSecurityGroupInput,
) -> Result<shapes::DeleteSecurityGroupOutput, ApiError> {
    cx.store
        .transact::<_, ApiError>(|tx| {
            let group = find(&tx.reader(), input.group_id.as_deref(), input.group_name.as_deref())?;
            security_groups::delete(tx, &group.id)?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            Ok(shapes::DeleteSecurityGroupOutput { return_: Some(true), group_id: s(&group.id) })
        })
        .await
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeSecurityGroupsInput,
) -> Result<shapes::DescribeSecurityGroupsOutput, ApiError> {
    let (ids, names) = (input.group_ids.unwrap_or_default(), input.group_names.unwrap_or_default());
    check_ids("sg", "InvalidGroupId.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let mut wanted = Vec::new();
        for id in &ids {
            wanted.push(find(r, Some(id), None)?.id.clone());
        }
        for name in &names {
            wanted.push(find(r, None, Some(name))?.id.clone());
        }
        let matching = r.iter::<SecurityGroup>().filter(|g| {
            (wanted.is_empty() || wanted.contains(&g.id))
                && filters.matches(&g.tags, |name| field(r, &account, g, name))
        });
        let (found, next_token) = page.cut(matching, |g| &g.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let security_groups = found.into_iter().map(|g| show(&account, g)).collect();
        Ok(shapes::DescribeSecurityGroupsOutput { security_groups: Some(security_groups), next_token })
    })
}

//! Rules of listeners.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::elb::limits::{RULE_PRIORITY_MAX, RULES_PER_LOAD_BALANCER_MAX};
use puffer_core::elb::{Rule, arn};
use puffer_core::ids;
use puffer_shapes::elbv2::{self as shapes, errors};

use super::{actions, conditions, listeners, lookup, page, tags, view};
use crate::{ApiError, Ctx};

fn priority(given: Option<i32>) -> Result<u32, ApiError> {
    let n = given.unwrap_or_default();
    u32::try_from(n).ok().filter(|p| (1..=RULE_PRIORITY_MAX).contains(p)).ok_or_else(|| {
        ApiError::validation(format!("The rule priority '{n}' must be from 1 to {RULE_PRIORITY_MAX}"))
    })
}

fn in_use(priority: u32) -> ApiError {
    ApiError::declared(
        &errors::PRIORITY_IN_USE_EXCEPTION,
        format!("Priority '{priority}' is currently in use"),
    )
}

fn no_transforms(transforms: &Option<Vec<shapes::RuleTransform>>) -> Result<(), ApiError> {
    match transforms.as_ref().is_some_and(|t| !t.is_empty()) {
        true => Err(ApiError::validation("Transforms of requests are not supported by Puffer")),
        false => Ok(()),
    }
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateRuleInput,
) -> Result<shapes::CreateRuleOutput, ApiError> {
    let listener_arn = input.listener_arn.unwrap_or_default();
    no_transforms(&input.transforms)?;
    let priority = priority(input.priority)?;
    let conditions = conditions::parse(input.conditions)?;
    let actions = actions::parse(input.actions)?;
    let tags = tags::parse(input.tags)?;
    let rule = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let listener = lookup::listener(&tx.reader(), &listener_arn)?;
            let balancer = lookup::load_balancer(&tx.reader(), &listener.load_balancer)?;
            let rules = tx.list_by::<Rule>("load_balancer", &balancer.arn);
            if rules.iter().any(|r| r.listener == listener_arn && r.priority == Some(priority)) {
                return Err(in_use(priority));
            }
            if rules.iter().filter(|r| r.priority.is_some()).count() >= RULES_PER_LOAD_BALANCER_MAX {
                return Err(ApiError::declared(
                    &errors::TOO_MANY_RULES_EXCEPTION,
                    format!(
                        "A load balancer can have at most {RULES_PER_LOAD_BALANCER_MAX} rules, default rules \
                         not counted"
                    ),
                ));
            }
            actions::check_target_groups(&tx.reader(), &balancer, &actions, None)?;
            let arn = arn::rule(&listener_arn, &ids::hex16(&mut **cx.rng.lock()))
                .ok_or_else(|| ApiError::internal(&format!("{listener_arn} is not a listener's ARN")))?;
            Ok(tx.put(Rule {
                arn,
                listener: listener_arn.clone(),
                load_balancer: balancer.arn.clone(),
                priority: Some(priority),
                conditions,
                actions,
                tags,
            }))
        })
        .await?;
    Ok(shapes::CreateRuleOutput { rules: Some(vec![view::rule(&rule)]) })
}

/// Rules by ascending priority, the default rule last: the order in which they are tried.
pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeRulesInput,
) -> Result<shapes::DescribeRulesOutput, ApiError> {
    let arns = input.rule_arns.unwrap_or_default();
    let found: Vec<Arc<Rule>> = cx.store.read(|r| match (&input.listener_arn, arns.is_empty()) {
        (Some(listener), true) => {
            lookup::listener(r, listener)?;
            Ok(r.list_by("listener", listener))
        }
        (None, false) => arns.iter().map(|arn| lookup::rule(r, arn)).collect(),
        (Some(_), false) => {
            Err(ApiError::validation("Listener ARN and rule ARNs cannot be specified at the same time"))
        }
        (None, true) => Err(ApiError::validation("You must specify either a listener ARN or rule ARNs")),
    })?;
    // The order goes into the key, so that pages keep it.
    let key = |rule: &Rule| format!("{:010}|{}", rule.priority.unwrap_or(u32::MAX), rule.arn);
    let keyed: Vec<(String, Arc<Rule>)> = found.into_iter().map(|r| (key(&r), r)).collect();
    let (found, next_marker) = page::page(keyed, |(key, _)| key, input.marker.as_deref(), input.page_size);
    let rules = found.iter().map(|(_, rule)| view::rule(rule)).collect();
    Ok(shapes::DescribeRulesOutput { rules: Some(rules), next_marker })
}

pub(super) async fn modify(
    cx: Arc<Ctx>,
    input: shapes::ModifyRuleInput,
) -> Result<shapes::ModifyRuleOutput, ApiError> {
    let rule_arn = input.rule_arn.unwrap_or_default();
    no_transforms(&input.transforms)?;
    let new_conditions = input.conditions.map(|c| conditions::parse(Some(c))).transpose()?;
    let new_actions = input.actions.map(|a| actions::parse(Some(a))).transpose()?;
    let rule = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let rule = lookup::rule(&tx.reader(), &rule_arn)?;
            if rule.priority.is_none() {
                return Err(ApiError::declared(
                    &errors::OPERATION_NOT_PERMITTED_EXCEPTION,
                    format!("Default rule '{rule_arn}' cannot be modified; modify its listener"),
                ));
            }
            if let Some(actions) = new_actions {
                listeners::set_actions(tx, &rule.load_balancer, &rule_arn, actions)?;
            }
            if let Some(conditions) = new_conditions {
                tx.update::<Rule>(&rule_arn, |r| r.conditions = conditions);
            }
            lookup::rule(&tx.reader(), &rule_arn)
        })
        .await?;
    Ok(shapes::ModifyRuleOutput { rules: Some(vec![view::rule(&rule)]) })
}

pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteRuleInput,
) -> Result<shapes::DeleteRuleOutput, ApiError> {
    let rule_arn = input.rule_arn.unwrap_or_default();
    cx.store
        .transact::<_, ApiError>(|tx| {
            if lookup::rule(&tx.reader(), &rule_arn)?.priority.is_none() {
                return Err(ApiError::declared(
                    &errors::OPERATION_NOT_PERMITTED_EXCEPTION,
                    format!("Default rule '{rule_arn}' cannot be deleted"),
                ));
            }
            tx.delete::<Rule>(&rule_arn);
            Ok(())
        })
        .await?;
    Ok(shapes::DeleteRuleOutput {})
}

/// Sets several priorities at once, so that two rules can trade places.
pub(super) async fn set_priorities(
    cx: Arc<Ctx>,
    input: shapes::SetRulePrioritiesInput,
) -> Result<shapes::SetRulePrioritiesOutput, ApiError> {
    let mut wanted = BTreeMap::new();
    for pair in input.rule_priorities.unwrap_or_default() {
        wanted.insert(pair.rule_arn.unwrap_or_default(), priority(pair.priority)?);
    }
    let changed = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let mut changed = Vec::with_capacity(wanted.len());
            for (arn, priority) in &wanted {
                if lookup::rule(&tx.reader(), arn)?.priority.is_none() {
                    return Err(ApiError::declared(
                        &errors::OPERATION_NOT_PERMITTED_EXCEPTION,
                        format!("The priority of default rule '{arn}' cannot be modified"),
                    ));
                }
                changed.extend(tx.update::<Rule>(arn, |r| r.priority = Some(*priority)));
            }
            for rule in &changed {
                let same = tx.list_by::<Rule>("listener", &rule.listener);
                if same.iter().filter(|r| r.priority == rule.priority).count() > 1 {
                    return Err(in_use(rule.priority.unwrap_or_default()));
                }
            }
            Ok(changed)
        })
        .await?;
    Ok(shapes::SetRulePrioritiesOutput { rules: Some(changed.iter().map(|r| view::rule(r)).collect()) })
}

//! Listeners. A listener's default actions are those of its default rule, which is made and goes with it.

use std::sync::Arc;

use puffer_core::elb::limits::LISTENERS_PER_LOAD_BALANCER_MAX;
use puffer_core::elb::{Listener, ListenerProtocol, LoadBalancer, Rule, arn};
use puffer_core::ids;
use puffer_shapes::elbv2::{self as shapes, errors};
use puffer_store::{Reader, Transaction};

use super::page::page;
use super::{actions, lookup, tags, view};
use crate::{ApiError, Ctx};

/// A listener's protocol, if Puffer can serve it.
fn protocol(name: &str) -> Result<ListenerProtocol, ApiError> {
    match name {
        "HTTP" => Ok(ListenerProtocol::Http),
        "HTTPS" => Err(ApiError::declared(
            &errors::UNSUPPORTED_PROTOCOL_EXCEPTION,
            "HTTPS listeners need TLS, which Puffer does not have yet; use HTTP",
        )),
        other => Err(ApiError::validation(format!(
            "Listener protocol '{other}' is not supported for load balancers of type 'application'"
        ))),
    }
}

fn port(given: i32) -> Result<u16, ApiError> {
    u16::try_from(given)
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(|| ApiError::validation(format!("Listener port '{given}' must be from 1 to 65535")))
}

fn no_tls(
    certificates: &Option<Vec<shapes::Certificate>>,
    ssl_policy: &Option<String>,
    alpn: &Option<Vec<String>>,
    mutual: &Option<shapes::MutualAuthenticationAttributes>,
) -> Result<(), ApiError> {
    let mutual = mutual.as_ref().is_some_and(|m| m.mode.as_deref().is_some_and(|mode| mode != "off"));
    if certificates.as_ref().is_some_and(|c| !c.is_empty())
        || ssl_policy.as_ref().is_some_and(|p| !p.is_empty())
        || alpn.as_ref().is_some_and(|a| a.iter().any(|p| p != "None"))
        || mutual
    {
        return Err(ApiError::validation(
            "Certificates, security policies, ALPN and mutual authentication need an HTTPS listener, which \
             Puffer does not have yet",
        ));
    }
    Ok(())
}

fn duplicate(port: u16, balancer: &str) -> ApiError {
    ApiError::declared(
        &errors::DUPLICATE_LISTENER_EXCEPTION,
        format!("A listener already exists on port '{port}' for load balancer '{balancer}'"),
    )
}

fn on_port(reader: &Reader<'_>, balancer: &str, port: u16) -> Option<Arc<Listener>> {
    reader.list_by::<Listener>("load_balancer", balancer).into_iter().find(|l| l.port == port)
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateListenerInput,
) -> Result<shapes::CreateListenerOutput, ApiError> {
    let balancer_arn = input.load_balancer_arn.unwrap_or_default();
    let protocol = match input.protocol.as_deref() {
        Some(name) => protocol(name)?,
        None => return Err(ApiError::validation("A listener protocol must be specified")),
    };
    no_tls(&input.certificates, &input.ssl_policy, &input.alpn_policy, &input.mutual_authentication)?;
    let port = match input.port {
        Some(given) => port(given)?,
        None => return Err(ApiError::validation("A listener port must be specified")),
    };
    let actions = actions::parse(input.default_actions)?;
    let tags = tags::parse(input.tags)?;
    let now = cx.clock.now();
    let (listener, rule) = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let balancer = lookup::load_balancer(&tx.reader(), &balancer_arn)?;
            if let Some(old) = on_port(&tx.reader(), &balancer_arn, port) {
                let rule = lookup::default_rule(&tx.reader(), &old)?;
                let same = old.protocol == protocol && rule.actions == actions && old.tags == tags;
                return if same { Ok((old, rule)) } else { Err(duplicate(port, &balancer_arn)) };
            }
            let n_listeners = tx.count_by::<Listener>("load_balancer", &balancer_arn);
            if n_listeners >= LISTENERS_PER_LOAD_BALANCER_MAX {
                return Err(ApiError::declared(
                    &errors::TOO_MANY_LISTENERS_EXCEPTION,
                    format!("A load balancer can have at most {LISTENERS_PER_LOAD_BALANCER_MAX} listeners"),
                ));
            }
            actions::check_target_groups(&tx.reader(), &balancer, &actions, None)?;
            let mut rng = cx.rng.lock();
            let bad_arn = || ApiError::internal(&format!("{balancer_arn} is not a load balancer's ARN"));
            let arn = arn::listener(&balancer_arn, &ids::hex16(&mut **rng)).ok_or_else(bad_arn)?;
            let default_rule = arn::rule(&arn, &ids::hex16(&mut **rng)).ok_or_else(bad_arn)?;
            let rule = tx.put(Rule {
                arn: default_rule.clone(),
                listener: arn.clone(),
                load_balancer: balancer_arn.clone(),
                priority: None,
                conditions: Vec::new(),
                actions,
                tags: Default::default(),
            });
            let listener = tx.put(Listener {
                arn,
                load_balancer: balancer_arn.clone(),
                port,
                protocol,
                default_rule,
                attributes: Default::default(),
                created_at: now,
                tags,
            });
            Ok((listener, rule))
        })
        .await?;
    Ok(shapes::CreateListenerOutput { listeners: Some(vec![view::listener(&listener, &rule)]) })
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeListenersInput,
) -> Result<shapes::DescribeListenersOutput, ApiError> {
    let arns = input.listener_arns.unwrap_or_default();
    cx.store.read(|r| {
        let found = match (&input.load_balancer_arn, arns.is_empty()) {
            (Some(balancer), true) => {
                lookup::load_balancer(r, balancer)?;
                r.list_by::<Listener>("load_balancer", balancer)
            }
            (None, false) => arns.iter().map(|arn| lookup::listener(r, arn)).collect::<Result<_, _>>()?,
            (Some(_), false) => {
                return Err(ApiError::validation(
                    "Load balancer ARN and listener ARNs cannot be specified at the same time",
                ));
            }
            (None, true) => {
                return Err(ApiError::validation(
                    "You must specify either listener ARNs or a load balancer ARN",
                ));
            }
        };
        let (found, next_marker) = page(found, |l| &l.arn, input.marker.as_deref(), input.page_size);
        let shown = found.iter().map(|l| Ok(view::listener(l, &*lookup::default_rule(r, l)?)));
        let listeners = Some(shown.collect::<Result<_, ApiError>>()?);
        Ok(shapes::DescribeListenersOutput { listeners, next_marker })
    })
}

pub(super) async fn modify(
    cx: Arc<Ctx>,
    input: shapes::ModifyListenerInput,
) -> Result<shapes::ModifyListenerOutput, ApiError> {
    let listener_arn = input.listener_arn.unwrap_or_default();
    let new_protocol = input.protocol.as_deref().map(protocol).transpose()?;
    no_tls(&input.certificates, &input.ssl_policy, &input.alpn_policy, &input.mutual_authentication)?;
    let new_port = input.port.map(port).transpose()?;
    let new_actions = input.default_actions.map(|a| actions::parse(Some(a))).transpose()?;
    let (listener, rule) = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let old = lookup::listener(&tx.reader(), &listener_arn)?;
            if let Some(port) = new_port
                && on_port(&tx.reader(), &old.load_balancer, port).is_some_and(|l| l.arn != old.arn)
            {
                return Err(duplicate(port, &old.load_balancer));
            }
            if let Some(actions) = new_actions {
                set_actions(tx, &old.load_balancer, &old.default_rule, actions)?;
            }
            let changed = tx.update::<Listener>(&listener_arn, |l| {
                l.port = new_port.unwrap_or(l.port);
                l.protocol = new_protocol.unwrap_or(l.protocol);
            });
            let listener = changed.unwrap_or(old);
            let rule = lookup::default_rule(&tx.reader(), &listener)?;
            Ok((listener, rule))
        })
        .await?;
    Ok(shapes::ModifyListenerOutput { listeners: Some(vec![view::listener(&listener, &rule)]) })
}

/// Replaces a rule's actions.
pub(super) fn set_actions(
    tx: &mut Transaction<'_>,
    balancer_arn: &str,
    rule_arn: &str,
    new: Vec<puffer_core::elb::rule::Action>,
) -> Result<(), ApiError> {
    let balancer: Arc<LoadBalancer> = lookup::load_balancer(&tx.reader(), balancer_arn)?;
    actions::check_target_groups(&tx.reader(), &balancer, &new, Some(rule_arn))?;
    tx.update::<Rule>(rule_arn, |r| r.actions = new);
    Ok(())
}

pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteListenerInput,
) -> Result<shapes::DeleteListenerOutput, ApiError> {
    let listener_arn = input.listener_arn.unwrap_or_default();
    cx.store
        .transact::<_, ApiError>(|tx| {
            lookup::listener(&tx.reader(), &listener_arn)?;
            for rule in tx.list_by::<Rule>("listener", &listener_arn) {
                tx.delete::<Rule>(&rule.arn);
            }
            tx.delete::<Listener>(&listener_arn);
            Ok(())
        })
        .await?;
    Ok(shapes::DeleteListenerOutput {})
}

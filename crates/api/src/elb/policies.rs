//! Policies: made by name, then given to listeners or instance ports. Those that need TLS are refused by their type.

use std::sync::Arc;

use puffer_core::elb::classic::{
    ClassicListener, ClassicLoadBalancer, POLICIES_MAX, Policy, PolicyKind, Protocol,
};
use puffer_shapes::elb::{self as shapes, errors};

use super::listeners::listener_at;
use super::{change, found, invalid_configuration, view};
use crate::{ApiError, Ctx};

/// Types of policies that AWS has and that need TLS.
const TLS_TYPES: [&str; 3] =
    ["SSLNegotiationPolicyType", "BackendServerAuthenticationPolicyType", "PublicKeyPolicyType"];

struct PolicyType {
    name: &'static str,
    description: &'static str,
    attribute: &'static str,
    attribute_type: &'static str,
    cardinality: &'static str,
}

const TYPES: [PolicyType; 3] = [
    PolicyType {
        name: "AppCookieStickinessPolicyType",
        description: "Keeps a client on its instance as long as it has a cookie of the application. For HTTP listeners.",
        attribute: "CookieName",
        attribute_type: "String",
        cardinality: "ONE",
    },
    PolicyType {
        name: "LBCookieStickinessPolicyType",
        description: "Keeps a client on its instance by a cookie of the load balancer. For HTTP listeners.",
        attribute: "CookieExpirationPeriod",
        attribute_type: "Long",
        cardinality: "ZERO_OR_ONE",
    },
    PolicyType {
        name: "ProxyProtocolPolicyType",
        description: "Tells instances the address of the client in a line before its bytes. For TCP listeners.",
        attribute: "ProxyProtocol",
        attribute_type: "Boolean",
        cardinality: "ONE",
    },
];

fn not_found(name: &str) -> ApiError {
    ApiError::declared(&errors::POLICY_NOT_FOUND_EXCEPTION, format!("There is no policy with name {name}"))
}

fn add(balancer: &mut ClassicLoadBalancer, name: String, kind: PolicyKind) -> Result<(), ApiError> {
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_name {
        return Err(ApiError::validation(format!(
            "Policy name '{name}' can only contain alphanumeric characters and hyphens"
        )));
    }
    match balancer.policy(&name) {
        Some(old) if old.kind == kind => return Ok(()),
        Some(_) => {
            return Err(ApiError::declared(
                &errors::DUPLICATE_POLICY_NAME_EXCEPTION,
                format!("A policy with the name {name} exists, but with different settings"),
            ));
        }
        None => {}
    }
    if balancer.policies.len() >= POLICIES_MAX {
        return Err(ApiError::declared(
            &errors::TOO_MANY_POLICIES_EXCEPTION,
            format!("A load balancer can have at most {POLICIES_MAX} policies"),
        ));
    }
    balancer.policies.push(Policy { name, kind });
    Ok(())
}

fn lb_cookie(expiration_s: Option<i64>) -> Result<PolicyKind, ApiError> {
    let wrong = || ApiError::validation("CookieExpirationPeriod must be a positive number of seconds");
    let positive = |s: i64| u32::try_from(s).ok().filter(|s| *s > 0).ok_or_else(wrong);
    Ok(PolicyKind::LbCookie { expiration_s: expiration_s.map(positive).transpose()? })
}

fn app_cookie(name: &str) -> Result<PolicyKind, ApiError> {
    let is_token = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_graphic() && !b"=;,\"()<>@:\\/[]?{}".contains(&b));
    match is_token {
        true => Ok(PolicyKind::AppCookie { cookie_name: name.to_owned() }),
        false => Err(ApiError::validation(format!("'{name}' is not the name of a cookie"))),
    }
}

pub(super) async fn create_lb_cookie(
    cx: Arc<Ctx>,
    input: shapes::CreateLBCookieStickinessPolicyInput,
) -> Result<shapes::CreateLBCookieStickinessPolicyOutput, ApiError> {
    let kind = lb_cookie(input.cookie_expiration_period)?;
    let name = input.policy_name.unwrap_or_default();
    change(&cx, input.load_balancer_name, |balancer| add(balancer, name, kind)).await?;
    Ok(shapes::CreateLBCookieStickinessPolicyOutput {})
}

pub(super) async fn create_app_cookie(
    cx: Arc<Ctx>,
    input: shapes::CreateAppCookieStickinessPolicyInput,
) -> Result<shapes::CreateAppCookieStickinessPolicyOutput, ApiError> {
    let kind = app_cookie(&input.cookie_name.unwrap_or_default())?;
    let name = input.policy_name.unwrap_or_default();
    change(&cx, input.load_balancer_name, |balancer| add(balancer, name, kind)).await?;
    Ok(shapes::CreateAppCookieStickinessPolicyOutput {})
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateLoadBalancerPolicyInput,
) -> Result<shapes::CreateLoadBalancerPolicyOutput, ApiError> {
    let type_name = input.policy_type_name.unwrap_or_default();
    let policy_type = policy_type(&type_name)?;
    let attributes = input.policy_attributes.unwrap_or_default();
    if let Some(foreign) =
        attributes.iter().find(|a| a.attribute_name.as_deref() != Some(policy_type.attribute))
    {
        return Err(invalid_configuration(format!(
            "Policies of the type {type_name} have no attribute '{}'",
            foreign.attribute_name.as_deref().unwrap_or_default()
        )));
    }
    let value = attributes.first().and_then(|a| a.attribute_value.as_deref());
    let kind = match (policy_type.attribute, value) {
        ("CookieExpirationPeriod", None) => lb_cookie(None)?,
        // Not a number is as wrong as one that is not positive.
        ("CookieExpirationPeriod", Some(text)) => lb_cookie(Some(text.parse().unwrap_or(-1)))?,
        ("CookieName", value) => app_cookie(value.unwrap_or_default())?,
        (_, Some("true" | "True")) => PolicyKind::ProxyProtocol { on: true },
        (_, Some("false" | "False")) => PolicyKind::ProxyProtocol { on: false },
        (attribute, _) => {
            return Err(ApiError::validation(format!("{attribute} must be true or false")));
        }
    };
    let name = input.policy_name.unwrap_or_default();
    change(&cx, input.load_balancer_name, |balancer| add(balancer, name, kind)).await?;
    Ok(shapes::CreateLoadBalancerPolicyOutput {})
}

fn policy_type(name: &str) -> Result<&'static PolicyType, ApiError> {
    TYPES.iter().find(|t| t.name == name).ok_or_else(|| match TLS_TYPES.contains(&name) {
        true => invalid_configuration(format!(
            "Policies of the type {name} need TLS, which Puffer does not have yet"
        )),
        false => ApiError::declared(
            &errors::POLICY_TYPE_NOT_FOUND_EXCEPTION,
            format!("There is no policy type with name {name}"),
        ),
    })
}

pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteLoadBalancerPolicyInput,
) -> Result<shapes::DeleteLoadBalancerPolicyOutput, ApiError> {
    let name = input.policy_name.unwrap_or_default();
    change(&cx, input.load_balancer_name, |balancer| {
        balancer.policy(&name).ok_or_else(|| not_found(&name))?;
        let listeners = balancer.listeners.iter().map(|l| &l.policies);
        let mut used = listeners.chain(balancer.backend_policies.values());
        if used.any(|names| names.contains(&name)) {
            return Err(invalid_configuration(format!(
                "The policy {name} is enabled for a listener or an instance port"
            )));
        }
        balancer.policies.retain(|p| p.name != name);
        Ok(())
    })
    .await?;
    Ok(shapes::DeleteLoadBalancerPolicyOutput {})
}

/// Replaces the policies of a listener; none switches its stickiness off.
pub(super) async fn set_of_listener(
    cx: Arc<Ctx>,
    input: shapes::SetLoadBalancerPoliciesOfListenerInput,
) -> Result<shapes::SetLoadBalancerPoliciesOfListenerOutput, ApiError> {
    let names = input.policy_names.unwrap_or_default();
    let port = input.load_balancer_port.unwrap_or_default();
    change(&cx, input.load_balancer_name, |balancer| {
        let at = listener_at(&balancer.listeners, port)?;
        for name in &names {
            let policy = balancer.policy(name).ok_or_else(|| not_found(name))?;
            if !policy.kind.is_stickiness() {
                return Err(invalid_configuration(format!("The policy {name} is not one for listeners")));
            }
        }
        if names.len() > 1 {
            return Err(invalid_configuration("A listener can have at most one stickiness policy"));
        }
        if !names.is_empty() && balancer.listeners[at].protocol != Protocol::Http {
            return Err(invalid_configuration("Session stickiness needs an HTTP listener"));
        }
        balancer.listeners[at].policies = names;
        Ok(())
    })
    .await?;
    Ok(shapes::SetLoadBalancerPoliciesOfListenerOutput {})
}

/// Why an HTTP listener and the policies of an instance port do not go together: HTTP tells the client's address in a header line,
/// and instances would take requests with and without the other line on one port.
pub(super) fn http_behind_policy(listener: &ClassicListener) -> ApiError {
    invalid_configuration(format!(
        "The instance port {} cannot have policies: the HTTP listener on port {} uses it",
        listener.instance_port, listener.port
    ))
}

/// Replaces the policies towards an instance port.
pub(super) async fn set_for_backend(
    cx: Arc<Ctx>,
    input: shapes::SetLoadBalancerPoliciesForBackendServerInput,
) -> Result<shapes::SetLoadBalancerPoliciesForBackendServerOutput, ApiError> {
    let names = input.policy_names.unwrap_or_default();
    let given = input.instance_port.unwrap_or_default();
    change(&cx, input.load_balancer_name, |balancer| {
        let relayed = |port: u16| {
            balancer.listeners.iter().any(|l| l.instance_port == port && l.protocol == Protocol::Tcp)
        };
        let port = u16::try_from(given).ok();
        for name in &names {
            let policy = balancer.policy(name).ok_or_else(|| not_found(name))?;
            if policy.kind.is_stickiness() {
                return Err(invalid_configuration(format!(
                    "The policy {name} is not one for instance ports"
                )));
            }
        }
        if let Some(http) = balancer.listeners.iter().find(|l| {
            !names.is_empty() && i32::from(l.instance_port) == given && l.protocol == Protocol::Http
        }) {
            return Err(http_behind_policy(http));
        }
        match port.filter(|p| relayed(*p) || names.is_empty()) {
            Some(port) if names.is_empty() => drop(balancer.backend_policies.remove(&port)),
            Some(port) => drop(balancer.backend_policies.insert(port, names)),
            None => {
                return Err(invalid_configuration(format!(
                    "No TCP listener sends its connections to the instance port {given}"
                )));
            }
        }
        Ok(())
    })
    .await?;
    Ok(shapes::SetLoadBalancerPoliciesForBackendServerOutput {})
}

/// Without a load balancer AWS shows its predefined policies, which are all about TLS: there are none.
pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeLoadBalancerPoliciesInput,
) -> Result<shapes::DescribeLoadBalancerPoliciesOutput, ApiError> {
    let names = input.policy_names.unwrap_or_default();
    let policies = match &input.load_balancer_name {
        Some(name) => cx.store.read(|r| found(r, name))?.policies.clone(),
        None => Vec::new(),
    };
    let chosen: Vec<&Policy> = match names.is_empty() {
        true => policies.iter().collect(),
        false => {
            let named = |n: &String| policies.iter().find(|p| p.name == *n).ok_or_else(|| not_found(n));
            names.iter().map(named).collect::<Result<_, _>>()?
        }
    };
    Ok(shapes::DescribeLoadBalancerPoliciesOutput {
        policy_descriptions: Some(chosen.into_iter().map(view::policy).collect()),
    })
}

pub(super) async fn describe_types(
    _: Arc<Ctx>,
    input: shapes::DescribeLoadBalancerPolicyTypesInput,
) -> Result<shapes::DescribeLoadBalancerPolicyTypesOutput, ApiError> {
    let names = input.policy_type_names.unwrap_or_default();
    let chosen: Vec<&PolicyType> = match names.is_empty() {
        true => TYPES.iter().collect(),
        false => names.iter().map(|n| policy_type(n)).collect::<Result<_, _>>()?,
    };
    let shown = |t: &PolicyType| shapes::PolicyTypeDescription {
        policy_type_name: Some(t.name.to_owned()),
        description: Some(t.description.to_owned()),
        policy_attribute_type_descriptions: Some(vec![shapes::PolicyAttributeTypeDescription {
            attribute_name: Some(t.attribute.to_owned()),
            attribute_type: Some(t.attribute_type.to_owned()),
            cardinality: Some(t.cardinality.to_owned()),
            ..Default::default()
        }]),
    };
    Ok(shapes::DescribeLoadBalancerPolicyTypesOutput {
        policy_type_descriptions: Some(chosen.into_iter().map(shown).collect()),
    })
}

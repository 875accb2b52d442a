//! Listeners: HTTP in front of HTTP, TCP in front of TCP.

use std::sync::Arc;

use puffer_core::elb::classic::{ClassicListener, LISTENERS_MAX, Protocol};
use puffer_shapes::elb::{self as shapes, errors};

use super::policies::http_behind_policy;
use super::{change, found, invalid_configuration};
use crate::{ApiError, Ctx};

fn protocol(name: &str) -> Result<Protocol, ApiError> {
    match name.to_ascii_uppercase().as_str() {
        "HTTP" => Ok(Protocol::Http),
        "TCP" => Ok(Protocol::Tcp),
        "HTTPS" | "SSL" => Err(ApiError::declared(
            &errors::UNSUPPORTED_PROTOCOL_EXCEPTION,
            format!("The protocol {name} needs TLS, which Puffer does not have yet; use HTTP or TCP"),
        )),
        _ => Err(ApiError::validation(format!("Listener protocol '{name}' must be HTTP or TCP"))),
    }
}

fn port(given: Option<i32>, what: &str) -> Result<u16, ApiError> {
    let given = given.unwrap_or_default();
    u16::try_from(given)
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(|| ApiError::validation(format!("{what} '{given}' must be from 1 to 65535")))
}

/// A listener as asked for.
pub(super) fn parse(given: &shapes::Listener) -> Result<ClassicListener, ApiError> {
    let front = protocol(given.protocol.as_deref().unwrap_or_default())?;
    let back = match given.instance_protocol.as_deref() {
        None | Some("") => front,
        Some(name) => protocol(name)?,
    };
    if front != back {
        return Err(ApiError::validation(format!(
            "A listener with the protocol {} cannot have the instance protocol {}: both must be of the same layer",
            front.name(),
            back.name()
        )));
    }
    if given.ssl_certificate_id.as_deref().is_some_and(|id| !id.is_empty()) {
        return Err(invalid_configuration("Only HTTPS and SSL listeners have a certificate"));
    }
    Ok(ClassicListener {
        port: port(given.load_balancer_port, "LoadBalancerPort")?,
        protocol: front,
        instance_port: port(given.instance_port, "InstancePort")?,
        policies: Vec::new(),
    })
}

/// Adds a listener; one that is there already just so is no error.
pub(super) fn add(
    balancer: &str,
    listeners: &mut Vec<ClassicListener>,
    new: ClassicListener,
) -> Result<(), ApiError> {
    let plain = |l: &ClassicListener| (l.protocol, l.instance_port);
    match listeners.iter().find(|l| l.port == new.port) {
        Some(old) if plain(old) == plain(&new) => return Ok(()),
        Some(_) => {
            return Err(ApiError::declared(
                &errors::DUPLICATE_LISTENER_EXCEPTION,
                format!(
                    "A listener already exists for {balancer} with LoadBalancerPort {}, but with a different \
                     InstancePort, Protocol, or SSLCertificateId",
                    new.port
                ),
            ));
        }
        None => listeners.push(new),
    }
    match listeners.len() <= LISTENERS_MAX {
        true => Ok(()),
        false => {
            Err(invalid_configuration(format!("A load balancer can have at most {LISTENERS_MAX} listeners")))
        }
    }
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateLoadBalancerListenersInput,
) -> Result<shapes::CreateLoadBalancerListenersOutput, ApiError> {
    let new: Vec<ClassicListener> = input.listeners.iter().flatten().map(parse).collect::<Result<_, _>>()?;
    change(&cx, input.load_balancer_name, |balancer| {
        let behind_policy = |l: &&ClassicListener| {
            l.protocol == Protocol::Http && balancer.backend_policies.contains_key(&l.instance_port)
        };
        if let Some(http) = new.iter().find(behind_policy) {
            return Err(http_behind_policy(http));
        }
        new.into_iter().try_for_each(|l| add(&balancer.name, &mut balancer.listeners, l))
    })
    .await?;
    Ok(shapes::CreateLoadBalancerListenersOutput {})
}

/// Ports without a listener are as wanted already.
pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteLoadBalancerListenersInput,
) -> Result<shapes::DeleteLoadBalancerListenersOutput, ApiError> {
    let ports = input.load_balancer_ports.unwrap_or_default();
    change(&cx, input.load_balancer_name, |balancer| {
        balancer.listeners.retain(|l| !ports.contains(&i32::from(l.port)));
        Ok(())
    })
    .await?;
    Ok(shapes::DeleteLoadBalancerListenersOutput {})
}

/// No listener has TLS, so none can have a certificate.
pub(super) async fn set_certificate(
    cx: Arc<Ctx>,
    input: shapes::SetLoadBalancerListenerSSLCertificateInput,
) -> Result<shapes::SetLoadBalancerListenerSSLCertificateOutput, ApiError> {
    let port = input.load_balancer_port.unwrap_or_default();
    cx.store.read(|r| {
        let balancer = found(r, &input.load_balancer_name.unwrap_or_default())?;
        listener_at(&balancer.listeners, port)?;
        Err(invalid_configuration(format!(
            "The listener on port {port} cannot have the certificate '{}': Puffer has no TLS listeners yet",
            input.ssl_certificate_id.unwrap_or_default()
        )))
    })
}

/// Position of the listener on a port.
pub(super) fn listener_at(listeners: &[ClassicListener], port: i32) -> Result<usize, ApiError> {
    listeners.iter().position(|l| i32::from(l.port) == port).ok_or_else(|| {
        ApiError::declared(
            &errors::LISTENER_NOT_FOUND_EXCEPTION,
            format!("Listener with LoadBalancerPort {port} not found"),
        )
    })
}

//! All services share one port. A request says whose it is, in this order: the `X-Amz-Target` header, the path (of Smithy's RPC
//! v2: `/service/<name>/operation/<name>`), then the parameters
//! `Action` and `Version`, then the credential scope. The scope comes last because old clients guess it from the host name,
//! and are wrong when the host is an IP address.

use crate::body::Form;
use crate::fault::Fault;
use crate::head::RequestHead;
use crate::query::Params;
use crate::schema::{OperationSchema, Protocol, ServiceSchema};
use crate::sigv4;

/// EC2's versions before today's. Clients that sign without a scope, or with one guessed from an IP address, have only this
/// to say that they mean EC2. (Two days are left out, on which another service of this server had its version.)
const EC2_VERSIONS: [&str; 50] = [
    "2006-06-26",
    "2006-10-01",
    "2007-01-03",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2008-02-01",
    "2008-05-05",
    "2008-08-08",
    "2008-12-01",
    "2009-03-01",
    "2009-04-04",
    "2009-07-15",
    "2009-08-15",
    "2009-10-31",
    "2009-11-30",
    "2010-06-15",
    "2010-08-31",
    "2010-11-15",
    "2011-02-28",
    "2011-05-15",
    "2011-07-15",
    "2011-11-01",
    "2011-12-01",
    "2011-12-15",
    "2012-03-01",
    "2012-04-01",
    "2012-05-01",
    "2012-06-15",
    "2012-07-20",
    "2012-08-15",
    "2012-10-01",
    "2012-12-01",
    "2013-02-01",
    "2013-06-15",
    "2013-07-15",
    "2013-08-15",
    "2013-10-01",
    "2013-10-15",
    "2014-02-01",
    "2014-05-01",
    "2014-06-15",
    "2014-09-01",
    "2014-10-01",
    "2015-03-01",
    "2015-04-15",
    "2015-10-01",
    "2016-04-01",
    "2016-09-15",
    "2016-11-15",
];

/// What the `smithy-protocol` header of requests and answers in CBOR says.
pub(crate) const SMITHY_CBOR: &str = "rpc-v2-cbor";

/// Whose request it is.
#[derive(Debug)]
pub struct Route<'a> {
    /// The operation, and through it the service.
    pub operation: &'static OperationSchema,
    /// The protocol to decode and to answer in.
    pub protocol: Protocol,
    /// What to decode.
    pub form: Form<'a>,
}

/// A request that is nobody's, with the protocol to say so in.
#[derive(Debug)]
pub struct Lost {
    /// The service, if that much is known.
    pub service: Option<&'static ServiceSchema>,
    /// The protocol the client seems to speak.
    pub protocol: Protocol,
    /// What to answer.
    pub fault: Fault,
}

/// Finds the operation of a request among the services.
pub fn route<'a>(
    services: &[&'static ServiceSchema],
    head: &RequestHead<'a>,
    body: &'a [u8],
) -> Result<Route<'a>, Box<Lost>> {
    match head.header("x-amz-target") {
        Some(target) => by_target(services, head, target, body),
        None if head.header("smithy-protocol").is_some() => by_path(services, head, body),
        None => by_action(services, head, body),
    }
}

fn by_target<'a>(
    services: &[&'static ServiceSchema],
    head: &RequestHead<'a>,
    target: &str,
    body: &'a [u8],
) -> Result<Route<'a>, Box<Lost>> {
    let asked = match head.header("content-type") {
        Some(t) if t.starts_with("application/x-amz-json-1.0") => Protocol::Json { minor: 0 },
        _ => Protocol::Json { minor: 1 },
    };
    let (prefix, name) = target.rsplit_once('.').unwrap_or((target, ""));
    let found = services.iter().find(|s| !s.target_prefix.is_empty() && s.target_prefix == prefix);
    let Some(service) = found.copied() else {
        return Err(unknown(None, asked, &format!("No service serves the target {prefix}.")));
    };
    let protocol = service.json().unwrap_or(asked);
    match service.operation(name) {
        Some(operation) => Ok(Route { operation, protocol, form: Form::Json(body) }),
        None => Err(unknown(Some(service), protocol, &format!("The operation {name} is not served."))),
    }
}

fn by_path<'a>(
    services: &[&'static ServiceSchema],
    head: &RequestHead<'a>,
    body: &'a [u8],
) -> Result<Route<'a>, Box<Lost>> {
    let protocol = Protocol::Cbor;
    let asked = head.header("smithy-protocol").unwrap_or_default();
    if asked != SMITHY_CBOR {
        return Err(unknown(None, protocol, &format!("The protocol {asked} is not served.")));
    }
    // Whatever stands before the service is the endpoint's own path.
    let mut parts = head.path.rsplit('/');
    let found = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(operation), Some("operation"), Some(service), Some("service")) => Some((service, operation)),
        _ => None,
    };
    let Some((name, operation)) = found else {
        return Err(unknown(None, protocol, "The path does not name a service and an operation."));
    };
    let service = services.iter().copied().find(|s| s.speaks_cbor() && s.target_prefix == name);
    let Some(service) = service else {
        return Err(unknown(None, protocol, &format!("No service {name} is served in CBOR.")));
    };
    match service.operation(operation) {
        Some(operation) => Ok(Route { operation, protocol, form: Form::Cbor(body) }),
        None => Err(unknown(Some(service), protocol, &format!("The operation {operation} is not served."))),
    }
}

fn by_action<'a>(
    services: &[&'static ServiceSchema],
    head: &RequestHead<'a>,
    body: &'a [u8],
) -> Result<Route<'a>, Box<Lost>> {
    let lost = |service, protocol, fault| Box::new(Lost { service, protocol, fault });
    let mut params = Params::default();
    params.add(head.query.as_bytes()).map_err(|fault| lost(None, Protocol::Query, fault))?;
    let is_form =
        head.header("content-type").is_none_or(|t| t.starts_with("application/x-www-form-urlencoded"));
    if is_form {
        params.add(body).map_err(|fault| lost(None, Protocol::Query, fault))?;
    }
    let scope = sigv4::scope_service(head, &params);
    let scoped = services.iter().copied().find(|s| s.form().is_some() && Some(s.signing_name) == scope);
    let Some(action) = params.get("Action") else {
        let message = "The request has neither an X-Amz-Target header nor an Action parameter.";
        let protocol = scoped.and_then(ServiceSchema::form).unwrap_or(Protocol::Query);
        return Err(lost(scoped, protocol, Fault::sender("MissingAction", message)));
    };
    let version = params.get("Version");
    let of_version = || services.iter().copied().filter(|s| s.form().is_some() && Some(s.version) == version);
    // Several services had a version of the same day, so the action decides among them.
    let exact = of_version().find(|s| s.operation(action).is_some());
    // EC2 has had dozens of versions, all of them subsets of today's as far as old clients use them.
    let ec2 = services.iter().copied().find(|s| s.form() == Some(Protocol::Ec2));
    let old_ec2 =
        ec2.filter(|s| version.is_some_and(|v| EC2_VERSIONS.contains(&v)) && s.operation(action).is_some());
    let tolerated = scoped.filter(|s| version.is_none() || s.form() == Some(Protocol::Ec2));
    let found = exact.or(old_ec2).or_else(|| of_version().next()).or(tolerated);
    let Some((service, protocol)) = found.and_then(|s| Some((s, s.form()?))) else {
        let message = format!(
            "Could not find operation {action} for version {}",
            version.unwrap_or("NO_VERSION_SPECIFIED")
        );
        return Err(lost(None, Protocol::Query, Fault::sender("InvalidAction", message)));
    };
    match service.operation(action) {
        Some(operation) => Ok(Route { operation, protocol, form: Form::Params(params) }),
        None => Err(lost(Some(service), protocol, invalid_action(service, protocol, action))),
    }
}

/// The answer for an action that is not served.
pub fn invalid_action(service: &ServiceSchema, protocol: Protocol, action: &str) -> Fault {
    match protocol {
        Protocol::Ec2 => {
            Fault::sender("InvalidAction", format!("The action {action} is not valid for this web service."))
        }
        Protocol::Query => Fault::sender(
            "InvalidAction",
            format!("Could not find operation {action} for version {}", service.version),
        ),
        Protocol::Json { .. } | Protocol::Cbor => {
            Fault::sender("InvalidAction", format!("The operation {action} is not served.")).with_status(404)
        }
    }
}

fn unknown(service: Option<&'static ServiceSchema>, protocol: Protocol, message: &str) -> Box<Lost> {
    Box::new(Lost { service, protocol, fault: Fault::sender("InvalidAction", message).with_status(404) })
}

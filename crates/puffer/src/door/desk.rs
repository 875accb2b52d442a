//! From a request's bytes to an answer's: route, verify, decode, validate, dispatch, encode.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http_body_util::Full;
use hyper::Response;
use puffer_api::ApiError;
use puffer_core::{Clock, ids};
use puffer_shapes::SERVICES;
use puffer_wire::sigv4::{Family, Oldest, Verifier};
use puffer_wire::{
    Fault, Lost, OperationSchema, Protocol, Reply, RequestHead, ServiceSchema, Shape, decode_input, inflate,
    route, validate,
};

/// What a handler gives.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Box<dyn Shape>, ApiError>> + Send>>;
/// Starts the handler of an operation; `None` if there is none.
pub(crate) type Dispatch =
    Box<dyn Fn(&'static OperationSchema, Box<dyn Shape>) -> Option<Answer> + Send + Sync>;

/// Greatest time for one operation. The longest wait for the store's disk and for nothing else.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// Answers requests, whatever connection they come by.
pub(crate) struct Desk {
    dispatch: Dispatch,
    clock: Arc<dyn Clock>,
    /// Absent with `--no-auth`.
    verifier: Option<Verifier<(String, String)>>,
}

/// An error and what is known about how to say it.
struct Refusal {
    protocol: Protocol,
    service: Option<&'static ServiceSchema>,
    fault: Fault,
}

impl Desk {
    /// `keys` are the key id and secret that signatures must be made with; without them, nothing is verified.
    pub(crate) fn new(dispatch: Dispatch, clock: Arc<dyn Clock>, keys: Option<(String, String)>) -> Desk {
        Desk { dispatch, clock, verifier: keys.map(Verifier::new) }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, head: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let request_id = ids::uuid(&mut rand::rng());
        let reply = match self.operate(head, body, &request_id).await {
            Ok(reply) => reply,
            Err(r) => {
                tracing::debug!(%request_id, service = r.service.map(|s| s.name), fault = %r.fault, "refused");
                Reply::error(r.protocol, r.service, &r.fault, &request_id)
            }
        };
        respond(reply, &request_id)
    }

    async fn operate(&self, head: &Parts, body: &[u8], request_id: &str) -> Result<Reply, Refusal> {
        let head = borrow(head);
        let query = |fault| Refusal { protocol: Protocol::Query, service: None, fault };
        let plain = inflate(&head, body).map_err(query)?;
        let routed = match route(SERVICES, &head, &plain) {
            Ok(routed) => routed,
            Err(lost) => {
                let Lost { protocol, service, fault } = *lost;
                return Err(Refusal { protocol, service, fault });
            }
        };
        let (operation, protocol) = (routed.operation, routed.protocol);
        let refuse = |fault| Refusal { protocol, service: Some(operation.service), fault };
        match &self.verifier {
            // Whoever holds the token that an endpoint was sent may confirm for it: the URL in that message carries nothing else.
            Some(_) if is_confirmation(operation, &head) => {}
            Some(verifier) => {
                let now_ms = self.clock.now().as_millis();
                let oldest = oldest_signature(operation.service, protocol);
                let family = Family::from(protocol);
                verifier.verify_since(oldest, family, &head, body, now_ms).map_err(refuse)?;
            }
            None => from_no_browser(&head).map_err(refuse)?,
        }
        let mut input = (operation.new_input)();
        decode_input(protocol, &routed.form, &mut *input).map_err(refuse)?;
        validate::validate(operation.service, &*input).map_err(refuse)?;
        let Some(answer) = (self.dispatch)(operation, input) else {
            return Err(refuse(route::invalid_action(operation.service, protocol, operation.name)));
        };
        let output = finish(answer, operation).await.map_err(|e| refuse(e.into()))?;
        tracing::debug!(%request_id, ?operation, "served");
        Ok(Reply::success(protocol, operation, &*output, request_id))
    }

    /// Answers a request whose body is too large to be read.
    pub(crate) fn refuse_size(&self, head: &Parts) -> Response<Full<Bytes>> {
        let fault =
            Fault::sender("RequestEntityTooLarge", "The request's body is too large.").with_status(413);
        self.refuse(head, fault)
    }

    /// Answers a request whose body did not arrive.
    pub(crate) fn refuse_body(&self, head: &Parts, why: &str) -> Response<Full<Bytes>> {
        self.refuse(head, Fault::sender("RequestTimeout", why))
    }

    /// The rest of the body is unread, so the connection cannot go on.
    fn refuse(&self, head: &Parts, fault: Fault) -> Response<Full<Bytes>> {
        let protocol = match head.headers.contains_key("x-amz-target") {
            true => Protocol::Json { minor: 1 },
            false if head.headers.contains_key(SMITHY_PROTOCOL) => Protocol::Cbor,
            false => Protocol::Query,
        };
        let request_id = ids::uuid(&mut rand::rng());
        let mut response = respond(Reply::error(protocol, None, &fault, &request_id), &request_id);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Query requests may have the signature of their day. The first one can be forged by running parameters together, so it is
/// taken only where the clients know no other, for a list that says nothing.
fn oldest_signature(service: &ServiceSchema, protocol: Protocol) -> Oldest {
    match (service.name, protocol) {
        ("elb_2009", _) => Oldest::V1,
        (_, Protocol::Query | Protocol::Ec2) => Oldest::V2,
        (_, Protocol::Json { .. } | Protocol::Cbor) => Oldest::V4,
    }
}

fn borrow(head: &Parts) -> RequestHead<'_> {
    RequestHead {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
    }
}

/// An unsigned confirmation of a subscription.
fn is_confirmation(operation: &OperationSchema, head: &RequestHead<'_>) -> bool {
    let signed = head.headers.contains_key("authorization") || head.query.contains("X-Amz-Signature=");
    operation.service.name == "sns" && operation.name == "ConfirmSubscription" && !signed
}

/// Without signatures, any web page could post forms to a loopback address through its visitor's browser. A page whose name was
/// made to mean this machine sends none of the headers that tell, but it sends its name.
fn from_no_browser(head: &RequestHead<'_>) -> Result<(), Fault> {
    let of_a_page =
        ["origin", "sec-fetch-site", "referer"].iter().any(|name| head.headers.contains_key(*name));
    match !of_a_page && head.header("host").is_none_or(names_this_machine) {
        true => Ok(()),
        false => {
            let message = "A server with --no-auth takes no requests from web pages, and none under a name other than localhost.";
            Err(Fault::sender("AccessDenied", message).with_status(403))
        }
    }
}

/// `localhost` or an address, with or without a port: nobody else can make these mean something.
fn names_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

/// Runs the handler. Most are ready at once; the others go to a task of their own, so that a client that hangs up does not
/// stop a transaction half-way through its steps. A handler that panics is a defect, answered as one.
async fn finish(mut answer: Answer, operation: &OperationSchema) -> Result<Box<dyn Shape>, ApiError> {
    let panicked = || ApiError::internal(&format_args!("the handler of {operation:?} panicked"));
    let first = std::future::poll_fn(|context| {
        let poll = AssertUnwindSafe(|| answer.as_mut().poll(context));
        Poll::Ready(std::panic::catch_unwind(poll).unwrap_or_else(|_| Poll::Ready(Err(panicked()))))
    });
    if let Poll::Ready(result) = first.await {
        return result;
    }
    match tokio::time::timeout(OPERATION_TIMEOUT, tokio::spawn(answer)).await {
        Ok(joined) => joined.unwrap_or_else(|_| Err(panicked())),
        Err(_) => {
            let fault =
                Fault::receiver("ServiceUnavailable", "The request takes too long; it may still happen.");
            Err(fault.with_status(503).into())
        }
    }
}

fn respond(reply: Reply, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    let mut put = |name: HeaderName, value: &str| {
        // Codes and ids are plain ASCII; a header that is not is better left out than the answer.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(REQUEST_ID, request_id);
    if let Some(error_type) = &reply.error_type {
        put(ERROR_TYPE, error_type);
    }
    if let Some(protocol) = reply.smithy_protocol {
        put(SMITHY_PROTOCOL, protocol);
    }
    if let Some(query_error) = &reply.query_error {
        put(QUERY_ERROR, query_error);
    }
    response
}

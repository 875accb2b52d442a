//! A user's client: requests as they come by the wire, without the wire. Bodies are decoded, checked, dispatched and answers
//! encoded as the server's desk does it.

use std::sync::Arc;

use http::HeaderMap;
use puffer_api::Ctx;
use puffer_shapes::SERVICES;
use puffer_wire::{
    Fault, OperationSchema, Protocol, Reply, RequestHead, ServiceSchema, Shape, decode_input, route, validate,
};

use crate::invariants::Act;
use crate::world::World;

/// An answer's text.
pub(crate) struct Answer(String);

impl Answer {
    /// What the first element of this name holds.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.0.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }
}

/// Why there is no answer to a request.
pub(crate) enum Refused {
    /// Nobody listens.
    Away,
    /// An error.
    Fault(Fault),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Away => f.write_str("nobody answers"),
            Refused::Fault(fault) => write!(f, "{}: {}", fault.code, fault.message),
        }
    }
}

/// A user's client.
#[derive(Clone)]
pub(crate) struct Client {
    world: Arc<World>,
}

impl Client {
    pub(crate) fn new(world: &Arc<World>) -> Client {
        Client { world: Arc::clone(world) }
    }

    pub(crate) async fn autoscaling(&self, action: &str, params: &[(&str, &str)]) -> Result<Answer, Refused> {
        self.call(&puffer_shapes::autoscaling::SERVICE, action, params).await
    }

    pub(crate) async fn ec2(&self, action: &str, params: &[(&str, &str)]) -> Result<Answer, Refused> {
        self.call(&puffer_shapes::ec2::SERVICE, action, params).await
    }

    pub(crate) async fn elbv2(&self, action: &str, params: &[(&str, &str)]) -> Result<Answer, Refused> {
        self.call(&puffer_shapes::elbv2::SERVICE, action, params).await
    }

    pub(crate) async fn elb(&self, action: &str, params: &[(&str, &str)]) -> Result<Answer, Refused> {
        self.call(&puffer_shapes::elb::SERVICE, action, params).await
    }

    pub(crate) async fn sns(&self, action: &str, params: &[(&str, &str)]) -> Result<Answer, Refused> {
        self.call(&puffer_shapes::sns::SERVICE, action, params).await
    }

    pub(crate) async fn cloudwatch(&self, action: &str, params: &[(&str, &str)]) -> Result<Answer, Refused> {
        self.call(&puffer_shapes::cloudwatch::SERVICE, action, params).await
    }

    /// A request given in JSON, as the AWS CLI takes it (`--cli-input-json`).
    pub(crate) async fn json(
        &self,
        service: &'static ServiceSchema,
        action: &str,
        body: &[u8],
    ) -> Result<Answer, Refused> {
        let Some(cx) = self.world.server() else { return Err(Refused::Away) };
        let answered = async {
            let operation = service
                .operation(action)
                .ok_or_else(|| Fault::sender("InvalidAction", format!("there is no operation {action}")))?;
            let mut input = (operation.new_input)();
            puffer_wire::json::decode(body, &mut *input)?;
            dispatch(&self.world, cx, operation, input).await
        };
        answered.await.map(Answer).map_err(Refused::Fault)
    }

    async fn call(
        &self,
        service: &'static ServiceSchema,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<Answer, Refused> {
        let Some(cx) = self.world.server() else { return Err(Refused::Away) };
        self.world.state.lock().n_calls += 1;
        self.world.life.step().await;
        let body = body(service, action, params);
        // A task of its own, as at the desk: a client that hangs up stops nothing half-way.
        let world = Arc::clone(&self.world);
        let answered = tokio::spawn(async move {
            let headers = HeaderMap::new();
            let head = RequestHead { method: "POST", path: "/", query: "", headers: &headers };
            let routed = route(SERVICES, &head, body.as_bytes()).map_err(|lost| lost.fault)?;
            let operation = routed.operation;
            let mut input = (operation.new_input)();
            decode_input(routed.protocol, &routed.form, &mut *input)?;
            dispatch(&world, cx, operation, input).await
        })
        .await;
        self.world.life.step().await;
        let said = params.iter().map(|(k, v)| format!(" {k}={v}")).collect::<String>();
        match answered {
            Ok(Ok(text)) => {
                self.world.note(format_args!("{action}{said}: ok, {} bytes", text.len()));
                self.world.act(Act::Answered { action, params });
                Ok(Answer(text))
            }
            Ok(Err(fault)) => {
                self.world.note(format_args!("{action}{said}: {} {}", fault.code, fault.message));
                self.world.act(Act::Refused { action, code: &fault.code, message: &fault.message });
                Err(Refused::Fault(fault))
            }
            Err(_) => {
                let fault = Fault::receiver("InternalFailure", "the handler panicked");
                self.world.act(Act::Refused { action, code: &fault.code, message: &fault.message });
                Err(Refused::Fault(fault))
            }
        }
    }
}

/// Checks a decoded request and has it served; the answer's text.
async fn dispatch(
    world: &World,
    cx: Arc<Ctx>,
    operation: &'static OperationSchema,
    input: Box<dyn Shape>,
) -> Result<String, Fault> {
    validate::validate(operation.service, &*input)?;
    let Some(answer) = world.registry.call(operation, cx, input) else {
        return Err(puffer_wire::route::invalid_action(operation.service, Protocol::Query, operation.name));
    };
    let output = answer.await.map_err(Fault::from)?;
    let reply = Reply::success(Protocol::Query, operation, &*output, "request");
    Ok(String::from_utf8_lossy(&reply.body).into_owned())
}

fn body(service: &ServiceSchema, action: &str, params: &[(&str, &str)]) -> String {
    let mut body = format!("Action={action}&Version={}", service.version);
    for (name, value) in params {
        body.push('&');
        escape(name, &mut body);
        body.push('=');
        escape(value, &mut body);
    }
    body
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

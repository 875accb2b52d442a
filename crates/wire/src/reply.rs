//! Answers and errors as HTTP has them: status, content type, the protocol's own headers, body.

use crate::fault::Fault;
use crate::schema::{OperationSchema, Protocol, ServiceSchema};
use crate::value::Shape;
use crate::{cbor, json, xml};

/// First capacity of an answer's buffer, in bytes: one group with its instances fits.
const BODY_BYTES_FIRST: usize = 4096;

/// An answer ready for HTTP.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The `Content-Type` header.
    pub content_type: &'static str,
    /// The `X-Amzn-Errortype` header.
    pub error_type: Option<String>,
    /// The `smithy-protocol` header.
    pub smithy_protocol: Option<&'static str>,
    /// The `x-amzn-query-error` header.
    pub query_error: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, protocol: Protocol) -> Reply {
        let content_type = match protocol {
            Protocol::Query => "text/xml",
            Protocol::Ec2 => "text/xml;charset=UTF-8",
            Protocol::Json { minor: 0 } => "application/x-amz-json-1.0",
            Protocol::Json { .. } => "application/x-amz-json-1.1",
            Protocol::Cbor => "application/cbor",
        };
        Reply {
            status,
            content_type,
            error_type: None,
            smithy_protocol: (protocol == Protocol::Cbor).then_some(crate::route::SMITHY_CBOR),
            query_error: None,
            body: Vec::with_capacity(BODY_BYTES_FIRST),
        }
    }

    /// The operation's answer.
    pub fn success(
        protocol: Protocol,
        operation: &OperationSchema,
        output: &dyn Shape,
        request_id: &str,
    ) -> Reply {
        let mut reply = Reply::new(200, protocol);
        match protocol {
            Protocol::Query | Protocol::Ec2 => {
                xml::encode(protocol, operation, output, request_id, &mut reply.body);
            }
            // Operations without an output answer nothing at all.
            Protocol::Json { .. } | Protocol::Cbor
                if std::ptr::eq(operation.output, &crate::schema::UNIT) => {}
            Protocol::Json { .. } => json::encode(output, &mut reply.body),
            Protocol::Cbor => cbor::encode(output, &mut reply.body),
        }
        reply
    }

    /// An error. The service is unknown if routing failed.
    pub fn error(
        protocol: Protocol,
        service: Option<&ServiceSchema>,
        fault: &Fault,
        request_id: &str,
    ) -> Reply {
        let mut reply = Reply::new(fault.status, protocol);
        match protocol {
            Protocol::Query | Protocol::Ec2 => {
                let namespace = service.map_or("", |s| s.xml_namespace);
                xml::encode_error(protocol, namespace, fault, request_id, &mut reply.body);
            }
            Protocol::Json { .. } | Protocol::Cbor => {
                match protocol {
                    Protocol::Cbor => cbor::encode_error(service, fault, &mut reply.body),
                    _ => json::encode_error(service, fault, &mut reply.body),
                }
                reply.error_type = Some(json::exception_name(service, fault).to_owned());
                if service.is_some_and(|s| s.query_compatible) {
                    let blame = if fault.sender { "Sender" } else { "Receiver" };
                    reply.query_error = Some(format!("{};{blame}", legacy_code(&fault.code)));
                }
            }
        }
        reply
    }
}

/// The code that a service used when it still spoke the query protocol, where that differs from today's name.
fn legacy_code(code: &str) -> &str {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "QueueNameExists" => "QueueAlreadyExists",
        "MessageNotInflight" => "AWS.SimpleQueueService.MessageNotInflight",
        "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
        "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        "BatchEntryIdsNotDistinct" => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        other => other,
    }
}

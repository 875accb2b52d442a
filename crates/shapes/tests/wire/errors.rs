//! Errors in each protocol's form, and back.

use puffer_shapes::{autoscaling, cloudwatch, ec2, ssm};
use puffer_wire::{Fault, Protocol, Reply, json, xml};

#[test]
fn query() {
    let fault = Fault::declared(&autoscaling::errors::ALREADY_EXISTS_FAULT, "there is <one> & more");
    let reply = Reply::error(Protocol::Query, Some(&autoscaling::SERVICE), &fault, "id-1");
    assert_eq!(reply.status, 400);
    assert_eq!(
        String::from_utf8(reply.body.clone()).unwrap(),
        "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error><Type>Sender</Type>\
         <Code>AlreadyExists</Code><Message>there is &lt;one&gt; &amp; more</Message></Error>\
         <RequestId>id-1</RequestId></ErrorResponse>"
    );
    assert_eq!(xml::decode_error(&reply.body, 400).unwrap(), fault);
}

#[test]
fn ec2_query() {
    let fault = Fault::sender("InvalidInstanceID.NotFound", "no such instance");
    let reply = Reply::error(Protocol::Ec2, Some(&ec2::SERVICE), &fault, "id-1");
    assert_eq!(
        String::from_utf8(reply.body.clone()).unwrap(),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code>\
         <Message>no such instance</Message></Error></Errors><RequestID>id-1</RequestID></Response>"
    );
    assert_eq!(xml::decode_error(&reply.body, 400).unwrap(), fault);
}

#[test]
fn json_10_of_a_query_compatible_service() {
    let fault = Fault::declared(&cloudwatch::errors::RESOURCE_NOT_FOUND, "gone \"for good\"\n");
    let protocol = Protocol::Json { minor: 0 };
    let reply = Reply::error(protocol, Some(&cloudwatch::SERVICE), &fault, "id-1");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.content_type, "application/x-amz-json-1.0");
    assert_eq!(
        String::from_utf8(reply.body.clone()).unwrap(),
        r#"{"__type":"ResourceNotFound","message":"gone \"for good\"\n"}"#
    );
    assert_eq!(reply.query_error.as_deref(), Some("ResourceNotFound;Sender"));
    assert_eq!(json::decode_error(&reply.body, 404, reply.query_error.as_deref()), fault);
}

#[test]
fn json_names_declared_exceptions_by_shape() {
    let declared = &cloudwatch::errors::INVALID_PARAMETER_VALUE_EXCEPTION;
    let reply = Reply::error(
        Protocol::Json { minor: 0 },
        Some(&cloudwatch::SERVICE),
        &Fault::declared(declared, "no"),
        "id-1",
    );
    assert_eq!(reply.error_type.as_deref(), Some("InvalidParameterValueException"));
    assert_eq!(reply.query_error.as_deref(), Some("InvalidParameterValue;Sender"));
}

#[test]
fn json_11() {
    let fault = Fault::declared(&ssm::errors::PARAMETER_NOT_FOUND, "");
    let reply = Reply::error(Protocol::Json { minor: 1 }, Some(&ssm::SERVICE), &fault, "id-1");
    assert_eq!(reply.content_type, "application/x-amz-json-1.1");
    assert_eq!(reply.error_type.as_deref(), Some("ParameterNotFound"));
    assert_eq!(reply.query_error, None);
}

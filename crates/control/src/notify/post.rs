//! One POST: just enough HTTP to hand a message over and hear how it was taken.

use std::io::{Error, ErrorKind};

use puffer_core::messaging::{HttpDelivery, HttpTarget};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::trust::Trust;

/// Bytes of an answer that are read to find its status.
const STATUS_LINE_BYTES_MAX: usize = 512;

/// The status that the endpoint answers. The caller bounds the time.
pub(super) async fn post(delivery: &HttpDelivery, trust: &Trust) -> std::io::Result<u16> {
    let target =
        HttpTarget::parse(&delivery.endpoint).ok_or_else(|| invalid("the endpoint is no HTTP URL"))?;
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    if !target.tls {
        return exchange(stream, &target, delivery).await;
    }
    let name =
        ServerName::try_from(target.host.clone()).map_err(|_| invalid("the endpoint's host is no name"))?;
    let stream = trust.connector().await?.connect(name, stream).await?;
    exchange(stream, &target, delivery).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &HttpTarget,
    d: &HttpDelivery,
) -> std::io::Result<u16> {
    let raw = if d.raw { "x-amz-sns-rawdelivery: true\r\n" } else { "" };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Amazon Simple Notification Service Agent\r\n\
         Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         x-amz-sns-message-type: {}\r\nx-amz-sns-message-id: {}\r\nx-amz-sns-topic-arn: {}\r\n\
         x-amz-sns-subscription-arn: {}\r\n{raw}\r\n",
        target.path,
        target.authority(),
        d.body.len(),
        d.message_type,
        d.message_id,
        d.topic_arn,
        d.subscription_arn,
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(d.body.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(STATUS_LINE_BYTES_MAX);
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES_MAX {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let code = text.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
    code.ok_or_else(|| invalid("the endpoint does not answer in HTTP"))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, what.to_owned())
}

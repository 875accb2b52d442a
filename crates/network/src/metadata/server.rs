//! The HTTP side: tokens, versions, status codes.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use puffer_core::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::slots::SourceSlots;
use super::token::TokenKey;
use super::tree::{Node, VERSIONS, find};
use super::{InstanceMetadata, MetadataSource};

/// Connections at a time, of all instances; beyond them new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 512;
/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Life of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept, so that a lasting fault does not spin.
const FAULT_PAUSE: Duration = Duration::from_millis(50);
/// Longest life of a token, seconds: six hours.
const TOKEN_TTL_S_MAX: u32 = 21_600;
/// TTL of ordinary answers.
const TTL_DEFAULT: i32 = 64;
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// A server that has its socket.
pub struct MetadataServer {
    listener: TcpListener,
    desk: Arc<Desk>,
}

pub(super) struct Desk {
    source: Arc<dyn MetadataSource>,
    clock: Arc<dyn Clock>,
    key: TokenKey,
}

/// What to answer, and with which TTL.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    content_type: &'static str,
    pub(super) token_ttl_s: Option<u32>,
    /// Of the packets; the launch's hop limit for tokens.
    pub(super) hops: i32,
}

impl MetadataServer {
    /// Binds; port 0 takes a free one.
    pub async fn bind(
        listen: SocketAddr,
        source: Arc<dyn MetadataSource>,
        clock: Arc<dyn Clock>,
        key: TokenKey,
    ) -> io::Result<MetadataServer> {
        let listener = TcpListener::bind(listen).await?;
        Ok(MetadataServer { listener, desk: Arc::new(Desk { source, clock, key }) })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let sources = SourceSlots::default();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let Ok((stream, peer)) = self.listener.accept().await else {
                tokio::time::sleep(FAULT_PAUSE).await;
                continue;
            };
            let IpAddr::V4(peer) = peer.ip() else { continue };
            // Too many of one instance are closed at once.
            let Some(source_slot) = sources.take(peer) else { continue };
            let desk = Arc::clone(&self.desk);
            tokio::spawn(async move {
                let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, peer, desk)).await;
                drop((slot, source_slot));
            });
        }
    }
}

async fn connection(stream: TcpStream, peer: Ipv4Addr, desk: Arc<Desk>) {
    // A second handle, by which the TTL of answers is set while the connection is hyper's.
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let socket = Arc::new(socket);
    let service = service_fn(move |request: Request<Incoming>| {
        let (desk, socket) = (Arc::clone(&desk), Arc::clone(&socket));
        async move {
            let answer = desk.answer(peer, request.method(), request.uri().path(), request.headers());
            Ok::<_, Infallible>(respond(answer, &socket))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// Bounds how far the connection's packets go. Never raised again: the kernel sends a lost token once more with the TTL of
/// that moment, not of its own.
pub(super) fn limit_hops(socket: &OwnedFd, hops: i32) -> nix::Result<()> {
    match getsockopt(socket, sockopt::Ipv4Ttl)? {
        now if now <= hops => Ok(()),
        _ => setsockopt(socket, sockopt::Ipv4Ttl, &hops),
    }
}

fn respond(mut answer: Answer, socket: &OwnedFd) -> Response<Full<Bytes>> {
    if let Err(error) = limit_hops(socket, answer.hops) {
        // A token must not go further than the launch allows.
        tracing::error!(%error, "the hop limit cannot be set");
        answer = Answer::status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let mut response = Response::builder()
        .status(answer.status)
        .header(header::CONTENT_TYPE, answer.content_type)
        .header(header::SERVER, "EC2ws");
    if let Some(ttl_s) = answer.token_ttl_s {
        response = response.header(TOKEN_TTL, ttl_s);
    }
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header(header::ALLOW, "OPTIONS, GET, HEAD, PUT");
    }
    response.body(Full::new(Bytes::from(answer.body))).unwrap_or_default()
}

impl Answer {
    fn status(status: StatusCode) -> Answer {
        Answer { status, body: Vec::new(), content_type: "text/plain", token_ttl_s: None, hops: TTL_DEFAULT }
    }

    fn body(content_type: &'static str, body: Vec<u8>) -> Answer {
        Answer { body, content_type, ..Answer::status(StatusCode::OK) }
    }
}

impl Desk {
    #[cfg(test)]
    pub(super) fn new(source: Arc<dyn MetadataSource>, clock: Arc<dyn Clock>, key: TokenKey) -> Desk {
        Desk { source, clock, key }
    }

    pub(super) fn answer(&self, peer: Ipv4Addr, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
        let Some(instance) = self.source.lookup(peer) else { return Answer::status(StatusCode::NOT_FOUND) };
        if !instance.options.enabled {
            return Answer::status(StatusCode::FORBIDDEN);
        }
        match *method {
            Method::PUT if path == "/latest/api/token" => self.issue(&instance, headers),
            Method::GET | Method::HEAD => self.get(&instance, path, headers),
            Method::PUT => Answer::status(StatusCode::NOT_FOUND),
            _ => Answer::status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn issue(&self, instance: &InstanceMetadata, headers: &HeaderMap) -> Answer {
        // A request that came through a proxy is not the instance's own.
        if headers.contains_key("x-forwarded-for") {
            return Answer::status(StatusCode::FORBIDDEN);
        }
        let ttl =
            headers.get(TOKEN_TTL).and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse::<u32>().ok());
        let Some(ttl_s) = ttl.filter(|ttl| (1..=TOKEN_TTL_S_MAX).contains(ttl)) else {
            return Answer::status(StatusCode::BAD_REQUEST);
        };
        let expires = self.clock.now() + Duration::from_secs(ttl_s.into());
        let token = self.key.issue(&instance.instance_id, expires);
        let mut answer = Answer::body("text/plain", token.into_bytes());
        answer.token_ttl_s = Some(ttl_s);
        answer.hops = i32::from(instance.options.hop_limit.max(1));
        answer
    }

    fn get(&self, instance: &InstanceMetadata, path: &str, headers: &HeaderMap) -> Answer {
        let allowed = match headers.get(TOKEN) {
            Some(token) => token
                .to_str()
                .is_ok_and(|token| self.key.accepts(token, &instance.instance_id, self.clock.now())),
            None => !instance.options.tokens_required,
        };
        if !allowed {
            return Answer::status(StatusCode::UNAUTHORIZED);
        }
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return Answer::body("text/plain", VERSIONS.join("\n").into_bytes());
        }
        let (version, rest) = path.split_once('/').unwrap_or((path, ""));
        if !VERSIONS.contains(&version) {
            return Answer::status(StatusCode::NOT_FOUND);
        }
        match find(instance, rest) {
            Some(Node::Listing(text)) => Answer::body("text/plain", text.into_bytes()),
            Some(Node::Leaf(body)) => {
                let content_type =
                    if rest == "user-data" { "application/octet-stream" } else { "text/plain" };
                Answer::body(content_type, body)
            }
            None => Answer::status(StatusCode::NOT_FOUND),
        }
    }
}

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use puffer_core::{ManualClock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::server::{Answer, Desk, limit_hops};
use super::slots::PER_SOURCE_MAX;
use super::*;

const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

struct One(InstanceMetadata);

impl MetadataSource for One {
    fn lookup(&self, source: Ipv4Addr) -> Option<InstanceMetadata> {
        (source == HERE).then(|| self.0.clone())
    }
}

fn instance() -> InstanceMetadata {
    InstanceMetadata {
        instance_id: "i-1".into(),
        image_id: "ami-1".into(),
        instance_type: "t2.micro".into(),
        ami_launch_index: 0,
        reservation_id: "r-1".into(),
        hostname: "ip-127-0-0-1.ec2.internal".into(),
        private_ip: HERE,
        public_ip: None,
        mac: "02:00:00:00:00:01".into(),
        interface_id: "eni-1".into(),
        subnet_id: "subnet-1".into(),
        subnet_cidr: "127.0.0.0/20".parse().unwrap(),
        vpc_id: "vpc-1".into(),
        vpc_cidr: "127.0.0.0/16".parse().unwrap(),
        zone: "us-east-1a".into(),
        zone_id: "use1-az1".into(),
        region: "us-east-1".into(),
        account: "123456789012".into(),
        security_groups: vec!["web".into(), "default".into()],
        security_group_ids: vec!["sg-1".into(), "sg-2".into()],
        key: Some(("counter".into(), "ssh-ed25519 AAAA counter".into())),
        user_data: Some(b"#!/bin/sh\n".to_vec()),
        tags: [("Name", "web-1"), ("aws:autoscaling:groupName", "web"), ("a/b", "no path"), ("..", "up")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        options: MetadataOptions { enabled: true, tokens_required: false, hop_limit: 3, tags: true },
        is_spot: false,
        interruption: None,
        rebalance_at: None,
        target_lifecycle_state: Some("InService".into()),
        architecture: "x86_64".into(),
        instance_profile: None,
        launched_at: Timestamp::from_secs(1_795_231_680),
    }
}

fn desk(instance: InstanceMetadata) -> (Desk, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1000)));
    (Desk::new(Arc::new(One(instance)), Arc::clone(&clock) as _, TokenKey::new([7; 32])), clock)
}

fn ask(desk: &Desk, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    desk.answer(HERE, &method, path, &headers)
}

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

#[test]
fn values_and_listings() {
    let (desk, _) = desk(instance());
    let mac = "network/interfaces/macs/02:00:00:00:00:01";
    for (path, want) in [
        ("/latest", "dynamic\nmeta-data\nuser-data".to_owned()),
        ("/latest/meta-data/instance-id", "i-1".into()),
        ("/2021-03-23/meta-data/instance-id", "i-1".into()),
        ("/latest/meta-data/placement/", "availability-zone\navailability-zone-id\nregion".into()),
        ("/latest/meta-data/placement", "availability-zone\navailability-zone-id\nregion".into()),
        ("/latest/meta-data/security-groups", "web\ndefault".into()),
        ("/latest/meta-data/public-keys/", "0=counter".into()),
        ("/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA counter\n".into()),
        ("/latest/meta-data/tags/instance/Name", "web-1".into()),
        ("/latest/meta-data/tags/instance", "Name\naws:autoscaling:groupName".into()),
        ("/latest/meta-data/tags/instance/aws:autoscaling:groupName", "web".into()),
        ("/latest/meta-data/public-keys/0", "openssh-key".into()),
        ("/latest/meta-data/autoscaling/target-lifecycle-state", "InService".into()),
        ("/latest/meta-data/network/interfaces/macs/", "02:00:00:00:00:01/".into()),
        (&format!("/latest/meta-data/{mac}/subnet-ipv4-cidr-block"), "127.0.0.0/20".into()),
        ("/latest/user-data", "#!/bin/sh\n".into()),
    ] {
        let answer = ask(&desk, Method::GET, path, &[]);
        assert_eq!(
            (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).as_ref()),
            (200, want.as_str()),
            "{path}"
        );
    }
    let top = ask(&desk, Method::GET, "/latest/meta-data/", &[]).body;
    let top = String::from_utf8(top).unwrap();
    assert!(top.contains("ami-id\n") && top.contains("placement/\n") && !top.contains("iam"), "{top}");
    let document = ask(&desk, Method::GET, "/latest/dynamic/instance-identity/document", &[]).body;
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["instanceId"], "i-1");
    for path in [
        "/latest/meta-data/iam/info",
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/spot/instance-action",
        "/latest/meta-data/tags/instance/a/b",
        "/latest/meta-data/nothing",
        "/latest/dynamic/instance-identity/pkcs7",
        "/latest/dynamic/instance-identity/signature",
        "/1999-01-01/meta-data",
        "/nothing",
    ] {
        assert_eq!(ask(&desk, Method::GET, path, &[]).status, 404, "{path}");
    }
}

#[test]
fn an_instance_profile_is_named_and_has_no_credentials() {
    let arn = "arn:aws:iam::123456789012:instance-profile/web";
    let (desk, _) = desk(InstanceMetadata { instance_profile: Some(arn.into()), ..instance() });
    let info = ask(&desk, Method::GET, "/latest/meta-data/iam/info", &[]).body;
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    assert_eq!((&info["Code"], &info["InstanceProfileArn"]), (&"Success".into(), &arn.into()));
    assert_eq!(ask(&desk, Method::GET, "/latest/meta-data/iam/", &[]).body, b"info");
    let credentials = ask(&desk, Method::GET, "/latest/meta-data/iam/security-credentials/", &[]);
    assert_eq!(credentials.status, 404);
}

#[test]
fn tokens() {
    let mut strict = instance();
    strict.options.tokens_required = true;
    let (desk, clock) = desk(strict.clone());
    let get = |headers: &[(&'static str, &str)]| {
        ask(&desk, Method::GET, "/latest/meta-data/ami-id", headers).status
    };
    let put = |headers: &[(&'static str, &str)]| ask(&desk, Method::PUT, "/latest/api/token", headers);
    assert_eq!(get(&[]), 401);
    for (headers, want) in [
        (&[][..], 400),
        (&[(TTL, "0")], 400),
        (&[(TTL, "21601")], 400),
        (&[(TTL, "soon")], 400),
        (&[(TTL, "60"), ("x-forwarded-for", "10.0.0.1")], 403),
    ] {
        assert_eq!(put(headers).status, want, "{headers:?}");
    }
    let issued = put(&[(TTL, "60")]);
    assert_eq!((issued.status.as_u16(), issued.token_ttl_s, issued.hops), (200, Some(60), 3));
    let token = String::from_utf8(issued.body).unwrap();
    assert_eq!(get(&[(TOKEN, &token)]), 200);
    let mut forged = token.clone().into_bytes();
    forged[20] ^= 1;
    for bad in ["", "x", "AAAA", &token[1..], std::str::from_utf8(&forged).unwrap()] {
        assert_eq!(get(&[(TOKEN, bad)]), 401, "{bad}");
    }
    let mut other = strict;
    other.instance_id = "i-2".into();
    let (elsewhere, _) = self::desk(other);
    assert_eq!(ask(&elsewhere, Method::GET, "/latest/meta-data/ami-id", &[(TOKEN, &token)]).status, 401);
    clock.advance(Duration::from_secs(60));
    assert_eq!(get(&[(TOKEN, &token)]), 401);
}

#[test]
fn who_may_ask() {
    let mut off = instance();
    off.options.enabled = false;
    let (desk, _) = desk(off);
    assert_eq!(ask(&desk, Method::GET, "/latest/", &[]).status, 403);
    assert_eq!(ask(&desk, Method::PUT, "/latest/api/token", &[(TTL, "60")]).status, 403);
    let (desk, _) = self::desk(instance());
    let stranger = Ipv4Addr::new(10, 0, 0, 9);
    assert_eq!(desk.answer(stranger, &Method::GET, "/latest/", &HeaderMap::new()).status, 404);
    assert_eq!(ask(&desk, Method::POST, "/latest/", &[]).status, 405);
    assert_eq!(
        ask(&desk, Method::GET, "/latest/", &[(TOKEN, "bad")]).status,
        401,
        "a token, if given, must be good"
    );
    let mut silent = instance();
    silent.options.tags = false;
    let (desk, _) = self::desk(silent);
    assert_eq!(ask(&desk, Method::GET, "/latest/meta-data/tags/instance/Name", &[]).status, 404);
}

#[tokio::test]
async fn over_the_wire() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1000)));
    let server = MetadataServer::bind(
        "127.0.0.1:0".parse().unwrap(),
        Arc::new(One(instance())),
        clock,
        TokenKey::new([1; 32]),
    )
    .await
    .unwrap();
    let at = server.address().unwrap();
    let serving = tokio::spawn(server.serve());
    let exchange = async |request: &str| {
        let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
        answer
    };
    let answer = exchange(&format!(
        "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n{TTL}: 60\r\nConnection: close\r\n\r\n"
    ))
    .await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(TTL), "{answer}");
    let token = answer.rsplit("\r\n").next().unwrap();
    let answer = exchange(&format!(
        "GET /latest/meta-data/local-ipv4 HTTP/1.1\r\nHost: x\r\n{TOKEN}: {token}\r\nConnection: close\r\n\r\n"
    ))
    .await;
    assert!(answer.ends_with("\r\n\r\n127.0.0.1"), "{answer}");
    serving.abort();
}

/// Two instances, known by their addresses.
struct Two;

const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

impl MetadataSource for Two {
    fn lookup(&self, source: Ipv4Addr) -> Option<InstanceMetadata> {
        let mut found = instance();
        found.private_ip = source;
        found.instance_id = match source {
            HERE => "i-1".to_owned(),
            NEIGHBOUR => "i-2".to_owned(),
            _ => return None,
        };
        Some(found)
    }
}

async fn dial(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn exchange_from(from: Ipv4Addr, to: SocketAddr, request: &str) -> String {
    let mut stream = dial(from, to).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn each_address_is_answered_for_itself() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1000)));
    let listen = SocketAddr::from((HERE, 0));
    let server = MetadataServer::bind(listen, Arc::new(Two), clock, TokenKey::new([1; 32])).await.unwrap();
    let at = server.address().unwrap();
    let serving = tokio::spawn(server.serve());
    let put = format!("PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n{TTL}: 60\r\nConnection: close\r\n\r\n");
    let issued = exchange_from(HERE, at, &put).await;
    let token = issued.rsplit("\r\n").next().unwrap();
    let get = format!(
        "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n{TOKEN}: {token}\r\nConnection: close\r\n\r\n"
    );
    let plain = "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let stranger = Ipv4Addr::new(127, 0, 0, 3);
    for (from, request, status, body) in [
        (HERE, &*get, "200", "i-1"),
        (HERE, plain, "200", "i-1"),
        (NEIGHBOUR, plain, "200", "i-2"),
        // A token of one instance is worth nothing at another.
        (NEIGHBOUR, &*get, "401", ""),
        (stranger, plain, "404", ""),
        (stranger, &*put, "404", ""),
    ] {
        let answer = exchange_from(from, at, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{from} {request}: {answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{from} {request}: {answer}");
    }
    serving.abort();
}

#[tokio::test]
async fn an_instance_with_too_many_connections_hinders_only_itself() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1000)));
    let listen = SocketAddr::from((HERE, 0));
    let server = MetadataServer::bind(listen, Arc::new(Two), clock, TokenKey::new([1; 32])).await.unwrap();
    let at = server.address().unwrap();
    let serving = tokio::spawn(server.serve());
    let mut held = Vec::new();
    for _ in 0..PER_SOURCE_MAX {
        held.push(dial(HERE, at).await);
    }
    let mut refused = dial(HERE, at).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(2), refused.read_to_end(&mut rest));
    assert!(
        read.await.is_ok_and(|r| r.is_err() || rest.is_empty()),
        "closed at once, not after the head's time"
    );
    let plain = "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(exchange_from(NEIGHBOUR, at, plain).await.ends_with("i-2"));
    serving.abort();
}

#[test]
fn spot_notices_show_while_they_stand() {
    use super::tree::{Node, find};
    let mut spot = instance();
    for path in ["meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance"] {
        assert_eq!(find(&spot, path), None, "{path}");
    }
    let at = Timestamp::parse_rfc3339("2026-11-21T03:28:00Z").unwrap();
    (spot.interruption, spot.rebalance_at) = (Some(at), Some(at));
    let leaf = |path: &str| match find(&spot, path) {
        Some(Node::Leaf(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(
        leaf("meta-data/spot/instance-action"),
        r#"{"action": "terminate", "time": "2026-11-21T03:28:00Z"}"#
    );
    assert_eq!(leaf("meta-data/spot/termination-time"), "2026-11-21T03:28:00Z");
    assert_eq!(
        leaf("meta-data/events/recommendations/rebalance"),
        r#"{"noticeTime": "2026-11-21T03:28:00Z"}"#
    );
}

/// A client that keeps a token's segment unacknowledged must not get it again with more hops because it asked for something
/// else meanwhile.
#[test]
fn a_connection_that_carried_a_token_keeps_its_hop_limit() {
    let socket = std::os::fd::OwnedFd::from(std::net::UdpSocket::bind((HERE, 0)).unwrap());
    let ttl = || nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::Ipv4Ttl).unwrap();
    let before = ttl();
    limit_hops(&socket, 64).unwrap();
    assert_eq!(ttl(), before.min(64));
    limit_hops(&socket, 1).unwrap();
    limit_hops(&socket, 64).unwrap();
    assert_eq!(ttl(), 1);
}

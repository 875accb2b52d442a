use std::sync::Arc;
use std::time::Duration;

use puffer_api::ApiError;
use puffer_core::{Clock, ManualClock, Timestamp};
use puffer_shapes::{autoscaling, cloudwatch, sts};
use puffer_wire::sigv4::{Signer, sign};
use puffer_wire::{Operation, RequestHead, Shape, json, xml};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::desk::Answer;
use super::{Desk, serve};

const KEYS: (&str, &str) = ("AKIDEXAMPLE", "secret");
const NOW: Timestamp = Timestamp::from_secs(1_795_231_680);
/// A wait in a test that takes this long has failed.
const LONG: Duration = Duration::from_secs(10);

struct Fixture {
    address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    /// Lets `SetDesiredCapacity` go on.
    gate: Arc<Notify>,
    reached: Arc<Notify>,
}

fn ready(result: Result<impl Shape, ApiError>) -> Answer {
    Box::pin(async move { result.map(|output| Box::new(output) as Box<dyn Shape>) })
}

async fn start(authenticated: bool) -> Fixture {
    let (gate, reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (waits, tells) = (Arc::clone(&gate), Arc::clone(&reached));
    let dispatch = move |operation: &'static puffer_wire::OperationSchema,
                         input: Box<dyn Shape>|
          -> Option<Answer> {
        Some(match operation.name {
            "GetCallerIdentity" => ready(Ok(sts::GetCallerIdentityOutput {
                account: Some("123456789012".to_owned()),
                ..Default::default()
            })),
            "DeleteAutoScalingGroup" => ready(Err::<(), _>(ApiError::declared(
                &autoscaling::errors::RESOURCE_IN_USE_FAULT,
                "it has instances",
            ))),
            "DescribeAccountLimits" => Box::pin(async { panic!("a defect") }),
            "DescribeAdjustmentTypes" => Box::pin(async {
                tokio::task::yield_now().await;
                panic!("a later defect")
            }),
            "PutMetricData" => {
                let input =
                    (input as Box<dyn std::any::Any>).downcast::<cloudwatch::PutMetricDataInput>().unwrap();
                assert_eq!(input.metric_data.unwrap().len(), 1000);
                ready(Ok(()))
            }
            "SetDesiredCapacity" => {
                let (waits, tells) = (Arc::clone(&waits), Arc::clone(&tells));
                Box::pin(async move {
                    tells.notify_one();
                    waits.notified().await;
                    Ok(Box::new(()) as Box<dyn Shape>)
                })
            }
            _ => return None,
        })
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let keys = authenticated.then(|| (KEYS.0.to_owned(), KEYS.1.to_owned()));
    let desk = Arc::new(Desk::new(Box::new(dispatch), clock, keys));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(serve(listener, desk, async { drop(stopped.await) }));
    Fixture { address, stop: Some(stop), served, gate, reached }
}

impl Fixture {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn signed(&self, secret: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Vec<u8> {
        let mut map = http::HeaderMap::new();
        map.insert("host", self.address.to_string().parse().unwrap());
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let signer = Signer {
            access_key_id: KEYS.0.to_owned(),
            secret_access_key: secret.to_owned(),
            region: "us-east-1".to_owned(),
            service: "any".to_owned(),
        };
        let head = RequestHead { method: "POST", path: "/", query: "", headers: &map };
        let (date, authorization) = sign(&signer, &head, body, NOW.as_millis());
        let mut text = format!(
            "POST / HTTP/1.1\r\nx-amz-date: {date}\r\nauthorization: {authorization}\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in &map {
            text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    fn query(&self, action: &str, version: &str) -> Vec<u8> {
        self.signed(KEYS.1, &[], format!("Action={action}&Version={version}").as_bytes())
    }
}

struct Heard {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Heard {
    fn code(&self) -> String {
        xml::decode_error(&self.body, self.status).unwrap().code.into_owned()
    }
}

/// Reads one answer, leaving the connection for the next.
async fn hear(stream: &mut TcpStream) -> Heard {
    tokio::time::timeout(LONG, async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        Heard { status: head[9..12].parse().unwrap(), head, body }
    })
    .await
    .unwrap()
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> Heard {
    stream.write_all(request).await.unwrap();
    hear(stream).await
}

#[tokio::test]
async fn a_connection_serves_many_signed_requests() {
    let fixture = start(true).await;
    let mut stream = fixture.connect().await;
    for _ in 0..3 {
        let heard = ask(&mut stream, &fixture.query("GetCallerIdentity", "2011-06-15")).await;
        assert_eq!(heard.status, 200);
        assert!(heard.head.contains("x-amzn-requestid: "), "{}", heard.head);
        let mut output = sts::GetCallerIdentityOutput::default();
        xml::decode(puffer_wire::Protocol::Query, sts::GetCallerIdentity::schema(), &heard.body, &mut output)
            .unwrap();
        assert_eq!(output.account.as_deref(), Some("123456789012"));
    }
}

#[tokio::test]
async fn errors_of_each_step() {
    let fixture = start(true).await;
    let mut stream = fixture.connect().await;
    let wrong_secret = fixture.signed("other", &[], b"Action=GetCallerIdentity&Version=2011-06-15");
    for (request, status, code) in [
        (fixture.query("Nonsense", "2011-01-01"), 400, "InvalidAction"),
        (fixture.query("DescribePolicies", "2011-01-01"), 400, "InvalidAction"),
        (wrong_secret, 403, "SignatureDoesNotMatch"),
        (fixture.query("DeleteAutoScalingGroup", "2011-01-01"), 400, "ValidationError"),
        (fixture.query("DeleteAutoScalingGroup&AutoScalingGroupName=g", "2011-01-01"), 400, "ResourceInUse"),
        (fixture.query("DescribeAccountLimits", "2011-01-01"), 500, "InternalFailure"),
        (fixture.query("DescribeAdjustmentTypes", "2011-01-01"), 500, "InternalFailure"),
        (fixture.query("GetCallerIdentity&x=%z", "2011-06-15"), 400, "MalformedQueryString"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 400, "MissingAction"),
        (
            b"GET /?Action=GetCallerIdentity&Version=2011-06-15 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            403,
            "MissingAuthenticationToken",
        ),
    ] {
        let heard = ask(&mut stream, &request).await;
        assert_eq!((heard.status, heard.code().as_str()), (status, code));
    }
}

#[tokio::test]
async fn json_errors_carry_their_headers() {
    let fixture = start(true).await;
    let mut stream = fixture.connect().await;
    let target = ("x-amz-target", "GraniteServiceVersion20100801.DescribeAlarms");
    let request = fixture.signed(KEYS.1, &[target, ("content-type", "application/x-amz-json-1.0")], b"{}");
    let heard = ask(&mut stream, &request).await;
    assert_eq!(heard.status, 404);
    assert!(heard.head.contains("x-amzn-query-error: invalidaction;sender"), "{}", heard.head);
    assert!(heard.head.contains("x-amzn-errortype: unknownoperationexception"), "{}", heard.head);
    assert_eq!(json::decode_error(&heard.body, 404, None).code, "UnknownOperationException");
}

#[tokio::test]
async fn large_compressed_bodies_are_taken() {
    use std::io::Write;
    let fixture = start(true).await;
    let datum = "{\"MetricName\":\"m\",\"Value\":1}";
    let body = format!("{{\"Namespace\":\"N\",\"MetricData\":[{}]}}", vec![datum; 1000].join(","));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let headers =
        [("x-amz-target", "GraniteServiceVersion20100801.PutMetricData"), ("content-encoding", "gzip")];
    let request = fixture.signed(KEYS.1, &headers, &gzip.finish().unwrap());
    assert_eq!(ask(&mut fixture.connect().await, &request).await.status, 200);
    let zeros = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let bomb = {
        let mut zeros = zeros;
        zeros.write_all(&vec![b' '; 8 << 20]).unwrap();
        zeros.finish().unwrap()
    };
    assert_eq!(ask(&mut fixture.connect().await, &fixture.signed(KEYS.1, &headers, &bomb)).await.status, 413);
}

#[tokio::test]
async fn oversize_bodies_are_refused() {
    let fixture = start(true).await;
    let mut stream = fixture.connect().await;
    let heard = ask(&mut stream, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n").await;
    assert_eq!((heard.status, heard.code().as_str()), (413, "RequestEntityTooLarge"));
    assert!(heard.head.contains("connection: close"), "{}", heard.head);
    let mut stream = fixture.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'a'; 0x10000], b"\r\n"].concat();
    for _ in 0..64 {
        stream.write_all(&chunk).await.unwrap();
    }
    assert_eq!(ask(&mut stream, b"0\r\n\r\n").await.status, 413, "read to its end, so that the client hears");
}

#[tokio::test]
async fn without_signatures_web_pages_are_refused() {
    let fixture = start(false).await;
    let mut stream = fixture.connect().await;
    let get = "GET /?Action=GetCallerIdentity&Version=2011-06-15 HTTP/1.1\r\nhost:";
    for host in ["localhost", "LocalHost:4780", "127.0.0.1", "127.0.0.1:4780", "[::1]:4780"] {
        assert_eq!(ask(&mut stream, format!("{get} {host}\r\n\r\n").as_bytes()).await.status, 200, "{host}");
    }
    // A page, and one whose name was made to mean this machine.
    for rest in ["localhost\r\norigin: http://evil.example", "evil.example:4780", "localhost.evil.example"] {
        let heard = ask(&mut stream, format!("{get} {rest}\r\n\r\n").as_bytes()).await;
        assert_eq!((heard.status, heard.code().as_str()), (403, "AccessDenied"), "{rest}");
    }
}

#[tokio::test]
async fn stopping_lets_requests_finish_and_closes_idle_connections() {
    let mut fixture = start(true).await;
    let mut idle = fixture.connect().await;
    ask(&mut idle, &fixture.query("GetCallerIdentity", "2011-06-15")).await;
    let mut busy = fixture.connect().await;
    let action = "SetDesiredCapacity&AutoScalingGroupName=g&DesiredCapacity=1";
    busy.write_all(&fixture.query(action, "2011-01-01")).await.unwrap();
    tokio::time::timeout(LONG, fixture.reached.notified()).await.unwrap();
    fixture.stop.take().unwrap().send(()).unwrap();
    let mut end = Vec::new();
    tokio::time::timeout(LONG, idle.read_to_end(&mut end)).await.unwrap().unwrap();
    assert!(end.is_empty());
    assert!(!fixture.served.is_finished());
    fixture.gate.notify_waiters();
    fixture.gate.notify_one();
    assert_eq!(hear(&mut busy).await.status, 200);
    tokio::time::timeout(LONG, &mut fixture.served).await.unwrap().unwrap();
}

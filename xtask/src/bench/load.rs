//! A load generator that costs little itself: one thread, requests signed once a minute and sent again and again (a signature
//! is good for five minutes), answers read no further than their length and status.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use puffer_wire::RequestHead;
use puffer_wire::sigv4::{Signer, sign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::machine;
use super::server::Server;
use crate::process::now;

/// How long a signed request is sent again before it is signed anew.
const SIGNATURE_LIFE: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a server is and how its requests are signed.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// Address and port.
    pub(super) address: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
}

/// What a request carries.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) path: &'static str,
    /// Headers beyond those that every request has; all are signed.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// A request of the query protocol.
    pub(super) fn query(body: impl Into<Vec<u8>>) -> Message {
        let headers = vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        Message { path: "/", headers, body: body.into() }
    }
}

impl From<String> for Message {
    fn from(body: String) -> Message {
        Message::query(body)
    }
}

/// What a run found.
pub(super) struct Figures {
    pub(super) per_second: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) answer_bytes: usize,
    /// Of the server, in microseconds.
    pub(super) cpu_us_per_request: f64,
    /// Of the load generator, in microseconds.
    pub(super) own_cpu_us_per_request: f64,
    /// Processors that other processes of the machine used meanwhile.
    pub(super) others_cpus: f64,
}

/// A connection that signs.
pub(super) struct Client {
    stream: TcpStream,
    signer: Signer,
    host: String,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(to: &Endpoint, service: &str) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(&to.address).await.context("cannot connect to the server")?;
        stream.set_nodelay(true)?;
        let signer = Signer {
            access_key_id: to.access_key_id.clone(),
            secret_access_key: to.secret_access_key.clone(),
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
        };
        Ok(Client { stream, signer, host: to.address.clone(), buffer: Vec::new() })
    }

    /// The bytes of a signed request.
    fn request(&self, message: &Message) -> anyhow::Result<Vec<u8>> {
        let mut headers = http::HeaderMap::new();
        headers.insert("host", self.host.parse()?);
        for (name, value) in &message.headers {
            headers.insert(*name, value.parse()?);
        }
        let head = RequestHead { method: "POST", path: message.path, query: "", headers: &headers };
        let (date, authorization) = sign(&self.signer, &head, &message.body, unix_ms());
        let mut request = format!(
            "POST {} HTTP/1.1\r\nx-amz-date: {date}\r\nauthorization: {authorization}\r\ncontent-length: {}\r\n",
            message.path,
            message.body.len()
        );
        for (name, value) in &headers {
            request.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        let mut request = (request + "\r\n").into_bytes();
        request.extend_from_slice(&message.body);
        Ok(request)
    }

    /// Sends bytes and reads one answer; gives its length.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<usize> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut total = usize::MAX;
        while self.buffer.len() < total {
            let n = tokio::time::timeout(ANSWER_TIMEOUT, self.stream.read_buf(&mut self.buffer)).await??;
            ensure!(n > 0, "the server closed the connection");
            if total == usize::MAX
                && let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.buffer[..end])?;
                let length = head.split("content-length: ").nth(1).context("an answer without a length")?;
                let length: usize = length.split('\r').next().unwrap_or_default().parse()?;
                ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
                total = end + 4 + length;
            }
        }
        if !self.buffer.starts_with(b"HTTP/1.1 200") {
            bail!("{}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(total)
    }

    /// Makes one call of the query protocol; gives the answer's body.
    pub(super) async fn call(&mut self, body: &str) -> anyhow::Result<String> {
        let request = self.request(&Message::query(body))?;
        self.exchange(&request).await.with_context(|| format!("calling {body}"))?;
        let text = std::str::from_utf8(&self.buffer)?;
        Ok(text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
    }

    /// Sends one message whose answer does not matter as long as it is a good one.
    pub(super) async fn send(&mut self, message: &Message) -> anyhow::Result<()> {
        let request = self.request(message)?;
        self.exchange(&request).await.map(drop)
    }
}

/// Runs `bodies(connection)` on each connection in turn for `length`, after a warm-up of a fifth of it.
pub(super) async fn run<M: Into<Message>>(
    server: &Server,
    service: &str,
    n_connections: usize,
    length: Duration,
    bodies: impl Fn(usize) -> Vec<M>,
) -> anyhow::Result<Figures> {
    let begin = now();
    let (measure_from, end) = (begin + length / 5, begin + length + length / 5);
    let mut tasks = tokio::task::JoinSet::new();
    let local = tokio::task::LocalSet::new();
    for i in 0..n_connections {
        let mut client = Client::connect(&server.endpoint, service).await?;
        let messages: Vec<Message> = bodies(i).into_iter().map(M::into).collect();
        tasks.spawn_local_on(
            async move {
                let mut latencies_us = Vec::new();
                let mut answer_bytes = 0;
                'signed: loop {
                    let requests: Vec<Vec<u8>> =
                        messages.iter().map(|m| client.request(m)).collect::<anyhow::Result<_>>()?;
                    let signed = now();
                    loop {
                        for request in &requests {
                            let sent = now();
                            answer_bytes = client.exchange(request).await?;
                            if sent >= measure_from {
                                latencies_us
                                    .push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                            }
                        }
                        if now() >= end {
                            break 'signed;
                        }
                        if signed.elapsed() > SIGNATURE_LIFE {
                            break;
                        }
                    }
                }
                Ok::<_, anyhow::Error>((latencies_us, answer_bytes))
            },
            &local,
        );
    }
    let cpu = async {
        tokio::time::sleep_until(measure_from.into()).await;
        let before = [server.cpu_s(), machine::own_cpu_s(), machine::busy_s()];
        tokio::time::sleep_until(end.into()).await;
        let after = [server.cpu_s(), machine::own_cpu_s(), machine::busy_s()];
        std::array::from_fn(|i| after[i] - before[i])
    };
    let all = async {
        let mut all = Vec::new();
        let mut answer_bytes = 0;
        while let Some(done) = tasks.join_next().await {
            let (latencies_us, bytes) = done??;
            all.extend(latencies_us);
            answer_bytes = bytes;
        }
        Ok::<_, anyhow::Error>((all, answer_bytes))
    };
    let ([server_s, own_s, busy_s], all): ([f64; 3], _) =
        local.run_until(async { tokio::join!(cpu, all) }).await;
    let (mut all, answer_bytes) = all?;
    all.sort_unstable();
    let at = |p: usize| all.get(all.len() * p / 100).copied().map_or(0, u64::from);
    Ok(Figures {
        per_second: all.len() as f64 / length.as_secs_f64(),
        p50_us: at(50),
        p99_us: at(99),
        answer_bytes,
        cpu_us_per_request: server_s * 1e6 / all.len().max(1) as f64,
        own_cpu_us_per_request: own_s * 1e6 / all.len().max(1) as f64,
        others_cpus: ((busy_s - server_s - own_s) / length.as_secs_f64()).max(0.0),
    })
}

/// Now, in milliseconds since 1970.
#[allow(clippy::disallowed_methods)]
pub(super) fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The texts of the elements that `tag` opens, in an answer.
pub(super) fn texts<'a>(xml: &'a str, tag: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split(tag).skip(1).filter_map(|rest| rest.split('<').next())
}

/// The first of them.
pub(super) fn text(xml: &str, tag: &str) -> anyhow::Result<String> {
    texts(xml, tag).next().map(str::to_owned).with_context(|| format!("no {tag} in {xml}"))
}

//! Questions that are not ours go to the host's name servers, as they are.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// For one name server to answer.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// Name servers tried for one question (as many as resolv.conf(5) allows).
const UPSTREAMS_MAX: usize = 3;
/// Bytes of a UDP answer.
const ANSWER_BYTES_MAX: usize = 4096;
const DNS_PORT: u16 = 53;

/// The name servers that other questions go to, in order; none: such questions fail.
#[derive(Debug, Clone, Default)]
pub struct Upstreams(Vec<SocketAddr>);

impl Upstreams {
    /// These servers.
    pub fn new(servers: Vec<SocketAddr>) -> Upstreams {
        Upstreams(servers.into_iter().take(UPSTREAMS_MAX).collect())
    }

    /// The first usable answer.
    pub(super) async fn ask(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        for server in &self.0 {
            let asked = async {
                if udp { ask_udp(*server, question).await } else { ask_tcp(*server, question).await }
            };
            if let Ok(Ok(answer)) = timeout(UPSTREAM_TIMEOUT, asked).await {
                return Some(answer);
            }
        }
        None
    }
}

async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    // A socket of its own, so that each question has a port that nobody can guess; connected, so that only the server's packets arrive.
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let n = socket.recv(&mut answer).await?;
        if answers(&answer[..n], question) {
            answer.truncate(n);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    match answers(&answer, question) {
        true => Ok(answer),
        false => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// The same id, and marked as a response.
fn answers(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= 12 && answer[..2] == question[..2] && answer[2] & 0x80 != 0
}

/// The name servers in a `resolv.conf`, except `own`: asking ourselves would go round in circles.
pub fn system_resolvers(resolv_conf: &Path, own: &[IpAddr]) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(resolv_conf).unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let address: IpAddr = line.trim().strip_prefix("nameserver")?.trim().parse().ok()?;
        (!own.contains(&address)).then(|| SocketAddr::new(address, DNS_PORT))
    });
    servers.take(UPSTREAMS_MAX).collect()
}

//! The DNS server: answers load balancers' names, and asks the host's name servers for everything else.
//!
//! Names under our own suffix are answered from records, authoritatively and with a short life, since balancers come and go. Instances
//! use this server for all their names, so other questions are forwarded as they are; the answer is checked to be to the question asked.

mod answer;
mod forward;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use answer::{Reply, reply_to};
pub use forward::{Upstreams, system_resolvers};

/// Suffix of every load balancer's name.
pub const OWN_SUFFIX: &str = "elb.amazonaws.com";

/// Bytes of a UDP packet that we read: more than any client sends.
const UDP_BYTES_MAX: usize = 4096;
/// Bytes of a TCP question.
const TCP_BYTES_MAX: usize = 8192;
/// Questions in work at a time.
const QUESTIONS_MAX: usize = 512;
/// TCP connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Idle life of a TCP connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed read or accept, so that a lasting fault does not spin.
const FAULT_PAUSE: Duration = Duration::from_millis(50);

/// Who knows the addresses of our own names.
pub trait NameSource: Send + Sync + 'static {
    /// The addresses of a load balancer, those of zones that can serve first; empty if there is no such name. `name` is in lower case, without
    /// the final dot.
    fn addresses(&self, name: &str) -> Vec<Ipv4Addr>;
}

/// What a server that knows one name sends at once for a packet: for fuzzing.
pub(crate) fn reply_of_one_name(packet: &[u8], udp: bool) -> Option<Vec<u8>> {
    struct One;
    impl NameSource for One {
        fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
            // More than fit into a plain answer.
            let n = if name.starts_with("web.") { 60 } else { 0 };
            (0..n).map(|i| Ipv4Addr::new(172, 31, 0, i)).collect()
        }
    }
    match reply_to(packet, &One, udp) {
        Reply::Bytes(bytes) | Reply::Forward { failure: bytes } => Some(bytes),
        Reply::Silence => None,
    }
}

/// A server that has its sockets.
pub struct DnsServer {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    desk: Arc<Desk>,
}

struct Desk {
    names: Arc<dyn NameSource>,
    upstreams: Upstreams,
    slots: Semaphore,
}

impl DnsServer {
    /// Binds UDP and TCP at the same port of `listen`; port 0 takes a free one.
    pub async fn bind(
        listen: SocketAddr,
        names: Arc<dyn NameSource>,
        upstreams: Upstreams,
    ) -> io::Result<DnsServer> {
        let tcp = TcpListener::bind(listen).await?;
        let udp = UdpSocket::bind(tcp.local_addr()?).await?;
        let desk = Desk { names, upstreams, slots: Semaphore::new(QUESTIONS_MAX) };
        Ok(DnsServer { udp: Arc::new(udp), tcp, desk: Arc::new(desk) })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        tokio::join!(serve_udp(self.udp, Arc::clone(&self.desk)), serve_tcp(self.tcp, self.desk));
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, desk: Arc<Desk>) {
    let mut packet = [0; UDP_BYTES_MAX];
    loop {
        let Ok((n, from)) = socket.recv_from(&mut packet).await else {
            // An ICMP error of an earlier answer shows up here; it concerns nobody else.
            tokio::time::sleep(FAULT_PAUSE).await;
            continue;
        };
        let (question, socket, desk) = (packet[..n].to_vec(), Arc::clone(&socket), Arc::clone(&desk));
        tokio::spawn(async move {
            if let Some(answer) = desk.answer(&question, true).await {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, desk: Arc<Desk>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(FAULT_PAUSE).await;
            continue;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let _ = serve_connection(stream, &desk).await;
            drop(slot);
        });
    }
}

async fn serve_connection(mut stream: TcpStream, desk: &Desk) -> io::Result<()> {
    loop {
        let Ok(length) = timeout(CONNECTION_TIMEOUT, stream.read_u16()).await else { return Ok(()) };
        let length = usize::from(length?);
        if length > TCP_BYTES_MAX {
            return Ok(());
        }
        let mut question = vec![0; length];
        timeout(CONNECTION_TIMEOUT, stream.read_exact(&mut question)).await??;
        let Some(answer) = desk.answer(&question, false).await else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        timeout(CONNECTION_TIMEOUT, stream.write_all(&framed)).await??;
    }
}

impl Desk {
    /// The answer's bytes; `None` for what deserves none. Questions beyond the limit are dropped: resolvers ask again.
    async fn answer(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        let _slot = self.slots.try_acquire().ok()?;
        match reply_to(question, &*self.names, udp) {
            Reply::Bytes(bytes) => Some(bytes),
            Reply::Forward { failure } => Some(self.upstreams.ask(question, udp).await.unwrap_or(failure)),
            Reply::Silence => None,
        }
    }
}

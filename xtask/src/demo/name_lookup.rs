//! One DNS question (type A) to one server: enough to ask Puffer's own DNS server for a load balancer's address.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, bail};

const LIMIT: Duration = Duration::from_secs(5);
const ID: [u8; 2] = [0x50, 0x46];

/// The first address of `name`, as `server` answers.
pub(super) fn address_of(server: SocketAddr, name: &str) -> anyhow::Result<Ipv4Addr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(&question(name), server)?;
    let mut answer = [0; 1500];
    let (n, _) = socket.recv_from(&mut answer).with_context(|| format!("no DNS answer from {server}"))?;
    first_address(&answer[..n]).with_context(|| format!("{server} knows no address of {name}"))
}

fn question(name: &str) -> Vec<u8> {
    // Header: id, recursion desired, one question.
    let mut packet = vec![ID[0], ID[1], 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

fn first_address(packet: &[u8]) -> anyhow::Result<Ipv4Addr> {
    if packet.len() < 12 || packet[..2] != ID {
        bail!("not an answer to the question");
    }
    let code = packet[3] & 0x0f;
    if code != 0 {
        bail!("DNS error code {code}");
    }
    let mut at = skip_name(packet, 12)? + 4;
    for _ in 0..u16::from_be_bytes([packet[6], packet[7]]) {
        at = skip_name(packet, at)?;
        let fields = packet.get(at..at + 10).context("cut off")?;
        let length = usize::from(u16::from_be_bytes([fields[8], fields[9]]));
        let data = packet.get(at + 10..at + 10 + length).context("cut off")?;
        if fields[..4] == [0, 1, 0, 1]
            && let [a, b, c, d] = *data
        {
            return Ok(Ipv4Addr::new(a, b, c, d));
        }
        at += 10 + length;
    }
    bail!("no address in the answer")
}

fn skip_name(packet: &[u8], mut at: usize) -> anyhow::Result<usize> {
    loop {
        let length = *packet.get(at).context("cut off")?;
        match length {
            0 => return Ok(at + 1),
            // A pointer ends the name.
            0xc0.. => return Ok(at + 2),
            _ => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_address_behind_an_alias() {
        let mut packet = question("a.example");
        packet[7] = 2;
        // CNAME, then A, both by pointer to the question's name.
        packet.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 172, 31, 0, 9]);
        assert_eq!(first_address(&packet).unwrap(), Ipv4Addr::new(172, 31, 0, 9));
        packet[3] = 3;
        assert!(first_address(&packet).is_err());
        assert!(first_address(&packet[..30]).is_err());
    }
}

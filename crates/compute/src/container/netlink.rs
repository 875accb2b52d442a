//! The handful of rtnetlink requests that plug an instance into a bridge.
//!
//! They are made from the single-threaded helper (host side) and from the guest's own network namespace before init
//! runs, where an async client would drag a runtime in; the messages are small enough to write out.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// The kernel answers at once; this bounds a wait on a kernel that does not.
const ANSWER_TIMEOUT_S: i64 = 5;
/// Largest answer (an error echoes our request).
const ANSWER_BYTES_MAX: usize = 8192;

const VETH_INFO_PEER: u16 = 1;
const RTPROT_BOOT: u8 = 3;

/// A message under construction: header, family header, attributes.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: i32) -> Self {
        let mut message = Message { bytes: Vec::with_capacity(256) };
        message.bytes.extend_from_slice(&0u32.to_ne_bytes());
        message.bytes.extend_from_slice(&kind.to_ne_bytes());
        message
            .bytes
            .extend_from_slice(&((flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
        message.bytes.extend_from_slice(&1u32.to_ne_bytes());
        message.bytes.extend_from_slice(&0u32.to_ne_bytes());
        message
    }

    /// `struct ifinfomsg`.
    fn interface(&mut self, index: u32, up: bool) {
        let flags = if up { libc::IFF_UP as u32 } else { 0 };
        self.bytes.extend_from_slice(&[libc::AF_UNSPEC as u8, 0, 0, 0]);
        self.bytes.extend_from_slice(&index.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |message| message.bytes.extend_from_slice(value));
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.nested(kind, |message| {
            message.bytes.extend_from_slice(value.as_bytes());
            message.bytes.push(0);
        });
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        if let Some(slot) = self.bytes.get_mut(start..start + 2) {
            slot.copy_from_slice(&length.to_ne_bytes());
        }
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        if let Some(slot) = self.bytes.get_mut(..4) {
            slot.copy_from_slice(&length.to_ne_bytes());
        }
        self.bytes
    }
}

/// A route socket in the network namespace of the thread that opened it.
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    /// Opens the socket.
    pub(super) fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT_S, 0))?;
        Ok(Netlink(fd))
    }

    fn request(&self, message: Message) -> io::Result<()> {
        send(self.0.as_raw_fd(), &message.finish(), MsgFlags::empty())?;
        let mut answer = [0u8; ANSWER_BYTES_MAX];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        // nlmsghdr (16 bytes), then nlmsgerr's i32.
        match answer.get(..length).and_then(|a| a.get(16..20)).and_then(|b| <[u8; 4]>::try_from(b).ok()) {
            Some(code) => match i32::from_ne_bytes(code) {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(-code)),
            },
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }

    /// Makes a pair: `host` up and on `bridge` here, `eth0` with `mac` in the network namespace of `pid`.
    pub(super) fn add_pair(&self, host: &str, bridge: &str, pid: i32, mac: [u8; 6]) -> io::Result<()> {
        let master = index_of(bridge)?;
        let build = || {
            let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
            message.interface(0, true);
            message.text(libc::IFLA_IFNAME, host);
            message.attribute(libc::IFLA_MASTER, &master.to_ne_bytes());
            message.nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth");
                info.nested(libc::IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.interface(0, false);
                        peer.text(libc::IFLA_IFNAME, "eth0");
                        peer.attribute(libc::IFLA_ADDRESS, &mac);
                        peer.attribute(libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
                    });
                });
            });
            message
        };
        match self.request(build()) {
            // A pair of that name is left from a life that was cut short: the name is ours, so replace it.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                self.delete(host)?;
                self.request(build())
            }
            other => other,
        }
    }

    /// Removes an interface; one that is not there is fine.
    pub(super) fn delete(&self, name: &str) -> io::Result<()> {
        let index = match index_of(name) {
            Ok(index) => index,
            Err(_) => return Ok(()),
        };
        let mut message = Message::new(libc::RTM_DELLINK, 0);
        message.interface(index, false);
        match self.request(message) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Sets an interface up.
    pub(super) fn set_up(&self, name: &str) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, 0);
        message.interface(index_of(name)?, true);
        self.request(message)
    }

    /// Gives an interface an address.
    pub(super) fn add_address(&self, name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        message.bytes.extend_from_slice(&[libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        message.bytes.extend_from_slice(&index_of(name)?.to_ne_bytes());
        message.attribute(libc::IFA_LOCAL, &address.octets());
        message.attribute(libc::IFA_ADDRESS, &address.octets());
        if prefix < 31 {
            let broadcast = u32::from(address) | (u32::MAX >> prefix);
            message.attribute(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
        }
        self.request(message)
    }

    /// The default route.
    pub(super) fn add_default_route(&self, name: &str, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        message.bytes.extend_from_slice(&[
            libc::AF_INET as u8,
            0,
            0,
            0,
            libc::RT_TABLE_MAIN,
            RTPROT_BOOT,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
        ]);
        message.bytes.extend_from_slice(&0u32.to_ne_bytes());
        message.attribute(libc::RTA_GATEWAY, &gateway.octets());
        message.attribute(libc::RTA_OIF, &index_of(name)?.to_ne_bytes());
        self.request(message)
    }
}

fn index_of(name: &str) -> io::Result<u32> {
    nix::net::if_::if_nametoindex(name).map_err(|errno| {
        io::Error::new(io::Error::from(errno).kind(), format!("interface {name}: {}", errno.desc()))
    })
}

/// Parses `02:00:0a:…`.
pub(super) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0u8; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_parse_strictly() {
        assert_eq!(parse_mac("02:00:0a:00:01:ff"), Some([2, 0, 10, 0, 1, 255]));
        for bad in ["", "02:00:0a:00:01", "02:00:0a:00:01:ff:00", "2:0:a:0:1:ff", "02:00:0a:00:01:zz"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn attributes_carry_their_length_and_are_padded() {
        let mut message = Message::new(libc::RTM_NEWLINK, 0);
        message.interface(7, true);
        message.text(libc::IFLA_IFNAME, "abcd");
        let bytes = message.finish();
        assert_eq!(bytes.len() as u32, u32::from_ne_bytes(bytes[..4].try_into().unwrap()));
        // 16 header + 16 ifinfomsg + 4 attribute header + "abcd\0" padded to 8.
        assert_eq!(bytes.len(), 16 + 16 + 4 + 8);
        assert_eq!(u16::from_ne_bytes(bytes[32..34].try_into().unwrap()), 9);
    }
}

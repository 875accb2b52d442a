//! The socket between the shim and the guest's first process while it builds its world.
//!
//! Sequenced packets: a tag byte, a text, perhaps a descriptor. A closed socket means the other side is gone, which is how the guest's
//! process learns that its shim died (it ends before it becomes init) and how the shim learns that `exec` succeeded.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

/// How long one step of the other side may take. A cold disk is slow; nothing else is.
const STEP_TIMEOUT_S: i64 = 20;
const TEXT_BYTES_MAX: usize = 4096;

/// What is said.
#[derive(Debug)]
pub(super) enum Word {
    /// Shim → guest: ids are mapped, mounts and groups are ready, the network is plugged in.
    Build,
    /// Guest → shim: the master of the console's pseudo-terminal.
    Console(OwnedFd),
    /// Guest → shim: all is ready; the text is the kind of init.
    Ready(String),
    /// Shim → guest: become init.
    Exec,
    /// Guest → shim: a [`super::plan::Failure`] as JSON.
    Failed(String),
    /// The other side closed: it ended, or became init.
    Closed,
}

/// One end.
pub(super) struct Link(OwnedFd);

impl Link {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Link, Link)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        for end in [&a, &b] {
            setsockopt(end, sockopt::ReceiveTimeout, &TimeVal::new(STEP_TIMEOUT_S, 0))?;
        }
        Ok((Link(a), Link(b)))
    }

    /// Says something.
    pub(super) fn say(&self, word: &Word) -> io::Result<()> {
        let (tag, text, fd): (u8, &str, Option<RawFd>) = match word {
            Word::Build => (b'B', "", None),
            Word::Console(fd) => (b'C', "", Some(fd.as_raw_fd())),
            Word::Ready(kind) => (b'R', kind, None),
            Word::Exec => (b'X', "", None),
            Word::Failed(failure) => (b'F', failure, None),
            Word::Closed => return Ok(()),
        };
        let text = text.as_bytes();
        let text = text.get(..TEXT_BYTES_MAX).unwrap_or(text);
        let slices = [IoSlice::new(std::slice::from_ref(&tag)), IoSlice::new(text)];
        let fds: Vec<RawFd> = fd.into_iter().collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        sendmsg::<()>(self.0.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for the next word, at most [`STEP_TIMEOUT_S`].
    #[allow(unsafe_code)]
    pub(super) fn hear(&self) -> io::Result<Word> {
        let mut buffer = [0u8; TEXT_BYTES_MAX + 1];
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message =
            recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)
                .map_err(|errno| match errno {
                    nix::errno::Errno::EAGAIN => io::Error::from(io::ErrorKind::TimedOut),
                    other => other.into(),
                })?;
        let length = message.bytes;
        let mut fd = None;
        for item in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = item {
                // SAFETY: the kernel just installed these descriptors for us; each is wrapped exactly once.
                fds.into_iter().for_each(|raw| fd = Some(unsafe { OwnedFd::from_raw_fd(raw) }));
            }
        }
        let Some((tag, text)) = buffer.get(..length).and_then(<[u8]>::split_first) else {
            return Ok(Word::Closed);
        };
        let text = String::from_utf8_lossy(text).into_owned();
        match (tag, fd) {
            (b'B', _) => Ok(Word::Build),
            (b'C', Some(fd)) => Ok(Word::Console(fd)),
            (b'R', _) => Ok(Word::Ready(text)),
            (b'X', _) => Ok(Word::Exec),
            (b'F', _) => Ok(Word::Failed(text)),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }
}

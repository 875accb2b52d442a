//! Counters of a running instance, read with `pread` from descriptors that stay open.
//!
//! Opening and closing costs five times as much as reading, and libraries for cgroups far more. CPU time comes from v2's `cpu.stat` on every
//! layout: it needs no controller and agrees with v1 to the millisecond.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::cgroup::{Cgroups, open_file};
use crate::Usage;

/// Room for the counters' first lines; block devices take a line each.
const READ_BYTES: usize = 2048;

/// Open descriptors of one instance.
#[derive(Debug)]
pub(super) struct Meter {
    cpu: File,
    memory: Option<File>,
    disk: Option<DiskFiles>,
    network: Option<NetworkFiles>,
    interface: Option<String>,
}

#[derive(Debug)]
enum DiskFiles {
    /// `8:0 rbytes=… wbytes=… rios=… wios=… …`
    V2(File),
    /// `8:0 Read 123`, once for bytes and once for operations.
    V1 { bytes: File, ops: Option<File> },
}

/// Sums over all devices.
#[derive(Debug, Default, PartialEq, Eq)]
struct ReadWrite {
    read: u64,
    write: u64,
}

/// The host's end of the pair: what it receives, the instance has sent.
#[derive(Debug)]
struct NetworkFiles {
    rx_bytes: File,
    tx_bytes: File,
    rx_packets: File,
    tx_packets: File,
}

impl NetworkFiles {
    fn open(interface: &str) -> Option<Self> {
        let dir = PathBuf::from("/sys/class/net").join(interface).join("statistics");
        let open = |name: &str| open_file(&dir, name).ok();
        Some(NetworkFiles {
            rx_bytes: open("rx_bytes")?,
            tx_bytes: open("tx_bytes")?,
            rx_packets: open("rx_packets")?,
            tx_packets: open("tx_packets")?,
        })
    }
}

impl Meter {
    /// Opens what exists for the instance.
    pub(super) fn open(cgroups: &Cgroups, id: &str, interface: Option<&str>) -> std::io::Result<Self> {
        let outer = cgroups.outer(id);
        let in_group = |group: &Path, name: &str| open_file(group, name).ok();
        let memory = match cgroups.v1_group("memory", id) {
            Some(group) => in_group(&group, "memory.usage_in_bytes"),
            None => in_group(&outer, "memory.current"),
        };
        let disk = match cgroups.v1_group("blkio", id) {
            Some(group) => in_group(&group, "blkio.throttle.io_service_bytes_recursive").map(|bytes| {
                let ops = in_group(&group, "blkio.throttle.io_serviced_recursive");
                DiskFiles::V1 { bytes, ops }
            }),
            None => in_group(&outer, "io.stat").map(DiskFiles::V2),
        };
        Ok(Meter {
            cpu: open_file(&outer, "cpu.stat")?,
            memory,
            disk,
            network: interface.and_then(NetworkFiles::open),
            interface: interface.map(str::to_string),
        })
    }

    /// Reads all counters; `None` once the groups are gone.
    pub(super) fn read(&mut self) -> Option<Usage> {
        let mut usage = Usage { cpu_ns: read_cpu_ns(&self.cpu)?, ..Usage::default() };
        if let Some(memory) = &self.memory {
            usage.memory_bytes = read_number(memory).unwrap_or(0);
        }
        self.read_disk(&mut usage);
        // A guest that rebooted has a new pair, and the old files answer an error: open again.
        if !self.read_network(&mut usage) {
            self.network = self.interface.as_deref().and_then(NetworkFiles::open);
            self.read_network(&mut usage);
        }
        Some(usage)
    }

    fn read_disk(&self, usage: &mut Usage) {
        let mut buffer = [0u8; READ_BYTES];
        let (bytes, ops) = match &self.disk {
            None => return,
            Some(DiskFiles::V2(file)) => {
                let Some(text) = read_text(file, &mut buffer) else { return };
                (v2(text, "rbytes=", "wbytes="), Some(v2(text, "rios=", "wios=")))
            }
            Some(DiskFiles::V1 { bytes, ops }) => {
                let Some(text) = read_text(bytes, &mut buffer) else { return };
                let bytes = v1(text);
                (bytes, ops.as_ref().and_then(|file| read_text(file, &mut buffer)).map(v1))
            }
        };
        (usage.disk_read_bytes, usage.disk_write_bytes) = (bytes.read, bytes.write);
        usage.disk_read_ops = ops.as_ref().map(|ops| ops.read);
        usage.disk_write_ops = ops.map(|ops| ops.write);
    }

    fn read_network(&self, usage: &mut Usage) -> bool {
        let Some(files) = &self.network else { return self.interface.is_none() };
        let read = || {
            Some((
                read_number(&files.tx_bytes)?,
                read_number(&files.rx_bytes)?,
                read_number(&files.tx_packets)?,
                read_number(&files.rx_packets)?,
            ))
        };
        let Some(numbers) = read() else { return false };
        (
            usage.network_in_bytes,
            usage.network_out_bytes,
            usage.network_in_packets,
            usage.network_out_packets,
        ) = numbers;
        true
    }
}

fn read_text<'a>(file: &File, buffer: &'a mut [u8]) -> Option<&'a str> {
    let length = file.read_at(buffer, 0).ok()?;
    std::str::from_utf8(buffer.get(..length)?).ok()
}

fn read_number(file: &File) -> Option<u64> {
    let mut buffer = [0u8; 32];
    read_text(file, &mut buffer)?.trim_end().parse().ok()
}

fn read_cpu_ns(file: &File) -> Option<u64> {
    let mut buffer = [0u8; 128];
    let length = file.read_at(&mut buffer, 0).ok()?;
    cpu_ns(buffer.get(..length)?)
}

/// `usage_usec` is the first line of `cpu.stat`.
fn cpu_ns(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"usage_usec ")?;
    let mut us = 0u64;
    for byte in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        us = us.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    us.checked_mul(1000)
}

/// Two fields of `io.stat`.
fn v2(text: &str, read: &str, write: &str) -> ReadWrite {
    let mut sums = ReadWrite::default();
    for field in text.split([' ', '\n']) {
        let number = |prefix: &str| field.strip_prefix(prefix).and_then(|n| n.parse::<u64>().ok());
        sums.read += number(read).unwrap_or(0);
        sums.write += number(write).unwrap_or(0);
    }
    sums
}

/// A file of v1's `blkio.throttle`.
fn v1(text: &str) -> ReadWrite {
    let mut sums = ReadWrite::default();
    for line in text.lines() {
        let mut fields = line.split(' ').skip(1);
        let kind = fields.next();
        let n = fields.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        match kind {
            Some("Read") => sums.read += n,
            Some("Write") => sums.write += n,
            _ => {}
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_parse() {
        assert_eq!(cpu_ns(b"usage_usec 1234\nuser_usec 1\n"), Some(1_234_000));
        assert_eq!(cpu_ns(b"user_usec 1\n"), None);
        let text = "8:0 rbytes=10 wbytes=20 rios=1 wios=7 dbytes=0\n8:16 rbytes=5 wbytes=1 rios=1 wios=0\n";
        assert_eq!(v2(text, "rbytes=", "wbytes="), ReadWrite { read: 15, write: 21 });
        assert_eq!(v2(text, "rios=", "wios="), ReadWrite { read: 2, write: 7 });
        let text = "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 1\n254:0 Total 12288\nTotal 12288\n";
        assert_eq!(v1(text), ReadWrite { read: 4096, write: 8192 });
        assert_eq!(v1("Total 0\n"), ReadWrite::default());
    }
}

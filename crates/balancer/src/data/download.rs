//! The target's side of an exchange: the response, head and body, to the client.

use std::io::{self, IoSlice, Write};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::buffer::Buffer;
use super::sticky::Follows;
use super::upload::Progress;
use super::watch::Watch;
use crate::http::RESPONSE_HEAD_BYTES_MAX;
use crate::http::body::Body;
use crate::http::request::header_table;
use crate::http::response::{self, Framing, Malformed};
use crate::plane::counters::Part;

/// A first part of a body up to this size is copied behind its head; a longer one is gathered by the kernel.
const COPY_BYTES_MAX: usize = 4 << 10;

/// Most interim responses (1xx) before the final one.
const INTERIM_MAX: u32 = 32;

/// What the response depends on.
pub(super) struct Wanted<'a> {
    pub(super) to_head: bool,
    pub(super) client_minor: u8,
    /// The client's connection may stay open.
    pub(super) keep_alive: bool,
    pub(super) offers_upgrade: bool,
    /// Ready lines for the response's head.
    pub(super) extra: &'a [u8],
    /// The application's cookie that the load balancer's own follows.
    pub(super) follows: Option<&'a Follows>,
    /// Of (balancer, group, zone).
    pub(super) part: &'a Part,
    pub(super) idle: Duration,
}

/// A response that went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Through {
    /// The client was told that its connection stays open.
    pub(super) keep_client: bool,
    /// The target's connection may serve again.
    pub(super) keep_target: bool,
    /// Both sides speak another protocol from now on.
    pub(super) switched: bool,
}

/// A response that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DownloadEnd {
    /// The target closed without a byte.
    NoResponse,
    /// What came is not a response.
    NotHttp,
    /// The target broke off after the head, which the client has.
    BrokenOff,
    /// The client takes no more.
    ClientGone,
}

/// What a head says, freed from its bytes.
struct Head {
    status: u16,
    bytes: usize,
    body: Body,
    keep_alive: bool,
    framing: Framing,
    keep_client: bool,
}

/// Reads a response and passes it on. `out` is left alone until the first byte arrives.
pub(super) async fn download(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    inbox: &mut Buffer,
    out: &mut Vec<u8>,
    wanted: &Wanted<'_>,
    progress: &Progress,
    watch: &Watch,
) -> Result<Through, DownloadEnd> {
    let mut seen_any = false;
    let mut n_interim = 0;
    let head = loop {
        if let Some(head) = read_head(inbox, out, wanted, progress, watch)? {
            if !is_interim(head.status) {
                break head;
            }
            if wanted.client_minor == 1 {
                send(to, out, &[], progress).await?;
            }
            inbox.consume(head.bytes);
            n_interim += 1;
            if n_interim > INTERIM_MAX {
                return Err(DownloadEnd::NotHttp);
            }
            continue;
        }
        if inbox.data().len() >= RESPONSE_HEAD_BYTES_MAX || !inbox.grow(RESPONSE_HEAD_BYTES_MAX) {
            return Err(DownloadEnd::NotHttp);
        }
        match inbox.fill(from).await {
            Ok(n) if n > 0 => {}
            _ if seen_any => return Err(DownloadEnd::NotHttp),
            _ => return Err(DownloadEnd::NoResponse),
        }
        let now = Instant::now();
        if !seen_any {
            seen_any = true;
            wanted.part.response_time.record(now - progress.sent_at.get());
        }
        watch.set_deadline(now + wanted.idle);
    };
    progress.responding.set(true);
    count(wanted.part, head.status);
    inbox.consume(head.bytes);
    if head.status == 101 {
        send(to, out, &[], progress).await?;
        return Ok(Through { keep_client: false, keep_target: false, switched: true });
    }
    pass_body(from, to, inbox, out, &head, progress, watch, wanted.idle).await?;
    Ok(Through {
        keep_client: head.keep_client,
        keep_target: head.keep_alive && inbox.is_empty(),
        switched: false,
    })
}

/// Parses the head at the start of `inbox` and writes the client's to `out`; none if it is not all there yet.
fn read_head(
    inbox: &Buffer,
    out: &mut Vec<u8>,
    wanted: &Wanted<'_>,
    progress: &Progress,
    watch: &Watch,
) -> Result<Option<Head>, DownloadEnd> {
    if inbox.is_empty() {
        return Ok(None);
    }
    let mut table = header_table();
    let parsed = response::parse(inbox.data(), &mut table, wanted.to_head);
    let Some(response) = parsed.map_err(|Malformed| DownloadEnd::NotHttp)? else { return Ok(None) };
    out.clear();
    let framing = response.framing_for(wanted.client_minor);
    let ends_by_close =
        framing == Framing::Unchunk || (framing == Framing::AsIs && response.body == Body::UntilClose);
    let is_kept = wanted.keep_alive && !watch.slot.is_finishing();
    let keep_client = is_kept && !ends_by_close && progress.uploaded.get();
    if is_interim(response.status) || response.status == 101 {
        if response.status == 101 && !wanted.offers_upgrade {
            return Err(DownloadEnd::NotHttp);
        }
        response.write_interim_head(out);
    } else {
        let followed = wanted.follows.and_then(|f| Some(f.lines(response.set_cookie(&f.cookie)?)));
        response.write_head(out, framing, keep_client, followed.as_deref().unwrap_or(wanted.extra));
    }
    Ok(Some(Head {
        status: response.status,
        bytes: response.head_bytes,
        keep_alive: response.keep_alive,
        body: response.body,
        framing,
        keep_client,
    }))
}

const fn is_interim(status: u16) -> bool {
    status < 200 && status != 101
}

/// Passes the body on, the first part together with the head in `out`.
#[allow(clippy::too_many_arguments)]
async fn pass_body(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    inbox: &mut Buffer,
    out: &mut Vec<u8>,
    head: &Head,
    progress: &Progress,
    watch: &Watch,
    idle: Duration,
) -> Result<(), DownloadEnd> {
    let mut body = head.body.clone();
    loop {
        let here = inbox.data();
        let n = match head.framing {
            Framing::AsIs => {
                let n = body.take(here).map_err(|_| DownloadEnd::BrokenOff)?;
                if n <= COPY_BYTES_MAX && !out.is_empty() {
                    out.extend_from_slice(&here[..n]);
                    send(to, out, &[], progress).await?;
                } else {
                    send(to, out, &here[..n], progress).await?;
                }
                n
            }
            Framing::Unchunk => {
                let n = body.take_data(here, out).map_err(|_| DownloadEnd::BrokenOff)?;
                send(to, out, &[], progress).await?;
                n
            }
            Framing::Chunk => {
                push_chunk(out, here);
                send(to, out, &[], progress).await?;
                here.len()
            }
        };
        out.clear();
        inbox.consume(n);
        if body.is_done() {
            return Ok(());
        }
        match inbox.fill(from).await {
            Ok(n) if n > 0 => watch.extend(idle),
            Ok(_) if body == Body::UntilClose => {
                if head.framing == Framing::Chunk {
                    send(to, b"0\r\n\r\n", &[], progress).await?;
                }
                return Ok(());
            }
            _ => return Err(DownloadEnd::BrokenOff),
        }
    }
}

/// Appends `data` as a chunk; nothing if there is none, since an empty chunk would be the end.
fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    // Writing to a vector cannot fail.
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Sends `first` and then `second`, in one call if the socket takes them.
async fn send(
    to: &mut WriteHalf<'_>,
    first: &[u8],
    second: &[u8],
    progress: &Progress,
) -> Result<(), DownloadEnd> {
    progress.count(first.len() + second.len());
    let sent = match (first.is_empty(), second.is_empty()) {
        (_, true) => to.write_all(first).await,
        (true, false) => to.write_all(second).await,
        (false, false) => gather(to, first, second).await,
    };
    sent.map_err(|_| DownloadEnd::ClientGone)
}

async fn gather(to: &mut WriteHalf<'_>, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
    while !first.is_empty() {
        let n = to.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_first = n.min(first.len());
        (first, second) = (&first[of_first..], &second[n - of_first..]);
    }
    to.write_all(second).await
}

fn count(part: &Part, status: u16) {
    let counters = &part.counters;
    match status / 100 {
        1 | 2 => counters.http_code_target_2xx.add(1),
        3 => counters.http_code_target_3xx.add(1),
        4 => counters.http_code_target_4xx.add(1),
        _ => counters.http_code_target_5xx.add(1),
    }
}

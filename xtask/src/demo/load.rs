//! The load of the lab: a bounded number of requests for `/?n=N`, a fixed number at a time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};

/// A request may take this long.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// An answer of the lab's app is far smaller.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// After a refused connection: do not spin.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Load that runs until it is stopped or its requests are used up.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// What was sent and what came back.
pub(crate) struct LoadResult {
    pub(crate) sent: u64,
    /// Answers by status code; `error` where there was none.
    pub(crate) by_status: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    by_status: Mutex<BTreeMap<String, u64>>,
}

impl Load {
    pub(crate) fn start(to: SocketAddr, n: u64, connections: usize, requests_max: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let workers = (0..connections)
            .map(|_| {
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                thread::spawn(move || work(to, n, requests_max, &stop, &counts))
            })
            .collect();
        Load { stop, workers, counts }
    }

    /// Lets requests in flight finish.
    pub(crate) fn stop(self) -> LoadResult {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            let _ = worker.join();
        }
        let by_status = self.counts.by_status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        LoadResult { sent: self.counts.sent.load(Ordering::Relaxed), by_status }
    }
}

fn work(to: SocketAddr, n: u64, requests_max: u64, stop: &AtomicBool, counts: &Counts) {
    let path = format!("/?n={n}");
    while !stop.load(Ordering::Relaxed) && counts.sent.fetch_add(1, Ordering::Relaxed) < requests_max {
        let status = match get(to, &path) {
            Ok((status, _)) => status.to_string(),
            Err(_) => {
                thread::park_timeout(PAUSE_AFTER_FAILURE);
                "error".to_owned()
            }
        };
        *counts.by_status.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }
}

/// One request that must answer 200 with `expected` in its body.
pub(crate) fn get_once(to: SocketAddr, path: &str, expected: &str) -> anyhow::Result<()> {
    let (status, body) = get(to, path)?;
    if status != 200 || !body.contains(expected) {
        bail!("http://{to}{path} answered {status}: {body}");
    }
    Ok(())
}

/// Status and body of the answer to one request.
pub(crate) fn get(to: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&to, REQUEST_LIMIT)?;
    stream.set_read_timeout(Some(REQUEST_LIMIT))?;
    stream.set_write_timeout(Some(REQUEST_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).context("not an HTTP answer")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

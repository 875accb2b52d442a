//! Health checks: one task per target asks it at intervals and tells its group.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use puffer_core::elb::health::{Matcher, ProbeOutcome, Thresholds};

use crate::config::{HealthCheckConfig, HealthCheckProtocol};
use crate::data::connect::connect_from;
use crate::http::{RESPONSE_HEAD_BYTES_MAX, request::header_table, response};
use crate::plane::Shared;
use crate::plane::group::{Group, Target};

/// How far an interval may differ from the configured one, in percent, so that checks spread out over time.
const JITTER_PERCENT: u64 = 5;
/// Shortest time between two questions to a target that has never answered well.
const EAGER_GAP: Duration = Duration::from_millis(250);
/// Such a target is asked again after this part of the time that it has been waited for.
const EAGER_PART: u32 = 8;

/// The version of the checker as it names itself, by which apps keep checks out of their logs.
const CHECKER: &str = "2.0";
/// The same under classic load balancers.
const CHECKER_CLASSIC: &str = "1.0";

/// A target's check.
pub(crate) struct Check {
    protocol: HealthCheckProtocol,
    from: Ipv4Addr,
    address: SocketAddrV4,
    request: Vec<u8>,
    matcher: Option<Matcher>,
    interval_ms: u64,
    limit: Duration,
    thresholds: Thresholds,
    target: Arc<Target>,
    group: Arc<Group>,
    shared: Arc<Shared>,
}

impl Check {
    pub(crate) fn new(
        config: &HealthCheckConfig,
        from: Ipv4Addr,
        target: Arc<Target>,
        group: Arc<Group>,
        shared: Arc<Shared>,
    ) -> Check {
        let address = SocketAddrV4::new(*target.address.ip(), config.port.unwrap_or(target.address.port()));
        let version = if group.is_classic() { CHECKER_CLASSIC } else { CHECKER };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/{version}\r\n\
             Accept-Encoding: gzip, compressed\r\n\r\n",
            config.path
        );
        Check {
            protocol: config.protocol,
            from,
            address,
            request: request.into_bytes(),
            matcher: Matcher::parse(&config.matcher),
            interval_ms: config.interval_ms,
            limit: Duration::from_millis(config.timeout_ms),
            thresholds: Thresholds {
                healthy: config.healthy_threshold,
                unhealthy: config.unhealthy_threshold,
            },
            target,
            group,
            shared,
        }
    }

    async fn probe(&self) -> ProbeOutcome {
        if self.protocol == HealthCheckProtocol::Tcp {
            return match timeout(self.limit, connect_from(self.from, self.address)).await {
                Ok(Ok(_)) => ProbeOutcome::Success,
                Ok(Err(_)) => ProbeOutcome::Failed,
                Err(_) => ProbeOutcome::Timeout,
            };
        }
        match timeout(self.limit, self.ask()).await {
            Err(_) => ProbeOutcome::Timeout,
            Ok(Err(e)) if e.kind() == io::ErrorKind::TimedOut => ProbeOutcome::Timeout,
            Ok(Err(_) | Ok(None)) => ProbeOutcome::Failed,
            Ok(Ok(Some(status))) if self.matcher.as_ref().is_some_and(|m| m.accepts(status)) => {
                ProbeOutcome::Success
            }
            Ok(Ok(Some(status))) => ProbeOutcome::WrongStatus(status),
        }
    }

    /// The status of the answer; none if it is not HTTP.
    async fn ask(&self) -> io::Result<Option<u16>> {
        let mut stream = connect_from(self.from, self.address).await?;
        stream.write_all(&self.request).await?;
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
            match response::parse(&bytes, &mut header_table(), false) {
                Ok(Some(head)) => return Ok(Some(head.status)),
                Ok(None) if bytes.len() < RESPONSE_HEAD_BYTES_MAX => {}
                Ok(None) | Err(response::Malformed) => return Ok(None),
            }
        }
    }
}

/// Checks the target until the task is aborted. The first check is at once: a new target should serve soon.
///
/// One whose app is still starting would then wait for a whole interval. So while a target is `initial` it is also asked between
/// its checks, and only good news counts: a failure there says nothing that the next check does not say. The gaps grow with the
/// time waited, so that a fleet that never comes up is not asked more and more.
pub(crate) async fn run(check: Check) {
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(check.target.cookie_name() ^ check.shared.epoch);
    if check.group.checking(&check.target) {
        check.shared.changed();
    }
    let registered = Instant::now();
    let mut due = registered;
    loop {
        let begun = Instant::now();
        let outcome = check.probe().await;
        let counts = begun >= due || outcome.failure().is_none();
        if begun >= due {
            let percent = rng.random_range(100 - JITTER_PERCENT..=100 + JITTER_PERCENT);
            due = begun + Duration::from_millis(check.interval_ms.saturating_mul(percent) / 100);
        }
        let now = check.shared.clock.now();
        if counts && check.group.observe(&check.target, outcome, check.thresholds, now) {
            tracing::info!(group = %check.group.arn, target = %check.target.id, ?outcome, "target health changed");
            check.shared.changed();
        }
        let next = match check.target.is_unproven() {
            true => due.min(begun + EAGER_GAP.max(registered.elapsed() / EAGER_PART)),
            false => due,
        };
        sleep_until(next).await;
    }
}

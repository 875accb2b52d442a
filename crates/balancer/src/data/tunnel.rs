//! After a switch of protocols (WebSocket), or without any (TCP): bytes both ways, until both sides have finished or neither has said
//! anything for the idle time-out. A side that is silent holds no buffer.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::buffer::{Buffer, Spares};
use super::upload::Progress;
use super::watch::Watch;

/// Carries bytes between both sides, beginning with what was already read of each.
pub(super) async fn tunnel(
    client: (&mut TcpStream, &mut Buffer),
    target: (&mut TcpStream, &mut Buffer),
    spares: &Spares,
    progress: &Progress,
    watch: &Watch,
    idle: Duration,
) {
    let (mut client_reads, mut client_writes) = client.0.split();
    let (mut target_reads, mut target_writes) = target.0.split();
    let up = carry(&mut client_reads, &mut target_writes, client.1, spares, progress, watch, idle);
    let down = carry(&mut target_reads, &mut client_writes, target.1, spares, progress, watch, idle);
    // An error of either side, as well as an interrupt, ends both; there is nobody to tell.
    let _ = watch.over(async { tokio::try_join!(up, down) }).await;
}

async fn carry(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    buffer: &mut Buffer,
    spares: &Spares,
    progress: &Progress,
    watch: &Watch,
    idle: Duration,
) -> io::Result<()> {
    loop {
        to.write_all(buffer.data()).await?;
        progress.count(buffer.data().len());
        buffer.consume(buffer.data().len());
        if buffer.fill_when_ready(from, spares).await? == 0 {
            return to.shutdown().await;
        }
        watch.extend(idle);
    }
}

//! The control socket's side in the data plane.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::{interval, sleep, timeout};

use crate::plane::Shared;
use crate::plane::apply::Plane;
use crate::protocol::{Answer, FrameError, Hello, PROTOCOL_VERSION, Request, Welcome, receive, send};

/// Most control connections at once.
const CONNECTIONS_MAX: usize = 32;
/// Longest wait for a client's hello, and for it to take an answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait that a client may ask for.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Period of the plane's own upkeep.
const TICK: Duration = Duration::from_secs(1);
/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the control socket until a client asks to stop.
pub(crate) async fn serve(listener: UnixListener, plane: Arc<Mutex<Plane>>, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopped, mut has_stopped) = mpsc::channel::<()>(1);
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            _ = has_stopped.recv() => return,
            _ = ticks.tick() => plane.lock().await.tick(),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Ok(permit) = room.clone().try_acquire_owned() else { continue };
                    let (plane, shared, stopped) = (plane.clone(), shared.clone(), stopped.clone());
                    tokio::spawn(async move {
                        let _permit = permit;
                        if let Err(e) = converse(stream, &plane, &shared, &stopped).await {
                            tracing::debug!(error = %e, "a control connection ended");
                        }
                    });
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a control connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn converse(
    mut stream: UnixStream,
    plane: &Mutex<Plane>,
    shared: &Shared,
    stopped: &mpsc::Sender<()>,
) -> Result<(), FrameError> {
    let slow = |_| FrameError::Io(std::io::ErrorKind::TimedOut.into());
    let hello: Hello = timeout(PEER_TIMEOUT, receive(&mut stream)).await.map_err(slow)??;
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        epoch: shared.epoch,
        pid: std::process::id(),
        generation: plane.lock().await.generation(),
    };
    timeout(PEER_TIMEOUT, send(&mut stream, &welcome)).await.map_err(slow)??;
    if hello.version != PROTOCOL_VERSION {
        return Ok(());
    }
    loop {
        let request = receive(&mut stream).await?;
        let (answer, stops) = answer(request, plane, shared).await;
        timeout(PEER_TIMEOUT, send(&mut stream, &answer)).await.map_err(slow)??;
        if stops {
            // The receiver goes away only by receiving.
            let _ = stopped.send(()).await;
        }
    }
}

/// The answer, and whether the process stops after it.
async fn answer(request: Request, plane: &Mutex<Plane>, shared: &Shared) -> (Answer, bool) {
    let answer = match request {
        Request::Apply { config } => match plane.lock().await.apply(&config).await {
            Ok(applied) => Answer::Applied(applied),
            Err(e) => Answer::Refused { reason: e.to_string() },
        },
        Request::Report => Answer::Report(plane.lock().await.report()),
        Request::WaitChange { since, timeout_ms } => {
            let limit = Duration::from_millis(timeout_ms).min(WAIT_MAX);
            let mut changes = shared.watch_change();
            // Time over is an answer, too; the sender lives as long as we do.
            let _ = timeout(limit, changes.wait_for(|n| *n > since)).await;
            Answer::Changed { change: shared.change() }
        }
        Request::Shutdown { grace_ms } => {
            plane.lock().await.stop(Duration::from_millis(grace_ms)).await;
            return (Answer::Stopping, true);
        }
    };
    (answer, false)
}

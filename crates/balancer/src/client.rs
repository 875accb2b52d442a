//! The control plane's side: starts the data plane if none runs, takes up with the running one otherwise, and
//! drives it. Each call has a time-out and reconnects by itself; a call is safe to repeat.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::config::BalancerConfig;
use crate::protocol::{
    Answer, Applied, FrameError, Hello, PROTOCOL_VERSION, Request, Welcome, receive, send,
};
use crate::report::Report;

/// Longest wait for a connection and its welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer that needs no waiting by itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a new process to answer.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between looks for a new process.
const SPAWN_POLL: Duration = Duration::from_millis(10);

/// How a data plane process is started.
#[derive(Debug, Clone)]
pub struct SpawnOptions {
    /// The program, usually our own: it is run as `EXE balancer --socket SOCKET ARGS…`.
    pub exe: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Gets the process's output, appended.
    pub log: PathBuf,
    /// More arguments, such as `--threads 2`.
    pub args: Vec<String>,
}

/// A call to the data plane that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No data plane answers at the socket.
    #[error("no balancer answers at {0}")]
    Absent(PathBuf, #[source] std::io::Error),
    /// The data plane could not be started.
    #[error("the balancer could not be started")]
    Spawn(#[source] std::io::Error),
    /// It was started but ended, or never answered; its log says why.
    #[error("the balancer did not come up; see {0}")]
    NotUp(PathBuf),
    /// The running data plane speaks another version.
    #[error(
        "the running balancer speaks version {theirs} of the control protocol, this program {PROTOCOL_VERSION}: stop its process \
         {pid}, and one of this version takes its place"
    )]
    Version {
        /// Its version.
        theirs: u32,
        /// Its process.
        pid: u32,
    },
    /// The connection failed in the middle.
    #[error("the balancer's connection failed")]
    Frame(#[from] FrameError),
    /// No answer in time.
    #[error("the balancer did not answer within {0:?}")]
    Timeout(Duration),
    /// The data plane refused.
    #[error("the balancer refused: {0}")]
    Refused(String),
    /// The answer belongs to another request.
    #[error("the balancer gave an answer of the wrong kind")]
    WrongAnswer,
}

impl ClientError {
    /// Nobody is there, or whoever was there ended while it was being greeted: the kernel accepts connections for a dying
    /// process and resets them. Starting another one is safe in both cases, as the socket's lock lets only one live.
    fn is_gone(&self) -> bool {
        matches!(self, ClientError::Absent(..) | ClientError::Frame(_))
    }

    /// What the caller can do about it.
    pub fn class(&self) -> puffer_core::ErrorClass {
        use puffer_core::ErrorClass as Class;
        match self {
            ClientError::Absent(..) | ClientError::Frame(_) | ClientError::Timeout(_) => Class::Transient,
            ClientError::Spawn(_) | ClientError::NotUp(_) | ClientError::Version { .. } => Class::Permanent,
            ClientError::Refused(_) => Class::Caller,
            ClientError::WrongAnswer => Class::Bug,
        }
    }
}

/// That the data plane lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Differs after every start of the process.
    pub epoch: u64,
    /// Generation of the applied configuration; 0 before the first.
    pub generation: u64,
}

/// A way to drive the data plane. Calls wait for each other, except that [`BalancerClient::wait_change`] has a
/// connection of its own.
#[derive(Debug)]
pub struct BalancerClient {
    socket: PathBuf,
    calls: Mutex<Option<UnixStream>>,
    waits: Mutex<Option<UnixStream>>,
}

impl BalancerClient {
    /// Takes up with the data plane that answers at `socket`.
    pub async fn connect(socket: &Path) -> Result<BalancerClient, ClientError> {
        let (stream, _) = open(socket).await?;
        Ok(BalancerClient {
            socket: socket.to_owned(),
            calls: Mutex::new(Some(stream)),
            waits: Mutex::new(None),
        })
    }

    /// Takes up with the running data plane, or starts one in a session of its own, which then outlives us.
    pub async fn connect_or_spawn(options: &SpawnOptions) -> Result<BalancerClient, ClientError> {
        match BalancerClient::connect(&options.socket).await {
            Err(error) if error.is_gone() => {}
            other => return other,
        }
        let log = std::fs::File::options().create(true).append(true).open(&options.log);
        let log = log.map_err(ClientError::Spawn)?;
        let mut child = tokio::process::Command::new(&options.exe)
            .arg("balancer")
            .arg("--socket")
            .arg(&options.socket)
            .args(&options.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(ClientError::Spawn)?)
            .stderr(log)
            .current_dir("/")
            .spawn()
            .map_err(ClientError::Spawn)?;
        let end = Instant::now() + SPAWN_TIMEOUT;
        while Instant::now() < end {
            match BalancerClient::connect(&options.socket).await {
                Err(error) if error.is_gone() => {}
                // Whoever answers is fine: two control planes may have started one at the same time, of which the
                // socket's lock lets only one live.
                other => return other,
            }
            let ended = child.try_wait().map_err(ClientError::Spawn)?;
            if ended.is_some_and(|status| !status.success()) {
                // Perhaps the other of two answered in the meantime.
                return BalancerClient::connect(&options.socket)
                    .await
                    .map_err(|_| ClientError::NotUp(options.log.clone()));
            }
            sleep(SPAWN_POLL).await;
        }
        Err(ClientError::NotUp(options.log.clone()))
    }

    /// Makes `config` real.
    pub async fn apply(&self, config: &BalancerConfig) -> Result<Applied, ClientError> {
        match self.call(&Request::Apply { config: config.clone() }).await? {
            Answer::Applied(applied) => Ok(applied),
            other => Err(unexpected(other)),
        }
    }

    /// Which process answers, and what it has applied: a greeting, whatever the number of targets.
    pub async fn pulse(&self) -> Result<Pulse, ClientError> {
        let (_, welcome) = open(&self.socket).await?;
        Ok(Pulse { epoch: welcome.epoch, generation: welcome.generation })
    }

    /// What has been seen.
    pub async fn report(&self) -> Result<Report, ClientError> {
        match self.call(&Request::Report).await? {
            Answer::Report(report) => Ok(report),
            other => Err(unexpected(other)),
        }
    }

    /// Waits until health or draining has moved on from change number `since` (of a report or of the last wait),
    /// at most `for_at_most`; gives the number then reached. Only one wait at a time makes sense.
    pub async fn wait_change(&self, since: u64, for_at_most: Duration) -> Result<u64, ClientError> {
        let timeout_ms = u64::try_from(for_at_most.as_millis()).unwrap_or(u64::MAX);
        let request = Request::WaitChange { since, timeout_ms };
        let limit = for_at_most.saturating_add(CALL_TIMEOUT);
        match exchange(&self.socket, &self.waits, &request, limit).await? {
            Answer::Changed { change } => Ok(change),
            other => Err(unexpected(other)),
        }
    }

    /// The data plane's process id, while a connection to it is kept.
    pub async fn process_id(&self) -> Option<i32> {
        self.calls.lock().await.as_ref()?.peer_cred().ok()?.pid()
    }

    /// Asks the data plane to finish what is under way, within `grace`, and to exit.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), ClientError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        match self.call(&Request::Shutdown { grace_ms }).await? {
            Answer::Stopping => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn call(&self, request: &Request) -> Result<Answer, ClientError> {
        exchange(&self.socket, &self.calls, request, CALL_TIMEOUT).await
    }
}

/// Sends a request and awaits its answer, on the kept connection or a new one. The connection is kept only after a
/// whole exchange, so a cancelled or failed call cannot leave an answer for the next one to find.
async fn exchange(
    socket: &Path,
    kept: &Mutex<Option<UnixStream>>,
    request: &Request,
    limit: Duration,
) -> Result<Answer, ClientError> {
    let mut kept = kept.lock().await;
    if let Some(mut stream) = kept.take() {
        match bounded(limit, talk::<Answer>(&mut stream, request)).await {
            Ok(answer) => {
                *kept = Some(stream);
                return Ok(answer);
            }
            // The process was restarted since the last call; every request may be repeated.
            Err(ClientError::Frame(FrameError::Io(_))) => {}
            Err(other) => return Err(other),
        }
    }
    let (mut stream, _) = open(socket).await?;
    let answer = bounded(limit, talk(&mut stream, request)).await?;
    *kept = Some(stream);
    Ok(answer)
}

async fn open(socket: &Path) -> Result<(UnixStream, Welcome), ClientError> {
    let hello = Hello { version: PROTOCOL_VERSION };
    bounded(CONNECT_TIMEOUT, async {
        let mut stream =
            UnixStream::connect(socket).await.map_err(|e| ClientError::Absent(socket.to_owned(), e))?;
        let welcome: Welcome = talk(&mut stream, &hello).await?;
        if welcome.version != PROTOCOL_VERSION {
            return Err(ClientError::Version { theirs: welcome.version, pid: welcome.pid });
        }
        Ok((stream, welcome))
    })
    .await
}

async fn talk<A: DeserializeOwned>(
    stream: &mut UnixStream,
    message: &impl Serialize,
) -> Result<A, ClientError> {
    send(stream, message).await?;
    Ok(receive(stream).await?)
}

async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(limit, work).await.unwrap_or(Err(ClientError::Timeout(limit)))
}

fn unexpected(answer: Answer) -> ClientError {
    match answer {
        Answer::Refused { reason } => ClientError::Refused(reason),
        _ => ClientError::WrongAnswer,
    }
}

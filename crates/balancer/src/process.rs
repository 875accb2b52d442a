//! The process: one thread for control and health checks, and the workers.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use puffer_core::Clock;

use crate::control;
use crate::data::worker;
use crate::plane::Shared;
use crate::plane::apply::Plane;

/// Workers at most: more threads than this have never paid on one machine.
const THREADS_MAX: usize = 64;
/// Grace for what is under way when a signal asks to stop.
const SIGNAL_GRACE: Duration = Duration::from_secs(30);

/// How long connections may go on after their listener or node was taken away. Whoever takes a node away can give its address to
/// somebody else after this.
pub const FINISH_LIMIT: Duration = Duration::from_secs(50);

/// How to run.
pub struct Options {
    /// The control socket. `SOCKET.lock` beside it tells who owns it.
    pub socket: PathBuf,
    /// Worker threads; none is one per CPU but the first, at least one.
    pub threads: Option<usize>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Starts all chance of the process.
    pub seed: u64,
    /// [`FINISH_LIMIT`], but for tests.
    pub finish_limit: Duration,
}

/// Why the process could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another process owns the socket.
    #[error("a balancer with process id {pid} owns {socket}")]
    Owned {
        /// The socket.
        socket: PathBuf,
        /// Its owner, as far as known.
        pid: String,
    },
    /// A file or socket could not be set up.
    #[error("{what} {path} cannot be set up")]
    Setup {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime or a thread could not be started.
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
}

/// Runs the data plane until it is asked to stop.
pub fn run(options: Options) -> Result<(), RunError> {
    // A session of our own: the terminal's signals are for the control plane. Fails where we lead one already.
    let _ = nix::unistd::setsid();
    raise_descriptor_limit();
    let lock = own(&options.socket)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    let served = runtime.block_on(serve(&options));
    // From here on a successor may own the socket, while the workers finish what is under way.
    let _ = std::fs::remove_file(&options.socket);
    drop(lock);
    for worker in served? {
        if worker.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
    tracing::info!("balancer is down");
    Ok(())
}

/// Serves until asked to stop; the workers are then finishing.
async fn serve(options: &Options) -> Result<Vec<JoinHandle<()>>, RunError> {
    let setup = |what, source| RunError::Setup { what, path: options.socket.clone(), source };
    match std::fs::remove_file(&options.socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(setup("the old socket", e)),
        _ => {}
    }
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(&options.socket);
    umask(before);
    let listener = listener.map_err(|e| setup("the socket", e))?;
    let n_workers = options.threads.unwrap_or_else(default_threads).clamp(1, THREADS_MAX);
    let epoch = u64::try_from(options.clock.now().as_millis()).unwrap_or(0).max(1);
    let shared = Shared::new(options.clock.clone(), epoch, n_workers);
    let (mut workers, mut threads) = (Vec::new(), Vec::new());
    for index in 0..n_workers {
        let seed = options.seed.wrapping_add(index as u64);
        let (worker, thread) = worker::spawn(index, shared.clone(), seed).map_err(RunError::Runtime)?;
        workers.push(worker);
        threads.push(thread);
    }
    let plane = Arc::new(Mutex::new(Plane::new(shared.clone(), workers, options.finish_limit)));
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    tracing::info!(socket = %options.socket.display(), n_workers, "balancer is up");
    tokio::select! {
        () = control::serve(listener, plane.clone(), shared) => {}
        _ = terminate.recv() => plane.lock().await.stop(SIGNAL_GRACE).await,
    }
    Ok(threads)
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

/// Takes the lock that goes with the socket, for the process's life.
fn own(socket: &Path) -> Result<Flock<File>, RunError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let setup = |source| RunError::Setup { what: "the lock", path: path.clone(), source };
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    match Flock::lock(file.map_err(setup)?, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let write = |lock: &mut File| {
                lock.set_len(0)?;
                lock.rewind()?;
                write!(lock, "{}", std::process::id())
            };
            write(&mut lock).map_err(setup)?;
            Ok(lock)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            // An unreadable pid only makes the message poorer.
            let _ = file.read_to_string(&mut pid);
            Err(RunError::Owned { socket: socket.to_owned(), pid })
        }
        Err((_, e)) => Err(setup(e.into())),
    }
}

/// Two descriptors per request under way add up; the soft limit of most systems is for small programs.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(error = %e, "the limit of open files cannot be raised");
    }
}

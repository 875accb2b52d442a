//! A worker: a thread, its listening sockets and its connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, interval, sleep, timeout};

use super::buffer::Spares;
use super::connection;
use super::pool::{Pool, SWEEP_PERIOD};
use super::relay::relay;
use super::watch::Slot;
use crate::config::ListenerProtocol;
use crate::plane::Shared;
use crate::plane::counters::OpenConnection;
use crate::plane::route::Endpoint;

/// Most client connections of a worker; more are turned away.
const CONNECTIONS_MAX: usize = 50_000;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the control thread tells a worker.
pub(crate) enum Command {
    /// Accept connections from `socket`.
    Listen { endpoint: Arc<Endpoint>, socket: StdListener },
    /// Close the listening socket; `done` is dropped afterwards. Connections finish what they have under way, and end after `limit`
    /// at the latest: a connection of bytes may have no end of its own.
    Unlisten { address: SocketAddrV4, limit: Duration, done: mpsc::Sender<Infallible> },
    /// End what is under way at a target, and its idle connections.
    Cut { target: u64 },
    /// Finish, and end the thread after `grace` at the latest.
    Stop { grace: Duration },
}

/// The control thread's hold on a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    /// Unbounded, yet no longer than what configurations change: the control thread never waits for the data path.
    commands: mpsc::UnboundedSender<Command>,
}

impl WorkerHandle {
    /// Gives a command; a worker that has ended needs none.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

/// What a worker's connections have in common.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) spares: Spares,
    pub(crate) pool: Pool,
    pub(crate) rng: RefCell<Pcg64Mcg>,
    slots: RefCell<HashMap<u64, Rc<Slot>>>,
    next_slot: Cell<u64>,
    listeners: RefCell<HashMap<SocketAddrV4, AbortHandle>>,
    emptied: Notify,
}

/// Starts a worker's thread. `seed` starts its chance.
pub(crate) fn spawn(
    index: usize,
    shared: Arc<Shared>,
    seed: u64,
) -> io::Result<(WorkerHandle, std::thread::JoinHandle<()>)> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let (started, has_started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        // The runtime stays on its thread, so it is made there; the starter waits for how that went.
        let built = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let (runtime, outcome) = match built {
            Ok(runtime) => (Some(runtime), Ok(())),
            Err(e) => (None, Err(e)),
        };
        let is_awaited = started.send(outcome).is_ok();
        if let Some(runtime) = runtime.filter(|_| is_awaited) {
            runtime.block_on(run(index, shared, seed, inbox));
        }
    })?;
    has_started.recv().map_err(io::Error::other)??;
    Ok((WorkerHandle { commands }, thread))
}

async fn run(index: usize, shared: Arc<Shared>, seed: u64, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let worker = Rc::new(Worker {
        index,
        shared,
        spares: Spares::default(),
        pool: Pool::default(),
        rng: RefCell::new(Pcg64Mcg::seed_from_u64(seed)),
        slots: RefCell::default(),
        next_slot: Cell::new(0),
        listeners: RefCell::default(),
        emptied: Notify::new(),
    });
    let mut sweep = interval(SWEEP_PERIOD);
    let grace = loop {
        tokio::select! {
            command = inbox.recv() => match command {
                None => break Duration::ZERO,
                Some(Command::Stop { grace }) => break grace,
                Some(command) => worker.obey(command),
            },
            now = sweep.tick() => worker.pool.sweep(now),
        }
    };
    let slots: Vec<_> = worker.slots.borrow().values().cloned().collect();
    slots.iter().for_each(|s| s.finish());
    let empty = async {
        while !worker.slots.borrow().is_empty() {
            worker.emptied.notified().await;
        }
    };
    if timeout(grace, empty).await.is_err() {
        tracing::warn!(
            worker = index,
            n = worker.slots.borrow().len(),
            "connections are cut at the end of the grace"
        );
    }
}

impl Worker {
    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen { endpoint, socket } => {
                let address = endpoint.address;
                match TcpListener::from_std(socket) {
                    Ok(listener) => {
                        let task = spawn_local(self.clone().accept(endpoint, listener));
                        self.listeners.borrow_mut().insert(address, task.abort_handle());
                    }
                    Err(e) => tracing::error!(%address, error = %e, "a listening socket cannot be used"),
                }
            }
            Command::Unlisten { address, limit, done } => {
                let here = self
                    .slots
                    .borrow()
                    .values()
                    .filter(|s| s.address == address)
                    .cloned()
                    .collect::<Vec<_>>();
                here.iter().for_each(|s| s.finish());
                if !here.is_empty() {
                    spawn_local(async move {
                        sleep(limit).await;
                        here.iter().for_each(|s| s.end());
                    });
                }
                if let Some(task) = self.listeners.borrow_mut().remove(&address) {
                    task.abort();
                    // The socket closes when the runtime drops the task, which is before it runs this one's next step.
                    spawn_local(async move {
                        while !task.is_finished() {
                            tokio::task::yield_now().await;
                        }
                        drop(done);
                    });
                }
            }
            Command::Cut { target } => {
                self.pool.forget(target);
                let slots: Vec<_> = self.slots.borrow().values().cloned().collect();
                slots.iter().for_each(|s| s.cut(target));
            }
            Command::Stop { .. } => {}
        }
    }

    async fn accept(self: Rc<Self>, endpoint: Arc<Endpoint>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, SocketAddr::V4(peer))) => self.admit(&endpoint, stream, peer),
                Ok((_, SocketAddr::V6(_))) => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    tracing::warn!(address = %endpoint.address, error = %e, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Rc<Self>, endpoint: &Arc<Endpoint>, stream: TcpStream, peer: SocketAddrV4) {
        let route = endpoint.route();
        let (block, protocol) = (route.block.clone(), route.protocol);
        if self.slots.borrow().len() >= CONNECTIONS_MAX {
            block.part(self.index).counters.rejected_connection_count.add(1);
            return;
        }
        let slot = Slot::new(endpoint.address);
        let key = self.next_slot.replace(self.next_slot.get() + 1);
        self.slots.borrow_mut().insert(key, slot.clone());
        let (worker, endpoint) = (self.clone(), endpoint.clone());
        spawn_local(async move {
            let _open = OpenConnection::new(block, worker.index);
            let _entry = SlotEntry { worker: worker.clone(), key };
            match protocol {
                ListenerProtocol::Http => {
                    connection::serve(worker, endpoint, stream, peer, slot, Instant::now()).await;
                }
                ListenerProtocol::Tcp => relay(worker, endpoint, stream, peer, slot).await,
            }
        });
    }
}

/// Takes the slot out when the connection's task ends, even by a panic.
struct SlotEntry {
    worker: Rc<Worker>,
    key: u64,
}

impl Drop for SlotEntry {
    fn drop(&mut self) {
        let mut slots = self.worker.slots.borrow_mut();
        slots.remove(&self.key);
        if slots.is_empty() {
            self.worker.emptied.notify_one();
        }
    }
}

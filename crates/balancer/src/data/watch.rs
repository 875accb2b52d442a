//! What may end a wait: time, or an order from the control plane.
//!
//! A deadline moves with every byte, so it is only a number; the timer behind it is set anew when it fires too early.
//! That keeps the runtime's timer wheel off the hot path.

use std::cell::{Cell, RefCell};
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The deadline is over.
    TimedOut,
    /// The target is being taken out, or the connection has had its time to finish.
    Cut,
}

/// A connection as its worker knows it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Where it came in.
    pub(crate) address: SocketAddrV4,
    waker: RefCell<Option<Waker>>,
    /// Serial of the target that works for it now; 0 is none.
    target: Cell<u64>,
    finish: Cell<bool>,
    cut: Cell<bool>,
    ended: Cell<bool>,
}

impl Slot {
    pub(crate) fn new(address: SocketAddrV4) -> Rc<Slot> {
        Rc::new(Slot {
            address,
            waker: RefCell::default(),
            target: Cell::new(0),
            finish: Cell::new(false),
            cut: Cell::new(false),
            ended: Cell::new(false),
        })
    }

    /// The connection shall close once it has nothing under way.
    pub(crate) fn finish(&self) {
        self.finish.set(true);
        self.wake();
    }

    /// Ends whatever is under way, for good.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    /// Ends what is under way at `target`.
    pub(crate) fn cut(&self, target: u64) {
        if self.target.get() == target {
            self.cut.set(true);
            self.wake();
        }
    }

    /// Says which target works for the connection now; 0 is none.
    pub(crate) fn set_target(&self, target: u64) {
        self.target.set(target);
        self.cut.set(false);
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finish.get()
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Watches over a connection's waits.
pub(crate) struct Watch {
    pub(crate) slot: Rc<Slot>,
    sleep: RefCell<Pin<Box<Sleep>>>,
    deadline: Cell<Instant>,
}

impl Watch {
    pub(crate) fn new(slot: Rc<Slot>, deadline: Instant) -> Watch {
        Watch { slot, sleep: RefCell::new(Box::pin(sleep_until(deadline))), deadline: Cell::new(deadline) }
    }

    /// Remembers how to wake the connection's task, which stays the same for its whole life.
    pub(crate) fn attach(&self, cx: &Context<'_>) {
        *self.slot.waker.borrow_mut() = Some(cx.waker().clone());
    }

    /// Moves the deadline.
    pub(crate) fn set_deadline(&self, deadline: Instant) {
        self.deadline.set(deadline);
        let mut sleep = self.sleep.borrow_mut();
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
    }

    /// Moves the deadline to `after` from now.
    pub(crate) fn extend(&self, after: Duration) {
        self.set_deadline(Instant::now() + after);
    }

    /// Ready when the wait has to end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        if self.slot.cut.get() || self.slot.ended.get() {
            return Poll::Ready(Interrupt::Cut);
        }
        let mut sleep = self.sleep.borrow_mut();
        loop {
            ready!(sleep.as_mut().poll(cx));
            let deadline = self.deadline.get();
            if sleep.deadline() >= deadline {
                return Poll::Ready(Interrupt::TimedOut);
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// Does `work` unless the wait has to end before.
    pub(crate) async fn over<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupt> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }
}

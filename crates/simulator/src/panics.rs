//! Panics in tasks would pass unnoticed: a hook remembers those of threads that live a world.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Watches this thread while it lives.
pub(crate) struct Watch(());

/// Begins to remember panics of this thread.
pub(crate) fn watch() -> Watch {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let watched = SEEN.with_borrow_mut(|seen| match seen {
                Some(seen) => {
                    seen.push(info.to_string());
                    true
                }
                None => false,
            });
            if !watched {
                before(info);
            }
        }));
    });
    SEEN.set(Some(Vec::new()));
    Watch(())
}

impl Watch {
    /// The first panic, if there was one.
    pub(crate) fn first(&self) -> Option<String> {
        SEEN.with_borrow(|seen| seen.as_ref().and_then(|s| s.first().cloned()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SEEN.set(None);
    }
}

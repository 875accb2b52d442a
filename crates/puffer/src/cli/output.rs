//! Standard output as the subcommands write it. A reader that has seen enough (`puffer explain web | head`) is no failure: the program
//! ends quietly, as other tools do.

use std::io::{self, IsTerminal, Write};

/// Why a write failed: nobody reads any more.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for Closed {}

/// Standard output, buffered by lines.
#[derive(Debug)]
pub(super) struct Output(io::Stdout);

/// Where the results go.
pub(super) fn stdout() -> Output {
    Output(io::stdout())
}

impl Output {
    /// Whether somebody watches.
    pub(super) fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

/// Tells standard output's end from that of other pipes and sockets.
fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Closed),
        _ => error,
    }
}

/// Whether a command ended because nobody reads what it says.
pub(super) fn was_closed(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref())
        .any(|inner| inner.is::<Closed>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_standard_output_is_quiet() {
        use anyhow::Context;
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let ours: anyhow::Result<()> = Err(mark(broken()).into());
        assert!(was_closed(&ours.context("while telling").unwrap_err()));
        assert!(!was_closed(&broken().into()), "the server hung up");
        assert!(!was_closed(&mark(io::Error::from(io::ErrorKind::StorageFull)).into()));
    }
}

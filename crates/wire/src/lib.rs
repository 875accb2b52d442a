//! Puffer: wire.

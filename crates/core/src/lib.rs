//! Puffer: core.

//! Puffer: store.

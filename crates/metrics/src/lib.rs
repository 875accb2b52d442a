//! Puffer: metrics.

//! Puffer: compute.

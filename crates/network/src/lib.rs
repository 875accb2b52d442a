//! Puffer: network.

//! Puffer: api.

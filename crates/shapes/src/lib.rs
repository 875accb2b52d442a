//! Puffer: shapes.

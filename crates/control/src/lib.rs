//! Puffer: control.

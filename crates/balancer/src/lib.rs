//! Puffer: balancer.

//! Transactions over the store that both `api` and `control` need.

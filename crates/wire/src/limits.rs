//! Bounds on what a client can make the codecs do.

/// Greatest body of a request, in bytes. CloudWatch allows 1 MB for `PutMetricData`, the largest of the served requests.
pub const BODY_BYTES_MAX: usize = 2 << 20;
/// Greatest number of parameters of a query request: 1,000 metric data with 30 dimensions each fit.
pub const PARAMS_MAX: usize = 80_000;
/// Greatest number of items in one list of a request. The largest list in the models has 10,000 (`GetMetricData`'s page is far below).
pub const LIST_ITEMS_MAX: usize = 10_000;
/// Greatest nesting of structures, lists and maps. The deepest selected request nests 9.
pub const DEPTH_MAX: usize = 32;

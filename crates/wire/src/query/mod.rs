//! The form half of the query protocols: parameters with dotted names, `Tags.member.1.Key=…`; EC2 leaves out `member`.

mod decode;
mod encode;
mod params;

pub use decode::decode;
pub use encode::encode;
pub use params::Params;

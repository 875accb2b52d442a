/// What a caller can do about an error of a lower room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request itself is wrong; repeating it is useless.
    Caller,
    /// Asked too often; wait.
    Throttled,
    /// A passing fault; retry with back-off.
    Transient,
    /// No room now; another zone or a later time may do.
    Capacity,
    /// Will not work until something is changed by hand.
    Permanent,
    /// A defect of Puffer.
    Bug,
}

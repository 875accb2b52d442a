//! State reasons as EC2 gives them.

use puffer_compute::DriverError;
use puffer_core::ErrorClass;
use puffer_core::ec2::StateReason;

fn reason(code: &str, text: &str) -> StateReason {
    StateReason { code: code.to_owned(), message: format!("{code}: {text}") }
}

/// Why a launch or start failed, for the record.
pub(super) fn of_failure(class: ErrorClass, text: &str) -> StateReason {
    match class {
        ErrorClass::Capacity => reason(
            "Server.InsufficientInstanceCapacity",
            &format!("Insufficient capacity to satisfy instance request ({text})"),
        ),
        ErrorClass::Caller => reason("Client.InternalError", &format!("Client error on launch ({text})")),
        _ => reason("Server.InternalError", &format!("Internal error on launch ({text})")),
    }
}

/// The image's fault, rather than the machine's.
pub(super) fn of_image(text: &str) -> StateReason {
    reason("Client.InvalidAMI", text)
}

pub(super) fn of_driver(error: &DriverError) -> StateReason {
    match error {
        DriverError::BadImage { .. } => of_image(&error.to_string()),
        other => of_failure(other.class(), &other.to_string()),
    }
}

/// The guest powered off without being asked from outside.
pub(super) fn guest_shutdown() -> StateReason {
    reason("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
}

/// The guest died. On EC2 that is the same internal error as of a launch, told apart by its text.
pub(super) fn crashed(how: &str) -> StateReason {
    reason("Server.InternalError", &format!("The instance failed ({how})"))
}

/// The machine has it no more.
pub(super) fn lost() -> StateReason {
    reason("Server.InternalError", "The instance was lost by the machine that carried it")
}

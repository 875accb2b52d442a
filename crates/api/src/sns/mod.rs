//! Simple Notification Service: topics, and subscriptions of queues and HTTP endpoints.
//!
//! What is published is fanned out in one transaction; what goes to HTTP endpoints is delivered by a reconciler.

mod publish;
mod subscriptions;
mod topics;

use puffer_inventory::messaging::MessagingError;
use puffer_shapes::sns::errors;

use crate::{ApiError, Registry};

/// Items on a page of a list (AWS's number).
const PAGE_SIZE: usize = 100;

/// Serves the operations of this service.
pub(crate) fn register(registry: &mut Registry) {
    topics::register(registry);
    subscriptions::register(registry);
    publish::register(registry);
}

fn invalid(what: impl std::fmt::Display) -> ApiError {
    ApiError::declared(&errors::INVALID_PARAMETER_EXCEPTION, format!("Invalid parameter: {what}"))
}

fn unsupported(what: &str) -> ApiError {
    invalid(format!("{what} is not supported by Puffer yet"))
}

fn refused(error: MessagingError) -> ApiError {
    match error {
        MessagingError::Store(error) => ApiError::internal(&error),
        MessagingError::NoTopic | MessagingError::NoSubscription => {
            ApiError::declared(&errors::NOT_FOUND_EXCEPTION, error.to_string())
        }
        MessagingError::TooManySubscriptions(_) => {
            ApiError::declared(&errors::SUBSCRIPTION_LIMIT_EXCEEDED_EXCEPTION, error.to_string())
        }
        other => invalid(other),
    }
}

/// One page of keys that are in order: those after the token, and the next token.
fn page<T>(items: impl Iterator<Item = T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let mut found: Vec<T> = items.take(PAGE_SIZE + 1).collect();
    let more = found.len() > PAGE_SIZE;
    found.truncate(PAGE_SIZE);
    let next = found.last().filter(|_| more).map(key);
    (found, next)
}

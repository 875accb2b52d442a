//! Simple Queue Service: standard queues, with visibility time-outs, delays, retention and long polling.

mod messages;
mod queues;

use puffer_inventory::messaging::MessagingError;
use puffer_shapes::sqs::errors;

use crate::{ApiError, Ctx, Registry};

/// Serves the operations of this service.
pub(crate) fn register(registry: &mut Registry) {
    queues::register(registry);
    messages::register(registry);
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::sender("InvalidParameterValue", message)
}

fn refused(error: MessagingError) -> ApiError {
    let text = error.to_string();
    match error {
        MessagingError::Store(error) => ApiError::internal(&error),
        MessagingError::NoQueue => ApiError::declared(&errors::QUEUE_DOES_NOT_EXIST, text),
        MessagingError::BadReceipt => ApiError::declared(&errors::RECEIPT_HANDLE_IS_INVALID, text),
        MessagingError::NotInFlight => ApiError::declared(&errors::MESSAGE_NOT_INFLIGHT, text),
        MessagingError::Full(_) => ApiError::declared(&errors::OVER_LIMIT, text),
        _ => invalid(text),
    }
}

/// A queue's URL: the server, the account and the name.
fn url_of(cx: &Ctx, name: &str) -> String {
    format!("http://{}/{}/{name}", cx.endpoint, cx.account)
}

/// The name in a queue's URL. The host does not matter: a server may have had another address when the URL was given.
fn name_in(cx: &Ctx, url: Option<&str>) -> Result<String, ApiError> {
    let not_found = || refused(MessagingError::NoQueue);
    let mut parts = url.unwrap_or_default().trim_end_matches('/').rsplit('/');
    let (name, account) = (parts.next().unwrap_or_default(), parts.next());
    match account {
        Some(account) if account != cx.account => Err(not_found()),
        _ if name.is_empty() => Err(not_found()),
        _ => Ok(name.to_owned()),
    }
}

//! `NextToken`: where the next page starts, opaque to clients.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use puffer_shapes::cloudwatch::errors;

use crate::ApiError;

pub(super) fn encode(position: &str) -> String {
    URL_SAFE_NO_PAD.encode(position)
}

pub(super) fn decode(token: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(invalid)
}

pub(super) fn invalid() -> ApiError {
    ApiError::declared(&errors::INVALID_NEXT_TOKEN, "The next token is not valid.")
}

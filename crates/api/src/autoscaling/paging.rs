//! Pages of a list: the token is the key after which the next page begins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::ApiError;

/// What a page holds at most, and when the request does not say.
#[derive(Clone, Copy)]
pub(super) struct PageSize {
    pub(super) default: usize,
    pub(super) max: usize,
}

/// Most lists of this service.
pub(super) const USUAL: PageSize = PageSize { default: 50, max: 100 };

impl PageSize {
    /// The size to use; more than the maximum is refused, as on AWS.
    pub(super) fn of(self, asked: Option<i32>) -> Result<usize, ApiError> {
        match asked {
            None => Ok(self.default),
            Some(n) => match usize::try_from(n) {
                Ok(n) if (1..=self.max).contains(&n) => Ok(n),
                _ => Err(ApiError::validation(format!(
                    "MaxRecords must be between 1 and {}, but is {n}.",
                    self.max
                ))),
            },
        }
    }
}

/// The key in a token.
pub(super) fn after(token: Option<&str>) -> Result<Option<String>, ApiError> {
    token
        .map(|token| {
            let bytes = BASE64.decode(token).map_err(|_| invalid())?;
            String::from_utf8(bytes).map_err(|_| invalid())
        })
        .transpose()
}

fn invalid() -> ApiError {
    ApiError::sender("InvalidNextToken", "The NextToken value is not valid.")
}

/// The token for the page after `key`.
pub(super) fn token(key: &str) -> String {
    BASE64.encode(key)
}

/// One page of `items`, which are in their final order: those after the token's key, and the next token.
pub(super) fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token_in: Option<&str>,
    size: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start = match after(token_in)? {
        None => 0,
        Some(last) => items.iter().position(|i| key(i) == last).ok_or_else(invalid)? + 1,
    };
    let mut rest: Vec<T> = items.into_iter().skip(start).collect();
    let next = (rest.len() > size).then(|| token(&key(&rest[size - 1])));
    rest.truncate(size);
    Ok((rest, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_the_list_once() {
        let items: Vec<u32> = (0..10).collect();
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let (page, next) = page(items.clone(), |i| i.to_string(), token.as_deref(), 3).unwrap();
            seen.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, items);
    }

    #[test]
    fn a_bad_token_or_size_is_refused() {
        assert_eq!(page(vec![1], |i| i.to_string(), Some("%%"), 3).unwrap_err().code, "InvalidNextToken");
        assert_eq!(
            page(vec![1], |i| i.to_string(), Some(&token("9")), 3).unwrap_err().code,
            "InvalidNextToken"
        );
        assert!(USUAL.of(Some(101)).is_err() && USUAL.of(Some(0)).is_err());
        assert_eq!(USUAL.of(None).unwrap(), 50);
    }
}

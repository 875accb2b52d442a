//! Pages of a list: the token is the key after which the next page begins, and the list is in the order of its keys. So a page is
//! right even if things come and go between two calls.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use serde::Serialize;
use serde::de::DeserializeOwned;

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
pub(super) fn after<K: DeserializeOwned>(token: Option<&str>) -> Result<Option<K>, ApiError> {
    token
        .map(|token| {
            let bytes = BASE64.decode(token).map_err(|_| invalid())?;
            serde_json::from_slice(&bytes).map_err(|_| invalid())
        })
        .transpose()
}

fn invalid() -> ApiError {
    ApiError::sender("InvalidNextToken", "The NextToken value is not valid.")
}

/// The token for the page after `key`.
pub(super) fn token<K: Serialize + ?Sized>(key: &K) -> Result<String, ApiError> {
    Ok(BASE64.encode(serde_json::to_vec(key).map_err(|e| ApiError::internal(&e))?))
}

/// One page of `items` in the order of their keys: those after the token's key, and the next token. The item of that key need not
/// be there any more.
pub(super) fn page<T, K: Ord + Serialize + DeserializeOwned>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> K,
    token_in: Option<&str>,
    size: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    if let Some(last) = after::<K>(token_in)? {
        items.retain(|i| key(i) > last);
    }
    items.sort_by_cached_key(&key);
    let next = match items.len() > size {
        true => Some(token(&key(&items[size - 1]))?),
        false => None,
    };
    items.truncate(size);
    Ok((items, next))
}

/// Checks what a request for pages says of a list that is always empty: no page of it gave a token.
pub(super) fn empty(token_in: Option<&str>, asked: Option<i32>) -> Result<(), ApiError> {
    USUAL.of(asked)?;
    match token_in {
        None => Ok(()),
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    #[test]
    fn pages_cover_the_list_once() {
        let items: Vec<u32> = (0..10).rev().collect();
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let (page, next) = page(items.clone(), |i| *i, token.as_deref(), 3).unwrap();
            seen.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn what_goes_between_two_pages_ends_no_listing() {
        // Newest first, as activities are told; after the first page its last item goes, and a newer one comes.
        let key = |i: &(u32, &str)| (Reverse(i.0), i.1.to_owned());
        let (first, token) = page(vec![(3, "a"), (3, "b"), (2, "c"), (1, "d")], key, None, 2).unwrap();
        assert_eq!(first, [(3, "a"), (3, "b")]);
        let (second, end) =
            page(vec![(4, "e"), (3, "a"), (2, "c"), (1, "d")], key, token.as_deref(), 2).unwrap();
        assert_eq!((second, end), (vec![(2, "c"), (1, "d")], None));
        let (none, end) = page(vec![(4, "e")], key, token.as_deref(), 2).unwrap();
        assert_eq!((none, end), (vec![], None));
    }

    #[test]
    fn a_bad_token_or_size_is_refused() {
        let of_another_list = token(&"9").unwrap();
        for bad in ["%%", &of_another_list] {
            assert_eq!(page(vec![1], |i| *i, Some(bad), 3).unwrap_err().code, "InvalidNextToken");
        }
        assert_eq!(empty(Some("x"), None).unwrap_err().code, "InvalidNextToken");
        assert!(empty(None, Some(0)).is_err() && empty(None, None).is_ok());
        assert!(USUAL.of(Some(101)).is_err() && USUAL.of(Some(0)).is_err());
        assert_eq!(USUAL.of(None).unwrap(), 50);
    }
}

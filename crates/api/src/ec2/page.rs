//! Pages of describe calls. A token is the key of the last thing told, in base64 so that nobody builds on it; so a page is right
//! even if things come and go between two calls.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ApiError;

/// The most things in a page.
const PAGE_SIZE_MAX: usize = 1000;

/// What of a list is wanted.
pub(super) struct Page {
    size: usize,
    after: Option<String>,
}

impl Page {
    /// From the members of a request. Without `MaxResults` everything is told, as EC2 does.
    pub(super) fn parse(max_results: Option<i32>, next_token: Option<String>) -> Result<Page, ApiError> {
        let size = match max_results {
            None | Some(0) => usize::MAX,
            Some(n) => usize::try_from(n)
                .map_err(|_| {
                    super::error::invalid_value(format!("Value ( {n} ) for parameter maxResults is invalid."))
                })?
                .min(PAGE_SIZE_MAX),
        };
        let after = match next_token.filter(|t| !t.is_empty()) {
            None => None,
            Some(token) => {
                let key = URL_SAFE_NO_PAD.decode(&token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                Some(key.ok_or_else(|| ApiError::sender("InvalidNextToken", "The token is invalid."))?)
            }
        };
        Ok(Page { size, after })
    }

    /// The wanted part of `items`, which are in the order of their keys, and the token of the next part.
    pub(super) fn cut<T>(
        &self,
        items: impl Iterator<Item = T>,
        key: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Option<String>) {
        let mut rest = items.filter(|i| self.after.as_deref().is_none_or(|after| key(i) > after));
        let mut page: Vec<T> = Vec::new();
        for item in rest.by_ref() {
            page.push(item);
            if page.len() >= self.size {
                break;
            }
        }
        let more = page.len() >= self.size && rest.next().is_some();
        let token = page.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
        (page, token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole() {
        let all: Vec<String> = (100..117).map(|n| n.to_string()).collect();
        for size in 1..20 {
            let (mut got, mut token) = (Vec::new(), None);
            loop {
                let page = Page::parse(Some(size), token).unwrap();
                let (part, next) = page.cut(all.iter().cloned(), |s| s);
                assert!(!part.is_empty() && part.len() <= usize::try_from(size).unwrap());
                got.extend(part);
                token = next;
                if token.is_none() {
                    break;
                }
            }
            assert_eq!(got, all);
        }
        let everything = Page::parse(None, None).unwrap().cut(all.iter(), |s| s);
        assert_eq!((everything.0.len(), everything.1), (17, None));
        assert!(Page::parse(Some(-1), None).is_err());
        assert!(Page::parse(None, Some("%%".into())).is_err());
    }
}

//! Pages of describe calls: a marker is the key of the last record told, so a page is right even if records come and
//! go between two calls.

/// Records of a page unless the caller asks for fewer; also the most that can be asked for.
const PAGE_SIZE_MAX: usize = 400;

/// The records after `marker` in the order of their keys, and the marker of the next page if there is one.
pub(crate) fn page<T>(
    records: Vec<T>,
    key: impl Fn(&T) -> &str,
    marker: Option<&str>,
    page_size: Option<i32>,
) -> (Vec<T>, Option<String>) {
    let size =
        page_size.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE_SIZE_MAX).clamp(1, PAGE_SIZE_MAX);
    let mut rest: Vec<T> = match marker {
        Some(marker) => records.into_iter().filter(|r| key(r) > marker).collect(),
        None => records,
    };
    rest.sort_by(|a, b| key(a).cmp(key(b)));
    if rest.len() <= size {
        return (rest, None);
    }
    rest.truncate(size);
    let next = rest.last().map(|r| key(r).to_owned());
    (rest, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole() {
        let all: Vec<String> = (10..20).map(|n| n.to_string()).collect();
        let mut got = Vec::new();
        let mut marker = None;
        loop {
            let (part, next) = page(all.clone(), |s| s, marker.as_deref(), Some(3));
            assert!(part.len() <= 3 && !part.is_empty());
            got.extend(part);
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(got, all);
        assert_eq!(page(all.clone(), |s| s, Some("99"), None), (Vec::new(), None));
    }
}

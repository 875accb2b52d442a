//! Where a body ends.

use super::LINE_BYTES_MAX;

/// Longest trailer section, in bytes.
const TRAILER_BYTES_MAX: usize = 16 << 10;
/// Most hexadecimal digits of a chunk's size.
const SIZE_DIGITS_MAX: u8 = 15;

/// A body that is being passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes are still to come; 0 is the end.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// Up to the end of the connection (responses only).
    UntilClose,
}

/// A chunked body that breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chunked body breaks the rules")]
pub(crate) struct BadChunk;

impl Body {
    pub(crate) const NONE: Body = Body::Length(0);

    pub(crate) fn is_done(&self) -> bool {
        match self {
            Body::Length(n) => *n == 0,
            Body::Chunked(c) => c.state == State::Done,
            Body::UntilClose => false,
        }
    }

    /// How many of `bytes`, which come next on the connection, belong to the body.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        match self {
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= n as u64;
                Ok(n)
            }
            Body::Chunked(chunked) => chunked.take(bytes, |_| ()),
            Body::UntilClose => Ok(bytes.len()),
        }
    }

    /// As [`Body::take`], and appends the data itself, freed from chunks, to `data`.
    pub(crate) fn take_data(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, BadChunk> {
        match self {
            Body::Chunked(chunked) => chunked.take(bytes, |part| data.extend_from_slice(part)),
            _ => {
                let n = self.take(bytes)?;
                data.extend_from_slice(&bytes[..n]);
                Ok(n)
            }
        }
    }
}

/// Follows a chunked body byte by byte, strictly: every line ends with CR LF, sizes are plain hexadecimal numbers,
/// extensions hold no control characters, trailers are bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// Data bytes left in the chunk, or its size so far.
    left: u64,
    /// Digits of the size, or bytes of the line or of the trailers so far.
    seen: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunked {
    pub(crate) const fn new() -> Self {
        Chunked { state: State::Size, left: 0, seen: 0 }
    }

    fn take(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                data(&bytes[at..at + n]);
                at += n;
                self.left -= n as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.seen >= usize::from(SIZE_DIGITS_MAX) {
                    return Err(BadChunk);
                }
                self.seen += 1;
                self.left = self.left << 4 | u64::from((byte as char).to_digit(16).unwrap_or(0));
                State::Size
            }
            (State::Size, b'\r') if self.seen > 0 => State::SizeLf,
            (State::Size, b';') if self.seen > 0 => self.line(State::Extension, 0)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.line(State::Extension, LINE_BYTES_MAX)?
            }
            (State::SizeLf, b'\n') => {
                self.seen = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, b) if is_name_byte(b) => {
                self.line(State::TrailerName, TRAILER_BYTES_MAX)?
            }
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.line(State::TrailerValue, TRAILER_BYTES_MAX)?
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(BadChunk),
        };
        Ok(())
    }

    /// Counts a byte of a line with a limit; a limit of 0 starts the count.
    fn line(&mut self, next: State, limit: usize) -> Result<State, BadChunk> {
        self.seen = if limit == 0 { 1 } else { self.seen + 1 };
        if limit != 0 && self.seen > limit { Err(BadChunk) } else { Ok(next) }
    }
}

/// Whether a byte may stand in a field name (RFC 9110, token).
pub(crate) fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: &[u8]) -> Result<(usize, bool, Vec<u8>), BadChunk> {
        let mut body = Body::Chunked(Chunked::new());
        let mut data = Vec::new();
        let n = body.take_data(bytes, &mut data)?;
        Ok((n, body.is_done(), data))
    }

    #[test]
    fn good_bodies_split_anywhere() {
        let whole = b"5\r\nhello\r\n1;ext=\"v\"\r\n!\r\n00\r\nX-Sum: 1\r\n\r\n";
        let mut with_next = whole.to_vec();
        with_next.extend_from_slice(b"GET /");
        assert_eq!(run(&with_next), Ok((whole.len(), true, b"hello!".to_vec())));
        for split in 0..whole.len() {
            let mut body = Body::Chunked(Chunked::new());
            assert_eq!(body.take(&whole[..split]), Ok(split));
            assert!(!body.is_done());
            assert_eq!(body.take(&whole[split..]), Ok(whole.len() - split));
            assert!(body.is_done(), "{split}");
        }
    }

    #[test]
    fn bad_bodies_are_refused() {
        let bad: &[&[u8]] = &[
            b"\r\n",
            b"g\r\n",
            b" 5\r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b"5 \r\n",
            b"5\nhello",
            b"5\r\nhello!\r\n",
            b"5\r\nhello\n",
            b"1234567890abcdef\r\n",
            b"5;a\nb\r\n",
            b"5;\0\r\n",
            b"0\r\n\n",
            b"0\r\n fold\r\n\r\n",
            b"0\r\nname\r\n\r\n",
            b"0\r\nna me: x\r\n",
            b"-1\r\n",
            b"5\r\r\n",
        ];
        for bytes in bad {
            assert_eq!(run(bytes), Err(BadChunk), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn lines_are_bounded() {
        let mut long = b"1;".to_vec();
        long.extend(vec![b'x'; LINE_BYTES_MAX + 1]);
        assert_eq!(run(&long), Err(BadChunk));
        let mut long = b"0\r\n".to_vec();
        for _ in 0..2000 {
            long.extend_from_slice(b"a: bbbbbbbb\r\n");
        }
        assert_eq!(run(&long), Err(BadChunk));
    }

    #[test]
    fn lengths_count_down() {
        let mut body = Body::Length(5);
        assert_eq!(body.take(b"abc"), Ok(3));
        assert!(!body.is_done());
        assert_eq!(body.take(b"abc"), Ok(2));
        assert!(body.is_done() && Body::NONE.is_done() && !Body::UntilClose.is_done());
    }
}

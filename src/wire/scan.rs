//! Finds the end of a head before it is parsed.
//!
//! A head that arrives byte by byte would otherwise be parsed again for each byte, which is
//! quadratic work for a slow client to hand out.

/// The length of the head at the front of `bytes`, blank line included, if it is whole.
/// `from` is how many bytes an earlier call has already looked at.
pub fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    // Three bytes back: the end mark may straddle two reads.
    let mut at = from.saturating_sub(3);
    while let Some(found) = memchr::memchr(b'\n', bytes.get(at..)?) {
        let next = at + found + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            Some(_) | None => at = next,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::head_end;

    #[test]
    fn finds_the_blank_line_however_the_lines_end() {
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", 0), Some(27));
        assert_eq!(head_end(b"GET / HTTP/1.1\nHost: a\n\nrest", 0), Some(24));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0), None);
    }

    #[test]
    fn an_end_mark_split_over_two_reads_is_found() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for seen in 0..head.len() {
            assert_eq!(head_end(head, seen), Some(head.len()), "after {seen} bytes");
        }
    }
}

//! Where in the text of a block something new belongs.
//!
//! In: a text and a place in it. Out: the end of a line, after which new lines can stand. New text always
//! begins with a line break and goes before one, so that a text without a last line break stays without.
//!
//! Comments go with what they most likely speak of: those above an element with it, those deeper than a key
//! with its value.

/// The first byte of the line that `at` is on.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |before| before + 1)
}

/// The end of the line that `at` is on, before its break.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let Some(length) = text[at..].find('\n') else { return text.len() };
    let end = at + length;
    if end > at && text.as_bytes()[end - 1] == b'\r' { end - 1 } else { end }
}

/// The end of the line before the one that begins at `start`; `None` for the first one.
pub(super) fn end_before(text: &str, start: usize) -> Option<usize> {
    let before = text[..start].strip_suffix('\n')?;
    Some(before.strip_suffix('\r').unwrap_or(before).len())
}

/// The line break of this part of the text.
pub(super) fn line_break(text: &str, at: usize) -> &'static str {
    let end = text[at..].find('\n').map(|length| at + length).or_else(|| text[..at].rfind('\n'));
    match end {
        Some(end) if text[..end].ends_with('\r') => "\r\n",
        Some(_) | None => "\n",
    }
}

/// The place after a block whose content ends at `end`, and whose keys stand in `column`: comments that
/// are as deep belong to it.
pub(super) fn after(text: &str, end: usize, column: usize) -> usize {
    let mut place = line_end(text, end);
    let mut at = place;
    while let Some(start) = next_line(text, at) {
        let line_end = line_end(text, start);
        let line = &text[start..line_end];
        let comment = line.trim_start_matches(' ');
        if comment.starts_with('#') && line.len() - comment.len() >= column {
            place = line_end;
        } else if !comment.trim().is_empty() {
            break;
        }
        at = line_end;
    }
    place
}

/// The place before the element whose dash is at `dash`, with the comments that speak of it; nothing of it
/// comes before `floor`. `None`: the dash does not begin its line.
pub(super) fn before(text: &str, dash: usize, floor: usize) -> Option<usize> {
    let mut start = line_start(text, dash);
    if start <= floor || !text[start..dash].bytes().all(|byte| byte == b' ') {
        return None;
    }
    let column = dash - start;
    while let Some(end) = end_before(text, start) {
        let above = line_start(text, end);
        let comment = text[above..end].trim_start_matches(' ');
        if above <= floor || !comment.starts_with('#') || end - above - comment.len() > column {
            break;
        }
        start = above;
    }
    end_before(text, start)
}

/// The dash of the next element, from the end of what is before it.
pub(super) fn dash(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match text.as_bytes().get(at)? {
            b'-' => return Some(at),
            b'#' => at = line_end(text, at),
            b' ' | b'\t' | b'\r' | b'\n' | b':' | b',' => at += 1,
            // An anchor or a tag of the list.
            b'&' | b'!' => at += text[at..].find([' ', '\t', '\r', '\n'])?,
            _ => return None,
        }
    }
}

fn next_line(text: &str, at: usize) -> Option<usize> {
    text[at..].find('\n').map(|length| at + length + 1).filter(|start| *start < text.len())
}

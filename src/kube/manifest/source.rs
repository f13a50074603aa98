//! Files in, one stream out.
//!
//! In: the bytes of a file; later the changed texts of all. Out: its text, or why it is none; one stream in
//! which no document runs into the next.

use crate::config::Problem;
use crate::kube::text::problem;

/// Most bytes of one file. The largest manifests of real clusters, with all their custom resource
/// definitions, have under ten.
pub const INPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What some editors put in front of UTF-8.
const MARK: &str = "\u{feff}";

/// The text of one file.
#[derive(Debug)]
pub struct Source {
    /// Its name, for messages.
    pub(super) name: String,
    text: String,
}

/// One stream of the texts of all files: as they are, with a document's mark between them where the next
/// file has none.
pub(super) fn join(sources: &[Source], texts: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    for (index, (source, text)) in sources.iter().zip(texts).enumerate() {
        if index == 0 {
            out.push_str(&source.text[..source.text.len() - source.yaml().len()]);
        } else if !text.is_empty() && !out.is_empty() {
            let line_break = if out.contains("\r\n") { "\r\n" } else { "\n" };
            if !out.ends_with('\n') {
                out.push_str(line_break);
            }
            // Directives need the end of the document before them.
            let mark = if text.starts_with('%') { "..." } else { "---" };
            if !is_marked(&text) {
                out.push_str(mark);
                out.push_str(line_break);
            }
        }
        out.push_str(&text);
    }
    out
}

/// Whether a text begins with the mark of a document, perhaps after comments.
fn is_marked(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| {
        line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    })
}

// === impl Source ===

impl Source {
    /// The text of the file called `name`. `Err`: it is too long, or not UTF-8.
    pub fn new(name: &str, bytes: Vec<u8>) -> Result<Self, Problem> {
        if bytes.len() > INPUT_BYTES_MAX {
            let want = format!("at most {} MiB", INPUT_BYTES_MAX >> 20);
            return Err(problem(name, 0, 0, "a longer file", &want));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name: name.to_owned(), text }),
            Err(error) => {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
                let line = memchr::memchr_iter(b'\n', before).count() as u32 + 1;
                let column = String::from_utf8_lossy(&before[start..]).chars().count() as u32 + 1;
                Err(problem(name, line, column, "bytes that are not UTF-8", "YAML in UTF-8"))
            }
        }
    }

    /// The text without a byte order mark.
    pub(super) fn yaml(&self) -> &str {
        self.text.strip_prefix(MARK).unwrap_or(&self.text)
    }
}

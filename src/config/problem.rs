//! One thing wrong with a configuration, in the words its author sees.
//!
//! In: what a check found. Out: `file:line:column: key: found ..., want ...`.

use std::fmt;

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to us.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// The key, as a path: `services.cart.routes[0].retries.maxRetries`. Empty for the whole file.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What is wanted instead.
    pub want: String,
}

// === impl Problem ===

impl Problem {
    /// About a file as a whole.
    pub fn of_file(file: impl Into<String>, found: impl Into<String>, want: impl Into<String>) -> Self {
        let (file, found, want) = (file.into(), found.into(), want.into());
        Self { file, line: 0, column: 0, key: String::new(), found, want }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": found {}, want {}", self.found, self.want)
    }
}

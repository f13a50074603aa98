//! Whether a route is for a call: method and raw path.
//!
//! In: the bytes of a request line. Out: yes or no. Pure; headers are the caller's part, because
//! each protocol keeps them in its own form. The proxy and `check --effective` run this same code.

use crate::config::{Match, PathMatch};

// === impl Match ===

impl Match {
    /// Whether method and path hold. `path` may carry a query, which is not looked at; `headers` are
    /// not looked at either.
    pub fn matches_line(&self, method: &[u8], path: &[u8]) -> bool {
        let method_holds = self.method.as_ref().is_none_or(|wanted| wanted.as_bytes() == method);
        let end = memchr::memchr(b'?', path).unwrap_or(path.len());
        method_holds && self.path.as_ref().is_none_or(|wanted| wanted.matches(&path[..end]))
    }
}

// === impl PathMatch ===

impl PathMatch {
    /// Whether the raw path, already without its query, satisfies the condition.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => wanted.as_bytes() == path,
            Self::Prefix(wanted) if wanted == "/" => path.first() == Some(&b'/'),
            Self::Prefix(wanted) => path
                .strip_prefix(wanted.as_bytes())
                .is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/')),
            Self::Regex(wanted) => std::str::from_utf8(path).is_ok_and(|path| wanted.is_match(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(path: PathMatch, request: &str) -> bool {
        Match { path: Some(path), ..Match::default() }.matches_line(b"GET", request.as_bytes())
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        let prefix = || PathMatch::Prefix("/a".to_owned());
        assert!(holds(prefix(), "/a"));
        assert!(holds(prefix(), "/a/b"));
        assert!(holds(prefix(), "/a?x=/"));
        assert!(!holds(prefix(), "/ab"));
        assert!(!holds(prefix(), "/"));
        assert!(holds(PathMatch::Prefix("/".to_owned()), "/x"));
        assert!(!holds(PathMatch::Prefix("/".to_owned()), "*"));
    }

    #[test]
    fn the_query_is_no_part_of_the_path() {
        assert!(holds(PathMatch::Exact("/a".to_owned()), "/a?b"));
        assert!(!holds(PathMatch::Exact("/a".to_owned()), "/a/"));
        assert!(!holds(PathMatch::Exact("/a".to_owned()), "/%61"));
    }

    #[test]
    fn the_method_is_compared_with_its_case() {
        let post = Match { method: Some("POST".to_owned()), ..Match::default() };
        assert!(post.matches_line(b"POST", b"/"));
        assert!(!post.matches_line(b"post", b"/"));
    }
}

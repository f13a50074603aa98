//! Whether one route takes every call that another is for.
//!
//! In: two matches. Out: yes, or not provably. Never says yes by guess: a pattern covers another
//! only if they are the same text.

use crate::config::{Match, PathMatch};

/// Whether every call that `later` matches is matched by `earlier` too.
pub(super) fn covers(earlier: &Match, later: &Match) -> bool {
    let method = earlier.method.is_none() || earlier.method == later.method;
    let path = match (&earlier.path, &later.path) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => path_covers(earlier, later),
    };
    method && path && earlier.headers.iter().all(|header| is_asked(header, &later.headers))
}

fn path_covers(earlier: &PathMatch, later: &PathMatch) -> bool {
    match (earlier, later) {
        (PathMatch::Regex(earlier), PathMatch::Regex(later)) => earlier.as_str() == later.as_str(),
        (PathMatch::Exact(_) | PathMatch::Prefix(_), PathMatch::Regex(_)) => false,
        (PathMatch::Exact(earlier), PathMatch::Exact(later)) => earlier == later,
        (PathMatch::Exact(_) | PathMatch::Regex(_), PathMatch::Prefix(_)) => false,
        (PathMatch::Prefix(_) | PathMatch::Regex(_), PathMatch::Exact(later))
        | (PathMatch::Prefix(_), PathMatch::Prefix(later)) => earlier.matches(later.as_bytes()),
    }
}

/// Whether the later route asks for at least this header.
fn is_asked(header: &(String, Option<String>), later: &[(String, Option<String>)]) -> bool {
    let (name, value) = header;
    later.iter().any(|(other, asked)| other == name && (value.is_none() || value == asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(path: &str) -> Match {
        Match { path: Some(PathMatch::Prefix(path.to_owned())), ..Match::default() }
    }

    fn exact(path: &str) -> Match {
        Match { path: Some(PathMatch::Exact(path.to_owned())), ..Match::default() }
    }

    #[test]
    fn wider_routes_cover_narrower_ones() {
        assert!(covers(&Match::default(), &exact("/a")));
        assert!(covers(&prefix("/a"), &exact("/a/b")));
        assert!(covers(&prefix("/a"), &prefix("/a/b")));
        assert!(covers(&prefix("/"), &exact("/a")));
        assert!(!covers(&prefix("/a"), &exact("/ab")));
        assert!(!covers(&exact("/a"), &prefix("/a")));
        assert!(!covers(&exact("/a"), &Match::default()));
        assert!(!covers(&prefix("/a/b"), &prefix("/a")));
    }

    #[test]
    fn a_route_that_asks_for_more_covers_less() {
        let post = Match { method: Some("POST".to_owned()), ..prefix("/a") };
        assert!(covers(&prefix("/a"), &post));
        assert!(!covers(&post, &prefix("/a")));
        let any = Match { headers: vec![("x-a".to_owned(), None)], ..Match::default() };
        let one = Match { headers: vec![("x-a".to_owned(), Some("1".to_owned()))], ..Match::default() };
        assert!(covers(&any, &one));
        assert!(!covers(&one, &any));
        assert!(!covers(&any, &Match::default()));
    }
}

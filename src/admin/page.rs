//! The dashboard: one page, embedded, that asks the other pages of the admin API.
//!
//! In: a browser's request. Out: a file of `page/`, as it was when this program was built. The page
//! may load and ask nothing but this address, and no other site may put it into a frame: a click on
//! it may force a breaker.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{INDEX, not_found};

/// Nothing from elsewhere, nothing written into the page itself, no frame around it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const CSS: &str = "text/css; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const PAGE: File = file("index.html", HTML, include_str!("page/index.html"));

/// What the page loads, by its name under `/page/`.
const PARTS: &[File] = &[
    file("api.js", SCRIPT, include_str!("page/api.js")),
    file("calls.js", SCRIPT, include_str!("page/calls.js")),
    file("charts.js", SCRIPT, include_str!("page/charts.js")),
    file("dashboard.css", CSS, include_str!("page/dashboard.css")),
    file("dashboard.js", SCRIPT, include_str!("page/dashboard.js")),
    file("dom.js", SCRIPT, include_str!("page/dom.js")),
    file("format.js", SCRIPT, include_str!("page/format.js")),
    file("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    file("service.js", SCRIPT, include_str!("page/service.js")),
    file("services.js", SCRIPT, include_str!("page/services.js")),
    file("story.js", SCRIPT, include_str!("page/story.js")),
    file("uPlot.css", CSS, include_str!("page/uPlot/uPlot.min.css")),
    file("uPlot.js", SCRIPT, include_str!("page/uPlot/uPlot.iife.min.js")),
    file("uPlot.LICENSE", TEXT, include_str!("page/uPlot/LICENSE")),
];

const fn file(name: &'static str, content_type: &'static str, text: &'static str) -> File {
    File { name, content_type, text }
}

/// `GET /`: the page for browsers, words for everything else.
pub(super) async fn index(headers: HeaderMap) -> Response {
    let mut response = if text(&headers, &header::ACCEPT).contains("text/html") {
        send(&PAGE, &headers)
    } else {
        INDEX.into_response()
    };
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
    response
}

/// `GET /page/{name}`: what the page loads.
pub(super) async fn part(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match PARTS.iter().find(|part| part.name == name) {
        Some(part) => send(part, &headers),
        None => not_found().await,
    }
}

/// The file, or 304 to a browser that has it.
fn send(file: &File, headers: &HeaderMap) -> Response {
    let tag = tag(file.text);
    let with = [
        (header::CONTENT_TYPE, file.content_type),
        (header::ETAG, tag.as_str()),
        // Kept, and asked for each time: another version of this program has other files.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if is_known(text(headers, &header::IF_NONE_MATCH), &tag) {
        return (StatusCode::NOT_MODIFIED, with).into_response();
    }
    (with, file.text).into_response()
}

/// A tag that changes when the text does.
fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether one of the tags of `If-None-Match` is this one (RFC 9110, 13.1.2: compared weakly).
fn is_known(known: &str, tag: &str) -> bool {
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_name_of_its_own_and_the_page_names_only_parts() {
        let named = |name: &str| PARTS.iter().filter(|part| part.name == name).count();
        assert!(PARTS.iter().all(|part| named(part.name) == 1));
        let texts =
            PARTS.iter().chain([&PAGE]).filter(|file| matches!(file.content_type, HTML | SCRIPT | CSS));
        for file in texts.filter(|file| !file.name.starts_with("uPlot")) {
            for mention in file.text.split("/page/").skip(1) {
                let name: String =
                    mention.chars().take_while(|char| char.is_alphanumeric() || *char == '.').collect();
                assert_eq!(named(&name), 1, "{}: /page/{name}", file.name);
            }
        }
    }

    #[test]
    fn the_page_holds_no_script_and_no_style_of_its_own() {
        assert!(
            !PAGE.text.contains("<style") && !PAGE.text.contains(" style=") && !PAGE.text.contains(" on")
        );
        assert!(PAGE.text.match_indices("<script").all(|(at, _)| PAGE.text[at..].contains(" src=\"/page/")));
    }

    #[test]
    fn a_tag_is_known_in_any_of_its_forms() {
        let tag = tag("text");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}"), "*".to_owned()] {
            assert!(is_known(&known, &tag), "{known}");
        }
        assert!(!is_known("", &tag) && !is_known("\"a\"", &tag));
    }
}

//! Variables that send a command's calls to the proxy, where its network can't.
//!
//! In: the proxy's address, and the variables there are. Out: those to set. What is set already for
//! Java and for exceptions is added to and not replaced.

use std::net::SocketAddr;

/// Where calls go directly. Their ports are the user's own programs.
const DIRECT: &str = "localhost,127.0.0.1,::1";

/// Names of variables that name a proxy for HTTP, or for what goes through it by CONNECT.
const PROXY: [&str; 4] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];

/// The variables for a proxy at `address`; `now` tells those of the present.
pub fn variables(address: SocketAddr, now: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let proxy = format!("http://{address}");
    let mut set: Vec<(String, String)> =
        PROXY.iter().map(|name| ((*name).to_owned(), proxy.clone())).collect();
    for name in ["NO_PROXY", "no_proxy"] {
        set.push((name.to_owned(), joined(now(name), ",", DIRECT)));
    }
    let (host, port) = (address.ip(), address.port());
    let java = format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port}"
    );
    set.push(("JAVA_TOOL_OPTIONS".to_owned(), joined(now("JAVA_TOOL_OPTIONS"), " ", &java)));
    // Node.js heeds the others from 22.21 and 24.5 on, if told to.
    set.push(("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned()));
    set
}

/// A proxy that the user's variables name, and which is not used then.
pub fn replaced(now: impl Fn(&str) -> Option<String>) -> Option<String> {
    PROXY.iter().find_map(|name| now(name).filter(|value| !value.trim().is_empty()))
}

fn joined(before: Option<String>, between: &str, more: &str) -> String {
    match before.filter(|text| !text.trim().is_empty()) {
        Some(before) => format!("{before}{between}{more}"),
        None => more.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(set: &[(String, String)], name: &str) -> String {
        set.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    #[test]
    fn every_spelling_is_set() {
        let set = variables("127.0.0.1:15001".parse().unwrap(), |_| None);
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            assert_eq!(value(&set, name), "http://127.0.0.1:15001");
        }
        assert_eq!(value(&set, "no_proxy"), "localhost,127.0.0.1,::1");
        assert_eq!(value(&set, "NODE_USE_ENV_PROXY"), "1");
        assert!(value(&set, "JAVA_TOOL_OPTIONS").contains("-Dhttps.proxyPort=15001"));
    }

    #[test]
    fn what_the_user_has_set_is_kept() {
        let now = |name: &str| match name {
            "NO_PROXY" => Some("db.internal".to_owned()),
            "JAVA_TOOL_OPTIONS" => Some("-Xmx1g".to_owned()),
            "https_proxy" => Some("http://proxy.corp:3128".to_owned()),
            _ => None,
        };
        let set = variables("[::1]:9".parse().unwrap(), now);
        assert_eq!(value(&set, "NO_PROXY"), "db.internal,localhost,127.0.0.1,::1");
        assert!(value(&set, "JAVA_TOOL_OPTIONS").starts_with("-Xmx1g -Dhttp.proxyHost=::1 "));
        assert_eq!(value(&set, "HTTP_PROXY"), "http://[::1]:9");
        assert_eq!(replaced(now), Some("http://proxy.corp:3128".to_owned()));
        assert_eq!(replaced(|_| Some(" ".to_owned())), None);
    }
}

//! The policy that decides, with the place that set each value.
//!
//! In: a configuration, perhaps a service and a request line. Out: aligned text for people. Routes are
//! chosen by the code the proxy runs, so the answer cannot differ from what happens.

use std::fmt::Write;

use super::{Config, Layer, Origin, POLICY_KEYS, Policy, Route, Service, keys};

/// The effective values, one per line: key, value, origin.
///
/// With a service, all of them; with method and path too, those of the route that takes such a call.
/// Without a service, those that the files set, for every service and route.
///
/// # Errors
///
/// A sentence, when no service has that name.
pub fn effective(
    config: &Config,
    service: Option<&str>,
    method: Option<&str>,
    path: Option<&str>,
) -> Result<String, String> {
    let mut text = String::new();
    let Some(name) = service else {
        overview(&mut text, config);
        return Ok(text);
    };
    let service = config.services.iter().find(|service| *service.name == *name);
    let service = service.ok_or_else(|| no_service(config, name))?;
    match (method, path) {
        (Some(method), Some(path)) => of_call(&mut text, config, service, method, path),
        (_, _) => {
            heading(&mut text, config, service, None);
            rows(&mut text, config, &service.policy, |_| true);
        }
    }
    Ok(text)
}

/// What the files set, for every service and route.
fn overview(text: &mut String, config: &Config) {
    let set = |origin: Origin| origin.layer != Layer::BuiltIn;
    for service in &config.services {
        heading(text, config, service, None);
        rows(text, config, &service.policy, set);
        for route in &service.routes {
            heading(text, config, service, Some(route));
            rows(text, config, &route.policy, |origin| origin.layer == Layer::Route);
        }
    }
    line(text, "# values that no file sets are built in; name a service to see them all");
}

/// The policy of one call; headers are not known here, so routes that ask for some are only named.
fn of_call(text: &mut String, config: &Config, service: &Service, method: &str, path: &str) {
    let mut matching =
        service.routes.iter().filter(|route| route.matches.matches_line(method.as_bytes(), path.as_bytes()));
    let route = matching.by_ref().find(|route| {
        if !route.matches.headers.is_empty() {
            let names: Vec<&str> = route.matches.headers.iter().map(|(name, _)| name.as_str()).collect();
            line(text, &format!("# with the right {}, route `{}` takes it", names.join(", "), route.name));
        }
        route.matches.headers.is_empty()
    });
    heading(text, config, service, route);
    rows(text, config, route.map_or(&service.policy, |route| &route.policy), |_| true);
}

fn heading(text: &mut String, config: &Config, service: &Service, route: Option<&Route>) {
    let (what, origin) = match route {
        Some(route) => (format!("service {}, route {}", service.name, route.name), route.origin),
        None => (format!("service {}", service.name), service.origin),
    };
    line(text, &format!("# {what} ({})", place(config, origin)));
}

/// One line per key whose origin is wanted.
fn rows(text: &mut String, config: &Config, policy: &Policy, wanted: impl Fn(Origin) -> bool) {
    let mut rows: Vec<(&str, String, String)> = Vec::with_capacity(POLICY_KEYS.len());
    for key in POLICY_KEYS {
        let origin = policy.origins.get(key).unwrap_or(Origin::BUILT_IN);
        if wanted(origin) {
            rows.push((key, policy.value(key), cite(config, origin)));
        }
    }
    let keys = rows.iter().map(|row| row.0.len()).max().unwrap_or_default();
    let values = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or_default();
    for (key, value, origin) in rows {
        line(text, &format!("{key:<keys$}  {value:<values$}  {origin}"));
    }
}

/// `mesh.yaml:14:7 (service)`, or `built-in`.
fn cite(config: &Config, origin: Origin) -> String {
    match origin.layer {
        Layer::BuiltIn => origin.layer.name().to_owned(),
        Layer::Process | Layer::Defaults | Layer::Service | Layer::Route => {
            format!("{} ({})", place(config, origin), origin.layer.name())
        }
    }
}

fn place(config: &Config, origin: Origin) -> String {
    let file = config.files.get(usize::from(origin.file)).map(|file| file.display().to_string());
    format!("{}:{}:{}", file.unwrap_or_default(), origin.line, origin.column)
}

fn no_service(config: &Config, name: &str) -> String {
    let names: Vec<&str> = config.services.iter().map(|service| &*service.name).collect();
    let hint = keys::nearest(name, &names).map(|near| format!("; did you mean `{near}`?"));
    format!("no service is called `{name}`{}", hint.unwrap_or_default())
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

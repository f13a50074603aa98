//! Which service a call is for.
//!
//! In: the door a connection came through, and what a request names. Out: a plan, or why there is
//! none. Where a connection was captured, the address that was dialled decides; what the request
//! names only chooses among the services that have it.

use std::net::IpAddr;

use tokio::time::Instant;

use crate::error::Fault;
use crate::mesh::{At, Captured, Local, Plan};
use crate::route::{Asking, Authority, Choice, HTTP_PORT};

use super::Door;

/// What a request says of where it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) asking: Asking,
    /// `host[:port]`, as it was sent; empty where it names none.
    pub(super) authority: &'a [u8],
    /// Empty for bytes and TLS.
    pub(super) method: &'a [u8],
    pub(super) path: &'a [u8],
}

/// Why there is no plan, with what is said of it.
pub(super) type NoPlan = (Fault, String);

// === impl Asked ===

impl Asked<'static> {
    /// Bytes that name nothing.
    pub(super) const NOTHING: Self =
        Self { asking: Asking::Captured, authority: b"", method: b"", path: b"" };
}

/// Why a process that was told to finish what is in flight takes no more.
pub(super) fn ending() -> NoPlan {
    (Fault::ShuttingDown, "the proxy is ending and takes no new calls".into())
}

/// The plan for a call that came through `door`.
pub(super) fn whose<'h>(
    local: &Local,
    door: &Door,
    asked: &Asked<'_>,
    header: impl Fn(&str) -> Option<&'h [u8]>,
    now: Instant,
) -> Result<Plan, NoPlan> {
    let Asked { asking, authority, method, path } = *asked;
    match door {
        Door::Outbound => {}
        Door::Service(name) => {
            let index = local.index_of(name);
            let gone = || (Fault::NoRoute, format!("{name} is no longer in the configuration"));
            return index.map(|index| local.plan(index, method, path, header, now)).ok_or_else(gone);
        }
        Door::Unknown(authority) => return unknown(local, authority),
        Door::Captured(captured) => return at_address(local, captured, asked, header, now),
    }
    if asking == Asking::Https {
        return Err((
            Fault::RequestMalformed,
            "https is reached by CONNECT; this proxy does not speak TLS for you".into(),
        ));
    }
    if asking == Asking::Connect && Authority::parse(authority).is_none_or(|target| target.port.is_none()) {
        return Err((Fault::RequestMalformed, "CONNECT names no port".into()));
    }
    match local.choose(authority, asking) {
        Choice::Service(index) => Ok(local.plan(index, method, path, header, now)),
        Choice::Unknown => unknown(local, authority),
        Choice::Denied => Err((
            Fault::Denied,
            format!("no service has the host {} and outbound.unknown is deny", shown(authority)),
        )),
        Choice::Nowhere => Err((Fault::NoRoute, "the request names no host".into())),
    }
}

/// The plan for a captured call, never to where its application did not dial.
fn at_address<'h>(
    local: &Local,
    captured: &Captured,
    asked: &Asked<'_>,
    header: impl Fn(&str) -> Option<&'h [u8]>,
    now: Instant,
) -> Result<Plan, NoPlan> {
    let Asked { asking, authority, method, path } = *asked;
    if asking != Asking::Captured {
        // The first request of a connection to somebody else's proxy makes it opaque: see `detect`.
        return Err((
            Fault::RequestMalformed,
            "a captured connection that has carried other requests can't turn to a proxy's".into(),
        ));
    }
    let is_http = !method.is_empty();
    let host = Authority::parse(authority).map(|authority| authority.host);
    let named = host.and_then(|host| local.claimant(host, captured.destination.port()));
    let (index, host_mismatch, at_home) = match named {
        Some(index) if local.has_address(index, captured, now) => (index, false, true),
        Some(index) => {
            local.count_mismatch(index, now);
            if local.unclaimed() == Choice::Denied {
                let what = format!(
                    "host_mismatch: {} is no address of the service that has the host {}, and outbound.unknown is deny",
                    captured.authority,
                    shown(authority)
                );
                return Err((Fault::Denied, what));
            }
            (index, true, false)
        }
        None => match local.at(captured, now) {
            // A name that the service does not have may be another's at the same address.
            At::One(index) => (index, false, host.is_none_or(is_address)),
            // It is somebody's, so no stranger's: it goes where it was going.
            At::Several => return unknown(local, captured.authority.as_bytes()),
            At::Nobody => return unclaimed(local, captured),
        },
    };
    if at_home && local.leads_to_endpoints(index, captured, is_http) {
        Ok(local.plan(index, method, path, header, now))
    } else {
        Ok(local.plan_elsewhere(index, captured, host_mismatch, (method, path), header, now))
    }
}

fn unclaimed(local: &Local, captured: &Captured) -> Result<Plan, NoPlan> {
    match local.unclaimed() {
        Choice::Denied => Err((
            Fault::Denied,
            format!("no service has the address {} and outbound.unknown is deny", captured.authority),
        )),
        Choice::Service(_) | Choice::Unknown | Choice::Nowhere => {
            unknown(local, captured.authority.as_bytes())
        }
    }
}

fn unknown(local: &Local, authority: &[u8]) -> Result<Plan, NoPlan> {
    let no_host = || (Fault::NoRoute, format!("{} is no host", shown(authority)));
    local.plan_unknown(authority, HTTP_PORT).ok_or_else(no_host)
}

fn is_address(host: &[u8]) -> bool {
    std::str::from_utf8(host).is_ok_and(|host| host.parse::<IpAddr>().is_ok())
}

fn shown(authority: &[u8]) -> String {
    String::from_utf8_lossy(authority).into_owned()
}

#[cfg(test)]
mod tests;

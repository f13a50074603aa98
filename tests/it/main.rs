//! Behaviour of the real binary over real sockets: scripted services, raw clients, faults counted.
//!
//! In: the built `outrigger`, a YAML text, a script of what the service does. Out: what the
//! application read, what the service saw, what the metrics say. Nothing but `docs`, `grafana` and `webhook` know
//! the proxy's code; every port is 0, nothing has to be installed, and waits are bounded polls for the thing
//! itself. One binary for all modules, so that it is linked once.

mod support;

mod harness;
mod harness_h2;

mod architecture;
mod beside;
mod breaker;
mod bridges;
mod bridges_back;
mod bulkhead;
mod cancel;
mod chaos;
mod codec;
mod codec_body;
mod codec_upgrade;
mod config_reload;
mod dashboard;
mod detection;
mod dns;
mod docs;
mod exhaustion;
mod explain;
mod export;
mod faults;
mod force;
mod grafana;
mod grpc;
mod grpc_retries;
mod hostile;
mod hostile_response;
mod http2;
mod http2_corners;
mod http2_floods;
mod http2_flow;
mod http2_heads;
mod http2_hostile;
mod http2_life;
mod http2_policies;
mod http2_service;
mod inject;
mod kubernetes;
mod life;
mod observe;
mod opaque;
mod retries;
mod retries_limits;
mod road;
mod routing;
mod splice;
mod timeouts;
mod tls;
mod tls_faults;
mod tls_http2;
mod tls_rotation;
mod top;
mod trace_headers;
mod webhook;

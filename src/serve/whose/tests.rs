//! Captured calls go where their application dialled, under the policies of whoever is there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::config::{Options, load_str};
use crate::mesh::Mesh;
use crate::upstream::{EndpointSet, Source};

/// What the scripted resolver knows.
const NAMES: [(&str, [u8; 4]); 3] =
    [("cart", [10, 0, 0, 1]), ("cart-pods", [10, 9, 0, 1]), ("orders", [10, 0, 0, 2])];

fn mesh(unknown: &str) -> String {
    format!(
        "
version: v1
outbound: {{unknown: {unknown}}}
services:
  cart: {{endpoints: {{dns: \"cart-pods:8080\"}}}}
  orders: {{endpoints: {{dns: \"orders:80\"}}}}
  first: {{endpoints: {{static: [\"10.0.0.7:80\"]}}}}
  second: {{endpoints: {{static: [\"10.0.0.7:80\"]}}}}
"
    )
}

/// A worker's view whose names have been looked up by a resolver that knows [`NAMES`].
async fn local(unknown: &str, destination: &str) -> (Local, Arc<Captured>) {
    let config = load_str("mesh.yaml", &mesh(unknown), &Options::default()).expect("a valid configuration");
    let (resolver, mut asked) = mpsc::channel::<Arc<EndpointSet>>(16);
    let mesh = Arc::new(Mesh::new(Arc::new(config), Vec::new(), resolver, Vec::new(), Instant::now()));
    let local = Local::new(Arc::clone(&mesh), 0, Rc::default(), None, None);
    let from = SocketAddr::from(([10, 0, 0, 99], 40_000));
    let captured = Arc::new(Captured::new(&mesh, destination.parse().expect("an address"), from));
    let resolve = async {
        while let Some(set) = asked.recv().await {
            let Source::Dns { name, port } = set.source() else { continue };
            match NAMES.iter().find(|(known, _)| known == name) {
                Some((_, ip)) => {
                    set.answer(&[SocketAddr::from((*ip, *port))], Duration::from_secs(60), Instant::now());
                }
                None => set.no_answer(Instant::now()),
            }
        }
    };
    tokio::select! {
        () = local.settle(&captured) => {}
        () = resolve => {}
    }
    (local, captured)
}

/// Whose a call is that names `host`: the service, and where it goes.
async fn plan(unknown: &str, destination: &str, host: &str) -> Result<(String, String), Fault> {
    plan_of(b"GET", unknown, destination, host).await
}

/// The same of bytes or TLS, where `method` is empty.
async fn plan_of(
    method: &[u8],
    unknown: &str,
    destination: &str,
    host: &str,
) -> Result<(String, String), Fault> {
    let (local, captured) = local(unknown, destination).await;
    let asked = Asked { authority: host.as_bytes(), method, ..Asked::NOTHING };
    let plan = whose(&local, &Door::Captured(captured), &asked, |_| None, Instant::now());
    let plan = plan.map_err(|(fault, _)| fault)?;
    let to = match plan.state().endpoints.source() {
        Source::Static(addresses) => addresses[0].to_string(),
        Source::Dns { name, port } => format!("{name}:{port}"),
    };
    Ok((plan.state().name.to_string(), to))
}

fn goes(service: &str, to: &str) -> Result<(String, String), Fault> {
    Ok((service.to_owned(), to.to_owned()))
}

#[tokio::test]
async fn a_call_to_a_services_address_under_its_name_is_the_services() {
    for (destination, host) in [
        ("10.0.0.1:80", "cart"),
        ("10.0.0.1:80", "CART:80"),
        ("10.0.0.1:8080", "cart:8080"),
        ("10.9.0.1:8080", "cart:8080"),
        ("[::ffff:10.0.0.1]:80", "cart"),
    ] {
        let found = plan("allow", destination, host).await;
        let wanted = goes("cart", "cart-pods:8080");
        assert_eq!(found, wanted, "{host} at {destination}");
    }
}

#[tokio::test]
async fn without_a_name_the_address_decides() {
    for host in ["", "10.0.0.1", "10.0.0.1:80"] {
        assert_eq!(plan("allow", "10.0.0.1:80", host).await, goes("cart", "cart-pods:8080"), "{host}");
    }
    assert_eq!(
        plan("allow", "10.9.0.1:80", "").await,
        goes("unknown", "10.9.0.1:80"),
        "of hosts, not endpoints"
    );
    assert_eq!(
        plan("allow", "10.0.0.7:80", "").await,
        goes("unknown", "10.0.0.7:80"),
        "two services have it"
    );
    assert_eq!(plan("allow", "10.0.0.7:80", "second").await, goes("second", "10.0.0.7:80"));
}

#[tokio::test]
async fn a_name_never_leads_where_the_application_did_not_dial() {
    assert_eq!(plan("allow", "10.0.0.2:80", "cart").await, goes("cart", "10.0.0.2:80"), "orders is there");
    assert_eq!(plan("allow", "10.0.0.66:80", "cart").await, goes("cart", "10.0.0.66:80"), "nobody is there");
    assert_eq!(
        plan("allow", "10.0.0.1:80", "elsewhere").await,
        goes("cart", "10.0.0.1:80"),
        "no service's name"
    );
    assert_eq!(plan("allow", "10.0.0.66:80", "elsewhere").await, goes("unknown", "10.0.0.66:80"));
}

#[tokio::test]
async fn deny_is_not_passed_by_a_name() {
    assert_eq!(plan("deny", "10.0.0.1:80", "cart").await, goes("cart", "cart-pods:8080"));
    assert_eq!(plan("deny", "10.0.0.1:80", "elsewhere").await, goes("cart", "10.0.0.1:80"));
    for (destination, host) in [
        ("10.0.0.2:80", "cart"),
        ("10.0.0.66:80", "cart"),
        ("10.0.0.66:80", "elsewhere"),
        ("10.0.0.66:5", ""),
    ] {
        assert_eq!(plan("deny", destination, host).await, Err(Fault::Denied), "{host} at {destination}");
    }
}

#[tokio::test]
async fn bytes_and_tls_keep_their_port_unless_the_configuration_names_it() {
    let bytes = async |destination: &str, host: &str| plan_of(b"", "allow", destination, host).await;
    assert_eq!(bytes("10.0.0.1:8080", "").await, goes("cart", "cart-pods:8080"));
    for (destination, host) in [("10.0.0.1:443", "cart"), ("10.0.0.1:80", ""), ("10.0.0.1:443", "")] {
        assert_eq!(bytes(destination, host).await, goes("cart", destination), "{host} at {destination}");
    }
    let plain = plan("allow", "10.0.0.1:443", "cart").await;
    assert_eq!(plain, goes("cart", "10.0.0.1:443"), "port 443 is that of https");
}

#[tokio::test]
async fn an_address_of_several_services_is_nobodys_call_and_no_strangers() {
    assert_eq!(plan("deny", "10.0.0.7:80", "").await, goes("unknown", "10.0.0.7:80"));
    assert_eq!(plan("deny", "10.0.0.7:80", "second").await, goes("second", "10.0.0.7:80"));
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_calls_are_not_looked_up_for_every_connection() {
    let config = load_str("mesh.yaml", &mesh("allow"), &Options::default()).expect("a valid configuration");
    let (resolver, mut asked) = mpsc::channel(64);
    let mesh = Arc::new(Mesh::new(Arc::new(config), Vec::new(), resolver, Vec::new(), Instant::now()));
    let local = Local::new(Arc::clone(&mesh), 0, Rc::default(), None, None);
    let mut lookups = 0;
    for last in 0..100 {
        let destination = SocketAddr::from(([203, 0, 113, last], 80));
        let captured = Captured::new(&mesh, destination, SocketAddr::from(([10, 0, 0, 99], 40_000)));
        assert_eq!(local.at(&captured, Instant::now()), At::Nobody);
        while let Ok(set) = asked.try_recv() {
            lookups += 1;
            set.answer(&[SocketAddr::from(([10, 9, 9, 9], 0))], Duration::ZERO, Instant::now());
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(lookups, 4, "each name of port 80 once in 30 s, whatever the number of destinations");
}

#[tokio::test]
async fn a_mismatch_is_counted_for_the_service_that_was_named() {
    let (local, captured) = local("allow", "10.0.0.66:80").await;
    let asked = Asked { authority: b"cart", method: b"GET", ..Asked::NOTHING };
    let plan = whose(&local, &Door::Captured(captured), &asked, |_| None, Instant::now()).expect("a plan");
    assert!(plan.service.host_mismatch);
    assert_eq!(plan.service.stats.host_mismatches.get(), 1);
}

#[tokio::test]
async fn an_address_that_stands_for_a_name_is_that_names() {
    let (local, _) = local("allow", "10.0.0.1:80").await;
    let address = local.mesh.virtual_address("Cart.").expect("a service claims it");
    assert_eq!(local.mesh.virtual_address("elsewhere"), None);
    let from = SocketAddr::from(([127, 0, 0, 1], 40_000));
    for (port, host, wanted) in
        [(80, "cart", "cart"), (80, "", "cart"), (9, "cart:9", "unknown"), (80, "orders", "orders")]
    {
        let captured = Captured::new(&local.mesh, (address, port).into(), from);
        let asked = Asked { authority: host.as_bytes(), method: b"GET", ..Asked::NOTHING };
        let door = Door::Captured(Arc::new(captured));
        let plan = whose(&local, &door, &asked, |_| None, Instant::now()).expect("a plan");
        assert_eq!(&*plan.state().name, wanted, "{host}");
        let led = matches!(plan.state().endpoints.source(), Source::Dns { name, .. } if name == "cart");
        assert_eq!(led, wanted != "cart", "what is not the service's goes to the name that was dialled");
    }
}

#[tokio::test]
async fn names_that_are_not_answered_hold_a_connection_up_for_a_second_at_most() {
    tokio::time::pause();
    let config = load_str("mesh.yaml", &mesh("allow"), &Options::default()).expect("a valid configuration");
    let (resolver, _asked) = mpsc::channel(16);
    let mesh = Arc::new(Mesh::new(Arc::new(config), Vec::new(), resolver, Vec::new(), Instant::now()));
    let local = Local::new(Arc::clone(&mesh), 0, Rc::default(), None, None);
    let begun = Instant::now();
    let from = SocketAddr::from(([10, 0, 0, 99], 40_000));
    local.settle(&Captured::new(&mesh, SocketAddr::from(([10, 0, 0, 1], 80)), from)).await;
    assert_eq!(begun.elapsed().as_secs(), 1);
}

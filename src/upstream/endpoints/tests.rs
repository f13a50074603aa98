//! Answers, failures and expiry, by a paused clock and a resolver that the test plays.

use super::*;

/// A set for `cart:80` and the end where its requests arrive.
fn dns_set(queue: usize) -> (Arc<EndpointSet>, mpsc::Receiver<Arc<EndpointSet>>) {
    let (resolver, requests) = mpsc::channel(queue);
    let source = Source::Dns { name: "cart".into(), port: 80 };
    (Arc::new(EndpointSet::new(source, Some(resolver), Instant::now())), requests)
}

fn addresses(last: &[u8]) -> Vec<SocketAddr> {
    last.iter().map(|last| SocketAddr::from(([10, 0, 0, *last], 80))).collect()
}

fn known(set: &EndpointSet) -> Vec<SocketAddr> {
    set.peek()
        .map(|list| list.endpoints.iter().map(|endpoint| endpoint.address).collect())
        .unwrap_or_default()
}

const TTL: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn static_addresses_are_there_at_once_and_for_ever() {
    let set = Arc::new(EndpointSet::new(Source::Static(addresses(&[1, 2])), None, Instant::now()));
    assert!(set.resolved().await);
    let later = Instant::now() + Duration::from_secs(86_400);
    assert_eq!(set.current(later).expect("addresses").as_ref().map(|list| list.endpoints.len()), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_an_address_needs_no_resolver() {
    let source = Source::Dns { name: "::1".into(), port: 80 };
    let set = Arc::new(EndpointSet::new(source, None, Instant::now()));
    assert!(set.resolved().await);
    assert_eq!(known(&set), ["[::1]:80".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn the_first_calls_wait_for_one_lookup_together() {
    let (set, mut requests) = dns_set(8);
    let resolver = async {
        let asked = requests.recv().await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
        asked.answer(&addresses(&[1]), TTL, Instant::now());
    };
    let (one, two, ()) = tokio::join!(set.resolved(), set.resolved(), resolver);
    assert!(one && two);
    assert!(requests.try_recv().is_err(), "one lookup for both");
}

#[tokio::test(start_paused = true)]
async fn an_expired_list_is_used_while_a_new_one_is_looked_up() {
    let (set, mut requests) = dns_set(8);
    set.answer(&addresses(&[1]), TTL, Instant::now());
    assert!(set.current(Instant::now() + TTL - Duration::from_millis(1)).is_some());
    assert!(requests.try_recv().is_err(), "it is still good");
    assert!(set.current(Instant::now() + TTL).is_some(), "nobody waits");
    assert!(set.current(Instant::now() + TTL).is_some());
    assert!(requests.try_recv().is_ok());
    assert!(requests.try_recv().is_err(), "asked once");
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_stay_keep_what_is_known_of_them() {
    let (set, _requests) = dns_set(8);
    set.answer(&addresses(&[1, 2]), TTL, Instant::now());
    let second = Arc::clone(&set.peek().unwrap().endpoints[1]);
    let call = InFlight::enter(&second);
    second.penalty.failed(Instant::now());
    set.answer(&addresses(&[2, 3]), TTL, Instant::now());
    let list = set.peek().unwrap();
    assert!(Arc::ptr_eq(&list.endpoints[0], &second));
    assert_eq!(list.endpoints[0].in_flight(), 1);
    assert!(list.endpoints[0].penalty.is_penalised(Instant::now()));
    drop(call);
    assert_eq!(list.endpoints[0].in_flight(), 0);
    assert_eq!(known(&set), addresses(&[2, 3]));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_survives_failures() {
    let (set, mut requests) = dns_set(8);
    set.answer(&addresses(&[1]), TTL, Instant::now());
    tokio::time::advance(TTL).await;
    set.no_answer(Instant::now());
    set.answer(&[], TTL, Instant::now());
    assert_eq!(known(&set), addresses(&[1]));
    assert!(set.current(Instant::now()).is_some());
    assert!(requests.try_recv().is_err(), "not again at once");
    tokio::time::advance(FAILED_LOOKUP_WAIT).await;
    assert!(set.current(Instant::now()).is_some());
    assert!(requests.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_is_not_looked_up_per_call() {
    let (set, mut requests) = dns_set(8);
    let resolver = async { requests.recv().await.unwrap().no_answer(Instant::now()) };
    let (resolved, ()) = tokio::join!(set.resolved(), resolver);
    assert!(!resolved);
    assert!(set.current(Instant::now()).is_none());
    assert!(!set.resolved().await, "answered from memory");
    assert!(requests.try_recv().is_err());
    tokio::time::advance(FAILED_LOOKUP_WAIT).await;
    let resolver = async { requests.recv().await.unwrap().answer(&addresses(&[1]), TTL, Instant::now()) };
    let (resolved, ()) = tokio::join!(set.resolved(), resolver);
    assert!(resolved);
}

#[tokio::test(start_paused = true)]
async fn ttls_are_kept_within_bounds() {
    let (set, mut requests) = dns_set(8);
    let start = Instant::now();
    set.answer(&addresses(&[1]), Duration::ZERO, start);
    assert_eq!(set.peek().unwrap().expires, Some(start + TTL_MIN));
    set.answer(&addresses(&[1]), Duration::from_secs(86_400), start);
    assert_eq!(set.peek().unwrap().expires, Some(start + TTL_MAX));
    assert!(requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_outwaits_a_full_queue() {
    let (set, mut requests) = dns_set(1);
    let (other, _) = dns_set(1);
    set.resolver.as_ref().unwrap().try_send(other).unwrap();
    let resolver = async {
        tokio::time::sleep(Duration::from_millis(90)).await;
        requests.recv().await.unwrap();
        requests.recv().await.unwrap().answer(&addresses(&[1]), TTL, Instant::now());
    };
    let (resolved, ()) = tokio::join!(set.resolved(), resolver);
    assert!(resolved);
}

#[tokio::test(start_paused = true)]
async fn without_a_resolver_nobody_waits() {
    let (set, requests) = dns_set(1);
    drop(requests);
    assert!(!set.resolved().await);
    let source = Source::Dns { name: "cart".into(), port: 80 };
    assert!(!Arc::new(EndpointSet::new(source, None, Instant::now())).resolved().await);
}

#[tokio::test(start_paused = true)]
async fn an_address_of_the_answer_before_is_still_known_and_one_of_two_before_is_not() {
    let (set, _requests) = dns_set(8);
    let has = |last: u8| set.has_ip([10, 0, 0, last].into());
    assert!(!set.is_settled());
    set.answer(&addresses(&[1, 2]), TTL, Instant::now());
    assert!(set.is_settled() && has(1) && has(2) && !has(3));
    set.answer(&addresses(&[2, 3]), TTL, Instant::now());
    assert!(has(1) && has(2) && has(3));
    set.no_answer(Instant::now());
    assert!(has(1), "a failed lookup takes nothing away");
    set.answer(&addresses(&[2, 3]), TTL, Instant::now());
    assert!(!has(1) && has(2) && has(3));
}

//! `outrigger force`: the command, against a proxy, against nothing, against something else.

use std::process::Output;

use crate::support::{Refused, Reply, Upstream, outrigger, shop};

/// Standard output and standard error together.
fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

#[tokio::test]
async fn a_breaker_is_forced_and_given_back() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let admin = proxy.admin().to_string();
    let forced = outrigger(&["force", "shop", "open", "--admin", &admin]).await;
    assert_eq!(forced.status.code(), Some(0), "{}", said(&forced));
    assert!(String::from_utf8_lossy(&forced.stdout).contains("\"forced\":\"open\""), "{}", said(&forced));
    assert_eq!(proxy.get("/").await.outcome(), (503, "breaker_open"));
    let given_back = outrigger(&["force", "shop", "auto", "--admin", &admin]).await;
    assert_eq!(given_back.status.code(), Some(0), "{}", said(&given_back));
    assert_eq!(proxy.get("/").await.text(), "x");
}

#[tokio::test]
async fn what_the_admin_api_refuses_is_told() {
    let (_upstream, proxy) = shop("circuitBreaker: off", [Reply::Ok("x")]).await;
    let admin = proxy.admin().to_string();
    for (service, why) in
        [("nobody", "no_such_service"), ("shop", "no_breaker"), ("../shop", "no_such_service")]
    {
        let refused = outrigger(&["force", service, "open", "--admin", &admin]).await;
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{}", said(&refused));
    }
}

#[tokio::test]
async fn an_admin_api_that_is_not_there_is_told() {
    let nobody = Refused::bind();
    let failed = outrigger(&["force", "shop", "open", "--admin", &nobody.addr().to_string()]).await;
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    assert!(said(&failed).contains("no answer from the admin API at"), "{}", said(&failed));
}

#[tokio::test]
async fn something_else_that_answers_is_not_believed() {
    let other = Upstream::script([Reply::Status(404)]);
    let failed = outrigger(&["force", "shop", "open", "--admin", &other.addr().to_string()]).await;
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
}

#[tokio::test]
async fn wrong_use_has_an_exit_code_of_its_own() {
    for words in
        [&["force", "shop"][..], &["force", "shop", "half"], &["force", "shop", "open", "--admin", "x"]]
    {
        let wrong = outrigger(words).await;
        assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    }
}

//! Credentials and tokens show nowhere: not in explanations, not in the access log, not in `/config`.

use crate::support::{Client, Reply, eventually, shop_with};

use super::explained;

/// What must not show.
const SECRETS: [&str; 5] = ["pa55word", "t0ken", "bearer-s3cret", "c00kie", "k3y"];

const FIELDS: &str = "Authorization: Bearer bearer-s3cret\r\nCookie: session=c00kie\r\nX-Api-Key: k3y";

fn assert_clean(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} shows in {what}:\n{text}");
    }
}

#[tokio::test]
async fn no_secret_shows_anywhere() {
    for top in ["accessLog: stdout", "accessLog: stdout\noutbound: {listen: 127.0.0.1:0, unknown: deny}"] {
        let (_upstream, proxy) =
            shop_with(top, "retries: off\nlisten: 127.0.0.1:0", [Reply::Status(503)]).await;
        let requests = [
            "GET /a?access_token=t0ken HTTP/1.1\r\nHost: shop".to_owned(),
            "GET http://user:pa55word@shop/a?access_token=t0ken HTTP/1.1\r\nHost: shop".to_owned(),
            "GET http://user:pa55word@127.0.0.1:1/a?access_token=t0ken HTTP/1.1\r\nHost: x".to_owned(),
            "GET http://user:pa55word@?access_token=t0ken HTTP/1.1\r\nHost: x".to_owned(),
            "CONNECT user:pa55word@127.0.0.1:1 HTTP/1.1\r\nHost: x".to_owned(),
            "GET /a?access_token=t0ken HTTP/1.1\r\nHost: user:pa55word@shop".to_owned(),
            "GET /a?access_token=t0ken HTTP/1.1\r\nHost: shop\r\nHost: user:pa55word@shop".to_owned(),
        ];
        for request in &requests {
            proxy.call(format!("{request}\r\n{FIELDS}\r\n\r\n")).await;
        }
        let own = "GET /a?access_token=t0ken HTTP/1.1\r\nHost: user:pa55word@shop\r\n\r\n";
        Client::connect(proxy.service("shop")).await.call(own).await;
        let calls = requests.len() + 1;
        eventually("all are told", async || {
            let page = proxy.get_admin("/explain?all=1&limit=500").await.json();
            page["stories"].as_array().is_some_and(|stories| stories.len() == calls)
        })
        .await;
        let logged = || proxy.log().iter().filter(|line| line.contains("\"trace_id\"")).count();
        eventually("all are logged", async || logged() == calls).await;
        for path in ["/explain?all=1", "/config", "/services", "/metrics"] {
            assert_clean(path, &proxy.get_admin(path).await.text());
        }
        let url = "http://user:pa55word@shop/a?access_token=t0ken";
        assert_clean("a dry run", &explained(&proxy, &["--dry", "GET", url]).await);
        assert_clean("the list", &explained(&proxy, &[]).await);
        assert_clean("the log", &proxy.log().join("\n"));
    }
}

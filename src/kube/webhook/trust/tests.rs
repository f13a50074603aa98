//! What is merged into the object, and when.

use super::*;

fn trust() -> Trust {
    let service = ("outrigger-webhook".to_owned(), "outrigger".to_owned());
    Trust {
        api: ApiServer::nobody(),
        configuration: "outrigger".to_owned(),
        service,
        lifetime: Duration::from_secs(600),
    }
}

fn webhook(name: &str, service: &str, bundle: Option<&str>) -> Value {
    let mut client = json!({"service": {"name": service, "namespace": "outrigger", "path": "/inject"}});
    if let Some(bundle) = bundle {
        client["caBundle"] = json!(bundle);
    }
    json!({"name": name, "clientConfig": client})
}

#[test]
fn every_webhook_of_our_service_is_changed_and_no_other() {
    let (trust, first, second) = (trust(), trust().issue().unwrap(), trust().issue().unwrap());
    let ours = |bundle| {
        json!({"metadata": {"resourceVersion": "42"}, "webhooks": [
            webhook("pods.outrigger.dev", "outrigger-webhook", bundle),
            webhook("other.example", "another", None),
            {"name": "url.example", "clientConfig": {"url": "https://example.com"}},
        ]})
    };
    let patch = trust.patch(&ours(None), &[&first]).ok().flatten().unwrap();
    assert_eq!(patch["metadata"]["resourceVersion"], "42");
    assert_eq!(patch["webhooks"].as_array().unwrap().len(), 1);
    assert_eq!(patch["webhooks"][0]["name"], "pods.outrigger.dev");
    let bundle = patch["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap().to_owned();
    assert!(trust.patch(&ours(Some(&bundle)), &[&first]).ok().unwrap().is_none());
    let both = trust.patch(&ours(Some(&bundle)), &[&first, &second]).ok().flatten().unwrap();
    let both = both["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap().to_owned();
    assert!(trust.patch(&ours(Some(&both)), &[&second, &first]).ok().unwrap().is_none());
}

#[test]
fn an_object_that_does_not_lead_to_us_is_said() {
    let issued = trust().issue().unwrap();
    for object in [json!({}), json!({"webhooks": [webhook("a", "another", None)]}), json!([])] {
        let trouble = trust().patch(&object, &[&issued]).err().unwrap();
        assert!(trouble.missing);
        assert_eq!(
            trouble.told,
            "MutatingWebhookConfiguration outrigger has no webhook that leads to service outrigger-webhook \
             of namespace outrigger"
        );
    }
}

#[test]
fn a_third_of_the_lifetime_is_left_for_the_renewal() {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!(renew_after(days(90), days(90)), days(60));
    assert_eq!(renew_after(days(90), days(30)), Duration::ZERO);
    assert_eq!(renew_after(days(90), Duration::ZERO), Duration::ZERO);
}

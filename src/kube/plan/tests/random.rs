//! Pods as nobody would think of them.

use proptest::prelude::*;

use super::*;

fn variable() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["A", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"]);
    names.prop_map(|name| json!({"name": name, "value": "x"}))
}

fn maybe(
    key: &'static str,
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Option<(String, Value)>> {
    prop::option::of(prop_oneof![4 => value, 1 => Just(Value::Null)])
        .prop_map(move |value| value.map(|value| (key.to_owned(), value)))
}

fn container() -> impl Strategy<Value = Value> {
    let env = prop::collection::vec(variable(), 0..4).prop_map(Value::from);
    let port = (1u16..15000).prop_map(|port| json!([{"containerPort": port}]));
    (maybe("env", env), maybe("ports", port), maybe("securityContext", Just(json!({"runAsUser": 1000}))))
        .prop_map(|(env, ports, context)| {
            Value::Object([env, ports, context].into_iter().flatten().collect())
        })
}

/// Containers of different names.
fn some(prefix: &'static str, range: std::ops::Range<usize>) -> impl Strategy<Value = Value> {
    prop::collection::vec(container(), range).prop_map(move |mut list| {
        for (index, one) in list.iter_mut().enumerate() {
            one["name"] = json!(format!("{prefix}-{index}"));
        }
        Value::from(list)
    })
}

/// Pods that nothing speaks against.
pub(in crate::kube) fn pod() -> impl Strategy<Value = Value> {
    let volumes = prop::collection::vec("[a-z]{1,8}", 0..3);
    let volumes = volumes.prop_map(|names| names.into_iter().map(|name| json!({"name": name})).collect());
    let spec = (
        some("app", 1..4),
        maybe("initContainers", some("init", 0..3)),
        maybe("volumes", volumes),
        maybe("terminationGracePeriodSeconds", (0u32..200_000).prop_map(Value::from)),
        maybe("securityContext", Just(json!({"runAsNonRoot": true, "fsGroup": 1337}))),
    );
    let spec = spec.prop_map(|(containers, init, volumes, grace, context)| {
        let containers = Some(("containers".to_owned(), containers));
        Value::Object([containers, init, volumes, grace, context].into_iter().flatten().collect())
    });
    let capture = prop::sample::select(vec!["on", "off"]).prop_map(Value::from);
    let annotations = (
        maybe("outrigger.dev/skip-ports", "[1-9][0-9]{0,3}(, ?[1-9]-9[0-9]{0,3}){0,2}".prop_map(Value::from)),
        maybe("kubectl.kubernetes.io/default-container", Just(json!("app-0"))),
        prop::option::of(capture),
    );
    let annotations = annotations.prop_map(|(ports, default, capture)| {
        let capture = capture.map(|capture| ("outrigger.dev/capture".to_owned(), capture));
        let all = [ports, default, capture].into_iter().flatten();
        Value::Object(all.filter(|(_, value)| !value.is_null()).collect())
    });
    let metadata = (maybe("annotations", annotations), maybe("labels", Just(json!({"app": "cart"}))));
    let metadata = metadata.prop_map(|(annotations, labels)| {
        Value::Object([annotations, labels].into_iter().flatten().collect())
    });
    (maybe("metadata", metadata), spec).prop_map(|(metadata, spec)| {
        let spec = Some(("spec".to_owned(), spec));
        Value::Object([metadata, spec].into_iter().flatten().collect())
    })
}

proptest! {
    #[test]
    fn a_plan_applies_whole_and_a_second_pass_does_nothing(pod in pod()) {
        let after = injected(&pod, &Settings::default());
        prop_assert_eq!(reason(&after, None), Reason::AlreadyInjected);
        prop_assert_eq!(after["spec"].get("securityContext"), pod["spec"].get("securityContext"));
    }

    #[test]
    fn the_containers_of_the_application_are_left_alone_but_for_the_proxy_variables(pod in pod()) {
        let mut after = injected(&pod, &Settings::default());
        let captured = after["spec"]["initContainers"][0]["name"] == CAPTURE_NAME;
        let ours = if captured { 2 } else { 1 };
        after["spec"]["initContainers"].as_array_mut().unwrap().drain(..ours);
        for list in ["initContainers", "containers"] {
            let before = pod["spec"].get(list).and_then(Value::as_array).cloned().unwrap_or_default();
            let list = after["spec"][list].as_array().unwrap();
            prop_assert_eq!(list.len(), before.len());
            for (before, after) in before.iter().zip(list) {
                prop_assert!(same_but_for_variables(before, after, captured));
            }
        }
    }

    #[test]
    fn no_value_at_all_is_a_reason_to_panic(text in r#"[\[\]{}":,a-z0-9 ]{0,60}"#) {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = plan(&value, None, &Settings::default());
            let _ = plan(&json!({"metadata": value, "spec": {"containers": [value]}}), None, &Settings::default());
            let _ = plan(&json!({"spec": value}), None, &Settings::default());
        }
    }
}

/// Whether only variables were added, at the end of `env`.
fn same_but_for_variables(before: &Value, after: &Value, captured: bool) -> bool {
    let (mut before, mut after) = (before.clone(), after.clone());
    if captured {
        return before == after;
    }
    let took = |one: &mut Value| -> Vec<Value> {
        let env = one.as_object_mut().unwrap().shift_remove("env").unwrap_or_default();
        env.as_array().cloned().unwrap_or_default()
    };
    let (env, more) = (took(&mut before), took(&mut after));
    let names = [sidecar::PROXY_VARIABLES, sidecar::NO_PROXY_VARIABLES].concat();
    let added = &more[env.len()..];
    let known = added.iter().all(|one| names.contains(&one["name"].as_str().unwrap()));
    let mut unique: Vec<_> = added.iter().map(|one| one["name"].as_str().unwrap()).collect();
    unique.sort_unstable();
    unique.dedup();
    before == after && more.starts_with(&env) && known && unique.len() == added.len()
}

#[test]
fn every_container_of_a_random_pod_has_a_name() {
    let pod = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"image": "x"}]}});
    assert_eq!(reason(&pod, None), Reason::NotAPod);
    assert_eq!(containers(bare()["spec"].as_object().unwrap()).count(), 1);
}

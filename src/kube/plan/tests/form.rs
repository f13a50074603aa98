//! What a pod looks like afterwards.

use super::*;

#[test]
fn a_bare_pod_gets_two_containers_a_volume_and_two_annotations() {
    let after = injected(&bare(), &Settings::default());
    let init = after["spec"]["initContainers"].as_array().unwrap();
    assert_eq!(
        init.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["outrigger-capture", "outrigger"]
    );
    assert_eq!(init[0]["args"], json!(["capture", "apply", "/etc/outrigger", "--user=1337"]));
    assert_eq!(init[1]["args"], json!(["run", "/etc/outrigger", "--health-port=15020", "--captured"]));
    assert_eq!(
        after["spec"]["volumes"],
        json!([{"name": "outrigger-config", "configMap": {"name": "outrigger"}}])
    );
    assert_eq!(after["spec"]["containers"], bare()["spec"]["containers"]);
    assert_eq!(after["metadata"]["annotations"][DEFAULT_CONTAINER], "app");
    let status: Value =
        serde_json::from_str(after["metadata"]["annotations"][STATUS].as_str().unwrap()).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["initContainers"], json!(["outrigger-capture", "outrigger"]));
}

#[test]
fn ours_come_before_the_init_containers_of_the_pod_and_after_its_volumes() {
    let pod = with_spec(json!({
        "initContainers": [{"name": "migrate"}],
        "volumes": [{"name": "data"}],
        "terminationGracePeriodSeconds": 90,
    }));
    let after = injected(&pod, &Settings::default());
    assert_eq!(after["spec"]["initContainers"][2]["name"], "migrate");
    assert_eq!(after["spec"]["volumes"][1]["name"], "outrigger-config");
    let env = after["spec"]["initContainers"][1]["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "OUTRIGGER_GRACE", "value": "90s"})));
}

#[test]
fn lists_that_are_null_are_as_good_as_absent() {
    let mut pod = with_spec(json!({"initContainers": null, "volumes": null}));
    pod["metadata"] = json!({"annotations": null});
    let after = injected(&pod, &Settings::default());
    assert_eq!(after["spec"], injected(&bare(), &Settings::default())["spec"]);
}

#[test]
fn an_image_with_root_forbidden_for_the_pod_still_gets_its_rules() {
    let capture = sidecar::capture(&Parts::of(&Settings::default(), 30));
    assert_eq!(
        capture["securityContext"]["runAsNonRoot"], false,
        "the pod's own setting would refuse user 0"
    );
    assert_eq!(capture["securityContext"]["capabilities"], json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}));
}

#[test]
fn annotations_count_before_settings() {
    let pod = annotated(json!({
        "outrigger.dev/config": "cart-mesh",
        "outrigger.dev/image": "registry.example/outrigger:9",
        "outrigger.dev/skip-ports": "3306, 9000-9009",
        "outrigger.dev/skip-networks": "10.9.0.0/16",
        "outrigger.dev/skip-users": "1001",
        "outrigger.dev/cpu-request": "50m",
        "outrigger.dev/cpu-limit": "1",
        "outrigger.dev/memory-request": "32Mi",
        "outrigger.dev/memory-limit": "256Mi",
    }));
    let after = injected(&pod, &Settings::default());
    let init = &after["spec"]["initContainers"];
    assert_eq!(
        init[0]["args"].as_array().unwrap()[4..],
        [
            json!("--skip-port=3306"),
            json!("--skip-port=9000-9009"),
            json!("--skip-network=10.9.0.0/16"),
            json!("--skip-user=1001")
        ]
    );
    assert_eq!(init[1]["image"], "registry.example/outrigger:9");
    assert_eq!(
        init[1]["resources"],
        json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "256Mi", "cpu": "1"}})
    );
    assert_eq!(after["spec"]["volumes"][0]["configMap"]["name"], "cart-mesh");
}

#[test]
fn a_bad_annotation_is_told_with_what_was_found_and_what_is_wanted() {
    for (name, value, told) in [
        ("skip-ports", json!("http"), r#"outrigger.dev/skip-ports: found "http", want ports or ranges"#),
        ("skip-ports", json!(3306), "found the number 3306, want ports or ranges"),
        ("capture", json!(false), r#"found the boolean false, want "on" or "off""#),
        ("capture", json!("no"), r#"found "no", want "on" or "off""#),
        ("config", json!("a b"), r#"found "a b", want the name of a ConfigMap"#),
        ("image", Value::Null, "found nothing, want an image"),
        ("cpu-limit", json!("9m"), "cpu-limit: found 9m, want at least the cpu request of 10m"),
        ("memory-limit", json!("8Mi"), "memory-limit: found 8Mi, want at least the memory request of 16Mi"),
        ("skip-users", json!("x".repeat(500)), "…, want user ids"),
    ] {
        let skip =
            plan(&annotated(json!({format!("outrigger.dev/{name}"): value})), None, &Settings::default());
        let skip = skip.unwrap_err();
        assert_eq!(skip.reason, Reason::BadAnnotation);
        assert!(skip.message.contains(told), "{}", skip.message);
        assert!(skip.message.len() < 200);
    }
}

#[test]
fn without_capture_every_container_is_told_of_the_proxy() {
    let pod = with_spec(json!({
        "initContainers": [{"name": "migrate"}],
        "containers": [{"name": "app", "env": [{"name": "A", "value": "1"}]}, {"name": "b", "env": []}],
    }));
    let after = injected(&pod, &uncaptured());
    let init = &after["spec"]["initContainers"];
    assert_eq!(init[0]["name"], "outrigger", "nothing in it has NET_ADMIN");
    assert_eq!(init[0]["args"], json!(["run", "/etc/outrigger", "--health-port=15020"]));
    let added = json!([
        {"name": "HTTP_PROXY", "value": "http://127.0.0.1:15001"},
        {"name": "http_proxy", "value": "http://127.0.0.1:15001"},
        {"name": "NO_PROXY", "value": "localhost,127.0.0.1,::1,169.254.0.0/16"},
        {"name": "no_proxy", "value": "localhost,127.0.0.1,::1,169.254.0.0/16"},
    ]);
    assert_eq!(init[1]["env"], added);
    assert_eq!(after["spec"]["containers"][0]["env"].as_array().unwrap()[1..], *added.as_array().unwrap());
    assert_eq!(after["spec"]["containers"][1]["env"], added);
}

#[test]
fn a_container_with_a_proxy_of_its_own_keeps_it() {
    let pod = with_spec(json!({"containers": [
        {"name": "app", "env": [{"name": "http_proxy", "value": "http://proxy.corp:3128"}]},
        {"name": "b", "env": [{"name": "NO_PROXY", "value": "db"}]},
    ]}));
    let plan = plan(&pod, None, &uncaptured()).unwrap();
    assert_eq!(plan.notices.len(), 1);
    assert!(plan.notices[0].contains("container app has http_proxy of its own"), "{:?}", plan.notices);
    let after = injected(&pod, &uncaptured());
    let names = |index: usize| -> Vec<String> {
        let env = after["spec"]["containers"][index]["env"].as_array().unwrap();
        env.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(0), ["http_proxy", "NO_PROXY", "no_proxy"]);
    assert_eq!(names(1), ["NO_PROXY", "HTTP_PROXY", "http_proxy"]);
    let status = after["metadata"]["annotations"][STATUS].as_str().unwrap();
    assert!(status.ends_with(r#""proxy":["b"],"noProxy":["app"]}"#), "{status}");
}

#[test]
fn a_default_container_that_is_named_stays() {
    let pod = annotated(json!({DEFAULT_CONTAINER: "other"}));
    assert_eq!(injected(&pod, &Settings::default())["metadata"]["annotations"][DEFAULT_CONTAINER], "other");
}

#[test]
fn notices_tell_what_the_owner_should_know() {
    let told = |pod: &Value| plan(pod, None, &Settings::default()).unwrap().notices.join("\n");
    assert_eq!(told(&bare()), "");
    assert!(told(&with_spec(json!({"terminationGracePeriodSeconds": 2}))).contains("calls that take longer"));
    assert!(
        told(&annotated(json!({"outrigger.dev/skip-port": "1"}))).contains("outrigger.dev/skip-port is not")
    );
    assert!(told(&with_spec(json!({"resources": {"limits": {"cpu": "1"}}}))).contains("has room"));
    let both = json!({"cpu": "1", "memory": "1Gi"});
    let guaranteed =
        json!({"containers": [{"name": "app", "resources": {"limits": both, "requests": both}}]});
    assert!(told(&with_spec(guaranteed)).contains("becomes Burstable"));
}

#[test]
fn a_pod_that_passes_restricted_still_does_without_capture() {
    let own = json!({
        "runAsUser": 1000, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    let pod = with_spec(json!({"containers": [{"name": "app", "securityContext": own}]}));
    assert_eq!(against_restricted(&pod), [""; 0]);
    let shop = namespace("shop", skip::ENFORCE_LABEL, "restricted");
    plan(&pod, Some(&shop), &uncaptured()).unwrap();
    assert_eq!(against_restricted(&injected(&pod, &uncaptured())), [""; 0]);
    let captured = against_restricted(&injected(&pod, &Settings::default()));
    assert_eq!(captured, ["outrigger-capture: user", "outrigger-capture: capabilities"]);
}

/// What the level `restricted` of Pod Security has against a pod, of all that a pod here may say.
fn against_restricted(pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut against = |whose: &str, what: &str, good: bool| {
        wrong.extend((!good).then(|| format!("{whose}: {what}")));
    };
    for container in containers(pod["spec"].as_object().unwrap()) {
        let (name, context) = (container["name"].as_str().unwrap(), &container["securityContext"]);
        let capabilities = &context["capabilities"];
        let added = capabilities["add"].as_array().into_iter().flatten();
        let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
        against(name, "user", context["runAsNonRoot"] == true && context["runAsUser"] != 0);
        against(name, "escalation", context["allowPrivilegeEscalation"] == false);
        against(name, "capabilities", capabilities["drop"] == json!(["ALL"]) && added.count() == 0);
        against(name, "seccomp", context["seccompProfile"]["type"] == "RuntimeDefault");
        against(
            name,
            "privileged",
            context.get("privileged").is_none() && context.get("procMount").is_none(),
        );
        against(name, "host ports", ports.into_iter().all(|port| port.get("hostPort").is_none()));
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        against("volumes", "kind", volume.get("configMap").is_some());
    }
    wrong
}

#[test]
fn the_command_line_sets_what_annotations_set() {
    let mut settings = Settings::default();
    settings.set("capture", "off").unwrap();
    settings.set("skip-ports", "1, 2").unwrap();
    assert_eq!(
        (settings.capture, settings.skip.ports.as_slice()),
        (false, ["1".to_owned(), "2".to_owned()].as_slice())
    );
    assert_eq!(settings.set("capture", "no").unwrap_err(), r#"found "no", want "on" or "off""#);
    assert_eq!(settings.set("colour", "red").unwrap_err(), r#"found "colour", want a setting's name"#);
}

#[test]
fn ports_and_user_are_set_for_all_pods() {
    let mut settings = Settings::default();
    for (name, text) in
        [("outbound-port", "16001"), ("health-port", "16020"), ("user", "2000"), ("own-namespace", "mesh")]
    {
        settings.set(name, text).unwrap();
    }
    settings.check().unwrap();
    let after = injected(&with_spec(json!({"securityContext": {"runAsUser": 1337}})), &settings);
    let init = &after["spec"]["initContainers"];
    assert_eq!(init[0]["args"][3], "--user=2000");
    assert_eq!(init[1]["args"][2], "--health-port=16020");
    assert_eq!(init[1]["startupProbe"]["httpGet"]["port"], 16020);
    assert_eq!(init[1]["securityContext"]["runAsUser"], 2000);
    for (name, text, told) in [
        ("admin-port", "0", "want a port from 1 to 65535"),
        ("admin-port", "1-2", "want a port from 1 to 65535"),
        ("user", "0", "want a user id from 1 to 2147483647"),
        ("user", "1,2", "want a user id"),
        ("own-namespace", "A", "want the name of a namespace"),
    ] {
        let wrong = settings.set(name, text).unwrap_err();
        assert!(wrong.contains(told), "{wrong}");
    }
    settings.set("admin-port", "16020").unwrap();
    assert!(settings.check().unwrap_err().contains("want three different ones"));
}

//! Questions as they come, and as they should not.

use crate::kube::edit::Step;

use super::*;

fn question(change: impl FnOnce(&mut Value)) -> Value {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "namespace": "shop",
            "object": {"metadata": {"name": null, "generateName": "web-"}, "spec": {}},
            "oldObject": null,
            "dryRun": false,
        },
    });
    change(&mut review);
    review
}

fn parsed(change: impl FnOnce(&mut Value)) -> Result<Review, String> {
    Review::parse(question(change).to_string().as_bytes())
}

#[test]
fn the_making_of_a_pod_is_read() {
    let review = parsed(|review| review["request"]["dryRun"] = json!(true)).unwrap();
    assert_eq!((review.uid.as_str(), review.namespace.as_str()), ("705ab4f5", "shop"));
    assert!(review.dry_run);
    let Subject::Pod(pod) = review.subject else { panic!("a pod") };
    assert_eq!(pod["metadata"]["generateName"], "web-");
}

#[test]
fn everything_else_is_named() {
    let of = |change: fn(&mut Value)| parsed(change).unwrap().subject;
    assert_eq!(
        of(|review| review["request"]["operation"] = json!("UPDATE")),
        Subject::Other("UPDATE of v1 Pod".to_owned())
    );
    assert_eq!(
        of(|review| review["request"]["subResource"] = json!("binding")),
        Subject::Other("CREATE of v1 Pod/binding".to_owned())
    );
    let deployment = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    let subject = parsed(|review| review["request"]["kind"] = deployment).unwrap().subject;
    assert_eq!(subject, Subject::Other("CREATE of apps/v1 Deployment".to_owned()));
    let long = parsed(|review| review["request"]["operation"] = json!("X".repeat(5000))).unwrap().subject;
    let Subject::Other(words) = long else { panic!("not a pod") };
    assert!(words.len() < 300, "{words}");
}

#[test]
fn what_is_wrong_is_said() {
    for (body, wanted) in [
        ("", "the body is no JSON: EOF while parsing a value at line 1 column 0; want an AdmissionReview"),
        ("{\"a\":\n]", "the body is no JSON: expected value at line 2 column 1; want an AdmissionReview"),
        ("[]", "found apiVersion none, kind none; want admission.k8s.io/v1, AdmissionReview"),
        ("7", "found apiVersion none, kind none; want admission.k8s.io/v1, AdmissionReview"),
    ] {
        assert_eq!(Review::parse(body.as_bytes()).unwrap_err(), wanted);
    }
    let old = parsed(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1")).unwrap_err();
    assert_eq!(
        old,
        "found apiVersion \"admission.k8s.io/v1beta1\", kind \"AdmissionReview\"; want admission.k8s.io/v1, \
         AdmissionReview"
    );
    let without = |key: &str| parsed(|review| review["request"][key] = Value::Null).unwrap_err();
    assert_eq!(without("uid"), "the request has no uid");
    assert_eq!(without("object"), "the request has no object; want the pod that is about to be made");
    let none = parsed(|review| review["request"] = Value::Null).unwrap_err();
    assert_eq!(none, "the AdmissionReview has no request");
    assert!(Review::parse(b"\xff\xfe{").is_err());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Review::parse(deep.as_bytes()).unwrap_err().contains("recursion limit"));
}

#[test]
fn an_answer_without_changes_has_no_patch() {
    assert_eq!(
        answer("7", &[], &[]),
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"7","allowed":true}}"#
    );
}

#[test]
fn changes_become_a_patch() {
    let at: Vec<Step> = vec!["metadata".into(), "annotations".into(), "outrigger.dev/status".into()];
    let body = answer("7", &[Edit { at, value: json!("{}") }], &[]);
    let response: Value = serde_json::from_str::<Value>(&body).unwrap()["response"].take();
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(patch).unwrap(),
        r#"[{"op":"add","path":"/metadata/annotations/outrigger.dev~1status","value":"{}"}]"#
    );
}

#[test]
fn a_warning_is_one_line_and_not_long() {
    assert_eq!(warning("a\r\nb\u{7}"), "outrigger: a  b ");
    for text in ["é".repeat(300), "x".repeat(300), "x".repeat(244) + "ééé"] {
        let line = warning(&text);
        assert!(line.len() <= WARNING_BYTES_MAX && line.ends_with("..."), "{line}");
    }
    assert_eq!(warning(&"x".repeat(245)).len(), WARNING_BYTES_MAX);
    let many = answer("7", &[], &vec![String::new(); 50]);
    assert_eq!(many.matches("outrigger: ").count(), WARNINGS_MAX);
}

#[test]
fn values_are_counted_outside_of_texts() {
    for (text, count) in
        [("1", 1), ("[1,2]", 3), (r#"{"a":"[{,\"[,","b":[]}"#, 4), (r#"["\\",1]"#, 3), ("[[[", 4)]
    {
        assert_eq!(values(text.as_bytes()), count, "{text}");
    }
    let many = parsed(|review| review["request"]["object"]["spec"]["x"] = json!(vec![0; VALUES_MAX]));
    assert_eq!(many.unwrap_err(), "found more than 262144 values; want an AdmissionReview of a pod");
    let text = ",".repeat(VALUES_MAX);
    parsed(|review| review["request"]["object"]["spec"]["x"] = json!(text)).unwrap();
}

//! What `tracing` and the variables of OpenTelemetry mean together.

use std::sync::Arc;
use std::time::Duration;

use super::{bad, good, options, told};
use crate::config::{Config, Export, Options, OtlpProtocol, Variables, load_str};

fn under(variables: &[(&str, &str)], text: &str) -> Config {
    let mut options: Options = options();
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    options.environment.variables = owned.collect::<Variables>();
    load_str("mesh.yaml", text, &options).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

fn export(config: &Config) -> Arc<Export> {
    config.tracing.export.clone().expect("an export")
}

#[test]
fn a_url_is_enough() {
    let of = |url: &str| export(&good(&format!("tracing: {{otlp: '{url}'}}")));
    let plain = of("http://collector:4318");
    assert_eq!(plain.protocol, OtlpProtocol::Http);
    assert_eq!(
        (plain.endpoint.to_string(), &*plain.endpoint.path),
        ("http://collector:4318".into(), "/v1/traces")
    );
    assert_eq!((plain.gzip, plain.timeout), (false, Duration::from_secs(10)));
    assert_eq!(of("http://collector:4317").protocol, OtlpProtocol::Grpc);
    assert_eq!(of("https://collector").endpoint.port, 443);
    assert_eq!(of("https://[::1]:4318/otlp/").endpoint.path, "/otlp/v1/traces");
    assert_eq!(of("http://c:1/v1/traces").endpoint.path, "/v1/traces");
    assert!(good("service: a").tracing.export.is_none());
}

#[test]
fn every_key_of_the_block_is_read() {
    let config = good(
        "tracing: {otlp: 'http://c:4318', protocol: grpc, headers: {Authorization: Bearer abc}, \
         compression: gzip, timeout: 2s}",
    );
    let export = export(&config);
    assert_eq!(
        (export.protocol, export.gzip, export.timeout),
        (OtlpProtocol::Grpc, true, Duration::from_secs(2))
    );
    assert_eq!(export.headers.iter().collect::<Vec<_>>(), [("authorization", "Bearer abc")]);
}

#[test]
fn an_export_without_room_for_what_waits_is_warned_of() {
    let config = good("limits: {explanations: 0B}\ntracing: {otlp: 'http://c:4318'}");
    let text = told(&config.warnings);
    assert!(text.starts_with("mesh.yaml:1:10: limits.explanations: found 0B, want room for spans"), "{text}");
    assert!(good("limits: {explanations: 0B}").warnings.is_empty());
}

#[test]
fn secrets_are_printed_nowhere() {
    let config = good("tracing: {otlp: 'http://c:4318', headers: {authorization: s3cret}}");
    assert!(!format!("{config:?}").contains("s3cret"));
    let text = bad("tracing: {otlp: 'http://me:s3cret@c:4318', headers: {a b: s3cret, c: \"s3cret\\n\"}}");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let warned =
        under(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@c"), ("OTEL_X", "s3cret")], "service: a");
    assert!(!format!("{:?}", warned.warnings).contains("s3cret"));
}

#[test]
fn variables_speak_where_the_yaml_is_silent() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "X-Token=a%20b"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "7"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ];
    let config = under(&variables, "service: a");
    let told = export(&config);
    assert_eq!(told.endpoint.to_string(), "http://general:4317");
    assert_eq!((told.protocol, told.gzip, told.batch_max), (OtlpProtocol::Http, true, 7));
    assert_eq!((told.timeout, told.delay), (Duration::from_millis(1500), Duration::from_millis(50)));
    assert_eq!(told.headers.iter().collect::<Vec<_>>(), [("x-token", "a b")]);
    assert_eq!(config.tracing.sample, 0.25);

    let config = under(
        &variables,
        "tracing: {otlp: 'http://yaml:4318', protocol: grpc, headers: {}, compression: off, timeout: 3s, sample: 2%}",
    );
    let told = export(&config);
    assert_eq!(told.endpoint.to_string(), "http://yaml:4318");
    assert_eq!((told.protocol, told.gzip, told.timeout), (OtlpProtocol::Grpc, false, Duration::from_secs(3)));
    assert_eq!((told.headers.iter().count(), config.tracing.sample), (0, 0.02));
}

#[test]
fn a_variable_for_traces_wins_and_is_the_whole_url() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/spans"),
    ];
    assert_eq!(export(&under(&variables, "service: a")).endpoint.path, "/spans");
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert!(under(&[variables[0], off], "service: a").tracing.export.is_none(), "{off:?}");
    }
    assert!(under(&variables, "tracing: off").tracing.export.is_none());
}

#[test]
fn a_variable_that_means_nothing_is_ignored_with_a_warning() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "nonsense"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
    ] {
        let config = under(&[(name, value)], "tracing: {otlp: 'http://c:4318'}");
        assert_eq!(config.warnings.len(), 1, "{name}");
        assert_eq!(config.warnings[0].key, name);
        assert!(config.tracing.export.is_some());
    }
}

#[test]
fn what_spans_are_of_is_told_by_the_name_the_variables_and_the_pod() {
    let variables = [
        ("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=shop,service.name=not-me,k8s.pod.name=p1"),
        ("POD_NAME", "cart-1"),
        ("NODE_NAME", "n1"),
    ];
    let config = under(&variables, "{service: cart, tracing: {otlp: 'http://c:4318'}}");
    let told = export(&config);
    let found: Vec<(&str, &str)> =
        told.resource.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        found,
        [
            ("service.name", "cart"),
            ("service.namespace", "shop"),
            ("k8s.pod.name", "p1"),
            ("k8s.node.name", "n1")
        ]
    );
}

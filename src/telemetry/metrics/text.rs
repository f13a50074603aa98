//! Writes samples as text.
//!
//! In: a metric of the table, label values, a number. Out: OpenMetrics 1.0 text, or Prometheus text
//! 0.0.4. A family's head is written with its first sample, so that what has nothing to say is not
//! there; samples of one family must therefore follow each other.

use std::fmt::{self, Display, Formatter, Write as _};
use std::time::UNIX_EPOCH;

use super::super::{Exemplar, Exemplars, Latencies};
use super::table::{Kind, Metric};

/// Upper bounds of histogram buckets, in seconds, without `+Inf`. From below a call on one machine to
/// past the longest timeout anyone sets by intent; each costs a series per service.
pub const BUCKETS_SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Shares whose latency is told: the value of the label `quantile`, and the same as a number.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999)];

const MICROS: f64 = 1e6;

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, which names counters and infos as their samples and knows no units.
    Prometheus,
}

/// The text so far.
#[derive(Debug)]
pub struct Text {
    out: String,
    format: Format,
    family: &'static str,
}

/// The count of a bucket, perhaps with a call of it.
struct Counted<'a> {
    count: u64,
    exemplar: Option<&'a Exemplar>,
}

// === impl Format ===

impl Format {
    /// The one a scraper asks for: the older one only if it accepts that and not the newer one.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("text/plain") && !accept.contains("application/openmetrics-text") {
            Self::Prometheus
        } else {
            Self::OpenMetrics
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

// === impl Text ===

impl Text {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self { out: String::with_capacity(16 * 1024), format, family: "" }
    }

    /// One sample; `values` belong to the metric's labels, in their order.
    pub fn sample(&mut self, metric: &Metric, values: &[&str], number: impl Display) {
        self.head(metric);
        self.line(metric, "", values, None, number);
    }

    /// One histogram of latencies in microseconds, with calls that stand for their bucket. The older
    /// format has no words for those.
    pub fn histogram(
        &mut self,
        metric: &Metric,
        values: &[&str],
        latencies: &Latencies,
        exemplars: &Exemplars,
    ) {
        self.head(metric);
        let (counts, sum) = cumulate(latencies);
        let bounds = BUCKETS_SECONDS.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        for (at, (bound, count)) in bounds.zip(counts.into_iter().chain([latencies.len()])).enumerate() {
            let exemplar = exemplars.at(at).filter(|_| self.format == Format::OpenMetrics);
            let count = Counted { count, exemplar };
            self.line(metric, "_bucket", values, Some(("le", &bound)), count);
        }
        self.line(metric, "_sum", values, None, sum);
        self.line(metric, "_count", values, None, latencies.len());
    }

    /// The quantiles of latencies in microseconds.
    pub fn quantiles(&mut self, metric: &Metric, values: &[&str], latencies: &Latencies) {
        self.head(metric);
        for (name, share) in QUANTILES {
            let seconds = latencies.value_at_quantile(share) as f64 / MICROS;
            self.line(metric, "", values, Some(("quantile", name)), seconds);
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        match self.format {
            Format::OpenMetrics => self.out.push_str("# EOF\n"),
            Format::Prometheus => {}
        }
        self.out
    }

    fn head(&mut self, metric: &Metric) {
        if self.family == metric.name {
            return;
        }
        self.family = metric.name;
        let (name, kind) = match (self.format, metric.kind) {
            (Format::OpenMetrics, kind) => (metric.family(), kind),
            (Format::Prometheus, Kind::Info) => (metric.name, Kind::Gauge),
            (Format::Prometheus, kind @ (Kind::Counter | Kind::Gauge | Kind::Histogram | Kind::Summary)) => {
                (metric.name, kind)
            }
        };
        // Writing to a string can't fail, here and below.
        let _ = writeln!(self.out, "# TYPE {name} {}", kind.name());
        if self.format == Format::OpenMetrics && !metric.unit.is_empty() {
            let _ = writeln!(self.out, "# UNIT {name} {}", metric.unit);
        }
        let _ = writeln!(self.out, "# HELP {name} {}", metric.help);
    }

    fn line(
        &mut self,
        metric: &Metric,
        suffix: &str,
        values: &[&str],
        more: Option<(&str, &str)>,
        number: impl Display,
    ) {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        self.out.push_str(metric.name);
        self.out.push_str(suffix);
        let labels = metric.labels.iter().copied().zip(values.iter().copied());
        let mut separator = '{';
        for (label, value) in labels.chain(more) {
            self.out.push(separator);
            separator = ',';
            self.out.push_str(label);
            self.out.push_str("=\"");
            self.escape(value);
            self.out.push('"');
        }
        if separator == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {number}");
    }

    fn escape(&mut self, value: &str) {
        for letter in value.chars() {
            match letter {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                other => self.out.push(other),
            }
        }
    }
}

// === impl Counted ===

impl Display for Counted<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.count)?;
        let Some(Exemplar { trace_id, duration, ended }) = self.exemplar else { return Ok(()) };
        let (seconds, ended) = (duration.as_secs_f64(), ended.duration_since(UNIX_EPOCH).unwrap_or_default());
        write!(out, " # {{trace_id=\"{trace_id:032x}\"}} {seconds} {:.3}", ended.as_secs_f64())
    }
}

/// How many latencies are within each bound, and the sum of all in seconds, right to 1 %.
fn cumulate(latencies: &Latencies) -> ([u64; BUCKETS_SECONDS.len()], f64) {
    let mut counts = [0; BUCKETS_SECONDS.len()];
    let mut sum = 0.0;
    for bucket in latencies.iter_recorded() {
        let (value, count) = (bucket.value_iterated_to(), bucket.count_at_value());
        sum += latencies.median_equivalent(value) as f64 / MICROS * count as f64;
        // The smallest value that falls into it: what took a bound's time exactly is within the bound.
        let seconds = latencies.lowest_equivalent(value) as f64 / MICROS;
        let within = BUCKETS_SECONDS.partition_point(|bound| *bound < seconds);
        for at in &mut counts[within..] {
            *at += count;
        }
    }
    (counts, sum)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::super::{Outcome, RouteStats};
    use super::super::table;
    use super::*;

    fn latencies(micros: &[u64]) -> Latencies {
        let mut all = Latencies::new(2).unwrap();
        for value in micros {
            all.record(*value).unwrap();
        }
        all
    }

    #[test]
    fn a_value_at_a_bound_is_within_it() {
        let (counts, sum) = cumulate(&latencies(&[1_000, 2_500, 1_000_000, 60_000_000, 90_000_000]));
        assert_eq!(counts[..3], [1, 2, 2]);
        assert_eq!(counts[8..], [2, 3, 3, 3, 3, 3, 4]);
        assert!((sum - 151.0035).abs() < 1.6, "{sum}");
    }

    #[test]
    fn label_values_are_escaped() {
        let mut text = Text::new(Format::OpenMetrics);
        text.sample(&table::ATTEMPTS, &["a\"b\\c\nd"], 3);
        assert!(text.finish().contains("outrigger_attempts_total{service=\"a\\\"b\\\\c\\nd\"} 3\n"));
    }

    #[test]
    fn a_histogram_is_cumulative_and_complete() {
        let mut text = Text::new(Format::OpenMetrics);
        let none = Exemplars::default();
        text.histogram(&table::ATTEMPT_DURATION, &["cart"], &latencies(&[900, 3_000]), &none);
        let text = text.finish();
        let want = [
            "# TYPE outrigger_attempt_duration_seconds histogram",
            "# UNIT outrigger_attempt_duration_seconds seconds",
            "outrigger_attempt_duration_seconds_bucket{service=\"cart\",le=\"0.001\"} 1",
            "outrigger_attempt_duration_seconds_bucket{service=\"cart\",le=\"0.005\"} 2",
            "outrigger_attempt_duration_seconds_bucket{service=\"cart\",le=\"1.0\"} 2",
            "outrigger_attempt_duration_seconds_bucket{service=\"cart\",le=\"+Inf\"} 2",
            "outrigger_attempt_duration_seconds_count{service=\"cart\"} 2",
        ];
        for line in want {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn exported_calls_stand_beside_their_bucket_where_the_format_has_words_for_them() {
        let route = RouteStats::new();
        let ended = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        for (trace_id, micros) in [(0xab, 3_000), (0xcd, 120_000_000)] {
            route.count(Outcome::Success, Duration::from_micros(micros));
            route.exemplify(Duration::from_micros(micros), trace_id, ended);
        }
        let exemplars = route.report(&Arc::from("")).exemplars;
        let page = |format| {
            let mut text = Text::new(format);
            text.histogram(
                &table::CALL_DURATION,
                &["cart", ""],
                &latencies(&[3_000, 120_000_000]),
                &exemplars,
            );
            text.finish()
        };
        let (new, old) = (page(Format::OpenMetrics), page(Format::Prometheus));
        let of_bucket = |bound: &str| {
            let found = new.lines().find(|line| line.contains(&format!("le=\"{bound}\"")));
            found.and_then(|line| line.split_once("} ")).map(|(_, rest)| rest.to_owned()).unwrap()
        };
        let zeros = "0".repeat(30);
        assert_eq!(of_bucket("0.0025"), "0");
        assert_eq!(of_bucket("0.005"), format!("1 # {{trace_id=\"{zeros}ab\"}} 0.003 1700000000.250"));
        assert_eq!(of_bucket("60.0"), "1");
        assert_eq!(of_bucket("+Inf"), format!("2 # {{trace_id=\"{zeros}cd\"}} 120 1700000000.250"));
        assert!(!old.lines().any(|line| line.contains(" # ")), "{old}");
    }

    #[test]
    fn quantiles_are_right_to_a_hundredth() {
        let mut text = Text::new(Format::OpenMetrics);
        let all: Vec<u64> = (1..=1_000).map(|millis| millis * 1_000).collect();
        text.quantiles(&table::CALL_DURATION_QUANTILES, &["cart", "check"], &latencies(&all));
        let text = text.finish();
        assert!(text.contains("# TYPE outrigger_call_duration_quantiles_seconds summary\n"), "{text}");
        for (quantile, want) in [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999)] {
            let labels = format!("{{service=\"cart\",route=\"check\",quantile=\"{quantile}\"}} ");
            let (_, rest) = text.split_once(&labels).unwrap();
            let found: f64 = rest.lines().next().unwrap().parse().unwrap();
            assert!((found - want).abs() <= want * 0.011, "{quantile}: {found}");
        }
    }

    #[test]
    fn families_are_named_as_each_format_wants() {
        let page = |format| {
            let mut text = Text::new(format);
            text.sample(&table::ATTEMPTS, &["a"], 1);
            text.sample(&table::ATTEMPTS, &["b"], 2);
            text.sample(&table::BUILD_INFO, &["1.0"], 1);
            text.finish()
        };
        let (new, old) = (page(Format::OpenMetrics), page(Format::Prometheus));
        assert!(new.contains("# TYPE outrigger_attempts counter\n"), "{new}");
        assert!(new.contains("# TYPE outrigger_build info\n"), "{new}");
        assert!(old.contains("# TYPE outrigger_attempts_total counter\n"), "{old}");
        assert!(old.contains("# TYPE outrigger_build_info gauge\n"), "{old}");
        assert!(!old.contains("EOF"));
        assert_eq!(new.matches("# HELP outrigger_attempts ").count(), 1);
    }

    #[test]
    fn the_older_format_is_for_those_who_know_no_other() {
        assert_eq!(Format::accepted(""), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::OpenMetrics);
        assert_eq!(Format::accepted("text/plain"), Format::Prometheus);
        let scraper = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Format::accepted(scraper), Format::OpenMetrics);
    }
}

//! Writes samples as text.
//!
//! In: a metric of the table, label values, a number. Out: OpenMetrics 1.0 text, or Prometheus text
//! 0.0.4. A family's head is written with its first sample, so that what has nothing to say is not
//! there; samples of one family must therefore follow each other.

use std::fmt::{Display, Write as _};

use super::super::Latencies;
use super::table::{Kind, Metric};

/// Upper bounds of histogram buckets, in seconds, without `+Inf`. From below a call on one machine to
/// past the longest timeout anyone sets by intent; each costs a series per service.
pub const BUCKETS_SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

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

    /// One histogram of latencies in microseconds.
    pub fn histogram(&mut self, metric: &Metric, values: &[&str], latencies: &Latencies) {
        self.head(metric);
        let (counts, sum) = cumulate(latencies);
        for (bound, count) in BUCKETS_SECONDS.iter().zip(counts) {
            self.line(metric, "_bucket", values, Some(&format!("{bound:?}")), count);
        }
        self.line(metric, "_bucket", values, Some("+Inf"), latencies.len());
        self.line(metric, "_sum", values, None, sum);
        self.line(metric, "_count", values, None, latencies.len());
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
            (Format::Prometheus, kind @ (Kind::Counter | Kind::Gauge | Kind::Histogram)) => {
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
        le: Option<&str>,
        number: impl Display,
    ) {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        self.out.push_str(metric.name);
        self.out.push_str(suffix);
        let labels = metric.labels.iter().copied().zip(values.iter().copied());
        let mut separator = '{';
        for (label, value) in labels.chain(le.map(|bound| ("le", bound))) {
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
        text.histogram(&table::ATTEMPT_DURATION, &["cart"], &latencies(&[900, 3_000]));
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

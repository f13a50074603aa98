//! The table: rows in, lines for a terminal of some size out.
//!
//! In: what is known of each service, in order, and how much room there is. Out: lines of text with
//! a tone each. Pure. Columns that matter least go first when it is narrow; rows that find no room
//! are counted.

use std::time::Duration;

use super::sample::{Breaker, Row, Trouble};

/// Least columns for the name of a service.
const NAME_COLUMNS_MIN: usize = 12;

/// Lines that are not rows: two above the heads, the heads, one below.
const LINES_BESIDE: usize = 4;

/// Room for lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Letters in a line.
    pub(super) columns: usize,
    /// Lines.
    pub(super) rows: usize,
}

/// What stands above the table.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Which proxy it is.
    pub(super) admin: &'a str,
    /// How often it is asked.
    pub(super) every: Duration,
    /// Why it could not be asked the last time.
    pub(super) trouble: Option<&'a str>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// No longer than there is room.
    pub(super) text: String,
    /// How it is meant.
    pub(super) tone: Tone,
}

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// The names of columns.
    Head,
    /// Something to look at.
    Warning,
    /// Something is broken.
    Bad,
}

/// A column: its head, its width, and the text of a row. The last ones go first.
struct Column {
    head: &'static str,
    width: usize,
    text: fn(&Row) -> String,
}

/// In the order of importance, which is also the order of the table.
const COLUMNS: [Column; 9] = [
    Column { head: "BREAKER", width: 12, text: |row| breaker(row.breaker.as_ref()) },
    Column { head: "CALLS/S", width: 9, text: |row| format!("{:.1}", row.rate) },
    Column { head: "ERRORS", width: 7, text: |row| row.errors.map_or_else(none, percent) },
    Column { head: "P99", width: 8, text: |row| row.p99.map_or_else(none, latency) },
    Column { head: "P50", width: 8, text: |row| row.p50.map_or_else(none, latency) },
    Column { head: "IN FLIGHT", width: 11, text: in_flight },
    Column { head: "QUEUED", width: 7, text: queued },
    Column { head: "RETRIES/S", width: 9, text: |row| format!("{:.1}", row.retries) },
    Column { head: "ENDPOINTS", width: 9, text: endpoints },
];

/// The whole picture.
pub(super) fn lines(head: &Head<'_>, rows: &[Row], size: Size) -> Vec<Line> {
    let columns = columns(size.columns);
    let used: usize = columns.iter().map(|column| column.width + 1).sum();
    let longest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let name = longest.max(NAME_COLUMNS_MIN).min(size.columns.saturating_sub(used).max(NAME_COLUMNS_MIN));
    let room = size.rows.saturating_sub(LINES_BESIDE).max(1);
    let mut lines = vec![summary(head, rows), trouble(head), heads(columns, name)];
    let shown = if rows.len() > room { room.saturating_sub(1) } else { rows.len() };
    lines.extend(rows[..shown].iter().map(|row| line(row, columns, name)));
    if shown < rows.len() {
        let text = format!("and {} more, less in trouble or less busy", rows.len() - shown);
        lines.push(Line { text, tone: Tone::Plain });
    }
    for line in &mut lines {
        line.text = cut(&line.text, size.columns);
    }
    lines.truncate(size.rows);
    lines
}

/// Those that find room beside a name.
fn columns(room: usize) -> &'static [Column] {
    let mut used = NAME_COLUMNS_MIN;
    let fits = |column: &&Column| {
        used += column.width + 1;
        used <= room
    };
    &COLUMNS[..COLUMNS.iter().take_while(fits).count()]
}

fn summary(head: &Head<'_>, rows: &[Row]) -> Line {
    let open = rows.iter().filter(|row| row.trouble == Trouble::Open).count();
    let rate: f64 = rows.iter().map(|row| row.rate).sum();
    let services = if rows.len() == 1 { "service" } else { "services" };
    let text = format!(
        "outrigger {}  {} {services}, {open} open  {rate:.1} calls/s  over {:?}",
        head.admin,
        rows.len(),
        head.every
    );
    Line { text, tone: if open > 0 { Tone::Bad } else { Tone::Plain } }
}

fn trouble(head: &Head<'_>) -> Line {
    match head.trouble {
        Some(why) => {
            let why: String = why.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
            Line { text: format!("what follows is old: {why}"), tone: Tone::Bad }
        }
        None => Line { text: String::new(), tone: Tone::Plain },
    }
}

fn heads(columns: &[Column], name: usize) -> Line {
    let mut text = format!("{:name$}", "SERVICE");
    for column in columns {
        text.push_str(&format!(" {:>width$}", column.head, width = column.width));
    }
    Line { text, tone: Tone::Head }
}

fn line(row: &Row, columns: &[Column], name: usize) -> Line {
    let mut text = format!("{:name$}", cut(&row.name, name));
    for column in columns {
        text.push_str(&format!(" {:>width$}", (column.text)(row), width = column.width));
    }
    let tone = match row.trouble {
        Trouble::None => Tone::Plain,
        Trouble::Odd | Trouble::Failing | Trouble::Full | Trouble::HalfOpen => Tone::Warning,
        Trouble::Open => Tone::Bad,
    };
    Line { text, tone }
}

/// At most so many letters; what is longer ends in an ellipsis.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(letters.saturating_sub(1)).collect();
    if letters > 0 {
        cut.push('…');
    }
    cut
}

// --- cells ---

fn none() -> String {
    "-".to_owned()
}

fn breaker(breaker: Option<&Breaker>) -> String {
    let Some(breaker) = breaker else { return "off".to_owned() };
    let state = if breaker.state == "half_open" { "half-open" } else { &breaker.state };
    match breaker.open_left_ms {
        _ if breaker.forced => format!("{state}!"),
        Some(left) => format!("{state} {}s", left.div_ceil(1000)),
        None => state.to_owned(),
    }
}

fn in_flight(row: &Row) -> String {
    row.bulkhead.map_or_else(none, |bulkhead| format!("{}/{}", bulkhead.in_flight, bulkhead.max))
}

fn queued(row: &Row) -> String {
    row.bulkhead.map_or_else(none, |bulkhead| bulkhead.queued.to_string())
}

/// None are known before the first call.
fn endpoints(row: &Row) -> String {
    if row.endpoints == 0 { none() } else { format!("{}/{}", row.healthy, row.endpoints) }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn latency(micros: u64) -> String {
    match micros {
        ..1_000 => format!("{micros}us"),
        1_000..100_000 => format!("{:.1}ms", micros as f64 / 1e3),
        100_000..10_000_000 => format!("{}ms", micros / 1_000),
        _ => format!("{:.1}s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Bulkhead;
    use super::*;

    fn row(name: &str, trouble: Trouble) -> Row {
        let state = if trouble == Trouble::Open { "open" } else { "closed" };
        let open_left_ms = (trouble == Trouble::Open).then_some(11_500);
        Row {
            name: name.to_owned(),
            trouble,
            breaker: Some(Breaker { state: state.to_owned(), forced: false, open_left_ms }),
            bulkhead: Some(Bulkhead { in_flight: 7, max: 20, queued: 2 }),
            rate: 123.45,
            errors: Some(0.125),
            p50: Some(1_250),
            p99: Some(230_000),
            retries: 4.0,
            healthy: 2,
            endpoints: 3,
        }
    }

    fn picture(rows: &[Row], columns: usize, height: usize, trouble: Option<&str>) -> Vec<Line> {
        let head = Head { admin: "127.0.0.1:15000", every: Duration::from_secs(1), trouble };
        lines(&head, rows, Size { columns, rows: height })
    }

    #[test]
    fn everything_is_there_where_there_is_room() {
        let off = Row {
            breaker: None,
            bulkhead: None,
            errors: None,
            p50: None,
            p99: None,
            ..row("b", Trouble::None)
        };
        let found = picture(&[row("payment-service", Trouble::Open), off], 120, 24, None);
        let text: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            text,
            [
                "outrigger 127.0.0.1:15000  2 services, 1 open  246.9 calls/s  over 1s",
                "",
                "SERVICE              BREAKER   CALLS/S  ERRORS      P99      P50   IN FLIGHT  QUEUED RETRIES/S ENDPOINTS",
                "payment-service     open 12s     123.5   12.5%    230ms    1.2ms        7/20       2       4.0       2/3",
                "b                        off     123.5       -        -        -           -       -       4.0       2/3",
            ]
        );
        assert_eq!(found[3].tone, Tone::Bad);
        assert_eq!((found[2].tone, found[4].tone), (Tone::Head, Tone::Plain));
    }

    #[test]
    fn no_line_is_wider_and_no_picture_higher_than_the_terminal() {
        let long = "a-service-with-a-name-that-nobody-would-want-to-type.shop.svc.cluster.local";
        let rows: Vec<Row> = (0..200).map(|number| row(&format!("{number}-{long}"), Trouble::None)).collect();
        for columns in 0..140 {
            for height in [0, 1, 2, 3, 4, 5, 6, 24, 500] {
                let found = picture(&rows, columns, height, Some("gone\r\n"));
                assert!(found.len() <= height, "{} lines of {height}", found.len());
                for line in found {
                    assert!(line.text.chars().count() <= columns, "{columns}: {:?}", line.text);
                    assert!(!line.text.contains(char::is_control), "{:?}", line.text);
                }
            }
        }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let rows: Vec<Row> = (0..30).map(|number| row(&number.to_string(), Trouble::None)).collect();
        let found = picture(&rows, 100, 14, None);
        assert_eq!(found.len(), 13);
        assert_eq!(found[12].text, "and 21 more, less in trouble or less busy");
    }

    #[test]
    fn the_breaker_and_the_rate_stay_longest() {
        let narrow = picture(&[row("cart", Trouble::None)], 40, 24, None);
        assert_eq!(narrow[2].text, "SERVICE           BREAKER   CALLS/S");
        assert_eq!(narrow[3].text, "cart               closed     123.5");
    }

    #[test]
    fn a_proxy_that_does_not_answer_is_told_above_what_was_known() {
        let found = picture(&[row("cart", Trouble::None)], 100, 24, Some("connection refused"));
        assert_eq!(
            (found[1].text.as_str(), found[1].tone),
            ("what follows is old: connection refused", Tone::Bad)
        );
        assert!(found[3].text.starts_with("cart"));
    }
}

//! `outrigger top`: every service as it is now, live in a terminal or as one table.
//!
//! In: the page `/services` of a running proxy, asked for again and again. Out: a table, those in
//! trouble first. Asking happens on a thread of its own, so that keys work while a proxy hangs; a
//! proxy that is away for a while leaves the last table standing, with a word about it.

mod sample;
mod screen;
mod table;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::parse_duration;

use super::ask::{ANSWER_WAIT_MAX, Question};

use sample::{Sample, rows};
use screen::{Screen, Wish};
use table::{Head, Size, lines};

/// Shortest time between two looks: a look costs the proxy about as much as a call.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// Longest time between two looks.
const EVERY_MAX: Duration = Duration::from_secs(3600);

/// Most bytes of the page. A service takes 1 KiB, and up to 4 more for its latencies.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Columns of a table that goes to no terminal.
const PIPE_COLUMNS: usize = 120;

/// What one look brought: the services, or why there are none.
type Look = Result<Sample, String>;

/// What is known so far.
#[derive(Debug, Default)]
struct Known {
    before: Option<Sample>,
    now: Option<Sample>,
    /// Why the last look brought nothing.
    trouble: Option<String>,
}

/// A text such as `1s`, as the option `--every`.
pub(super) fn every(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text).filter(|every| (EVERY_MIN..=EVERY_MAX).contains(every));
    every.ok_or_else(|| "want 100ms to 1h, such as 1s or 500ms".to_owned())
}

/// Shows the services of the proxy whose admin API is at `admin`.
pub(super) fn top(admin: String, every: Duration, once: bool) -> ExitCode {
    if !once && !io::stdout().is_terminal() {
        super::complain("standard output is no terminal: --once prints one table\n");
        return ExitCode::FAILURE;
    }
    let (sender, looks) = mpsc::sync_channel(1);
    let (stop, stopped) = mpsc::sync_channel(0);
    let asked = admin.clone();
    let looking = std::thread::Builder::new().name("looks".to_owned());
    if let Err(error) = looking.spawn(move || look_on(&asked, every, &sender, &stopped)) {
        super::complain(&format!("no thread to look with: {error}\n"));
        return ExitCode::FAILURE;
    }
    let shown = if once { print_one(&admin, every, &looks) } else { show_live(&admin, every, &looks) };
    // Ends the thread, unless it waits for an answer: then the process ends it.
    drop(stop);
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            super::complain(&format!("{why}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Looks until nobody wants it any more.
fn look_on(admin: &str, every: Duration, looks: &SyncSender<Look>, stopped: &Receiver<()>) {
    loop {
        if looks.send(look(admin)).is_err() {
            return;
        }
        match stopped.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(admin: &str) -> Look {
    let question = Question { method: "GET", path: "/services?counts=1", admin, bytes_max: ANSWER_BYTES_MAX };
    let answer = question
        .ask(Instant::now() + ANSWER_WAIT_MAX)
        .map_err(|error| format!("no answer from the admin API at {admin}: {error}"))?;
    if answer.status != 200 {
        return Err(format!("{admin} answered {}: {}", answer.status, answer.body.trim_end()));
    }
    Sample::parse(&answer.body, Instant::now())
        .ok_or_else(|| format!("what came from {admin} is not the page /services"))
}

/// Two looks make one table.
fn print_one(admin: &str, every: Duration, looks: &Receiver<Look>) -> Result<(), String> {
    let mut known = Known::default();
    for _ in 0..2 {
        known.take(looks.recv().map_err(|error| error.to_string())??);
    }
    let size = Size { columns: PIPE_COLUMNS, rows: usize::MAX };
    for line in known.lines(admin, every, size) {
        super::print(&format!("{}\n", line.text.trim_end()));
    }
    Ok(())
}

fn show_live(admin: &str, every: Duration, looks: &Receiver<Look>) -> Result<(), String> {
    let mut known = Known::default();
    known.take(looks.recv().map_err(|error| error.to_string())??);
    let mut screen = Screen::open().map_err(|error| format!("no terminal to draw on: {error}"))?;
    let mut fresh = true;
    loop {
        if fresh {
            let lines = known.lines(admin, every, screen.size());
            screen.draw(&lines).map_err(|error| format!("the terminal is gone: {error}"))?;
        }
        let wish = screen.wish().map_err(|error| format!("the terminal is gone: {error}"))?;
        fresh = match wish {
            Wish::Leave => return Ok(()),
            Wish::Redraw => true,
            Wish::Nothing => false,
        };
        if let Ok(look) = looks.try_recv() {
            fresh = true;
            match look {
                Ok(sample) => known.take(sample),
                Err(why) => known.trouble = Some(why),
            }
        }
    }
}

// === impl Known ===

impl Known {
    fn take(&mut self, sample: Sample) {
        self.before = self.now.replace(sample);
        self.trouble = None;
    }

    fn lines(&self, admin: &str, every: Duration, size: Size) -> Vec<table::Line> {
        let rows = self.now.as_ref().map(|now| rows(self.before.as_ref(), now)).unwrap_or_default();
        lines(&Head { admin, every, trouble: self.trouble.as_deref() }, &rows, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_looks_is_bounded() {
        assert_eq!(every("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "1", "99ms", "2h", "-1s", "soon"] {
            assert!(every(bad).is_err(), "{bad:?}");
        }
    }
}

//! Asks every worker for its report.
//!
//! In: a question, on the control thread. Out: one report of each worker, however busy it is. A
//! scrape costs the workers one message each and the calls nothing.
//!
//! A worker that does not answer in time is represented by its report before. Left out, its counts
//! would seem to fall and rise again, and every rate over them would show a burst that never was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::WorkerReport;
use super::story::Story;

/// Longest wait for all workers together; scrapers commonly give up after 10 s.
const REPORT_WAIT_MAX: Duration = Duration::from_secs(2);

/// A question to a worker, and where its answer goes.
#[derive(Debug)]
pub enum Ask {
    /// What has it counted?
    Report(oneshot::Sender<WorkerReport>),
    /// What has it kept of the calls it has finished?
    Stories(oneshot::Sender<Vec<Arc<Story>>>),
}

/// Asks workers for their reports.
#[derive(Debug, Clone)]
pub struct Reports {
    workers: Vec<mpsc::Sender<Ask>>,
    last: Arc<Mutex<Vec<Option<WorkerReport>>>>,
}

// === impl Reports ===

impl Reports {
    /// Asks these workers; each answers on its own thread.
    pub fn new(workers: Vec<mpsc::Sender<Ask>>) -> Self {
        let last = Arc::new(Mutex::new(vec![None; workers.len()]));
        Self { workers, last }
    }

    /// One report of each worker: a new one, or its last one if it does not answer within 2 s. Only a
    /// worker that never answered is missing. Cancel-safe.
    pub async fn collect(&self) -> Vec<WorkerReport> {
        let reports = self.ask(Ask::Report).await;
        self.complete(reports)
    }

    /// The stories that all workers have kept, each worker's from the oldest to the newest. A worker
    /// that does not answer within 2 s is missing. Cancel-safe.
    pub async fn stories(&self) -> Vec<Arc<Story>> {
        self.ask(Ask::Stories).await.into_iter().flatten().flatten().collect()
    }

    /// Asks every worker; `None` stands for one that did not answer in time.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Ask) -> Vec<Option<T>> {
        let deadline = Instant::now() + REPORT_WAIT_MAX;
        let ask = |worker: &mpsc::Sender<Ask>| {
            let (sender, receiver) = oneshot::channel();
            // A full queue means that others ask too; the answer to come would be no newer.
            worker.try_send(question(sender)).is_ok().then_some(receiver)
        };
        let waiting: Vec<_> = self.workers.iter().map(ask).collect();
        let mut answers = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            answers.push(match receiver {
                Some(receiver) => timeout_at(deadline, receiver).await.ok().and_then(Result::ok),
                None => None,
            });
        }
        answers
    }

    /// Fills gaps with what was known before.
    fn complete(&self, reports: Vec<Option<WorkerReport>>) -> Vec<WorkerReport> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (known, report) in last.iter_mut().zip(reports) {
            if report.is_some() {
                *known = report;
            }
        }
        last.iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WorkerStats, add_one};
    use super::*;

    fn report(accepted: u64) -> WorkerReport {
        let stats = WorkerStats::default();
        (0..accepted).for_each(|_| add_one(&stats.accepted));
        stats.report(Vec::new(), Vec::new())
    }

    async fn answer(questions: &mut mpsc::Receiver<Ask>, accepted: u64) {
        let Some(Ask::Report(sender)) = questions.recv().await else { panic!("a report was asked for") };
        let _ = sender.send(report(accepted));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_too_busy_keeps_its_last_counts() {
        let (one, mut first) = mpsc::channel(1);
        let (two, mut second) = mpsc::channel(1);
        let reports = Reports::new(vec![one, two]);
        let answers = async {
            answer(&mut first, 1).await;
            answer(&mut second, 10).await;
        };
        let (before, ()) = tokio::join!(reports.collect(), answers);
        assert_eq!(before.iter().map(|report| report.accepted).collect::<Vec<_>>(), [1, 10]);

        let answers = async {
            answer(&mut first, 2).await;
        };
        let (after, ()) = tokio::join!(reports.collect(), answers);
        assert_eq!(after.iter().map(|report| report.accepted).collect::<Vec<_>>(), [2, 10]);
        // The question is still in its queue, which is full now: that is no reason to wait.
        let asked = Instant::now();
        let answers = async {
            answer(&mut first, 3).await;
        };
        let (after, ()) = tokio::join!(reports.collect(), answers);
        assert_eq!(after.iter().map(|report| report.accepted).collect::<Vec<_>>(), [3, 10]);
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}

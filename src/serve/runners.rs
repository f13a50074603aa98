//! Tasks that run one call of HTTP/2 after another.
//!
//! In: a planned request. Out: its call, run beside all others. The state of a call is several
//! KiB; a task of its own for each would allocate, fill and free them per call, which was measured
//! at a fifth of the proxy's work outside the kernel.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::call::{Client, Http2Request, Ran, run_http2};
use crate::mesh::Local;
use crate::stream::Stream;
use crate::telemetry::{add_one, take_one};

use super::churn::Churn;
use super::wait::Closed;
use super::{Door, http1};

/// Most tasks per worker that wait for their next call: 2 MiB.
const IDLE_MAX: usize = 512;

thread_local! {
    static IDLE: RefCell<Vec<Rc<Runner>>> = const { RefCell::new(Vec::new()) };
}

/// A task that runs calls.
struct Runner {
    local: Rc<Local>,
    next: RefCell<Option<(Http2Request, Rc<Churn>)>>,
    waker: RefCell<Option<Waker>>,
}

/// Runs a call in a task that waits for one, or in a new one.
pub(super) fn run(local: &Rc<Local>, request: Http2Request, churn: &Rc<Churn>) {
    let next = RefCell::new(Some((request, Rc::clone(churn))));
    match IDLE.with_borrow_mut(Vec::pop) {
        Some(runner) => {
            runner.next.swap(&next);
            if let Some(waker) = runner.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        None => {
            let runner = Runner { local: Rc::clone(local), next, waker: RefCell::new(None) };
            tokio::task::spawn_local(Rc::new(runner).run());
        }
    }
}

// === impl Runner ===

impl Runner {
    /// Runs calls until there are enough who wait for one.
    async fn run(self: Rc<Self>) {
        loop {
            let (request, churn) = std::future::poll_fn(|cx| match self.next.take() {
                Some(request) => Poll::Ready(request),
                None => {
                    *self.waker.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                }
            })
            .await;
            let counted = InFlight::enter(&self.local);
            let started = request.started;
            let service = Arc::clone(&request.plan.service.state.name);
            let ran = run_http2(&self.local, request).await;
            drop(counted);
            match ran {
                Ran::Over { cancelled } => churn.note(cancelled, started),
                Ran::SpeaksHttp1(stream) => Box::pin(self.over_http1(stream, service)).await,
            }
            let waits = IDLE.with_borrow_mut(|idle| {
                let room = idle.len() < IDLE_MAX;
                if room {
                    idle.push(Rc::clone(&self));
                }
                room
            });
            if !waits {
                return;
            }
        }
    }
}

impl Runner {
    /// Serves a request whose service speaks HTTP/1.
    async fn over_http1(&self, stream: Stream, service: Arc<str>) {
        let mut client = Client::new(stream, Rc::clone(&self.local.closing));
        let told = std::pin::pin!(self.local.closed.notified());
        let mut closed = Closed::new(told);
        // A request that came by HTTP/2 opens no tunnel that HTTP could be found in.
        let _none = http1::serve(&self.local, &mut client, &Door::Service(service), None, &mut closed).await;
    }
}

/// Counts a call while it runs, also when its task is dropped.
struct InFlight<'a>(&'a Local);

impl<'a> InFlight<'a> {
    fn enter(local: &'a Local) -> Self {
        add_one(&local.stats.in_flight);
        Self(local)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        take_one(&self.0.stats.in_flight);
    }
}

//! How a tunnel comes about: CONNECT, opaque services, and connections on which nobody has spoken yet.
//!
//! In: a plan and the application's connection. Out: bytes carried to their end, or HTTP that was
//! found before a byte was carried, of which nothing is consumed.

use tokio::time::Instant;

use crate::error::Fault;
use crate::mesh::Local;
use crate::policy::Ending;
use crate::telemetry::{Outcome, add_one};
use crate::upstream::{Connection, Offer};
use crate::wire::Opening;

use super::super::attempt::Failed;
use super::super::hold::{Hold, Ticket};
use super::super::{Call, Ended, Flow};
use super::first::First;
use super::{Client, Http1, Request};

/// How a tunnel begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The application asked for it by CONNECT and waits for an answer. Otherwise it knows of nothing,
    /// and a failure is a reset.
    pub asked: bool,
    /// What flows is not known yet: whoever speaks first tells.
    pub detect: bool,
    /// What flows is TLS of the application: none of ours is put around it.
    pub tls: bool,
}

/// What became of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tunnelled {
    /// Bytes, to their end.
    Over,
    /// No tunnel came about.
    Refused(Flow),
    /// HTTP, of which nothing is consumed: it is served as such, and no tunnel any more.
    Http(Opening),
}

/// Opens a tunnel to the plan's service and carries bytes until both sides have ended, or finds HTTP in it.
pub async fn tunnel(local: &Local, client: &mut Client, mut request: Request, begin: Begin) -> Tunnelled {
    let mut call = Call::http1(local, client, &mut request);
    call.dial_anew = true;
    call.side.offer = if begin.tls { Offer::Raw } else { Offer::Bytes };
    match call.open_tunnel(begin).await {
        Ok((outcome, ended)) => {
            call.record(outcome, ended);
            Tunnelled::Over
        }
        Err(NoTunnel::Http(found)) => {
            if begin.asked {
                call.record(Outcome::Success, Instant::now());
            } else {
                call.record.forget();
            }
            Tunnelled::Http(found)
        }
        Err(NoTunnel::Nothing) => {
            call.record.forget();
            Tunnelled::Over
        }
        Err(NoTunnel::Failed(failed)) => {
            let (outcome, flow, ended) = call.no_tunnel(&failed, begin).await;
            call.record(outcome, ended);
            Tunnelled::Refused(flow)
        }
    }
}

/// Why no bytes are carried.
pub(super) enum NoTunnel {
    /// HTTP was found.
    Http(Opening),
    /// The process ended before anything was said.
    Nothing,
    Failed(Failed),
}

impl From<Failed> for NoTunnel {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl<'p> Call<'p, Http1<'_>> {
    /// Place, permit, connection; then whoever speaks first, if that tells anything; then bytes.
    async fn open_tunnel(&mut self, begin: Begin) -> Result<(Outcome, Instant), NoTunnel> {
        let opened = async {
            let slot = self.slot()?;
            self.open().await.map(|(connection, hold)| (connection, hold, slot))
        };
        let (mut connection, mut hold, slot) = match opened.await {
            Ok(opened) => opened,
            Err(failed) if begin.detect && !begin.asked => return Err(self.unless_http(failed).await),
            Err(failed) => return Err(failed.into()),
        };
        if begin.asked {
            self.side.client.out.extend_from_slice(b"HTTP/1.1 200 Connection established\r\n\r\n");
            self.record.status = 200;
            self.count_attempt();
        }
        if begin.detect {
            // Nobody may speak for long, and a probe of the breaker is not held that long.
            hold.ticket = Ticket::new(self.plan.state(), None);
            let first = self.first_word(&mut connection.stream).await;
            if let First::Client(found @ (Opening::Http1 | Opening::Http2)) = first {
                // Its calls count for themselves.
                drop((hold, slot));
                if found == Opening::Http1 {
                    self.keep(connection);
                }
                return Err(NoTunnel::Http(found));
            }
            if matches!(first, First::Client(Opening::Tls(_))) && self.plan.service.tls.is_some() {
                // It brings TLS of its own, and must not be given ours around it.
                self.side.offer = Offer::Raw;
                connection = self.connect(&mut hold, Instant::now(), None).await?;
            }
            let permit = self.permit_only(Instant::now());
            let refused = permit.map(|permit| hold.ticket = permit.ticket).err();
            match (first, refused) {
                (First::Nobody, _) if begin.asked => return Ok((Outcome::Success, Instant::now())),
                (First::Nobody, _) => return Err(NoTunnel::Nothing),
                (First::Broken(broken), _) => {
                    let outcome = self.broken(broken, &mut connection.stream, &mut hold);
                    self.note_carried(outcome);
                    return Ok((outcome, Instant::now()));
                }
                (First::Service | First::Client(_), Some(failed)) => {
                    self.note_failure(&failed);
                    self.side.client.stream.reset_on_close();
                    return Ok((Outcome::Fault(failed.fault), Instant::now()));
                }
                (First::Service | First::Client(_), None) => {}
            }
        }
        if !begin.asked {
            self.count_attempt();
        }
        let outcome = self.carry(connection.stream, &mut hold).await;
        self.note_carried(outcome);
        drop((slot, hold));
        Ok((outcome, Instant::now()))
    }

    /// Breaker, endpoint, connection. A connection is no success yet: one that accepts and says
    /// nothing is not well.
    async fn open(&mut self) -> Result<(Connection, Hold<'p>), Failed> {
        let now = self.record.started();
        self.note_start(now);
        let mut hold = self.permit_only(now).inspect_err(|failed| self.note_failure(failed))?;
        match self.connect(&mut hold, now, None).await {
            Ok(connection) => Ok((connection, hold)),
            Err(failed) => {
                self.note_failure(&failed);
                self.count_attempt();
                let ending = if failed.fault == Fault::ClientCancelled {
                    Ending::ClientGone
                } else {
                    Ending::Fault(failed.fault)
                };
                self.judge(&mut hold, ending, false, Instant::now());
                Err(failed)
            }
        }
    }

    fn count_attempt(&mut self) {
        self.record.attempts += 1;
        add_one(&self.plan.service.stats.attempts);
    }

    async fn no_tunnel(&mut self, failed: &Failed, begin: Begin) -> Ended {
        if failed.fault == Fault::ClientCancelled {
            return self.cancelled();
        }
        if begin.asked {
            return self.fault(*failed).await;
        }
        self.side.client.stream.reset_on_close();
        (Outcome::Fault(failed.fault), Flow::Close, Instant::now())
    }
}

//! The load of a cluster: callers of `docket-client`, which goes to the leader, repeats what is safe, and leaves a node that is gone for
//! the next. So a call that fails is one that the cluster failed to answer for as long as its client may wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use docket_client::{Client, Credential, Options, method};
use docket_proto::{code_name, v1::order::State};
use futures::future::try_join_all;
use tokio::time::Instant;
use tonic::Code;

use super::Scene;
use crate::{Acknowledged, Error, Tally, Workload, drive::may_be_done};

/// How long an order may take, with all of its repeats: longer than any node is away.
const CALL_MAX: Duration = Duration::from_secs(60);
/// So often it may be tried meanwhile.
const ATTEMPTS: u32 = 1_000;
/// The longest wait between two tries.
const BACK_OFF_MAX: Duration = Duration::from_millis(250);

/// Who places orders, where, and as whom.
#[derive(Clone)]
pub struct Spread {
    pub scene: Arc<Scene>,
    pub workload: Arc<Workload>,
    /// `http://HOST:PORT` of the nodes.
    pub addresses: Vec<String>,
    pub key: String,
    /// Clients, each with connections of its own.
    pub clients: usize,
    /// Orders in flight.
    pub in_flight: usize,
    /// Ends it.
    pub stop: Arc<AtomicBool>,
}

impl Spread {
    /// Places orders until it is to stop, or has placed what it may.
    ///
    /// # Errors
    /// There is no client to be had.
    pub async fn place(self) -> Result<Tally, Error> {
        let began = Instant::now();
        let clients: Vec<Client> = (0..self.clients.max(1))
            .map(|_| self.client())
            .collect::<Result<_, _>>()?;
        let callers = (0..self.in_flight.max(1)).map(|number| {
            let (spread, client) = (self.clone(), clients[number % clients.len()].clone());
            tokio::spawn(async move { spread.call(&client).await })
        });
        let tallies = try_join_all(callers).await;
        let mut all = Tally::default();
        for tally in tallies.map_err(|_| Error::Broken("a caller panicked"))? {
            all.add(tally);
        }
        all.elapsed = began.elapsed();
        Ok(all)
    }

    fn client(&self) -> Result<Client, Error> {
        let options = Options {
            credential: Credential::ApiKey(self.key.clone()),
            call_max: CALL_MAX,
            attempts_max: ATTEMPTS,
            back_off_max: BACK_OFF_MAX,
            ..Options::new(self.addresses.clone())
        };
        Client::new(options).map_err(|cause| Error::Shape(cause.to_string()))
    }

    /// One order after the other.
    async fn call(&self, client: &Client) -> Tally {
        use std::sync::atomic::Ordering::Relaxed;
        let (mut tally, progress) = (Tally::default(), &self.scene.progress);
        while !self.stop.load(Ordering::Acquire) && !progress.is_over() {
            let n = self.workload.take();
            let (request, total) = self.workload.order(n);
            let asked = Instant::now();
            match client.call(&method::PLACE_ORDER, request).await {
                Ok(order) => {
                    let right = order.state() == State::Confirmed && order.total == total;
                    let acknowledged = Acknowledged::new(&order.name, n).filter(|_| right);
                    let took = asked.elapsed();
                    tally.orders.record(took);
                    progress.acknowledged(acknowledged, took);
                    match acknowledged {
                        Some(acknowledged) => tally.ledger.acknowledged.push(acknowledged),
                        None => tally
                            .ledger
                            .wrong(format!("operation {n} was answered with {order:?}")),
                    }
                }
                Err(status) => {
                    let code = code_name(status.code());
                    *tally.errors.entry(code).or_default() += 1;
                    progress.failed.fetch_add(1, Relaxed);
                    if status.code() == Code::ResourceExhausted {
                        progress.refused.fetch_add(1, Relaxed);
                    }
                    if may_be_done(status.code()) || status.code() == Code::Cancelled {
                        tally.ledger.unknown.push(n);
                    }
                }
            }
        }
        tally
    }
}

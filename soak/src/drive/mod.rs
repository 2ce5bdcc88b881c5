//! Drives a load against a server: closed loop or open, one call an order or streams of them.
//!
//! Every thread has a runtime of its own and some of the connections, so that nothing is shared while it runs but the
//! numbers of the operations and the counters of [`Progress`]. All calls of a thread are futures in one set: a call
//! costs no task, and its future is used again for the next one.

pub(crate) mod lane;
mod pacer;
mod progress;
mod stream;
mod unary;

use std::{sync::Arc, thread, time::Duration};

use docket_proto::v1::order_service_client::OrderServiceClient;
use futures::{StreamExt as _, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::{sync::oneshot, time::Instant};

use crate::{Error, Tally, Target, Workload};
pub(crate) use lane::may_be_done;
pub use progress::{Progress, Watched};

use lane::Lane;
use pacer::{Pacer, Timer};
use unary::{Grpc, Written};

/// How orders travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One call an order.
    Unary,
    /// The same, and the requests are written without the generated types, which is cheaper: for loads that are far beyond
    /// what the server takes.
    UnaryWritten,
    /// A `PlaceOrders` stream on each connection.
    Stream,
}

/// When calls start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The next one when one is answered.
    Closed,
    /// So many a second, whether others are answered or not. A call that cannot start in time, because too many are in
    /// flight, starts late; its latency counts from when it should have started.
    Open {
        /// Operations a second.
        per_second: f64,
    },
}

/// A load.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// How orders travel.
    pub mode: Mode,
    /// When calls start.
    pub pace: Pace,
    /// Operations in flight over all connections: of a closed loop always, of an open one at most.
    pub in_flight: usize,
    /// Connections.
    pub connections: usize,
    /// Threads that share the connections.
    pub threads: usize,
    /// For how long operations are started.
    pub duration: Duration,
    /// How long the last answers may take after that.
    pub patience: Duration,
}

impl Load {
    /// Whether it can be driven.
    ///
    /// # Errors
    /// Says why not.
    pub fn validate(&self) -> Result<(), Error> {
        if self.connections == 0 || self.threads == 0 || self.in_flight < self.connections {
            return Err(Error::Shape(format!(
                "{} in flight do not share {} connections: at least one is in flight on each",
                self.in_flight, self.connections
            )));
        }
        if matches!(self.pace, Pace::Open { per_second } if !(per_second > 0.0 && per_second.is_finite())) {
            return Err(Error::Shape("the rate must be more than 0".into()));
        }
        Ok(())
    }
}

/// Drives `load` against `target` until its time is up and the last answer is there.
///
/// # Errors
/// A load that makes no sense, or no connection.
pub async fn drive(
    target: &Target,
    workload: &Arc<Workload>,
    load: &Load,
    progress: &Arc<Progress>,
) -> Result<Tally, Error> {
    load.validate()?;
    let threads = load.threads.min(load.connections);
    let running = (0..threads).map(|first| {
        let part = Part {
            target: target.clone(),
            workload: Arc::clone(workload),
            load: load.clone(),
            progress: Arc::clone(progress),
            lanes: (first..load.connections).step_by(threads).collect(),
        };
        part.start()
    });
    let mut tally = Tally::default();
    for part in running.collect::<Result<Vec<_>, _>>()? {
        let done = part
            .await
            .map_err(|_| Error::Broken("a thread of the load panicked"))?;
        tally.add(done?);
    }
    Ok(tally)
}

/// What one thread does.
struct Part {
    target: Target,
    workload: Arc<Workload>,
    load: Load,
    progress: Arc<Progress>,
    /// The numbers of its connections.
    lanes: Vec<usize>,
}

impl Part {
    fn start(self) -> Result<oneshot::Receiver<Result<Tally, Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::system("start a runtime for the load"))?;
        thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                // Whoever waited may have gone.
                let _ = sender.send(runtime.block_on(self.run()));
            })
            .map_err(Error::system("start a thread for the load"))?;
        Ok(receiver)
    }

    async fn run(self) -> Result<Tally, Error> {
        let mut channels = Vec::new();
        for number in &self.lanes {
            channels.push(self.target.connect_in_turn(*number).await?);
        }
        let started = Instant::now();
        let lanes = self.lanes.iter().map(|index| self.lane(*index, started));
        let lanes = lanes.collect::<Result<Vec<_>, _>>()?;
        let mut calls: FuturesUnordered<LocalBoxFuture<'_, ()>> = FuturesUnordered::new();
        for (lane, channel) in lanes.iter().zip(&channels) {
            let client = OrderServiceClient::new(channel.clone());
            match self.load.mode {
                Mode::Unary | Mode::UnaryWritten => {
                    for slot in lane.slots() {
                        let one = Grpc {
                            client: client.clone(),
                            target: &self.target,
                        };
                        calls.push(match self.load.mode {
                            Mode::UnaryWritten => {
                                let one = Written(one, tonic::client::Grpc::new(channel.clone()));
                                Box::pin(unary::call_in_turn(lane, slot, one))
                            }
                            _ => Box::pin(unary::call_in_turn(lane, slot, one)),
                        });
                    }
                }
                Mode::Stream => calls.push(Box::pin(stream::run(lane, client, &self.target))),
            }
        }
        let all = async { while calls.next().await.is_some() {} };
        // What is not answered by then is told by the lanes.
        let _ = tokio::time::timeout_at(started + self.load.duration + self.load.patience, all).await;
        drop(calls);
        let mut tally = Tally::default();
        for lane in lanes {
            tally.add(lane.close());
        }
        Ok(tally)
    }

    /// The connection `index` of all: its share of what is in flight, and of the rate.
    fn lane(&self, index: usize, started: Instant) -> Result<Lane<'_>, Error> {
        let Load {
            connections,
            in_flight,
            pace,
            duration,
            ..
        } = self.load;
        let window = in_flight / connections + usize::from(index < in_flight % connections);
        let end = started + duration;
        let pacer = match pace {
            Pace::Closed => Pacer::closed(end),
            Pace::Open { per_second } => {
                let timer = Timer::precise().map_err(Error::system("make a timer"))?;
                // The connections take turns.
                let first = started + Duration::from_secs_f64(index as f64 / per_second);
                Pacer::open(first, connections as f64 / per_second, end, timer)
            }
        };
        Ok(Lane::new(&self.workload, &self.progress, pacer, window, started))
    }
}

//! One consumer of the feed: it watches all orders at one node after the other, each time behind the last token that it got.
//!
//! It goes elsewhere when its watch breaks or says nothing, and now and then by itself, so that tokens of every node are good at
//! every other one. It takes what is told of the history's own customers; others had theirs before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use docket_proto::v1::WatchOrdersResponse;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::{Node, RETRY, Shop, seen};
use crate::{Chance, Error, history::Books};

/// How often it looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(100);
/// A watch that says nothing for so long is left for another node: its own may stand still.
const SILENT_MAX: Duration = Duration::from_secs(2);
/// It leaves a watch by itself behind one of so many messages.
const LEAVES_ODDS: u64 = 24;
/// Between two messages the consumers rest so long, the first not at all: so that some are slow.
const RESTS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(3),
    Duration::from_millis(30),
];
/// How long the first message of a watch may take.
const BEGIN_MAX: Duration = Duration::from_secs(20);
/// The numbers of consumers, where they share chance with clients, begin here.
const CHANCES: u64 = 1 << 16;

/// A consumer of the feed, which is told of all that happens from when it was made.
#[derive(Debug)]
pub struct Consumer {
    number: usize,
    chance: Chance,
    token: String,
    rest: Duration,
    /// Nothing else is to be had.
    is_broken: bool,
}

impl Consumer {
    /// Begins to watch, at any of these nodes. Nothing may be asked of the shop before it has: its history begins here.
    ///
    /// # Errors
    /// No node begins a watch.
    pub async fn begin(shop: &Shop, nodes: &[Node]) -> Result<Self, Error> {
        let number = shop.recorder.consumer();
        let mut consumer = Self {
            number,
            chance: Chance::new(shop.seed, (shop.names.0 << 32) | (CHANCES + number as u64)),
            token: String::new(),
            rest: RESTS[number % RESTS.len()],
            is_broken: false,
        };
        let end = Instant::now() + BEGIN_MAX;
        loop {
            let first = consumer.first(nodes).await;
            match first {
                Ok(message) => {
                    consumer.take(shop, message);
                    return Ok(consumer);
                }
                Err(status) if Instant::now() > end => {
                    return Err(Error::refused("cannot watch the orders")(status));
                }
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    async fn first(&mut self, nodes: &[Node]) -> Result<WatchOrdersResponse, Status> {
        let mut messages = self.node(nodes)?.watch(&self.token).await?;
        let first = timeout(SILENT_MAX, messages.message()).await;
        let first = first.map_err(|_| Status::unavailable("the watch says nothing"))?;
        first?.ok_or_else(|| Status::unavailable("the watch ended"))
    }

    /// Reads until it is told to stop.
    pub async fn work(&mut self, shop: &Arc<Shop>, nodes: &[Node], stop: &AtomicBool) {
        self.read(shop, nodes, &|| stop.load(Ordering::Acquire)).await;
    }

    /// Reads on until it was told of each order as it is in these books, or this time is over: the check says what is missing.
    pub async fn catch_up(&mut self, shop: &Arc<Shop>, nodes: &[Node], books: &Books, within: Duration) {
        let (number, end) = (self.number, Instant::now() + within);
        let is_there = || shop.recorder.has_told(number, books) || Instant::now() > end;
        self.read(shop, nodes, &is_there).await;
    }

    async fn read(&mut self, shop: &Shop, nodes: &[Node], is_over: &(dyn Fn() -> bool + Sync)) {
        while !self.is_broken && !is_over() {
            let opened = match self.node(nodes) {
                Ok(node) => node.watch(&self.token).await,
                Err(status) => Err(status),
            };
            let ended = match opened {
                Ok(messages) => self.follow(shop, messages, is_over).await,
                Err(status) => Err(status),
            };
            if let Err(status) = ended {
                if is_final(&status) {
                    self.is_broken = true;
                    shop.recorder.broke(self.number, status.to_string());
                }
                sleep(RETRY).await;
            }
        }
    }

    /// Takes the messages of one watch, until it ends, is over, or is left.
    async fn follow(
        &mut self,
        shop: &Shop,
        mut messages: Streaming<WatchOrdersResponse>,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Status> {
        let mut heard = Instant::now();
        while !is_over() {
            let Ok(message) = timeout(GLANCE, messages.message()).await else {
                if heard.elapsed() > SILENT_MAX {
                    return Ok(());
                }
                continue;
            };
            let message = message?.ok_or_else(|| Status::unavailable("the watch ended"))?;
            heard = Instant::now();
            self.take(shop, message);
            if self.chance.below(LEAVES_ODDS) == 0 {
                return Ok(());
            }
            sleep(self.rest).await;
        }
        Ok(())
    }

    fn take(&mut self, shop: &Shop, message: WatchOrdersResponse) {
        let seen = shop.recorder.now();
        let changes = message.changes.into_iter();
        let changes = changes.filter_map(|change| seen::change(change, seen));
        let ours = changes.filter(|change| shop.names.has_customer(&change.order.customer));
        shop.recorder.told(self.number, ours);
        self.token = message.resume_token;
    }

    fn node<'a>(&mut self, nodes: &'a [Node]) -> Result<&'a Node, Status> {
        let at = self.chance.below(nodes.len().max(1) as u64) as usize;
        nodes
            .get(at)
            .ok_or_else(|| Status::unavailable("there are no nodes"))
    }
}

/// Whether no node would answer better: the token is too old, or none of this cluster's; or a node is broken.
fn is_final(status: &Status) -> bool {
    match status.code() {
        Code::OutOfRange | Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound => true,
        Code::Internal | Code::DataLoss => status.get_details_error_info().is_some(),
        _ => false,
    }
}

//! Who delivers: the node that leads the meta group, one task a webhook.

use std::{collections::HashMap, sync::Arc, time::Duration};

use docket_actors::{Docket, Leadership};
use docket_engine::{
    ChangeKind, Time,
    webhook::{DeliveryId, WebhookId},
};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Events, Sender, SenderError, WebhookOptions,
    event::ContractError,
    places::Places,
    subscription::Subscription,
    telemetry::{self, Levels},
};

/// What time it is, in microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How often it is looked whether every webhook has its task, and gauges are set.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of what may be in flight so much is while the node is at work.
const BUSY_PART: usize = 10;

/// Why nothing can be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DelivererError {
    /// Nothing can be sent.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// There is nothing to be sent.
    #[error(transparent)]
    Contract(#[from] ContractError),
}

/// What all webhooks share.
pub(crate) struct Shared {
    pub(crate) docket: Docket,
    pub(crate) sender: Sender,
    pub(crate) events: Events,
    pub(crate) clock: Clock,
    /// Deliveries of one webhook in flight.
    pub(crate) per_webhook: usize,
    /// Places of deliveries in flight: fewer while the node is at work.
    pub(crate) places: Places,
    /// How far each webhook is behind.
    pub(crate) lags: Mutex<HashMap<WebhookId, Lag>>,
}

/// How far a webhook is behind, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lag {
    /// The age of the oldest change that it was not told of, and that did not fail.
    pub(crate) untried: f64,
    /// The same, whether or not it failed.
    pub(crate) undelivered: f64,
}

/// What is about to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) id: DeliveryId,
    pub(crate) kind: ChangeKind,
    pub(crate) at: Time,
}

/// Delivers to webhooks as long as this node leads the meta group. Cloning it is cheap.
#[derive(Clone)]
pub struct Deliverer {
    shared: Arc<Shared>,
    allow_http: bool,
}

impl Deliverer {
    /// One for this node.
    ///
    /// # Errors
    /// Where TLS cannot be set up, or the contract that is compiled in cannot be read.
    pub fn new(docket: Docket, options: &WebhookOptions, clock: Clock) -> Result<Self, DelivererError> {
        let (cluster, _) = docket.positions_of();
        let (most, at_work) = (options.in_flight_max, docket.clone());
        let busy = (most / BUSY_PART).max(1);
        // The foreground goes first.
        let limit = Arc::new(move || if at_work.is_at_work() { busy } else { most });
        Ok(Self {
            allow_http: options.allow_http,
            shared: Arc::new(Shared {
                docket,
                sender: Sender::new(options)?,
                events: Events::of(&cluster)?,
                clock,
                per_webhook: options.in_flight_per_webhook,
                places: Places::new(limit),
                lags: Mutex::default(),
            }),
        })
    }

    /// What sends, for events that are nobody's change.
    pub fn sender(&self) -> &Sender {
        &self.shared.sender
    }

    /// What makes events.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Whether webhooks may have URLs with `http://`.
    pub fn allows_http(&self) -> bool {
        self.allow_http
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        (self.shared.clock)()
    }

    /// Delivers until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let running = async {
            let mut leadership = self.shared.docket.meta_leadership();
            loop {
                let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
                if leads.await.is_err() {
                    // The node has stopped.
                    return;
                }
                let mut lost = leadership.clone();
                tokio::select! {
                    () = self.lead() => {}
                    _ = lost.wait_for(|now| !matches!(now, Leadership::Leader { .. })) => {}
                }
                let led = std::mem::take(&mut *self.shared.lags.lock());
                led.into_keys().for_each(telemetry::forget);
                Levels::default().show();
            }
        };
        tokio::select! {
            () = running => {}
            () = stop.cancelled() => {}
        }
    }

    /// Keeps a task for each webhook. Dropped, it ends them all.
    async fn lead(&self) {
        let webhooks = self.shared.docket.webhooks();
        let mut changed = webhooks.watch();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tasks = HashMap::<WebhookId, AbortOnDropHandle<()>>::new();
        loop {
            changed.borrow_and_update();
            let ids: Vec<WebhookId> =
                webhooks.read(|state| state.webhooks().map(|webhook| webhook.id).collect());
            // One that has ended did so badly, or its webhook is gone.
            tasks.retain(|id, task| ids.contains(id) && !task.is_finished());
            for id in &ids {
                tasks.entry(*id).or_insert_with(|| {
                    let subscription = Subscription::new(Arc::clone(&self.shared), *id);
                    AbortOnDropHandle::new(tokio::spawn(subscription.run()))
                });
            }
            self.shared.lags.lock().retain(|id, _| {
                let is_there = ids.contains(id);
                if !is_there {
                    telemetry::forget(*id);
                }
                is_there
            });
            self.shared.places.keep(&ids);
            // The node may have less to do by now.
            self.shared.places.give();
            self.measure();
            tokio::select! {
                _ = look.tick() => {}
                changed = changed.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    fn measure(&self) {
        let mut levels = self.shared.docket.webhooks().read(|state| {
            state.webhooks().fold(Levels::default(), |sum, webhook| Levels {
                webhooks: sum.webhooks + 1,
                retries: sum.retries + webhook.deferred.len(),
                dead_letters: sum.dead_letters + webhook.dead.len(),
                ..sum
            })
        });
        for (id, lag) in &*self.shared.lags.lock() {
            levels.lag_s = levels.lag_s.max(lag.untried);
            telemetry::undelivered(*id, lag.undelivered);
        }
        levels.show();
    }
}

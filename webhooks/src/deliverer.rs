//! Who delivers: the node that leads the meta group, one task a webhook.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use docket_actors::{Docket, Leadership, TaskKind};
use docket_engine::{
    ChangeKind, Time,
    webhook::{DeliveryId, WebhookId},
};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Events, Sender, SenderError, WebhookOptions, event::ContractError, places::Places,
    subscription::Subscription, telemetry::Levels,
};

/// What time it is, in microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How often it is looked whether every webhook has its task, and gauges are set.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of what may be in flight so much is while the node is at work.
const BUSY_PART: usize = 10;
/// And at least so much, so that a receiver that does not answer leaves something to others.
const BUSY_LEAST: usize = 2;
/// A webhook is behind where the oldest change that it was not told of is older than this.
const BEHIND_S: f64 = 60.0;

/// What may be in flight while the node is at work, of so much otherwise.
fn busy_limit(most: usize) -> usize {
    (most / BUSY_PART).max(BUSY_LEAST).min(most)
}

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
    settings: ArcSwap<Settings>,
    pub(crate) events: Events,
    pub(crate) clock: Clock,
    /// Places of deliveries in flight: fewer while the node is at work.
    pub(crate) places: Places,
    /// How far each webhook is behind.
    pub(crate) lags: Mutex<HashMap<WebhookId, Lag>>,
}

/// What can be another while it delivers.
struct Settings {
    sender: Sender,
    allow_http: bool,
    /// Deliveries in flight.
    most: usize,
    /// Deliveries of one webhook in flight.
    per_webhook: usize,
}

impl Settings {
    fn new(options: &WebhookOptions) -> Result<Self, SenderError> {
        Ok(Self {
            sender: Sender::new(options)?,
            allow_http: options.allow_http,
            most: options.in_flight_max,
            per_webhook: options.in_flight_per_webhook,
        })
    }
}

impl Shared {
    /// What sends, as it is configured now.
    pub(crate) fn sender(&self) -> Sender {
        self.settings.load().sender.clone()
    }

    /// Deliveries of one webhook in flight.
    pub(crate) fn per_webhook(&self) -> usize {
        self.settings.load().per_webhook
    }
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
}

impl Deliverer {
    /// One for this node.
    ///
    /// # Errors
    /// Where TLS cannot be set up, or the contract that is compiled in cannot be read.
    pub fn new(docket: Docket, options: &WebhookOptions, clock: Clock) -> Result<Self, DelivererError> {
        let (cluster, _) = docket.positions_of();
        let at_work = docket.clone();
        // The foreground goes first.
        let limit = Arc::new(move |most| match at_work.is_at_work() {
            true => busy_limit(most),
            false => most,
        });
        Ok(Self {
            shared: Arc::new(Shared {
                docket,
                settings: ArcSwap::from_pointee(Settings::new(options)?),
                events: Events::of(&cluster)?,
                clock,
                places: Places::new(limit, options.in_flight_max),
                lags: Mutex::default(),
            }),
        })
    }

    /// Delivers as these options say from now on. What is in flight ends as it was begun; receivers are connected to anew.
    ///
    /// # Errors
    /// Where TLS cannot be set up; then all is as before.
    pub fn set_options(&self, options: &WebhookOptions) -> Result<(), SenderError> {
        let settings = Settings::new(options)?;
        self.shared.places.set_most(settings.most);
        self.shared.settings.store(Arc::new(settings));
        self.shared.places.give();
        Ok(())
    }

    /// What sends, for events that are nobody's change.
    pub fn sender(&self) -> Sender {
        self.shared.sender()
    }

    /// What makes events.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Whether webhooks may have URLs with `http://`.
    pub fn allows_http(&self) -> bool {
        self.shared.settings.load().allow_http
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
                self.shared.lags.lock().clear();
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
                    AbortOnDropHandle::new(tokio::spawn(TaskKind::Webhooks.measure(subscription.run())))
                });
            }
            self.shared.lags.lock().retain(|id, _| ids.contains(id));
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
        let lags = self.shared.lags.lock();
        lags.values().for_each(|lag| levels.add(*lag));
        drop(lags);
        levels.show();
    }
}

impl Levels {
    fn add(&mut self, lag: Lag) {
        self.lag_s = self.lag_s.max(lag.untried);
        self.undelivered_s = self.undelivered_s.max(lag.undelivered);
        self.behind += usize::from(lag.undelivered > BEHIND_S);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_node_is_at_work_a_tenth_is_in_flight_and_two_at_least() {
        for (most, busy) in [(1, 1), (2, 2), (10, 2), (19, 2), (30, 3), (64, 6)] {
            assert_eq!(busy_limit(most), busy, "{most}");
        }
    }

    #[test]
    fn the_one_furthest_behind_is_shown_and_how_many_are() {
        let mut levels = Levels::default();
        for (untried, undelivered) in [(1.0, 61.0), (2.0, 60.0), (0.0, 3_600.0)] {
            levels.add(Lag { untried, undelivered });
        }
        let shown = (levels.lag_s, levels.undelivered_s, levels.behind);
        assert_eq!(shown, (2.0, 3_600.0, 2));
    }
}

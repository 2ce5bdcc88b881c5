//! What may be asked of the webhooks' state, and what follows from it.

use std::sync::Arc;

use super::{
    DeadLetter, Deferred, DeliveryFailure, DeliveryId, FeedPositions, PauseCause, WebhookFilter, WebhookId,
    WebhookSecret,
    limits::{RETRIES_MAX, WEBHOOKS_MAX},
};
use crate::{ChangeKind, Request, Time, Version};

/// A request, with the leader's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookCommand {
    /// Now, by the leader's clock.
    pub time: Time,
    /// The client's id for it.
    pub request_id: Option<Request>,
    /// What is asked.
    pub request: WebhookRequest,
}

/// A webhook to be made. Id and secret are random, and chosen by who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Its id.
    pub id: WebhookId,
    /// What signs.
    pub secret: WebhookSecret,
    /// Where it is delivered to.
    pub url: Arc<str>,
    /// For people.
    pub description: Arc<str>,
    /// What it is told of.
    pub filter: WebhookFilter,
    /// Where it begins.
    pub positions: FeedPositions,
}

/// What is changed of a webhook; `None` leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookChange {
    /// Where it is delivered to.
    pub url: Option<Arc<str>>,
    /// For people.
    pub description: Option<Arc<str>>,
    /// What it is told of. Where that names another customer, with where it goes on.
    pub filter: Option<(WebhookFilter, Option<FeedPositions>)>,
    /// Whether it is paused.
    pub paused: Option<bool>,
}

/// Which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetters {
    /// These.
    These(Vec<DeliveryId>),
    /// All, as far as there is room.
    All,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookRequest {
    /// Make a webhook.
    Create(NewWebhook),
    /// Change one.
    Update {
        /// Which.
        webhook: WebhookId,
        /// Only at this revision.
        expected: Option<u64>,
        /// What.
        change: WebhookChange,
    },
    /// Forget one, with all that is deferred and dead of it.
    Delete {
        /// Which.
        webhook: WebhookId,
        /// Only at this revision.
        expected: Option<u64>,
    },
    /// Give it another secret.
    RotateSecret {
        /// Of which.
        webhook: WebhookId,
        /// Only at this revision.
        expected: Option<u64>,
        /// What signs from now on.
        secret: WebhookSecret,
        /// For how long the one before signs too, in microseconds.
        overlap_us: i64,
    },
    /// Deliver what was given up.
    ReplayDead {
        /// Of which.
        webhook: WebhookId,
        /// What.
        letters: DeadLetters,
    },
    /// Deliver again what was delivered.
    ReplayFrom {
        /// Of which.
        webhook: WebhookId,
        /// From here on.
        positions: FeedPositions,
        /// Which time these positions were found for: what tells this request from others, since they move.
        since: Option<Time>,
    },
    /// Record what was delivered and what was not.
    Progress(Progress),
}

/// What came of deliveries of one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub webhook: WebhookId,
    /// Its epoch when they were begun.
    pub epoch: u64,
    /// All before has an outcome, or is not for it. `None` where that is not further than before.
    pub positions: Option<FeedPositions>,
    /// How many that were never deferred succeeded.
    pub delivered: u64,
    /// What became of those that were deferred, or fail now.
    pub outcomes: Vec<Outcome>,
    /// The receiver answered that it is gone.
    pub is_gone: bool,
    /// It was put to `positions` because changes before are not kept any more.
    pub is_gap: bool,
}

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub id: DeliveryId,
    /// What happened to the order.
    pub kind: ChangeKind,
    /// When.
    pub at: Time,
    /// What became of it.
    pub attempt: Attempt,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver has it.
    Delivered,
    /// It has not.
    Failed {
        /// Why.
        failure: DeliveryFailure,
        /// After how many microseconds it asks to be tried again.
        retry_after_us: Option<i64>,
        /// Chance.
        jitter: u16,
    },
}

/// Why a command is refused, in the order in which it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRejection {
    /// The client used the id of this request for another one.
    #[error("the request_id was used for another request")]
    RequestIdReused,
    /// There is no such webhook.
    #[error("there is no such webhook")]
    NotFound,
    /// It changed since it was read.
    #[error("the webhook changed since it was read")]
    StaleEtag,
    /// There are [`WEBHOOKS_MAX`].
    #[error("there are {WEBHOOKS_MAX} webhooks, as many as there may be")]
    TooMany,
    /// A dead letter that is not there.
    #[error("there is no such dead letter")]
    DeadLetterNotFound,
    /// [`RETRIES_MAX`] deliveries wait to be tried again.
    #[error("{RETRIES_MAX} deliveries wait to be tried again, as many as may: see to the receiver first")]
    TooManyRetries,
    /// The random id is in use. Draw another.
    #[error("the id is in use")]
    IdTaken,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A webhook was made.
    Created(NewWebhook),
    /// Somebody changed what it is.
    Updated {
        /// Which.
        webhook: WebhookId,
        /// Where it is delivered to from now on.
        url: Arc<str>,
        /// For people.
        description: Arc<str>,
        /// What it is told of.
        filter: WebhookFilter,
    },
    /// It is told nothing any more.
    Paused {
        /// Which.
        webhook: WebhookId,
        /// Why.
        cause: PauseCause,
    },
    /// It is told of changes again.
    Resumed {
        /// Which.
        webhook: WebhookId,
    },
    /// It is gone.
    Deleted {
        /// Which.
        webhook: WebhookId,
    },
    /// It got another secret.
    SecretRotated {
        /// Which.
        webhook: WebhookId,
        /// What signs from now on.
        secret: WebhookSecret,
        /// When the one before signs no more.
        old_expires: Time,
    },
    /// All before these positions has an outcome.
    Advanced {
        /// Which.
        webhook: WebhookId,
        /// How far it is.
        positions: FeedPositions,
    },
    /// It was put to another position.
    Rewound {
        /// Which.
        webhook: WebhookId,
        /// Where it goes on.
        positions: FeedPositions,
        /// It is told of no change from before.
        since: Option<Time>,
        /// Because changes before are not kept any more.
        is_gap: bool,
    },
    /// Deliveries succeeded at the first attempt.
    Delivered {
        /// Which.
        webhook: WebhookId,
        /// How many.
        count: u64,
    },
    /// A delivery failed, and is tried again.
    Deferred {
        /// Which.
        webhook: WebhookId,
        /// The delivery.
        id: DeliveryId,
        /// How it stands.
        deferred: Deferred,
    },
    /// One that was deferred succeeded.
    Settled {
        /// Which.
        webhook: WebhookId,
        /// The delivery.
        id: DeliveryId,
    },
    /// One was given up.
    Died {
        /// Which.
        webhook: WebhookId,
        /// The delivery.
        id: DeliveryId,
        /// How it stood.
        letter: DeadLetter,
    },
    /// A dead letter is delivered again.
    Replayed {
        /// Which.
        webhook: WebhookId,
        /// The delivery.
        id: DeliveryId,
    },
}

/// What one decision puts into the meta group's log: all of it, or (where the version does not fit) nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRecord {
    /// The state's version before it.
    pub version: Version,
    /// When it was decided.
    pub time: Time,
    /// The client's id for it, and which webhook it is about.
    pub request: Option<(Request, WebhookId)>,
    /// In the order in which they happened.
    pub events: Vec<WebhookEvent>,
}

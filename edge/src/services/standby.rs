//! `StandbyService`: what this cluster is to another one. As a primary it lets one standby register, read its logs and fence it; as a standby it is promoted.

use std::{net::IpAddr, pin::Pin, sync::Arc};

use docket_actors::{
    Docket, GroupId,
    backup::BackupPoint,
    standby::{Fence, Posture, PromoteError, Promotion, RegisteredStandby, StandbyControl, StandbyError},
};
use docket_audit::{Audit, Entry, Outcome};
use docket_proto::api::show::timestamp;
use docket_proto::v1::{
    self, ExchangeEpochsRequest, ExchangeEpochsResponse, FollowEnd, FollowEntries, FollowLogsRequest,
    FollowLogsResponse, FollowPoint, follow_logs_response::Piece, standby_service_server::StandbyService,
};
use futures::Stream;
use prost_types::Timestamp;
use subtle::ConstantTimeEq as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, transport::server::TcpConnectInfo};

use super::{backup, context};
use crate::{
    Refusal,
    audit::{Change, nobody},
    overview,
    readiness::Readiness,
    status::lag,
};

/// Pieces that are read ahead of the standby.
const PIECES_AHEAD: usize = 4;
/// About so many bytes are in a piece.
const PIECE_BYTES: usize = 512 << 10;
/// The longest id of a standby, in characters.
const ID_MAX: usize = 64;
/// The longest address, in bytes.
const ADDRESS_BYTES_MAX: usize = 256;
/// The longest certificates, in bytes: they are in the registry.
const CA_BYTES_MAX: usize = 16 << 10;
/// Bytes of a secret, as hexadecimal digits.
const SECRET_BYTES: usize = 32;

/// What a record calls the standby.
const TARGET: &str = "standby";

/// The service.
pub(crate) struct StandbyApi {
    docket: Docket,
    readiness: Readiness,
    audit: Audit,
}

impl StandbyApi {
    pub(crate) fn new(docket: Docket, readiness: Readiness, audit: Audit) -> Self {
        Self {
            docket,
            readiness,
            audit,
        }
    }

    /// Whether this cluster is fenced, and all of its nodes have let go.
    async fn is_drained(&self) -> bool {
        if !self.docket.is_drained() {
            return false;
        }
        let status = overview::cluster_status(&self.docket, self.readiness.status()).await;
        let told = |node: &&v1::NodeLiveness| {
            let status = status.nodes.iter().find(|status| status.node_id == node.node_id);
            let standing = status.and_then(|status| status.standing.as_ref());
            standing.is_some_and(|standing| standing.drained)
        };
        status.liveness.iter().filter(told).count() == status.liveness.len()
    }

    async fn register(
        &self,
        request: v1::RegisterStandbyRequest,
    ) -> Result<v1::RegisterStandbyResponse, Refusal> {
        let known = self.docket.registered_standby();
        let known = known.filter(|known| known.id == request.standby_id);
        let secret = match known {
            Some(known) => known.secret,
            None => new_secret()?,
        };
        let standby = RegisteredStandby {
            id: request.standby_id,
            address: request.address,
            ca: request.ca,
            secret: secret.clone(),
        };
        self.docket.register_standby(standby).await.map_err(refusal)?;
        // One that was just promoted may not have noted that in its log yet: who follows it has to come behind its new epoch.
        let promoted = self
            .docket
            .standby()
            .and_then(|control| control.followed().promoted);
        Ok(v1::RegisterStandbyResponse {
            secret,
            epoch: self.docket.epoch().max(promoted.unwrap_or_default()),
            cluster_id: self.docket.status().cluster.identity.cluster_id,
        })
    }

    /// The standby that is registered, if it is this one.
    ///
    /// Whoever is told that it is not takes it for the cluster's word, for good: of a node that does not know what its registry says it is none.
    async fn registered(
        &self,
        is_it: impl Fn(&RegisteredStandby) -> bool,
    ) -> Result<RegisteredStandby, Refusal> {
        if let Some(standby) = self.docket.registered_standby().filter(&is_it) {
            return Ok(standby);
        }
        if !self.docket.knows_registry().await {
            return Err(not_known());
        }
        self.docket
            .registered_standby()
            .filter(&is_it)
            .ok_or_else(unknown)
    }

    /// The same by what the two share.
    async fn registered_by(&self, secret: &str) -> Result<RegisteredStandby, Refusal> {
        self.registered(|standby| bool::from(standby.secret.as_bytes().ct_eq(secret.as_bytes())))
            .await
    }

    fn is_fenced_by(&self, standby: &RegisteredStandby) -> bool {
        let fence = self.docket.fence_of();
        fence.is_some_and(|fence| fence.standby == standby.id)
    }

    /// What the standby says of its epoch: a newer one fences this cluster.
    async fn heard(
        &self,
        standby: &RegisteredStandby,
        epoch: u64,
        address: String,
        from: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let ours = self.docket.epoch();
        let fence = self.docket.fence_of().filter(|fence| fence.standby == standby.id);
        if epoch <= ours || fence.is_some_and(|fence| fence.epoch >= epoch) {
            return Ok(());
        }
        let entry = Entry::new(nobody(from), "standby.fence", TARGET);
        let entry = entry
            .detail("epoch", epoch.to_string())
            .detail("by", address.clone());
        let fence = Fence {
            epoch,
            by: address,
            standby: standby.id.clone(),
        };
        let mut fenced = self.docket.fence(fence).await;
        // Whoever decides may have had newer word of who is registered.
        if fenced.is_err() && self.docket.knows_registry().await {
            let now = self.docket.registered_standby();
            if now.is_none_or(|now| now.id != standby.id) {
                fenced = Err(StandbyError::Unknown);
            }
        }
        self.audit.note(match &fenced {
            Ok(()) => entry,
            Err(error) => entry.outcome(Outcome::Refused, refusal(error.clone()).reason().to_owned()),
        });
        fenced.map_err(refusal)
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<FollowLogsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl StandbyService for StandbyApi {
    type FollowLogsStream = Pieces;

    async fn get_standby(&self, _: Request<v1::GetStandbyRequest>) -> Result<Response<v1::Standby>, Status> {
        let posture = self.docket.posture();
        let control = self.docket.standby();
        let followed = control.map(|control| control.followed()).unwrap_or_default();
        let follows = matches!(*posture, Posture::Standby { .. });
        let fence = self.docket.fence_of();
        let primary_address = match (&fence, follows) {
            (Some(fence), _) => fence.by.clone(),
            (None, true) => followed.primary.clone(),
            (None, false) => String::new(),
        };
        let lag = lag(&posture, &followed);
        let standby = self.docket.registered_standby();
        Ok(Response::new(v1::Standby {
            role: posture.name().to_owned(),
            epoch: self.docket.epoch(),
            standby_address: standby.map(|standby| standby.address).unwrap_or_default(),
            primary_address,
            applied_time: followed.applied.map(Timestamp::from),
            lag,
            lag_orders: followed.orders_behind,
            lag_entries: followed.entries_behind,
            error: followed.error,
            drained: fence.is_some() && self.is_drained().await,
            has_fenced: followed.has_fenced,
        }))
    }

    async fn register_standby(
        &self,
        request: Request<v1::RegisterStandbyRequest>,
    ) -> Result<Response<v1::RegisterStandbyResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        check(&request)?;
        let change = Change::of(&context, "standby.register", TARGET);
        let change = change
            .detail("id", request.standby_id.clone())
            .detail("address", request.address.clone());
        let registered = change.run(&self.audit, self.register(request)).await?;
        Ok(Response::new(registered))
    }

    async fn follow_logs(&self, request: Request<FollowLogsRequest>) -> Result<Response<Pieces>, Status> {
        context(&request)?;
        let request = request.into_inner();
        let known = self
            .registered(|standby| standby.id == request.standby_id)
            .await?;
        let point = self.docket.backup_point().await.map_err(backup::refusal)?;
        // All that was decided before the point is known here: one that was forgotten is not told otherwise by a node that was behind.
        self.registered(|standby| standby.id == known.id).await?;
        if request.from_index.len() != point.groups.len() {
            let count = format!("must have {} indexes", point.groups.len());
            return Err(Refusal::invalid([("from_index", count)]).into());
        }
        // What is not there any more is told before the first piece.
        for (group, from) in point.groups.iter().zip(&request.from_index) {
            let page = self
                .docket
                .backup_log(group.group, *from, group.next.min(from.saturating_add(1)));
            page.await.map_err(backup::refusal)?;
        }
        let (queue, pieces) = mpsc::channel(PIECES_AHEAD);
        let docket = self.docket.clone();
        tokio::spawn(async move {
            if let Err(refused) = send(&docket, point, request.from_index, &queue).await {
                // The standby may have gone.
                let _ = queue.send(Err(refused.into())).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }

    async fn promote_standby(
        &self,
        request: Request<v1::PromoteStandbyRequest>,
    ) -> Result<Response<v1::PromoteStandbyResponse>, Status> {
        let context = context(&request)?;
        let force = request.into_inner().force;
        let control: Option<Arc<dyn StandbyControl>> = self.docket.standby().cloned();
        let promoted = async {
            let control = control.ok_or(PromoteError::NoStandby).map_err(not_promoted)?;
            control.promote(force).await.map_err(not_promoted)
        };
        let change = Change::of(&context, "standby.promote", TARGET).detail("force", force.to_string());
        let told = change.run_and_tell(&self.audit, promoted, |promotion, entry| {
            entry
                .detail("epoch", promotion.epoch.to_string())
                .detail("missing", promotion.missing.clone())
        });
        let Promotion {
            epoch,
            missing,
            applied,
        } = told.await?;
        Ok(Response::new(v1::PromoteStandbyResponse {
            epoch,
            clean: missing.is_empty(),
            applied_time: applied.map(Timestamp::from),
            missing,
        }))
    }

    async fn forget_standby(
        &self,
        request: Request<v1::ForgetStandbyRequest>,
    ) -> Result<Response<v1::ForgetStandbyResponse>, Status> {
        let address = self.docket.registered_standby().map(|standby| standby.address);
        let forgotten = async { self.docket.forget_standby().await.map_err(refusal) };
        let change = Change::of(&context(&request)?, "standby.forget", TARGET);
        let change = change.detail("address", address.clone().unwrap_or_default());
        change.run(&self.audit, forgotten).await?;
        Ok(Response::new(v1::ForgetStandbyResponse {
            address: address.unwrap_or_default(),
        }))
    }

    async fn exchange_epochs(
        &self,
        request: Request<ExchangeEpochsRequest>,
    ) -> Result<Response<ExchangeEpochsResponse>, Status> {
        let info = request.extensions().get::<TcpConnectInfo>();
        let from = info.and_then(|info| info.remote_addr).map(|address| address.ip());
        let ExchangeEpochsRequest {
            secret,
            epoch,
            address,
        } = request.into_inner();
        if address.len() > ADDRESS_BYTES_MAX {
            let long = format!("must have at most {ADDRESS_BYTES_MAX} bytes");
            return Err(Refusal::invalid([("address", long)]).into());
        }
        if secret.is_empty() {
            return Err(Refusal::invalid([("secret", "must be given".to_owned())]).into());
        }
        let control = self.docket.standby().filter(|control| control.knows(&secret));
        let Some(control) = control else {
            let standby = self.registered_by(&secret).await?;
            self.heard(&standby, epoch, address, from).await?;
            let fenced = self.is_fenced_by(&standby);
            return Ok(Response::new(ExchangeEpochsResponse {
                epoch: self.docket.epoch(),
                fenced,
                drained: fenced && self.is_drained().await,
                promoted: false,
                address: String::new(),
                promoting: false,
            }));
        };
        let followed = control.followed();
        let promoted = followed.promoted;
        Ok(Response::new(ExchangeEpochsResponse {
            epoch: promoted.unwrap_or_else(|| self.docket.epoch()),
            fenced: false,
            drained: false,
            promoted: promoted.is_some(),
            address: control.own_address(),
            promoting: followed.promoting,
        }))
    }
}

fn check(request: &v1::RegisterStandbyRequest) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    let id = &request.standby_id;
    if !(1..=ID_MAX).contains(&id.len())
        || !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        wrong.push((
            "standby_id",
            format!("must be 1 to {ID_MAX} letters, digits and hyphens"),
        ));
    }
    let is_url = ["http://", "https://"]
        .iter()
        .any(|scheme| request.address.starts_with(scheme));
    if !is_url || request.address.len() > ADDRESS_BYTES_MAX {
        wrong.push((
            "address",
            format!("must be a URL of at most {ADDRESS_BYTES_MAX} bytes"),
        ));
    }
    if request.ca.len() > CA_BYTES_MAX {
        wrong.push(("ca", format!("must have at most {CA_BYTES_MAX} bytes")));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Refusal::invalid(wrong)),
    }
}

/// Sends a point, and what the logs have up to it.
async fn send(
    docket: &Docket,
    point: BackupPoint,
    from: Vec<u64>,
    queue: &mpsc::Sender<Result<FollowLogsResponse, Status>>,
) -> Result<(), Refusal> {
    let told = FollowPoint {
        time: Some(timestamp(point.time)),
        next_index: point.groups.iter().map(|group| group.next).collect(),
    };
    if queue.send(Ok(of(Piece::Point(told)))).await.is_err() {
        return Ok(());
    }
    for (group, from) in point.groups.iter().zip(from) {
        if !send_log(docket, group.group, (from, group.next), queue).await? {
            return Ok(());
        }
    }
    let _ = queue.send(Ok(of(Piece::End(FollowEnd {})))).await;
    Ok(())
}

/// Whether somebody still takes it.
async fn send_log(
    docket: &Docket,
    group: GroupId,
    (from, before): (u64, u64),
    queue: &mpsc::Sender<Result<FollowLogsResponse, Status>>,
) -> Result<bool, Refusal> {
    let mut at = from;
    while at < before {
        let page = docket
            .backup_log(group, at, before)
            .await
            .map_err(backup::refusal)?;
        let begin = |from_index| FollowEntries {
            group: group.0,
            from_index,
            before_index: from_index,
            data: Vec::new(),
        };
        let mut entries = begin(at);
        let last = page.last().map(|entry| entry.index);
        for entry in &page {
            entry.put(&mut entries.data);
            at = entry.index + 1;
            entries.before_index = at;
            if entries.data.len() >= PIECE_BYTES || Some(entry.index) == last {
                let full = std::mem::replace(&mut entries, begin(at));
                if queue.send(Ok(of(Piece::Entries(full)))).await.is_err() {
                    return Ok(false);
                }
            }
        }
        if page.is_empty() {
            // It was applied when the point was taken.
            return Err(Refusal::new(
                Code::DataLoss,
                "BACKUP_UNREADABLE",
                "the log ends before the point",
            ));
        }
    }
    Ok(true)
}

fn of(piece: Piece) -> FollowLogsResponse {
    FollowLogsResponse { piece: Some(piece) }
}

/// 64 hexadecimal digits that nobody guesses.
fn new_secret() -> Result<String, Refusal> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the operating system gives no random bytes");
        Refusal::new(
            Code::Unavailable,
            "NO_RANDOMNESS",
            "the node has no random bytes now",
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unknown() -> Refusal {
    Refusal::new(
        Code::FailedPrecondition,
        "STANDBY_UNKNOWN",
        "this is not the standby that is registered here: it was forgotten, or another was registered since",
    )
}

/// It is not known here whether it is.
fn not_known() -> Refusal {
    let why = "this node does not know now which standby is registered: ask again, or another node";
    Refusal::new(Code::Unavailable, "CLUSTER_UNAVAILABLE", why).retry(backup::RETRY)
}

fn refusal(error: StandbyError) -> Refusal {
    let message = error.to_string();
    match error {
        StandbyError::Taken { address } => {
            Refusal::new(Code::FailedPrecondition, "STANDBY_TAKEN", message).with("standby", address)
        }
        StandbyError::Fenced { by, .. } => {
            Refusal::new(Code::FailedPrecondition, "FENCED", message).with("primary", by)
        }
        StandbyError::Unknown => unknown(),
        StandbyError::StaleEpoch { .. } => Refusal::new(Code::FailedPrecondition, "STALE_EPOCH", message),
        StandbyError::OlderNodes => Refusal::new(Code::FailedPrecondition, "OLDER_NODES", message),
        StandbyError::Unavailable(_) => {
            Refusal::new(Code::Unavailable, "CLUSTER_UNAVAILABLE", message).retry(backup::RETRY)
        }
    }
}

fn not_promoted(error: PromoteError) -> Refusal {
    let reason = match &error {
        PromoteError::NoStandby => "NO_STANDBY",
        PromoteError::Already { .. } => "ALREADY_PROMOTED",
        PromoteError::NotOurs(_) => "STANDBY_UNKNOWN",
        PromoteError::NotClean(_) => "PRIMARY_NOT_FENCED",
        PromoteError::Failed(_) => "PROMOTION_FAILED",
    };
    Refusal::new(Code::FailedPrecondition, reason, error.to_string())
}

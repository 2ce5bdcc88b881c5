//! `NodeService`: how the node and its cluster are, and what changes the cluster.

use docket_actors::{Docket, GroupId, ManageError, NodeId, VerifyPace};
use docket_audit::Audit;
use docket_proto::v1::{self, node_service_server::NodeService};
use tonic::{Code, Request, Response, Status};

use super::{context, steering::SteeringApi};
use crate::{Refusal, audit::Change, books, overview, readiness::Readiness, status};

/// The service.
pub(crate) struct NodeApi {
    docket: Docket,
    readiness: Readiness,
    audit: Audit,
    steering: SteeringApi,
}

impl NodeApi {
    pub(crate) fn new(docket: Docket, readiness: Readiness, audit: Audit) -> Self {
        Self {
            steering: SteeringApi::new(docket.clone(), audit.clone()),
            docket,
            readiness,
            audit,
        }
    }

    /// A member, after something was asked of it.
    fn member(&self, id: NodeId) -> Result<Response<v1::ClusterMember>, Status> {
        let registry = self.docket.registry();
        let member = registry.and_then(|registry| Some(status::member(&registry, id, registry.node(id)?)));
        // What was decided may not have come back to this node yet.
        Ok(Response::new(member.unwrap_or_else(|| v1::ClusterMember {
            node_id: id.0,
            ..Default::default()
        })))
    }
}

#[tonic::async_trait]
impl NodeService for NodeApi {
    async fn get_node_status(
        &self,
        _: Request<v1::GetNodeStatusRequest>,
    ) -> Result<Response<v1::NodeStatus>, Status> {
        Ok(Response::new(self.readiness.status()))
    }

    async fn get_cluster_status(
        &self,
        _: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let status = overview::cluster_status(&self.docket, self.readiness.status());
        Ok(Response::new(status.await))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::ClusterMember>, Status> {
        let id = node_id(request.get_ref().node_id, "node_id")?;
        let drained = async { self.docket.drain_node(id).await.map_err(refusal) };
        let change = Change::of(&context(&request)?, "node.drain", node_target(id));
        change.run(&self.audit, drained).await?;
        self.member(id)
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::ClusterMember>, Status> {
        let id = node_id(request.get_ref().node_id, "node_id")?;
        let undrained = async { self.docket.undrain_node(id).await.map_err(refusal) };
        let change = Change::of(&context(&request)?, "node.undrain", node_target(id));
        change.run(&self.audit, undrained).await?;
        self.member(id)
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::ClusterMember>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let id = node_id(request.node_id, "node_id")?;
        if !request.force && !request.reason.is_empty() {
            return Err(Refusal::invalid([("reason", "is only kept with force")]).into());
        }
        if request.force && request.reason.trim().is_empty() {
            return Err(Refusal::invalid([("reason", "is required with force")]).into());
        }
        if request.reason.len() > REASON_BYTES_MAX {
            let too_long = format!("must have at most {REASON_BYTES_MAX} bytes");
            return Err(Refusal::invalid([("reason", too_long)]).into());
        }
        let force = request.force.then_some(request.reason.as_str());
        let removed = async { self.docket.remove_node(id, force).await.map_err(refusal) };
        let change = Change::of(&context, "node.remove", node_target(id));
        let change = change.detail("force", request.force.to_string());
        change.run(&self.audit, removed).await?;
        self.member(id)
    }

    async fn move_replica(
        &self,
        request: Request<v1::MoveReplicaRequest>,
    ) -> Result<Response<v1::GroupPlacement>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let groups = self.docket.status().cluster.groups;
        let group = groups
            .iter()
            .map(|group| group.id)
            .find(|id| id.to_string() == request.group)
            .ok_or_else(|| {
                Refusal::invalid([("group", "must be `meta` or `shard-{n}`, a shard of this cluster")])
            })?;
        let from = node_id(request.from_node_id, "from_node_id")?;
        let to = node_id(request.to_node_id, "to_node_id")?;
        let moved = async { self.docket.move_replica(group, from, to).await.map_err(refusal) };
        let change = Change::of(&context, "replica.move", group.to_string());
        let change = change
            .detail("from", node_target(from))
            .detail("to", node_target(to));
        change.run(&self.audit, moved).await?;
        Ok(Response::new(self.placement(group)))
    }

    async fn balance_leaders(
        &self,
        request: Request<v1::BalanceLeadersRequest>,
    ) -> Result<Response<v1::BalanceLeadersResponse>, Status> {
        let balanced = async { self.docket.balance_leaders().await.map_err(refusal) };
        let change = Change::of(&context(&request)?, "leaders.balance", "");
        change.run(&self.audit, balanced).await?;
        Ok(Response::new(v1::BalanceLeadersResponse {}))
    }

    async fn finalize_upgrade(
        &self,
        request: Request<v1::FinalizeUpgradeRequest>,
    ) -> Result<Response<v1::FinalizeUpgradeResponse>, Status> {
        let finalised = async { self.docket.finalize().await.map_err(refusal) };
        let change = Change::of(&context(&request)?, "upgrade.finalize", "");
        let told = change.run_and_tell(&self.audit, finalised, |version, entry| {
            entry.detail("protocol", version.to_string())
        });
        let finalised_protocol = told.await?;
        Ok(Response::new(v1::FinalizeUpgradeResponse { finalised_protocol }))
    }

    async fn verify_books(
        &self,
        request: Request<v1::VerifyBooksRequest>,
    ) -> Result<Response<v1::VerifyBooksResponse>, Status> {
        let node = self.docket.status().cluster.identity.node_id;
        let verified = async {
            tokio::select! {
                verified = self.docket.verify(VerifyPace::default()) => verified.map_err(books::refusal),
                () = self.readiness.stopping() => Err(Refusal::stopping()),
            }
        };
        let change = Change::of(&context(&request)?, "books.verify", node_target(node));
        let told = change.run_and_tell(&self.audit, verified, |report, entry| {
            entry.detail("discrepancies", report.discrepancies_total.to_string())
        });
        let report = told.await?;
        Ok(Response::new(books::response(node, &report)))
    }

    async fn set_flag(
        &self,
        request: Request<v1::SetFlagRequest>,
    ) -> Result<Response<v1::FeatureFlag>, Status> {
        Ok(Response::new(self.steering.set_flag(request).await?))
    }

    async fn unset_flag(
        &self,
        request: Request<v1::UnsetFlagRequest>,
    ) -> Result<Response<v1::FeatureFlag>, Status> {
        Ok(Response::new(self.steering.unset_flag(request).await?))
    }

    async fn get_flag(
        &self,
        request: Request<v1::GetFlagRequest>,
    ) -> Result<Response<v1::FeatureFlag>, Status> {
        Ok(Response::new(self.steering.get_flag(&request)?))
    }

    async fn list_flags(
        &self,
        request: Request<v1::ListFlagsRequest>,
    ) -> Result<Response<v1::ListFlagsResponse>, Status> {
        Ok(Response::new(self.steering.list_flags(&request)?))
    }

    async fn set_limit(
        &self,
        request: Request<v1::SetLimitRequest>,
    ) -> Result<Response<v1::CallerLimit>, Status> {
        Ok(Response::new(self.steering.set_limit(request).await?))
    }

    async fn unset_limit(
        &self,
        request: Request<v1::UnsetLimitRequest>,
    ) -> Result<Response<v1::UnsetLimitResponse>, Status> {
        Ok(Response::new(self.steering.unset_limit(request).await?))
    }

    async fn get_limit(
        &self,
        request: Request<v1::GetLimitRequest>,
    ) -> Result<Response<v1::CallerLimit>, Status> {
        Ok(Response::new(self.steering.get_limit(&request)?))
    }

    async fn list_limits(
        &self,
        request: Request<v1::ListLimitsRequest>,
    ) -> Result<Response<v1::ListLimitsResponse>, Status> {
        Ok(Response::new(self.steering.list_limits(&request)?))
    }
}

impl NodeApi {
    fn placement(&self, group: GroupId) -> v1::GroupPlacement {
        let registry = self.docket.registry();
        let placement = registry.and_then(|registry| registry.groups().get(&group).cloned());
        status::placement(group, &placement.unwrap_or_default())
    }
}

/// Bytes of a reason, which is kept for ever.
const REASON_BYTES_MAX: usize = 256;

/// What a record calls a node.
fn node_target(id: NodeId) -> String {
    format!("nodes/{id}")
}

fn node_id(id: u64, field: &'static str) -> Result<NodeId, Refusal> {
    match id {
        0 => Err(Refusal::invalid([(field, "is required: a node's id, from 1")])),
        id => Ok(NodeId(id)),
    }
}

fn refusal(error: ManageError) -> Refusal {
    match error {
        ManageError::Refused { reason } => {
            Refusal::new(Code::FailedPrecondition, "CLUSTER_CHANGE_REFUSED", reason)
        }
        ManageError::Unavailable { .. } => {
            tracing::warn!(%error, "the cluster could not be changed");
            Refusal::new(
                Code::Unavailable,
                "META_UNAVAILABLE",
                "nobody can decide about the cluster now: asking again is harmless",
            )
            .retry(RETRY)
        }
    }
}

/// When to ask again: an election takes a few seconds at most.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

//! `NodeService`: how the node and its cluster are, and what changes the cluster.

use docket_actors::{Docket, GroupId, ManageError, NodeId, VerifyPace};
use docket_proto::v1::{self, node_service_server::NodeService};
use tonic::{Code, Request, Response, Status};

use super::steering::SteeringApi;
use crate::{Refusal, books, overview, readiness::Readiness, status};

/// The service.
pub(crate) struct NodeApi {
    docket: Docket,
    readiness: Readiness,
    steering: SteeringApi,
}

impl NodeApi {
    pub(crate) fn new(docket: Docket, readiness: Readiness) -> Self {
        Self {
            steering: SteeringApi::new(docket.clone()),
            docket,
            readiness,
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
        self.docket.drain_node(id).await.map_err(refusal)?;
        self.member(id)
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::ClusterMember>, Status> {
        let id = node_id(request.get_ref().node_id, "node_id")?;
        self.docket.undrain_node(id).await.map_err(refusal)?;
        self.member(id)
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::ClusterMember>, Status> {
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
        self.docket.remove_node(id, force).await.map_err(refusal)?;
        self.member(id)
    }

    async fn move_replica(
        &self,
        request: Request<v1::MoveReplicaRequest>,
    ) -> Result<Response<v1::GroupPlacement>, Status> {
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
        self.docket.move_replica(group, from, to).await.map_err(refusal)?;
        Ok(Response::new(self.placement(group)))
    }

    async fn balance_leaders(
        &self,
        _: Request<v1::BalanceLeadersRequest>,
    ) -> Result<Response<v1::BalanceLeadersResponse>, Status> {
        self.docket.balance_leaders().await.map_err(refusal)?;
        Ok(Response::new(v1::BalanceLeadersResponse {}))
    }

    async fn verify_books(
        &self,
        _: Request<v1::VerifyBooksRequest>,
    ) -> Result<Response<v1::VerifyBooksResponse>, Status> {
        let verified = tokio::select! {
            verified = self.docket.verify(VerifyPace::default()) => verified,
            () = self.readiness.stopping() => return Err(Refusal::stopping().into()),
        };
        let report = verified.map_err(books::refusal)?;
        let node = self.docket.status().cluster.identity.node_id;
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

//! `NodeService`: how the node is.

use docket_actors::Docket;
use docket_proto::v1::{
    ClusterStatus, GetClusterStatusRequest, GetNodeStatusRequest, NodeStatus,
    node_service_server::NodeService,
};
use tonic::{Request, Response, Status};

use crate::{readiness::Readiness, status};

/// The service.
pub(crate) struct NodeApi {
    docket: Docket,
    readiness: Readiness,
}

impl NodeApi {
    pub(crate) fn new(docket: Docket, readiness: Readiness) -> Self {
        Self { docket, readiness }
    }
}

#[tonic::async_trait]
impl NodeService for NodeApi {
    async fn get_node_status(
        &self,
        _: Request<GetNodeStatusRequest>,
    ) -> Result<Response<NodeStatus>, Status> {
        Ok(Response::new(self.readiness.status()))
    }

    async fn get_cluster_status(
        &self,
        _: Request<GetClusterStatusRequest>,
    ) -> Result<Response<ClusterStatus>, Status> {
        Ok(Response::new(status::cluster_status(
            &self.docket,
            self.readiness.status(),
        )))
    }
}

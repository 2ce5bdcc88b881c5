//! `grpc.health.v1`: SERVING while the node is ready, for the node ("") and for every service alike.

use std::pin::Pin;

use futures::{Stream, stream};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use crate::{errors::Refusal, readiness::Readiness};

/// The service.
pub(crate) struct HealthService {
    readiness: Readiness,
    services: Vec<&'static str>,
}

impl HealthService {
    /// Answers for these services and for the node.
    pub(crate) fn new(readiness: Readiness, services: Vec<&'static str>) -> Self {
        Self { readiness, services }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

fn serving(ready: bool) -> HealthCheckResponse {
    answer(if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    })
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !self.knows(service) {
            let refusal = Refusal::new(Code::NotFound, "UNKNOWN_SERVICE", "there is no such service");
            return Err(refusal.with("service", service.as_str()).into());
        }
        Ok(Response::new(serving(self.readiness.serving())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Ends when the node stops, so that no watcher holds it up.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let draining = self.readiness.draining().clone();
        if !self.knows(&request.get_ref().service) {
            // The specification wants the call to stay open: the service may become known. Ours never does.
            let first = stream::once(async { Ok(answer(ServingStatus::ServiceUnknown)) });
            let open = stream::once(async move {
                draining.cancelled().await;
                Err(Refusal::stopping().into())
            });
            return Ok(Response::new(Box::pin(stream::StreamExt::chain(first, open))));
        }
        let mut changes = self.readiness.watch();
        changes.mark_changed();
        let updates = stream::unfold((changes, draining), |(mut changes, draining)| async move {
            tokio::select! {
                biased;
                changed = changes.changed() => changed.ok()?,
                () = draining.cancelled() => return None,
            }
            let ready = *changes.borrow_and_update();
            Some((Ok(serving(ready)), (changes, draining)))
        });
        Ok(Response::new(Box::pin(updates)))
    }
}

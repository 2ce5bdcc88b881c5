//! A watch of orders that goes on over nodes and restarts.

use std::time::Instant;

use docket_proto::v1::{WatchOrdersRequest, WatchOrdersResponse, order_service_client::OrderServiceClient};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use crate::{Client, back_off::BackOff, endpoints::Way, is_lost};

/// A watch that begins anew, wherever it can, behind what it got last. Nothing is missed, nothing comes twice, and each
/// customer's changes keep their order.
pub struct OrderWatch {
    client: Client,
    request: WatchOrdersRequest,
    open: Option<(Way, Streaming<WatchOrdersResponse>)>,
    back_off: BackOff,
    attempts: u32,
}

impl Client {
    /// Watches orders. Nothing is asked before the first [`OrderWatch::next`]. A `resume_token` in the request goes on
    /// where that watch was, which may be another process's.
    pub fn watch_orders(&self, request: WatchOrdersRequest) -> OrderWatch {
        OrderWatch {
            client: self.clone(),
            request,
            open: None,
            back_off: BackOff::new(self.back_off),
            attempts: 0,
        }
    }
}

impl OrderWatch {
    /// The next message, which may have no changes: its token moves all the same. The watch is resumed, as often as it
    /// takes, where its node stops, fails or has lost its cluster, and where it was cut off for reading too slowly. Cancelling
    /// it loses nothing.
    ///
    /// # Errors
    /// What a node answered that no other would answer better: that the token is too old (OUT_OF_RANGE), or the caller may not
    /// (UNAUTHENTICATED, PERMISSION_DENIED); or the last failure, when none could be asked for as long as a call may take.
    /// Calling it again goes on trying.
    pub async fn next(&mut self) -> Result<WatchOrdersResponse, Status> {
        let end = Instant::now() + self.client.call_max;
        loop {
            let status = match self.message().await {
                Ok(message) => {
                    self.request.resume_token.clone_from(&message.resume_token);
                    self.back_off = BackOff::new(self.client.back_off);
                    self.attempts = 0;
                    return Ok(message);
                }
                Err(status) => status,
            };
            if let Some((way, _)) = self.open.take() {
                self.client.endpoints.failed(None, &way, &status);
            }
            if !can_be_resumed(&status) {
                return Err(status);
            }
            let wait = self.back_off.next(self.client.endpoints.asked_by(&status));
            if Instant::now() + wait >= end {
                return Err(status);
            }
            tracing::debug!(?wait, %status, "a watch is resumed");
            tokio::time::sleep(wait).await;
        }
    }

    /// The token that resumes the watch behind the last message: another watch may begin with it.
    pub fn resume_token(&self) -> &str {
        &self.request.resume_token
    }

    async fn message(&mut self) -> Result<WatchOrdersResponse, Status> {
        let (_, messages) = match &mut self.open {
            Some(open) => open,
            None => {
                let way = self.client.endpoints.way(None, self.attempts);
                self.attempts = self.attempts.saturating_add(1);
                let channel = match self.client.endpoints.connect(&way).await {
                    Ok(channel) => channel,
                    Err(status) => {
                        self.client.endpoints.failed(None, &way, &status);
                        return Err(status);
                    }
                };
                let mut request = Request::new(self.request.clone());
                *request.metadata_mut() = self.client.headers.clone();
                let mut orders = OrderServiceClient::new(channel);
                match orders.watch_orders(request).await {
                    Ok(messages) => self.open.insert((way, messages.into_inner())),
                    Err(status) => {
                        self.client.endpoints.failed(None, &way, &status);
                        return Err(status);
                    }
                }
            }
        };
        let message = messages.message().await?;
        message.ok_or_else(|| Status::unavailable("the watch ended"))
    }
}

/// Whether another attempt, here or elsewhere, may go on.
fn can_be_resumed(status: &Status) -> bool {
    match status.code() {
        // Cut off, or too many watches are open there.
        Code::ResourceExhausted => true,
        Code::Unavailable => true,
        _ => is_lost(status) && status.get_details_error_info().is_none(),
    }
}

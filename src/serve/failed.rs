//! What is left of a node that has failed: its admin port, which says why, and has what was measured, until that can have been seen.
//!
//! Whoever restarts it at once would otherwise hide the failure from those who look every few seconds only.

use std::{sync::Arc, time::Duration};

use docket_edge::{Operators, config::AdminConfig};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::{sleep, timeout};

use super::Signals;

/// How often the address is tried that a caller of the node may still hold.
const BIND_EVERY: Duration = Duration::from_millis(100);

/// Tells of the failure for so long, or until a signal ends it.
pub async fn tell(
    config: &AdminConfig,
    metrics: PrometheusHandle,
    reason: &Arc<str>,
    (tell_for, signals): (Duration, &mut Signals),
) {
    if tell_for.is_zero() {
        return;
    }
    let over = timeout(tell_for, signals.stop());
    tokio::pin!(over);
    let operators = tokio::select! {
        operators = bound(config, &metrics, reason) => operators,
        _ = &mut over => return,
    };
    tracing::error!(
        for_ms = tell_for.as_millis() as u64,
        "the admin port tells why before the node ends"
    );
    let _ = over.await;
    operators.end().await;
}

/// The admin port, once its address is free.
async fn bound(config: &AdminConfig, metrics: &PrometheusHandle, reason: &str) -> Operators {
    let mut is_told = false;
    loop {
        match Operators::serve_failed(config, metrics.clone(), reason).await {
            Ok(operators) => return operators,
            Err(error) if !is_told => {
                tracing::error!(%error, "the admin port cannot tell why yet; it is tried again");
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(BIND_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[tokio::test]
    async fn an_address_that_is_still_held_is_taken_when_it_is_free() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = AdminConfig {
            listen: held.local_addr().unwrap(),
            console: false,
            ..AdminConfig::default()
        };
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let mut binding = std::pin::pin!(bound(&config, &metrics, "the disk is full"));
        assert!(timeout(BIND_EVERY, &mut binding).await.is_err());
        drop(held);
        let operators = binding.await;
        assert_eq!(operators.local_addr(), config.listen);
        operators.end().await;
    }
}

//! Which settings can be.

use std::net::SocketAddr;

use super::{EdgeConfig, LimitsConfig};

/// The least and the most that HTTP/2 allows for a frame, in bytes (RFC 9113, section 4.2).
const FRAME_BYTES: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;
/// The most that HTTP/2 allows for a window, in bytes (RFC 9113, section 6.9.1).
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
/// No watch is told later than so, in milliseconds.
const GATHER_MS_MAX: u32 = 5_000;

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A bound that would let nothing through.
    #[error("{field} must be at least {least}, not {found}")]
    TooSmall {
        /// The field, as the file has it.
        field: &'static str,
        /// The least.
        least: u64,
        /// What was set.
        found: u64,
    },
    /// A bound beyond what the protocol allows.
    #[error("{field} must be at most {most}, not {found}")]
    TooLarge {
        /// The field, as the file has it.
        field: &'static str,
        /// The most.
        most: u64,
        /// What was set.
        found: u64,
    },
    /// Endpoints without authentication would be open to others.
    #[error(
        "admin.listen is {listen}, which others can reach, and the admin endpoints ask for no credentials: use a \
         loopback address, or set admin.allow_remote = true where the network keeps others out"
    )]
    AdminRemote {
        /// The address.
        listen: SocketAddr,
    },
    /// REST where something else is served.
    #[error("rest.listen and {other} are both {listen}: give them different ports")]
    RestAddress {
        /// The other.
        other: &'static str,
        /// The address.
        listen: SocketAddr,
    },
    /// Both ends on one port.
    #[error("listen and admin.listen are both {listen}: give them different ports")]
    SameAddress {
        /// The address.
        listen: SocketAddr,
    },
}

impl EdgeConfig {
    /// Checks what can be checked without touching the machine.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self {
            connections,
            http2,
            calls,
            admission,
            limits,
            feed,
            admin,
            ..
        } = self;
        let least = [
            ("connections.max", connections.max as u64, 1),
            (
                "connections.max_per_address",
                connections.max_per_address as u64,
                1,
            ),
            ("connections.handshake_ms", connections.handshake_ms, 1),
            ("connections.idle_ms", connections.idle_ms, 1_000),
            (
                "http2.max_concurrent_streams",
                http2.max_concurrent_streams.into(),
                1,
            ),
            (
                "http2.max_pending_reset_streams",
                http2.max_pending_reset_streams as u64,
                1,
            ),
            (
                "http2.max_local_error_reset_streams",
                http2.max_local_error_reset_streams as u64,
                1,
            ),
            (
                "http2.max_header_list_bytes",
                http2.max_header_list_bytes.into(),
                4_096,
            ),
            (
                "http2.max_frame_bytes",
                http2.max_frame_bytes.into(),
                (*FRAME_BYTES.start()).into(),
            ),
            (
                "http2.stream_window_bytes",
                http2.stream_window_bytes.into(),
                65_535,
            ),
            (
                "http2.connection_window_bytes",
                http2.connection_window_bytes.into(),
                65_535,
            ),
            (
                "http2.max_send_buffer_bytes",
                http2.max_send_buffer_bytes.into(),
                16_384,
            ),
            ("http2.keepalive_ms", http2.keepalive_ms, 1_000),
            ("http2.keepalive_timeout_ms", http2.keepalive_timeout_ms, 100),
            ("http2.max_request_bytes", http2.max_request_bytes as u64, 1_024),
            ("http2.max_reply_bytes", http2.max_reply_bytes as u64, 65_536),
            ("calls.max_ms", calls.max_ms, 1),
            ("calls.open_stream_ms", calls.open_stream_ms, 1),
            ("calls.stream_window", calls.stream_window as u64, 1),
            ("admission.max_calls", admission.max_calls as u64, 1),
            ("admission.max_open_calls", admission.max_open_calls as u64, 1),
            ("admission.max_probes", admission.max_probes as u64, 1),
            ("admission.max_refused", admission.max_refused as u64, 1),
            ("admission.max_streams", admission.max_streams as u64, 1),
            ("admission.max_open_streams", admission.max_open_streams as u64, 1),
            (
                "admission.max_bytes",
                admission.max_bytes as u64,
                http2.max_request_bytes as u64,
            ),
            (
                "admission.max_reply_bytes",
                admission.max_reply_bytes as u64,
                http2.max_reply_bytes as u64,
            ),
            ("admission.max_per_customer", admission.max_per_customer as u64, 1),
            (
                "admission.max_open_per_address",
                admission.max_open_per_address as u64,
                1,
            ),
            ("admission.retry_ms", admission.retry_ms, 1),
            ("limits.prune_ms", limits.prune_ms, 100),
            ("feed.watches_max", feed.watches_max as u64, 1),
            ("feed.watches_per_account", feed.watches_per_account as u64, 1),
            ("feed.buffer_bytes", feed.buffer_bytes as u64, 1_024),
            ("feed.stalled_ms", feed.stalled_ms, 1),
            ("feed.heartbeat_ms", feed.heartbeat_ms, 10),
            ("admin.max_connections", admin.max_connections as u64, 1),
            ("admin.request_ms", admin.request_ms, 1),
        ];
        for (field, found, least) in least {
            if found < least {
                return Err(ConfigError::TooSmall { field, least, found });
            }
        }
        let most = [
            ("http2.max_frame_bytes", http2.max_frame_bytes, *FRAME_BYTES.end()),
            (
                "http2.stream_window_bytes",
                http2.stream_window_bytes,
                WINDOW_BYTES_MAX,
            ),
            (
                "http2.connection_window_bytes",
                http2.connection_window_bytes,
                WINDOW_BYTES_MAX,
            ),
            (
                "feed.gather_ms",
                u32::try_from(feed.gather_ms).unwrap_or(u32::MAX),
                GATHER_MS_MAX,
            ),
        ];
        for (field, found, most) in most {
            if found > most {
                return Err(ConfigError::TooLarge {
                    field,
                    most: most.into(),
                    found: found.into(),
                });
            }
        }
        limits.validate()?;
        if !admin.listen.ip().is_loopback() && !admin.allow_remote {
            return Err(ConfigError::AdminRemote { listen: admin.listen });
        }
        if self.listen == admin.listen && self.listen.port() != 0 {
            return Err(ConfigError::SameAddress { listen: self.listen });
        }
        let others = [("server.listen", self.listen), ("admin.listen", admin.listen)];
        if let Some(listen) = self.rest.listen.filter(|listen| listen.port() != 0)
            && let Some((other, _)) = others.into_iter().find(|(_, other)| *other == listen)
        {
            return Err(ConfigError::RestAddress { other, listen });
        }
        Ok(())
    }
}

impl LimitsConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        const RATE_MAX: u32 = 1_000_000_000;
        let buckets = [
            ("limits.address.per_second", "limits.address.burst", self.address),
            ("limits.open.per_second", "limits.open.burst", self.open),
            ("limits.probe.per_second", "limits.probe.burst", self.probe),
            ("limits.failure.per_second", "limits.failure.burst", self.failure),
            (
                "limits.customer.per_second",
                "limits.customer.burst",
                self.customer,
            ),
            ("limits.service.per_second", "limits.service.burst", self.service),
            ("limits.admin.per_second", "limits.admin.burst", self.admin),
        ];
        for (rate, burst, limit) in buckets {
            if limit.per_second > 0 && limit.burst == 0 {
                return Err(ConfigError::TooSmall {
                    field: burst,
                    least: 1,
                    found: 0,
                });
            }
            if limit.per_second > RATE_MAX {
                return Err(ConfigError::TooLarge {
                    field: rate,
                    most: RATE_MAX.into(),
                    found: limit.per_second.into(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limit;

    #[track_caller]
    fn check(change: impl FnOnce(&mut EdgeConfig), expected: &str) {
        let mut config = EdgeConfig::default();
        change(&mut config);
        assert_eq!(
            config.validate().map_err(|e| e.to_string()),
            Err(expected.to_owned())
        );
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(EdgeConfig::default().validate(), Ok(()));
        let ports = |config: &EdgeConfig| (config.listen.to_string(), config.admin.listen.to_string());
        assert_eq!(
            ports(&EdgeConfig::default()),
            ("127.0.0.1:7070".into(), "127.0.0.1:7071".into())
        );
    }

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        check(
            |c| c.connections.max = 0,
            "connections.max must be at least 1, not 0",
        );
        check(
            |c| c.rest.listen = Some(c.admin.listen),
            "rest.listen and admin.listen are both 127.0.0.1:7071: give them different ports",
        );
        check(
            |c| c.http2.max_frame_bytes = 1,
            "http2.max_frame_bytes must be at least 16384, not 1",
        );
        check(
            |c| c.http2.max_frame_bytes = 1 << 24,
            "http2.max_frame_bytes must be at most 16777215, not 16777216",
        );
        check(
            |c| c.calls.stream_window = 0,
            "calls.stream_window must be at least 1, not 0",
        );
        check(
            |c| c.admission.max_bytes = 5,
            "admission.max_bytes must be at least 1048576, not 5",
        );
        check(
            |c| {
                c.limits.customer = Limit {
                    per_second: 1,
                    burst: 0,
                }
            },
            "limits.customer.burst must be at least 1, not 0",
        );
        check(
            |c| c.admin.listen = c.listen,
            "listen and admin.listen are both 127.0.0.1:7070: give them different ports",
        );
    }

    #[test]
    fn the_admin_endpoints_are_not_shown_to_others_by_accident() {
        let mut config = EdgeConfig::default();
        config.admin.listen = ([0, 0, 0, 0], 7071).into();
        assert!(matches!(config.validate(), Err(ConfigError::AdminRemote { .. })));
        config.admin.allow_remote = true;
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn unknown_settings_are_refused_and_missing_ones_have_their_default() {
        let read = |text| serde_json::from_str::<EdgeConfig>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}"), Ok(EdgeConfig::default()));
        assert_eq!(read(r#"{"calls": {"max_ms": 30000}}"#), Ok(EdgeConfig::default()));
        assert!(read(r#"{"calls": {"maximum": 1}}"#).is_err_and(|error| error.contains("maximum")));
    }
}

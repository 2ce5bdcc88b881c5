//! What is said of the messages between a primary and its standby where they are printed: never the secret that the two share, nor what is in a log.

use std::fmt;

use crate::v1::{ExchangeEpochsRequest, FollowEntries, RegisterStandbyResponse};

impl fmt::Debug for RegisterStandbyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterStandbyResponse")
            .field("epoch", &self.epoch)
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ExchangeEpochsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeEpochsRequest")
            .field("epoch", &self.epoch)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FollowEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "entries {} to {} of group {}",
            self.from_index, self.before_index, self.group
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let secret = "hidden".to_owned();
        let told = RegisterStandbyResponse {
            secret: secret.clone(),
            ..Default::default()
        };
        let asked = ExchangeEpochsRequest {
            secret,
            ..Default::default()
        };
        let entries = FollowEntries {
            data: b"hidden".to_vec(),
            ..Default::default()
        };
        let said = format!("{told:?} {asked:?} {entries:?}");
        assert!(!said.contains("hidden") && !said.contains("104"), "{said}");
    }
}

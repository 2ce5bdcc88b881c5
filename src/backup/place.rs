//! Where backups are, as people write it, and how they are named.

use docket_backup::{Bucket, BucketOptions, Place};
use jiff::Timestamp;
use secrecy::SecretString;

/// A folder, or `s3://BUCKET[/PREFIX]` with the variables that S3's own tools know.
///
/// # Errors
/// What is missing or wrong.
pub fn place(text: &str) -> Result<Place, String> {
    let Some(bucket) = text.strip_prefix("s3://") else {
        return Ok(Place::Folder(text.into()));
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let needed = |name: &str| variable(name).ok_or_else(|| format!("{text}: {name} is not set"));
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
    let ca = variable("AWS_CA_BUNDLE").map(std::fs::read).transpose();
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    let options = BucketOptions {
        endpoint: endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com")),
        region,
        bucket: bucket.to_owned(),
        prefix: prefix.trim_end_matches('/').to_owned(),
        access_key: needed("AWS_ACCESS_KEY_ID")?,
        secret_key: needed("AWS_SECRET_ACCESS_KEY")?.into(),
        session_token: variable("AWS_SESSION_TOKEN").map(SecretString::from),
        ca: ca.map_err(|cause| format!("{text}: cannot read AWS_CA_BUNDLE: {cause}"))?,
    };
    let bucket = Bucket::new(options).map_err(|cause| format!("{text}: {cause}"))?;
    Ok(Place::Bucket(bucket))
}

/// The name of a backup that is begun now: the time, and something that no other of the same moment has.
pub fn new_id(now: Timestamp) -> String {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%S%3fZ"), &unique[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time() {
        let id = |time: &str| new_id(time.parse().unwrap());
        let first = id("2026-11-30T05:15:00.007Z");
        assert!(
            first.starts_with("20261130T051500007Z-") && first.len() == 24,
            "{first}"
        );
        assert!(first < id("2026-11-30T05:15:00.010Z"));
    }
}

//! The usual load while orders are watched: what watches cost whoever writes.

use std::sync::Arc;

use docket_soak::{Error, Tally, Target, Told, WatchOf, Watchers, Workload};

use super::{
    Plan,
    progress::Shown,
    subject::{Subject, Used},
};

/// A load beside watches.
pub struct Watched {
    /// What is watched.
    pub of: WatchOf,
    /// The load.
    pub tally: Tally,
    /// What the server used meanwhile.
    pub used: Used,
    /// What the watches were told until the load ended.
    pub told: Told,
}

/// Drives the usual load once for each kind of watches that is wanted. All watches are open before it begins, and are told of everything
/// that it did before they end.
pub async fn all(
    plan: &Plan,
    subject: &Subject,
    (target, workload): (&Target, &Arc<Workload>),
    shown: &Shown,
    round: u32,
) -> Result<Vec<Watched>, Error> {
    let mut parts = Vec::new();
    for (of, count) in &plan.watches {
        let what = match of {
            WatchOf::OneCustomer => "customers",
            WatchOf::Everything => "everything",
        };
        let what = format!("round {round} of {}, {count} watches of {what}", plan.rounds);
        shown.step(&what);
        let watchers = Watchers::open(target, workload, *of, *count).await?;
        let before = subject.sample().await?;
        let tally = shown.drive(&what, target, workload, &plan.load).await?;
        let (after, told) = (subject.sample().await?, watchers.told());
        watchers.have_all(&tally, workload, plan.load.patience).await?;
        parts.push(Watched {
            of: *of,
            tally,
            used: after.since(&before),
            told,
        });
    }
    Ok(parts)
}

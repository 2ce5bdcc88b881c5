//! An upgrade, one node after another: the first is the canary. Behind each exchange the gate decides; what breaks an objective is taken back
//! by itself, and so is all that was exchanged before.
//!
//! ```text
//!  all well? ─▶ exchange a node's program ─▶ ready, new version, caught up? ─▶ watch it beside the others ─▶ the next node … ─▶ upgraded
//!                  │ fails                      │ not in time                      │ breach
//!                  └────────────────────────────┴──────────────────────────────────┴─▶ restore, newest first ─▶ rolled back
//! ```
//!
//! On the way back those come first that do not serve: one that does is stopped only while all others serve.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use docket_cluster::FINALISED_IMPLIED;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    gate::{Breach, Slo, Window},
    metrics::Counts,
    nodes::{Hook, Hooks, NodeAt, Seen},
};

/// Between two looks at nodes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All nodes of the cluster, in the order in which they are exchanged.
    pub nodes: Vec<NodeAt>,
    /// How their programs are exchanged.
    pub hooks: Hooks,
    /// The version that they are to have.
    pub version: String,
    /// What has to hold.
    pub slo: Slo,
    /// How long the first one is watched.
    pub canary: Duration,
    /// How long each other one is.
    pub watch: Duration,
    /// What is judged: as much of the past.
    pub window: Duration,
    /// Looks at which something has to be wrong before it counts, of the last twice as many.
    pub looks: u32,
    /// How long a node may take until it serves again, and the cluster until it is at rest.
    pub ready_within: Duration,
    /// Only the first one.
    pub canary_only: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether it ended as it should.
    pub outcome: Outcome,
    /// What was done to each node.
    pub steps: Vec<Step>,
    /// From the first exchange to the end.
    pub took: Duration,
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The nodes have the new version.
    Upgraded,
    /// One was not as it should be, and all have the old version again.
    RolledBack {
        /// The node.
        node: u64,
        /// What was wrong.
        why: String,
        /// From when that was known until the old version served again everywhere.
        took: Duration,
    },
    /// One was not as it should be, and the way back failed: somebody has to look.
    Stuck {
        /// What was wrong, and what failed.
        why: String,
    },
}

/// What was done to a node.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node.
    pub node: u64,
    /// What.
    pub hook: &'static str,
    /// From the begin until it served again.
    pub ready_after: Duration,
    /// How long it was watched from then on.
    pub watched: Duration,
    /// What it measured meanwhile.
    pub counts: Counts,
}

impl Report {
    /// The report for programs.
    pub fn json(&self) -> Value {
        let step = |step: &Step| {
            json!({
                "node": step.node,
                "step": step.hook,
                "ready_after_seconds": step.ready_after.as_secs_f64(),
                "watched_seconds": step.watched.as_secs_f64(),
                "calls": step.counts.calls,
                "failed_calls": step.counts.failed,
                "orders": step.counts.orders.count(),
                "orders_p99_seconds": finite(step.counts.orders.quantile(0.99)),
                "syncs_p99_seconds": finite(step.counts.syncs.quantile(0.99)),
            })
        };
        let (outcome, node, why, took) = match &self.outcome {
            Outcome::Upgraded => ("upgraded", None, None, None),
            Outcome::RolledBack { node, why, took } => ("rolled_back", Some(node), Some(why), Some(took)),
            Outcome::Stuck { why } => ("stuck", None, Some(why), None),
        };
        json!({
            "outcome": outcome,
            "breach_node": node,
            "breach": why,
            "rollback_seconds": took.map(Duration::as_secs_f64),
            "seconds": self.took.as_secs_f64(),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

fn finite(seconds: Option<f64>) -> Option<f64> {
    seconds.filter(|seconds| seconds.is_finite())
}

/// Tells what goes on.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// A node that was exchanged.
struct Exchanged {
    node: NodeAt,
    /// What it ran before.
    before: String,
    /// When it was started with the new program.
    life: String,
}

/// What is wrong with a node.
struct Bad {
    node: u64,
    why: String,
}

impl Plan {
    /// Does it.
    ///
    /// # Errors
    /// Nothing was begun, since a node does not answer or the cluster is not well.
    pub async fn run(&self, tell: Tell<'_>) -> Result<Report, String> {
        let seen = self.all_well().await?;
        let versions: HashMap<u64, String> = seen
            .iter()
            .map(|(node, seen)| (node.id, seen.version.clone()))
            .collect();
        let finalised = finalised(seen.iter().map(|(_, seen)| seen));
        let counts_before = self.before(tell).await;
        let begun = Instant::now();
        let mut steps = Vec::new();
        let mut exchanged = self.exchanged_before(seen);
        let nodes = &self.nodes[..if self.canary_only { 1 } else { self.nodes.len() }];
        for (number, node) in nodes.iter().enumerate() {
            let before = versions.get(&node.id).cloned().unwrap_or_default();
            if before == self.version {
                tell(&format!("{node} runs {before} already"));
                continue;
            }
            let watch = if steps.is_empty() { self.canary } else { self.watch };
            exchanged.push(Exchanged {
                node: node.clone(),
                before,
                life: String::new(),
            });
            match self
                .upgrade(node, &mut exchanged, &counts_before, watch, tell)
                .await
            {
                Ok(step) => steps.push(step),
                Err(Bad { node: bad, why }) => {
                    let known = Instant::now();
                    tell(&format!("node {bad}: {why}: back to the old version"));
                    // What is bad goes back before what was exchanged behind it.
                    exchanged.sort_by_key(|one| one.node.id == bad);
                    let outcome = match self.roll_back(exchanged, finalised, &mut steps, tell).await {
                        Ok(()) => Outcome::RolledBack {
                            node: bad,
                            why,
                            took: known.elapsed(),
                        },
                        Err(failed) => Outcome::Stuck {
                            why: format!("node {bad}: {why}; and on the way back: {failed}"),
                        },
                    };
                    return Ok(Report {
                        outcome,
                        steps,
                        took: begun.elapsed(),
                    });
                }
            }
            tell(&format!(
                "{node} runs {}: {} of {}",
                self.version,
                number + 1,
                nodes.len()
            ));
        }
        Ok(Report {
            outcome: Outcome::Upgraded,
            steps,
            took: begun.elapsed(),
        })
    }

    /// How each node is, where all of them are well.
    async fn all_well(&self) -> Result<Vec<(NodeAt, Seen)>, String> {
        let mut all = Vec::new();
        for node in &self.nodes {
            let seen = node.look().await;
            let seen = seen.ok_or_else(|| format!("{node} does not answer at {}", node.admin))?;
            if !seen.is_ready {
                return Err(format!("{node} is not ready: {}", seen.reasons.join("; ")));
            }
            all.push((node.clone(), seen));
        }
        self.at_rest(&self.nodes[0]).await?;
        Ok(all)
    }

    /// What all nodes measure in a window before the first of them is exchanged: what the new program is held against, too.
    async fn before(&self, tell: Tell<'_>) -> Counts {
        tell(&format!(
            "what all nodes measure is noted for {:.0?} first",
            self.window
        ));
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = Instant::now();
        let mut past = Past::default();
        loop {
            looks.tick().await;
            past.look(&self.nodes, self.window).await;
            if begun.elapsed() >= self.window {
                let all = self.nodes.iter().map(|node| past.all(node));
                return all.fold(Counts::default(), |sum, counts| sum.and(&counts));
            }
        }
    }

    /// Those that had the new version at the begin, and go back with the others, to what those run.
    fn exchanged_before(&self, seen: Vec<(NodeAt, Seen)>) -> Vec<Exchanged> {
        let old = seen.iter().find(|(_, seen)| seen.version != self.version);
        let Some(old) = old.map(|(_, seen)| seen.version.clone()) else {
            return Vec::new();
        };
        let new = seen.into_iter().filter(|(_, seen)| seen.version == self.version);
        let exchanged = new.map(|(node, seen)| Exchanged {
            node,
            before: old.clone(),
            life: seen.started,
        });
        exchanged.collect()
    }

    /// Waits until the cluster is well, as a node sees it, and nothing is on its way.
    async fn at_rest(&self, node: &NodeAt) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let unrest = node.unrest().await;
            match unrest {
                Some(reasons) if reasons.is_empty() => return Ok(()),
                unrest if begun.elapsed() >= self.ready_within => {
                    let why = unrest.map_or_else(|| format!("{node} does not answer"), |it| it.join("; "));
                    return Err(format!("the cluster is not well: {why}"));
                }
                _ => sleep(LOOK_EVERY / 4).await,
            }
        }
    }

    /// Exchanges a node's program, the last of these, and watches what comes of it, and of those before.
    async fn upgrade(
        &self,
        node: &NodeAt,
        exchanged: &mut [Exchanged],
        before: &Counts,
        watch: Duration,
        tell: Tell<'_>,
    ) -> Result<Step, Bad> {
        tell(&format!("{node}: to {}", self.version));
        let bad = |why| Bad { node: node.id, why };
        let begun = Instant::now();
        let life = self.exchange(Hook::Exchange, node, &self.version).await;
        let life = life.map_err(bad)?;
        if let Some(last) = exchanged.last_mut() {
            last.life = life;
        }
        let ready_after = begun.elapsed();
        tell(&format!(
            "{node} serves after {ready_after:.1?}, and is watched for {watch:.0?}"
        ));
        let counts = self.watch(node, exchanged, before, watch).await?;
        // Who is exchanged next must not be the second of a majority that is away.
        self.at_rest(node).await.map_err(bad)?;
        Ok(Step {
            node: node.id,
            hook: Hook::Exchange.name(),
            ready_after,
            watched: watch,
            counts,
        })
    }

    /// Runs a hook, and waits until the node serves again, in a new life and as this version: when it was started.
    async fn exchange(&self, hook: Hook, node: &NodeAt, version: &str) -> Result<String, String> {
        let life = node.look().await.map(|seen| seen.started);
        self.hooks.run(hook, node).await?;
        let begun = Instant::now();
        let mut last = None::<Seen>;
        while begun.elapsed() < self.ready_within {
            if let Some(seen) = node.look().await {
                let is_new = life.as_ref() != Some(&seen.started);
                if is_new && seen.is_ready && seen.version != version {
                    return Err(format!(
                        "it runs {} now, where {version} was expected",
                        seen.version
                    ));
                }
                if is_new && seen.is_ready {
                    return Ok(seen.started);
                }
                last = Some(seen);
            }
            sleep(LOOK_EVERY / 4).await;
        }
        let why = match last {
            None => "it does not answer".to_owned(),
            Some(seen) if seen.is_ready => "it was not started again".to_owned(),
            Some(seen) => format!("it is not ready: {}", seen.reasons.join("; ")),
        };
        Err(format!("{why}, {:?} after the exchange", self.ready_within))
    }

    /// Watches those that were exchanged beside the others: what this one has measured meanwhile, or which is bad.
    async fn watch(
        &self,
        node: &NodeAt,
        exchanged: &[Exchanged],
        before: &Counts,
        watch: Duration,
    ) -> Result<Counts, Bad> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = Instant::now();
        let mut past = Past::default();
        let mut wrong: Vec<Wrong> = exchanged.iter().map(|_| Wrong::default()).collect();
        loop {
            looks.tick().await;
            past.look(&self.nodes, self.window).await;
            let mut all_well = true;
            for (one, wrong) in exchanged.iter().zip(&mut wrong) {
                let breach = self.judge(&past, one, before);
                all_well &= breach.is_none();
                let counts = wrong.note(breach.is_some(), self.looks);
                if let Some(breach) = breach.filter(|breach| breach.is_fatal || counts) {
                    return Err(Bad {
                        node: one.node.id,
                        why: breach.what,
                    });
                }
            }
            if begun.elapsed() >= watch && all_well {
                return Ok(past.all(node));
            }
        }
    }

    fn judge(
        &self,
        past: &Past,
        Exchanged { node, life, .. }: &Exchanged,
        before: &Counts,
    ) -> Option<Breach> {
        if past.was_restarted(node, life) {
            return Some(Breach {
                what: "it has ended, and was started again".to_owned(),
                is_fatal: true,
            });
        }
        let Some(own) = past.window_of_exchanged(node.id) else {
            return Some(Breach {
                what: "it does not answer".to_owned(),
                is_fatal: false,
            });
        };
        let others: Vec<Window> = self
            .nodes
            .iter()
            .filter(|other| other.id != node.id)
            .filter_map(|other| past.window(other.id))
            .collect();
        self.slo.judge(&own, &others, before)
    }

    /// Gives nodes their old program back: those that do not serve, then the last first.
    async fn roll_back(
        &self,
        mut left: Vec<Exchanged>,
        finalised_before: u64,
        steps: &mut Vec<Step>,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        let mut failed = Vec::new();
        let mut restored = None::<NodeAt>;
        while !left.is_empty() {
            let next = self
                .next_back(&left, finalised_before, !failed.is_empty())
                .await?;
            let Some(Next { number, serves }) = next else {
                break;
            };
            if let Some(restored) = restored.as_ref().filter(|_| serves) {
                self.at_rest(restored).await?;
            }
            let Exchanged { node, before, .. } = left.remove(number);
            let begun = Instant::now();
            if let Err(why) = self.exchange(Hook::Restore, &node, &before).await {
                // Others that do not serve get theirs all the same.
                failed.push(format!("{node}: {why}"));
                continue;
            }
            tell(&format!(
                "{node} runs {before} again, after {:.1?}",
                begun.elapsed()
            ));
            steps.push(Step {
                node: node.id,
                hook: Hook::Restore.name(),
                ready_after: begun.elapsed(),
                watched: Duration::ZERO,
                counts: Counts::default(),
            });
            restored = Some(node);
        }
        if !failed.is_empty() {
            return Err(failed.join("; "));
        }
        match restored {
            Some(node) => self.at_rest(&node).await,
            None => Ok(()),
        }
    }

    /// Which of them gets the old program back next: one that does not serve, or else the last, as soon as all nodes serve. `None` where only
    /// those are left that serve, and a restore has failed.
    async fn next_back(
        &self,
        left: &[Exchanged],
        finalised_before: u64,
        has_failed: bool,
    ) -> Result<Option<Next>, String> {
        let begun = Instant::now();
        loop {
            let looks = self.nodes.iter().map(|node| node.look());
            let looks = futures::future::join_all(looks).await;
            let now = finalised(looks.iter().flatten());
            if now > finalised_before {
                return Err(format!(
                    "the cluster was finalised at version {now} meanwhile: the program before cannot go on, and the nodes are left as they are"
                ));
            }
            let pairs = self.nodes.iter().zip(&looks);
            let down: Vec<&NodeAt> = pairs
                .filter(|(_, seen)| !matches!(seen, Some(seen) if seen.is_ready))
                .map(|(node, _)| node)
                .collect();
            if let Some(number) = left.iter().rposition(|one| down.contains(&&one.node)) {
                return Ok(Some(Next {
                    number,
                    serves: false,
                }));
            }
            if has_failed {
                return Ok(None);
            }
            let Some(one) = down.first() else {
                return Ok(Some(Next {
                    number: left.len() - 1,
                    serves: true,
                }));
            };
            if begun.elapsed() >= self.ready_within {
                return Err(format!(
                    "{one} does not serve, so that no node is stopped which does"
                ));
            }
            sleep(LOOK_EVERY / 4).await;
        }
    }
}

/// A node that gets its old program back.
struct Next {
    number: usize,
    serves: bool,
}

/// At which version of the peer protocol the cluster is finalised, as far as these nodes know.
fn finalised<'a>(seen: impl Iterator<Item = &'a Seen>) -> u64 {
    let known = seen.filter_map(|seen| seen.finalised).max();
    known.unwrap_or(u64::from(FINALISED_IMPLIED))
}

/// At which of the last looks something was wrong with a node.
#[derive(Default)]
struct Wrong(VecDeque<bool>);

impl Wrong {
    /// Notes another look. Whether something was wrong at so many of the last twice as many.
    fn note(&mut self, is_wrong: bool, looks: u32) -> bool {
        let looks = looks as usize;
        if self.0.len() >= looks.saturating_mul(2) {
            self.0.pop_front();
        }
        self.0.push_back(is_wrong);
        self.0.iter().filter(|is_wrong| **is_wrong).count() >= looks
    }
}

/// What was seen of nodes lately.
#[derive(Default)]
struct Past {
    nodes: HashMap<u64, VecDeque<Look>>,
    /// What each had measured at the first look at it.
    first: HashMap<u64, Counts>,
}

struct Look {
    at: Instant,
    /// `None` where it did not answer.
    seen: Option<(Seen, Counts)>,
}

impl Past {
    async fn look(&mut self, nodes: &[NodeAt], window: Duration) {
        let asked = nodes.iter().map(|node| async move {
            let (seen, counts) = tokio::join!(node.look(), node.measured());
            let look = Look {
                at: Instant::now(),
                seen: seen.zip(counts),
            };
            (node.id, look)
        });
        for (id, look) in futures::future::join_all(asked).await {
            if let Some((_, counts)) = &look.seen {
                self.first.entry(id).or_insert_with(|| counts.clone());
            }
            let looks = self.nodes.entry(id).or_default();
            // The one that is as old as the window stays: what came since is what is judged.
            while looks.len() > 1 && looks.get(1).is_some_and(|next| look.at - next.at >= window) {
                looks.pop_front();
            }
            looks.push_back(look);
        }
    }

    /// A node in the window; `None` where it does not answer now.
    fn window(&self, node: u64) -> Option<Window> {
        let looks = self.nodes.get(&node)?;
        let (seen, counts) = looks.back()?.seen.as_ref()?;
        let earlier = looks.iter().find_map(|look| look.seen.as_ref());
        // Who was started anew counts from nothing.
        let counts = match earlier {
            Some((was, before)) if was.started == seen.started => counts.since(before),
            _ => counts.clone(),
        };
        Some(Window {
            is_ready: seen.is_ready,
            counts,
            lag: self.lag(seen),
        })
    }

    /// The same of one that was exchanged: what must never happen counts from its start, and not only in the window.
    fn window_of_exchanged(&self, node: u64) -> Option<Window> {
        let mut window = self.window(node)?;
        let (_, counts) = self.nodes.get(&node)?.back()?.seen.as_ref()?;
        window.counts.never.clone_from(&counts.never);
        Some(window)
    }

    /// Entries that a node is behind the one that is ahead, as far as those were seen.
    fn lag(&self, seen: &Seen) -> u64 {
        let ahead = |group: &str| {
            let newest = self
                .nodes
                .values()
                .filter_map(|looks| looks.back()?.seen.as_ref());
            let applied = newest.flat_map(|(seen, _)| &seen.applied);
            applied
                .filter(|(name, _)| name == group)
                .map(|(_, index)| *index)
                .max()
        };
        let behind = |(group, index): &(String, u64)| ahead(group).unwrap_or(0).saturating_sub(*index);
        seen.applied.iter().map(behind).max().unwrap_or(0)
    }

    /// What a node has measured since the first look at it.
    fn all(&self, node: &NodeAt) -> Counts {
        let newest = self
            .nodes
            .get(&node.id)
            .and_then(|looks| looks.back()?.seen.as_ref());
        match (newest, self.first.get(&node.id)) {
            (Some((_, counts)), Some(first)) => counts.since(first),
            _ => Counts::default(),
        }
    }

    /// Whether it was started again since.
    fn was_restarted(&self, node: &NodeAt, life: &str) -> bool {
        let newest = self
            .nodes
            .get(&node.id)
            .and_then(|looks| looks.back()?.seen.as_ref());
        newest.is_some_and(|(seen, _)| seen.started != life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(looks: &str, expected: bool) {
        let mut wrong = Wrong::default();
        let mut counts = false;
        for look in looks.chars() {
            counts = wrong.note(look == 'x', 3);
        }
        assert_eq!(counts, expected, "{looks}");
    }

    #[test]
    fn what_is_wrong_at_so_many_of_twice_as_many_looks_counts() {
        check("xx", false);
        check("xxx", true);
        check("x.x.x", true);
        check(".x.x.x", true);
        check("x..x..", false);
        check("x.x...x", false);
    }

    #[test]
    fn who_has_the_new_version_at_the_begin_goes_back_to_that_of_the_others() {
        let node = |id: u64, version: &str, started: &str| {
            let seen = Seen {
                version: version.to_owned(),
                started: started.to_owned(),
                ..Seen::default()
            };
            let admin = "127.0.0.1:1".to_owned();
            (NodeAt { id, admin }, seen)
        };
        let plan = Plan {
            nodes: Vec::new(),
            hooks: Hooks {
                exchange: String::new(),
                restore: String::new(),
                within: Duration::ZERO,
            },
            version: "2".to_owned(),
            slo: Slo::default(),
            canary: Duration::ZERO,
            watch: Duration::ZERO,
            window: Duration::ZERO,
            looks: 1,
            ready_within: Duration::ZERO,
            canary_only: false,
        };
        let found = plan.exchanged_before(vec![node(3, "2", "a"), node(2, "1", "b"), node(1, "1", "c")]);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.node.id, one.before.as_str(), one.life.as_str()))
            .collect();
        assert_eq!(found, [(3, "1", "a")]);
        assert!(plan.exchanged_before(vec![node(3, "2", "a")]).is_empty());
    }
}

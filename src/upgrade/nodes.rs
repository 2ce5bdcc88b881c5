//! The nodes of a cluster as an upgrade sees them: by the operators' endpoints of each, and by the commands that exchange a node's program.

use std::{
    fmt,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::metrics::Counts;

/// How long a node may take to answer one question.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// A longer answer is none of a node's, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How often it is looked whether a command has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A node, and where its operators' endpoints are: `ID=HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// The node.
    pub id: u64,
    /// Its admin port.
    pub admin: String,
}

impl FromStr for NodeAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not ID=HOST:PORT, as 2=10.0.0.2:7071");
        let (id, admin) = text.split_once('=').ok_or_else(wrong)?;
        let id = id.parse::<u64>().ok().filter(|id| *id > 0).ok_or_else(wrong)?;
        let (host, port) = admin.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self {
            id,
            admin: admin.to_owned(),
        })
    }
}

impl fmt::Display for NodeAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.id)
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its program's version.
    pub version: String,
    /// When it was started; another time is another life.
    pub started: String,
    /// Whether it serves.
    pub is_ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// How far each group is applied, of those that it has a replica of.
    pub applied: Vec<(String, u64)>,
    /// The version of the peer protocol at which the cluster is finalised, as it knows; `None` where its program knows of no such thing.
    pub finalised: Option<u64>,
}

impl NodeAt {
    /// How the node is; `None` where it does not answer.
    pub async fn look(&self) -> Option<Seen> {
        let (_, body) = self.get("/status?local").await?;
        let status: Value = serde_json::from_str(&body).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let groups = status["groups"].as_array().cloned().unwrap_or_default();
        let is_replica = |group: &&Value| group["voter_ids"].as_array().is_some_and(|ids| !ids.is_empty());
        let applied = groups
            .iter()
            .filter(is_replica)
            .filter_map(|group| Some((text(&group["group"]), group["applied_index"].as_u64()?)));
        Some(Seen {
            version: text(&status["version"]),
            started: text(&status["start_time"]),
            is_ready: status["ready"].as_bool().unwrap_or_default(),
            reasons: status["reasons"]
                .as_array()
                .map(|reasons| reasons.iter().map(text).collect())
                .unwrap_or_default(),
            applied: applied.collect(),
            finalised: status["versions"]["finalised_protocol"].as_u64(),
        })
    }

    /// What is wrong with the cluster, as this node sees it; `None` where it does not answer. Replicas that move are not at rest either.
    pub async fn unrest(&self) -> Option<Vec<String>> {
        let (_, body) = self.get("/status").await?;
        let status: Value = serde_json::from_str(&body).ok()?;
        let cluster = &status["cluster"];
        let reasons = cluster["reasons"].as_array().cloned().unwrap_or_default();
        let mut reasons: Vec<String> = reasons
            .iter()
            .map(|reason| reason.as_str().unwrap_or_default().to_owned())
            .collect();
        let placements = cluster["placements"].as_array().cloned().unwrap_or_default();
        let moving = placements.iter().filter(|one| one["moving"] == Value::Bool(true));
        reasons.extend(moving.map(|one| format!("a replica of {} is on its way", one["group"])));
        Some(reasons)
    }

    /// What the node has measured since its start; `None` where it does not answer.
    pub async fn measured(&self) -> Option<Counts> {
        let (code, body) = self.get("/metrics").await?;
        (code == 200).then(|| Counts::read(&body))
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let asked = async {
            let mut tcp = TcpStream::connect(&self.admin).await.ok()?;
            let host = &self.admin;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            tcp.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            tcp.take(ANSWER_BYTES_MAX)
                .read_to_string(&mut answer)
                .await
                .ok()?;
            let code = answer.split(' ').nth(1)?.parse().ok()?;
            Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
        };
        timeout(ANSWERS_WITHIN, asked).await.ok().flatten()
    }
}

/// What is done to a node's program: shell commands, which are told by variables of which node.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// Stops the node, puts the new program in the old one's place, and starts it.
    pub exchange: String,
    /// The same back again.
    pub restore: String,
    /// How long one may take.
    pub within: Duration,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// To the new program.
    Exchange,
    /// Back to the old one.
    Restore,
}

impl Hook {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Restore => "restore",
        }
    }
}

impl Hooks {
    /// Runs one for a node.
    ///
    /// # Errors
    /// It cannot be run, fails or takes too long; then it is ended, with all that it has started and not let go of.
    pub async fn run(&self, hook: Hook, node: &NodeAt) -> Result<(), String> {
        let command = match hook {
            Hook::Exchange => &self.exchange,
            Hook::Restore => &self.restore,
        };
        let failed = |why: &dyn fmt::Display| format!("`{command}` for {node}: {why}");
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("DOCKET_NODE", node.id.to_string())
            .env("DOCKET_NODE_ADMIN", &node.admin)
            .env("DOCKET_STEP", hook.name())
            .stdin(Stdio::null())
            // The result is on stdout, and nothing else.
            .stdout(std::io::stderr())
            .process_group(0)
            .spawn()
            .map_err(|cause| failed(&cause))?;
        let begun = Instant::now();
        loop {
            match child.try_wait().map_err(|cause| failed(&cause))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(failed(&status)),
                None if begun.elapsed() >= self.within => {
                    end(&mut child);
                    return Err(failed(&format_args!("it takes longer than {:?}", self.within)));
                }
                None => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_an_id_and_an_address() {
        let node: NodeAt = "2=[::1]:7071".parse().unwrap();
        assert_eq!((node.id, node.admin.as_str()), (2, "[::1]:7071"));
        for wrong in ["", "2", "0=a:1", "x=a:1", "2=a", "2=:7071", "2=a:99999"] {
            assert!(wrong.parse::<NodeAt>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_hook_is_told_of_its_node_and_one_that_fails_or_takes_too_long_is_named() {
        let node: NodeAt = "3=127.0.0.1:7071".parse().unwrap();
        let hooks = Hooks {
            exchange: "test $DOCKET_NODE/$DOCKET_STEP/$DOCKET_NODE_ADMIN = 3/exchange/127.0.0.1:7071"
                .to_owned(),
            restore: "exit 7".to_owned(),
            within: Duration::from_secs(60),
        };
        hooks.run(Hook::Exchange, &node).await.unwrap();
        let failed = hooks.run(Hook::Restore, &node).await.unwrap_err();
        assert!(
            failed.contains("exit 7") && failed.contains("exit status: 7"),
            "{failed}"
        );
        let hooks = Hooks {
            restore: "sleep 600".to_owned(),
            within: Duration::from_millis(100),
            ..hooks
        };
        let failed = hooks.run(Hook::Restore, &node).await.unwrap_err();
        assert!(failed.contains("takes longer"), "{failed}");
    }
}

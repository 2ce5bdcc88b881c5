//! `docket debug bundle`

use std::{
    io::{self, Read as _},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use futures::future::join_all;
use serde_json::{Value, json};

use super::{BEHIND, Nodes, new_file, write};
use crate::{
    client::Operators,
    failure::Failure,
    output::{Field, Format, Output, Records, Tone},
};

/// What a node tells everybody, and how it is called in a bundle: all that there is of one that gives none.
const OPEN: [(&str, &str); 3] = [
    ("/readyz?verbose", "ready.txt"),
    ("/status?local", "status.json"),
    ("/metrics", "metrics.txt"),
];
/// How long a node is waited for that has given no bundle.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// What a bundle may have in bytes, unpacked, at most. The profile and the log are most of one, and bounded where they are made.
const UNPACKED_MAX: u64 = 1_024 * 1_024 * 1_024;
/// The list of a node's files.
const MANIFEST: &str = "manifest.json";

/// Bundle.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket debug bundle
  docket debug bundle --seconds 0 --file before-the-restart.tar.gz
  docket debug bundle --admin http://127.0.0.1:7071,http://127.0.0.1:7171

In it is of each node: its status and its cluster's, everything that is
measured, the rates of the last quarter of an hour, the configuration without
secrets, the last lines of its log, its threads and tasks, and a profile of its
processors. manifest.json lists what is there, and what is not and why.

Of a node that cannot give it (it is being opened, or hangs) what it tells
everybody is taken instead; so it is of one that refuses, unless all do. One at
a time is taken of a node.

Exit codes: 0 every node gave its own, 1 not every one.")]
pub struct Args {
    /// A node's address for operators; several: repeat, or commas
    /// [env: DOCKET_ADMIN_ADDR] [default: http://127.0.0.1:7071]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub admin: Vec<String>,
    /// For how long processors are looked at, 0 to 60; 0 for no profile
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=60))]
    seconds: u64,
    /// The file that is written; it must not be there
    /// [default: docket-debug-TIME.tar.gz]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Names with their folder, and what is in them.
type Files = Vec<(String, Vec<u8>)>;

/// What there is of one node.
struct Taken<'a> {
    address: &'a str,
    files: Files,
    /// What the node says of them.
    manifest: Value,
    /// Why it gave no bundle.
    failed: Option<String>,
    /// Whether that is since the caller may not have one.
    is_denied: bool,
}

impl Args {
    pub(super) async fn run(self, Nodes { nodes, output }: &Nodes) -> Result<(), Failure> {
        let file = new_file(self.file.as_deref(), "debug", "tar.gz")?;
        let taken: Vec<Taken<'_>> = join_all(nodes.iter().map(|node| take(node, self.seconds))).await;
        if is_nothing(&taken) {
            let failed = taken.into_iter().find_map(|taken| taken.failed);
            return Err(Failure::Other(failed.unwrap_or_default()));
        }
        let packed = pack(&taken);
        let bytes = packed.map_err(|cause| Failure::Other(format!("cannot make an archive: {cause}")))?;
        write(&file, &bytes)?;
        show(&taken, &file.display().to_string(), bytes.len(), output)?;
        let failed: Vec<&str> = taken
            .iter()
            .filter(|taken| taken.failed.is_some())
            .map(|taken| taken.address)
            .collect();
        match failed[..] {
            [] => Ok(()),
            _ => Err(Failure::Other(format!(
                "{} gave no bundle: in the file is what there is",
                failed.join(", ")
            ))),
        }
    }
}

/// Whether there is nothing worth a file: no node has told anything, or the caller may have no bundle of any, which what they tell everybody would hide.
fn is_nothing(taken: &[Taken<'_>]) -> bool {
    taken.iter().all(|taken| taken.files.is_empty()) || taken.iter().all(|taken| taken.is_denied)
}

/// What this node gives; where that is no bundle, what it tells everybody.
async fn take(node: &Operators, seconds: u64) -> Taken<'_> {
    let within = Duration::from_secs(seconds) + BEHIND;
    let given = node
        .get(&format!("/debug/bundle?seconds={seconds}"), within)
        .await;
    let address = node.address();
    let (failed, is_denied) = match given {
        Ok(bytes) => match unpack(&bytes) {
            Ok((files, manifest)) => {
                return Taken {
                    address,
                    files,
                    manifest,
                    failed: None,
                    is_denied: false,
                };
            }
            Err(cause) => (format!("{address} gave what is no bundle: {cause}"), false),
        },
        Err(error) => (error.to_string(), error.is_denied()),
    };
    let folder = format!("docket-debug-{}", folder_of(address));
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for (path, name) in OPEN {
        match node.get_open(path, OPEN_MAX).await {
            Ok(bytes) => files.push((format!("{folder}/{name}"), bytes.to_vec())),
            Err(error) => missing.push(json!({"name": name, "what": path, "why": error.to_string()})),
        }
    }
    let listed = files.iter().map(|(name, bytes)| {
        let name = name.rsplit('/').next().unwrap_or_default();
        json!({"name": name, "bytes": bytes.len()})
    });
    let manifest = json!({
        "address": address,
        "no_bundle": failed,
        "files": listed.collect::<Vec<_>>(),
        "missing": missing,
    });
    if !files.is_empty() {
        let list = format!("{manifest:#}\n").into_bytes();
        files.insert(0, (format!("{folder}/{MANIFEST}"), list));
    }
    Taken {
        address,
        files,
        manifest,
        failed: Some(failed),
        is_denied,
    }
}

/// `http://127.0.0.1:7071` as a folder may be called.
fn folder_of(address: &str) -> String {
    let name = address.split("://").last().unwrap_or_default().trim_matches('/');
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(plain).collect()
}

/// A node's files, and its list of them.
fn unpack(bytes: &[u8]) -> io::Result<(Files, Value)> {
    let (mut files, mut manifest, mut left) = (Vec::new(), Value::Null, UNPACKED_MAX);
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(UNPACKED_MAX));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let size = entry.size();
        let Some(room) = left.checked_sub(size) else {
            return Err(io::Error::other("it is larger than a bundle may be"));
        };
        left = room;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if content.len() as u64 != size {
            return Err(io::Error::other("it breaks off"));
        }
        if name.rsplit('/').next() == Some(MANIFEST) {
            manifest = serde_json::from_slice(&content)?;
        }
        files.push((name, content));
    }
    match manifest {
        Value::Null => Err(io::Error::other("it has no manifest.json")),
        manifest => Ok((files, manifest)),
    }
}

/// One archive of all nodes' files.
fn pack(taken: &[Taken<'_>]) -> io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in taken.iter().flat_map(|taken| &taken.files) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(super::FILE_MODE);
        header.set_mtime(now.as_secs());
        tar.append_data(&mut header, name, &**content)?;
    }
    tar.into_inner()?.finish()
}

fn show(taken: &[Taken<'_>], file: &str, bytes: usize, output: &Output) -> Result<(), Failure> {
    if output.format() == Format::Json {
        let nodes = taken.iter().map(|taken| {
            json!({"address": taken.address, "given": taken.failed.is_none(), "manifest": taken.manifest})
        });
        return output.json(&json!({"file": file, "bytes": bytes, "nodes": nodes.collect::<Vec<_>>()}));
    }
    output.fields(&[Field::text("file", file), Field::number("bytes", bytes as u64)])?;
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    for taken in taken {
        let list = |name: &str| taken.manifest[name].as_array().cloned().unwrap_or_default();
        for file in list("files") {
            rows.push(vec![
                Field::text("node", taken.address),
                Field::text("name", &text(&file, "name")),
                Field::number("bytes", file["bytes"].as_u64().unwrap_or_default()),
                Field::text("what", &text(&file, "what")),
            ]);
        }
        for file in list("missing") {
            rows.push(vec![
                Field::text("node", taken.address),
                Field::text("name", &text(&file, "name")),
                Field::text("bytes", "-"),
                Field::text("what", &format!("not there: {}", text(&file, "why"))).tone(Tone::Pending),
            ]);
        }
    }
    output.line("")?;
    let columns = &["node", "name", "bytes", "what"];
    output.records("files", &Records { columns, rows })?;
    for failed in taken.iter().filter_map(|taken| taken.failed.as_ref()) {
        output.note(&format!("warning: {failed}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_gave_is_one_archive_again() {
        let of = |node: u64| Taken {
            address: "http://127.0.0.1:1",
            files: vec![
                (
                    format!("docket-debug-node-{node}/{MANIFEST}"),
                    json!({ "node": node }).to_string().into_bytes(),
                ),
                (format!("docket-debug-node-{node}/status.json"), b"{}".to_vec()),
            ],
            manifest: Value::Null,
            failed: None,
            is_denied: false,
        };
        let (files, manifest) = unpack(&pack(&[of(1), of(2)]).unwrap()).unwrap();
        let expected: Vec<_> = [of(1), of(2)].into_iter().flat_map(|it| it.files).collect();
        assert_eq!(files, expected);
        assert_eq!(manifest, json!({"node": 2}));
        assert!(unpack(b"no archive").is_err());
        let empty = pack(&[]).unwrap();
        assert!(unpack(&empty).unwrap_err().to_string().contains(MANIFEST));
    }

    #[test]
    fn what_would_be_too_large_is_not_unpacked() {
        let mut header = tar::Header::new_gnu();
        header.set_path(MANIFEST).unwrap();
        header.set_size(UNPACKED_MAX + 1);
        header.set_cksum();
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        tar.append(&header, &b"{}"[..]).unwrap();
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        assert!(unpack(&bytes).unwrap_err().to_string().contains("larger"));
    }

    #[test]
    fn one_node_that_refuses_takes_nothing_from_what_others_gave() {
        let of = |is_denied: bool, is_there: bool| Taken {
            address: "http://127.0.0.1:1",
            files: is_there
                .then(|| ("ready.txt".to_owned(), Vec::new()))
                .into_iter()
                .collect(),
            manifest: Value::Null,
            failed: is_denied.then(|| "the node refused".to_owned()),
            is_denied,
        };
        assert!(!is_nothing(&[of(true, true), of(false, true)]));
        assert!(is_nothing(&[of(true, true), of(true, true)]));
        assert!(is_nothing(&[of(false, false)]));
    }

    #[test]
    fn a_folder_is_named_after_the_node() {
        assert_eq!(folder_of("http://127.0.0.1:7071"), "127.0.0.1_7071");
        assert_eq!(folder_of("http://[::1]:7071/../x"), "___1__7071_.._x");
    }
}

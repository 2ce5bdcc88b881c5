//! A bundle's form: a compressed tar of files in one folder, the first of which lists the others, and what is missing.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// What one file is to have in it.
pub(super) struct Part {
    /// Its name in the folder.
    pub(super) name: &'static str,
    /// What it is, for who reads the list.
    pub(super) what: &'static str,
    /// What is in it, or why it cannot be had.
    pub(super) content: Result<Vec<u8>, String>,
}

impl Part {
    pub(super) fn new(
        name: &'static str,
        what: &'static str,
        content: Result<impl Into<Vec<u8>>, String>,
    ) -> Self {
        Self {
            name,
            what,
            content: content.map(Into::into),
        }
    }
}

/// Makes an archive of the parts that there are, in `folder`. `about` becomes the head of the list.
///
/// # Errors
/// None that memory has room for.
pub(super) fn make(folder: &str, made: SystemTime, mut about: Value, parts: &[Part]) -> io::Result<Vec<u8>> {
    let there = parts
        .iter()
        .filter_map(|part| Some((part, part.content.as_ref().ok()?)));
    let files: Vec<Value> = there
        .clone()
        .map(|(part, content)| json!({"name": part.name, "what": part.what, "bytes": content.len()}))
        .collect();
    let missing = parts.iter().filter_map(|part| {
        let why = part.content.as_ref().err()?;
        Some(json!({"name": part.name, "what": part.what, "why": why}))
    });
    about["missing"] = missing.collect();
    about["files"] = files.into();
    let seconds = made.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut put = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        tar.append_data(&mut header, format!("{folder}/{name}"), content)
    };
    put("manifest.json", format!("{about:#}\n").as_bytes())?;
    for (part, content) in there {
        put(part.name, content)?;
    }
    tar.into_inner()?.finish()
}

/// These bytes, compressed.
pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _, time::Duration};

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_is_there_is_in_it_and_what_is_not_is_listed_with_the_reason() {
        let parts = [
            Part::new("status.json", "how it is", Ok("{}\n")),
            Part::new(
                "cpu.pb.gz",
                "a profile",
                Err::<Vec<u8>, _>("no file can be made".to_owned()),
            ),
            Part::new("log.txt", "its log", Ok("")),
        ];
        let made = UNIX_EPOCH + Duration::from_secs(1_000);
        let bytes = make("docket-debug-node-3", made, json!({"node": 3}), &parts).unwrap();
        let mut found = BTreeMap::new();
        let mut archive = tar::Archive::new(GzDecoder::new(&*bytes));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o600, 1_000));
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let folder = |name: &str| format!("docket-debug-node-3/{name}");
        assert_eq!(
            names,
            [folder("log.txt"), folder("manifest.json"), folder("status.json")]
        );
        let list: Value = serde_json::from_str(&found[&folder("manifest.json")]).unwrap();
        assert_eq!(list["node"], 3);
        assert_eq!(
            list["files"][0],
            json!({"name": "status.json", "what": "how it is", "bytes": 3})
        );
        assert_eq!(list["files"][1]["bytes"], 0);
        let missing = json!([{"name": "cpu.pb.gz", "what": "a profile", "why": "no file can be made"}]);
        assert_eq!(list["missing"], missing);
    }
}

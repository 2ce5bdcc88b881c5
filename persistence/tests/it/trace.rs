//! Tests that look at a child's system calls through strace, and its trace as they read it. The crates above share this file.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a child (the test `test` of this binary, which finds `dir` in the variable `variable`) under strace with `arguments`; `None`
/// where that cannot be done.
pub fn traced(test: &str, (variable, dir): (&str, &Path), arguments: &[&str]) -> Option<(Output, String)> {
    let trace = dir.join("trace");
    let child = std::env::current_exe().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-y", "-o"])
        .arg(&trace)
        .args(arguments)
        .arg(child)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(variable, dir)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            skipped(&format!("strace cannot be run: {error}"));
            return None;
        }
    };
    let trace = std::fs::read_to_string(trace).unwrap_or_default();
    if trace.is_empty() {
        let error = String::from_utf8_lossy(&output.stderr);
        skipped(&format!("strace cannot trace here: {error}"));
        return None;
    }
    Some((output, trace))
}

/// Says so where it is seen: what is printed by a test that passes is not shown.
fn skipped(why: &str) {
    let line = format!("SKIPPED: a test under strace: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// One finished system call: its name, the file it concerns, whether it succeeded, and where in the trace it began and ended.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    pub path: String,
    pub arguments: String,
    pub ok: bool,
    pub began: usize,
    pub ended: usize,
}

/// Reads `strace -f -y`, where a call that another thread interrupts is told in two lines.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (line_number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        let (began, text) = if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((began, head)) = unfinished.remove(thread) else {
                continue;
            };
            let tail = resumed.split_once("resumed>").map_or("", |(_, tail)| tail);
            (began, head + tail)
        } else if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (line_number, head.to_owned()));
            continue;
        } else {
            (line_number, rest.to_owned())
        };
        let (Some((name, arguments)), Some((_, result))) = (text.split_once('('), text.rsplit_once(" = "))
        else {
            continue;
        };
        let path = arguments
            .split_once('<')
            .and_then(|(_, path)| path.split_once('>'))
            .map_or("", |(path, _)| path);
        calls.push(Call {
            name: name.to_owned(),
            path: path.to_owned(),
            arguments: arguments.to_owned(),
            ok: !result.starts_with('-') && !result.starts_with('?'),
            began,
            ended: line_number,
        });
    }
    calls
}

#[test]
fn the_trace_reader_would_notice_a_missing_sync() {
    let trace = "7 pwrite64(5</d/journal/01/db>, \"x\", 1, 0) = 1\n\
                 8 fdatasync(6</d/journal/01/db> <unfinished ...>\n\
                 7 write(9</d/acks>, \"ack 0\\n\", 6) = 6\n\
                 8 <... fdatasync resumed>) = -1 EIO (Input/output error)\n";
    let calls = calls(trace);
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.name.as_str(), call.began, call.ended, call.ok))
        .collect();
    assert_eq!(
        told,
        [
            ("pwrite64", 0, 0, true),
            ("write", 2, 2, true),
            ("fdatasync", 1, 3, false)
        ]
    );
    assert!(calls.iter().all(|call| call.ended >= call.began));
    assert_eq!(calls[2].path, "/d/journal/01/db");
}

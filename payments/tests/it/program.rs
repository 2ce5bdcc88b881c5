//! The stub as a process that dies and comes back with what is on its disk.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use docket_engine::{
    PaymentKind::{Authorize, Capture},
    PaymentOutcome,
};
use docket_payments::{
    PaymentProvider as _,
    http::{HttpConfig, HttpProvider},
};

use crate::scene::{name, order, request};

struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(folder: &Path, faults: &str) -> Self {
        let script = folder.join("faults.json");
        std::fs::write(&script, faults).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_docket-payment-stub"))
            .args(["--listen", "127.0.0.1:0"])
            .args([Path::new("--data"), &folder.join("ledger.jsonl")])
            .args([Path::new("--faults"), &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim_end().strip_prefix("listens at ").unwrap().to_owned();
        Self { child, url }
    }

    fn provider(&self) -> HttpProvider {
        let config = HttpConfig {
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(1),
            ..HttpConfig::new(&self.url)
        };
        HttpProvider::new(name(), &config).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn who_dies_comes_back_with_what_was_on_its_disk_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"[{"on":"authorize","fault":"die-after"}]"#;
    let mut program = Program::start(folder.path(), script);
    let authorize = request(order(1), Authorize, 1, 100);
    assert!(program.provider().settle(&authorize, false).await.is_err());
    assert_eq!(program.child.wait().unwrap().code(), Some(3));

    let script = r#"[{"on":"capture","fault":"die-before"}]"#;
    let mut program = Program::start(folder.path(), script);
    let outcome = program.provider().settle(&authorize, true).await.unwrap();
    let PaymentOutcome::Done { reference } = outcome else {
        panic!("{outcome:?}");
    };
    let mut capture = request(order(1), Capture, 2, 60);
    capture.authorization = Some(reference);
    assert!(program.provider().settle(&capture, false).await.is_err());
    assert_eq!(program.child.wait().unwrap().code(), Some(3));

    let program = Program::start(folder.path(), "[]");
    let captured = program.provider().settle(&capture, true).await.unwrap();
    let reference = "capture-2".into();
    assert_eq!(captured, PaymentOutcome::Done { reference });
}

#[test]
fn what_cannot_be_is_told() {
    for (flag, value, expected) in [
        ("--faults", "gone.json", "error: cannot read gone.json"),
        ("--token-file", "gone", "error: cannot read gone"),
        ("--data", "/", "error: cannot use /"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_docket-payment-stub"))
            .args(["--listen", "127.0.0.1:0", flag, value])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with(expected), "{told}");
    }
}

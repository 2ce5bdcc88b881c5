//! A client with no code of ours: Python's grpcio, which learns the contract from server reflection. `client.py` says what
//! it does.

use std::{io::Write as _, process::Command};

use crate::server::{Home, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_works_through_reflection_alone() {
    let installed = Command::new("python3")
        .args(["-c", "import grpc, grpc_reflection"])
        .output()
        .is_ok_and(|run| run.status.success());
    if !installed {
        // Written as it is: what is printed by a test that passes is not shown.
        std::io::stderr()
            .write_all(
                b"SKIPPED: the Python client, which is not installed here: \
                  pip install grpcio grpcio-reflection\n",
            )
            .unwrap();
        return;
    }
    let home = Home::new();
    let server = Server::start(&home);
    let run = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/client.py"))
        .args([&server.grpc.to_string(), &home.admin_key()])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    println!("{out}");
    assert!(run.status.success(), "{out}{err}{}", home.log());
    assert_eq!(out.lines().last(), Some("all as it should be"), "{out}{err}");
    server.stop(&home);
}

//! A journal that is damaged, and one that cannot be written or synced.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use docket_proto::v1::{CreateCustomerRequest, Customer, customer_service_client::CustomerServiceClient};

use crate::{
    server::{Server, serve_args, until},
    support::Shell,
};

#[test]
fn a_damaged_journal_is_refused_with_its_file() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    let flags = server.flags();
    let name = "x".repeat(256);
    for number in 0..100 {
        let create = format!("customer create c{number} --currency EUR --display-name {name} {flags}");
        shell.run(&create).ends(0);
    }
    server.stop();
    let mut damaged = 0;
    for path in crate::journal::files(&shell.path().join("docket-data/journal")) {
        let mut bytes = fs::read(&path).unwrap();
        let run = name.as_bytes();
        if let Some(at) = bytes.windows(run.len()).position(|window| window == run) {
            bytes[at] = b'y';
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the names are in no file");
    shell.run("journal verify").ends(1).says("not sound");
    shell
        .run(&serve_args(&[]).join(" "))
        .ends(1)
        .says("docket-data/journal")
        .prints_nothing();
}

#[test]
fn a_journal_that_cannot_be_written_ends_the_server_and_names_the_file() {
    // No file may grow beyond 2 MiB (in blocks of 512 bytes), which a write is told by EFBIG where SIGXFSZ is ignored.
    let shell = Shell::new();
    let server = shell.command(serve_args(&[]));
    let program = server.get_program().to_str().unwrap().to_owned();
    let args: Vec<&str> = server.get_args().map(|arg| arg.to_str().unwrap()).collect();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"", &program])
        .args(args)
        .current_dir(shell.path())
        .env_clear()
        .env("DOCKET__SERVER__FAILED_MS", "60000")
        .stdin(Stdio::null());
    let mut server = Server::spawn(&shell, limited);
    let key = fs::read_to_string(shell.path().join("docket-data/admin.key")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let acknowledged = runtime.block_on(create_until_refused(server.grpc().to_owned(), key.trim()));
    // It tells why to whoever looks, and ends sooner where it is told to.
    until(
        "the failure to be told",
        || {
            let (code, why) = server.admin("/readyz?verbose")?;
            (code == 503 && why.contains("the node has failed: ")).then_some(())
        },
        || server.log(),
    );
    until(
        "the failure to be measured",
        || {
            let (_, metrics) = server.admin("/metrics")?;
            let lines = ["docket_journal_failed 1", "docket_ready 0"];
            lines
                .iter()
                .all(|line| metrics.lines().any(|one| one == *line))
                .then_some(())
        },
        || server.log(),
    );
    until(
        "the rest of it to have ended",
        || server.log().contains("the admin port tells why").then_some(()),
        || server.log(),
    );
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.ended().code(), Some(1), "{}", server.log());
    let log = server.log();
    assert!(log.contains("cannot go on"), "{log}");
    assert!(
        log.contains("docket-data/journal") && log.contains("File too large"),
        "{log}"
    );
    assert!(acknowledged.len() > 100);
    nothing_is_lost(&shell, &acknowledged);
}

#[test]
fn a_journal_that_cannot_be_synced_ends_the_server_and_names_the_file() {
    // The disk takes every write and fails at this sync, long after the start and long before the customers are through.
    const FAILS_AT: usize = 150;
    let shell = Shell::new();
    let server = shell.command(serve_args(&[]));
    let mut traced = Command::new("strace");
    traced
        // The server stays this process's child, and strace stands aside.
        .args(["-D", "-f", "-qq", "-o", "trace", "-e", "trace=fdatasync", "-e"])
        .arg(format!("inject=fdatasync:error=EIO:when={FAILS_AT}"))
        .arg(server.get_program())
        .args(server.get_args())
        .current_dir(shell.path())
        .env_clear()
        // As soon as may be.
        .env("DOCKET__SERVER__FAILED_MS", "0")
        .stdin(Stdio::null());
    if let Err(why) = can_trace() {
        // Written as it is: what is printed by a test that passes is not shown.
        let line = format!("SKIPPED: a server whose disk fails at a sync: {why}\n");
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    let mut server = Server::spawn(&shell, traced);
    let key = fs::read_to_string(shell.path().join("docket-data/admin.key")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let acknowledged = runtime.block_on(create_until_refused(server.grpc().to_owned(), key.trim()));
    assert_eq!(server.ended().code(), Some(1), "{}", server.log());
    let log = server.log();
    assert!(log.contains("cannot go on"), "{log}");
    assert!(
        log.contains("docket-data/journal") && log.contains("Input/output error"),
        "{log}"
    );
    // It was not tried again, and nothing was acknowledged that came after it.
    let trace = fs::read_to_string(shell.path().join("trace")).unwrap();
    assert_eq!(trace.matches("(INJECTED)").count(), 1, "{trace}");
    nothing_is_lost(&shell, &acknowledged);
}

/// Whether strace is here and may trace.
fn can_trace() -> Result<(), String> {
    let run = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .output();
    match run {
        Err(error) => Err(format!("strace cannot be run: {error}")),
        Ok(run) if run.status.success() => Ok(()),
        Ok(run) => Err(format!(
            "strace cannot trace here: {}",
            String::from_utf8_lossy(&run.stderr)
        )),
    }
}

/// Starts the server again: what was acknowledged is there.
fn nothing_is_lost(shell: &Shell, acknowledged: &[String]) {
    let server = Server::start(shell);
    let found = shell
        .run(&format!("customer list --all -o json {}", server.flags()))
        .ends(0)
        .json();
    let found = found["customers"].as_array().unwrap();
    let names: BTreeSet<&str> = found
        .iter()
        .map(|customer| customer["name"].as_str().unwrap())
        .collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|name| !names.contains(name.as_str()))
        .collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), acknowledged.len());
    server.stop();
}

/// Creates customers, many at a time, until one is refused; the names of those that were acknowledged.
async fn create_until_refused(address: String, key: &str) -> Vec<String> {
    const AT_A_TIME: usize = 64;
    const ROUNDS_MAX: usize = 10_000;
    let channel = tonic::transport::Endpoint::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let client = CustomerServiceClient::new(channel);
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS_MAX {
        let create = |number| {
            let customer = Customer {
                display_name: "x".repeat(256),
                currency_code: "EUR".to_owned(),
                ..Customer::default()
            };
            let mut request = tonic::Request::new(CreateCustomerRequest {
                customer_id: format!("c{round}-{number}"),
                customer: Some(customer),
                request_id: String::new(),
            });
            request.metadata_mut().insert("x-api-key", key.parse().unwrap());
            let mut client = client.clone();
            async move { client.create_customer(request).await }
        };
        let answers = futures::future::join_all((0..AT_A_TIME).map(create)).await;
        let count = answers.len();
        acknowledged.extend(
            answers
                .into_iter()
                .flatten()
                .map(|answer| answer.into_inner().name),
        );
        if acknowledged.len() < (round + 1) * count {
            return acknowledged;
        }
    }
    panic!("{} customers fit into a journal of 2 MiB", acknowledged.len());
}

//! A journal that is damaged, and one that cannot be written.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use docket_proto::v1::{CreateCustomerRequest, Customer, customer_service_client::CustomerServiceClient};

use crate::{
    server::{Server, serve_args},
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
        .stdin(Stdio::null());
    let mut server = Server::spawn(&shell, limited);
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
        log.contains("docket-data/journal") && log.contains("File too large"),
        "{log}"
    );

    // What was acknowledged is there when there is room again.
    let server = Server::start(&shell);
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
    assert!(
        acknowledged.len() > 100 && lost.is_empty(),
        "{} of {} lost",
        lost.len(),
        acknowledged.len()
    );
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

//! `docket dev`: three nodes, one of them killed and started again, and nothing left behind.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Shell;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The first of thirty ports that are free now. Tests that run beside each other take different turns.
pub fn free_ports(turn: u16) -> u16 {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let process = std::process::id() as u16 % 300;
    let bases = (turn * 50..(turn + 1) * 50).map(|n| 20_000 + (process * 37 + n * 30) % 12_000);
    let mut whole = bases.filter(|base| (0..30).all(|port| free(base + port)));
    whole.next().expect("thirty free ports in a row")
}

#[test]
fn three_nodes_run_one_is_killed_and_comes_back_and_nothing_is_left() {
    let shell = Shell::new();
    let port = free_ports(0);
    let mut dev = shell
        .command(["dev", "--port", &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(dev.stdout.take().unwrap()).lines();
    let first = told.next().expect("it says that it is ready").unwrap();
    assert!(first.starts_with("The cluster is ready"), "{first}");
    let status = format!(
        "cluster status --addr http://127.0.0.1:{port} --api-key-file docket-dev/node-1/admin.key -o json"
    );
    let cluster = shell.run(&status).ends(0).json();
    assert_eq!(cluster["members"].as_array().unwrap().len(), 3);
    let placements = cluster["placements"].as_array().unwrap();
    assert_eq!(placements.len(), 9, "meta and eight shards");
    assert!(
        placements
            .iter()
            .all(|group| group["placed_ids"] == serde_json::json!([1, 2, 3]))
    );

    shell.run("dev kill 2").ends(0);
    shell.run("dev restart 2").ends(0);
    shell.run("dev kill 4").ends(2).says("nodes 1 to 3");
    // Another one keeps away from the folder of this one.
    shell.run("dev").ends(1).says("docket-dev exists");

    let pid = Pid::from_raw(dev.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let begun = Instant::now();
    let ended = loop {
        if let Some(status) = dev.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(
        !shell.path().join("docket-dev").exists(),
        "it leaves its folder behind"
    );
    shell.run("dev kill 2").ends(1).says("start `docket dev` first");
}

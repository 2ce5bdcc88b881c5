//! `docket certs` and `docket cluster`: what is made, and what is refused.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::Shell;

#[test]
fn certificates_are_made_once_and_never_written_over() {
    let shell = Shell::new();
    shell.run("certs ca --out ca").ends(0);
    let made = shell
        .run("certs node --ca ca --cluster shop --node 2 --host localhost --out node -o json")
        .ends(0)
        .json();
    assert_eq!(made["certificate"], "node/node-2.pem");
    for key in ["ca/ca.key", "node/node-2.key"] {
        let mode = fs::metadata(shell.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    shell
        .run("certs ca --out ca")
        .ends(1)
        .says("ca/ca.key exists already")
        .says("--out")
        .prints_nothing();
    shell
        .run("certs node --ca ca --cluster shop --node 2 --out node")
        .ends(1)
        .says("node/node-2.key exists already");
    let kept = shell.run("certs ca --out ca --if-absent -o json").ends(0).json();
    assert_eq!(kept["kept"], "ca/ca.key");
    let key = || fs::read(shell.path().join("node/node-2.key")).unwrap();
    let before = key();
    shell
        .run("certs node --ca ca --cluster shop --node 2 --out node --if-absent")
        .ends(0);
    assert_eq!(key(), before);
    // Half of it is not done.
    fs::remove_file(shell.path().join("node/node-2.pem")).unwrap();
    shell
        .run("certs node --ca ca --cluster shop --node 2 --out node --if-absent")
        .ends(1)
        .says("node/node-2.pem is not");
    shell
        .run("certs node --ca ca --cluster shop --node 4 --out node --if-absent")
        .ends(0);
    shell
        .run("certs node --ca nowhere --cluster shop --node 3 --out node")
        .ends(1)
        .says("docket certs ca --out DIR");
    shell
        .run("certs node --ca ca --cluster Shop.1 --node 3 --out node")
        .ends(2)
        .says("lower-case letters, digits and hyphens");
}

#[test]
fn a_data_directory_is_one_cluster_s_for_ever() {
    let shell = Shell::new();
    let founded = shell
        .run("cluster init --id shop --shards 3 -o json")
        .ends(0)
        .json();
    assert_eq!(
        (&founded["cluster_id"], &founded["node_id"], &founded["shards"]),
        (&"shop".into(), &1.into(), &3.into())
    );
    shell
        .run("cluster init --id other")
        .ends(1)
        .says("is node 1 of cluster shop already");
    let kept = shell
        .run("cluster init --id shop --node 1 --if-absent -o json")
        .ends(0)
        .json();
    assert_eq!(
        (&kept["kept"], &kept["node_id"]),
        (&"./docket-data".into(), &1.into())
    );
    for other in ["--id other", "--id shop --node 2"] {
        shell
            .run(&format!("cluster init {other} --if-absent"))
            .ends(1)
            .says("is node 1 of cluster shop already");
    }
    shell
        .run("serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0")
        .ends(1)
        .says("cannot stand alone")
        .says("cluster.peer_listen");
    shell
        .run("cluster init --data-dir there --id Shop")
        .ends(1)
        .says("lower-case letters, digits and hyphens");
    shell
        .run("--addr http://127.0.0.1:9 cluster init")
        .ends(2)
        .says("--addr is a flag of the client commands");
    // Behind the command, too, where its help does not offer it.
    shell
        .run("cluster init --addr http://127.0.0.1:9")
        .ends(2)
        .says("--addr is a flag of the client commands");
    let help = shell.run("cluster init --help").ends(0).stdout;
    assert!(!help.contains("--addr") && help.contains("--output"), "{help}");
}

#[test]
fn a_node_that_joins_is_told_what_it_lacks() {
    let shell = Shell::new();
    shell.run("certs ca --out ca").ends(0);
    shell
        .run("certs node --ca ca --cluster shop --node 2 --out node")
        .ends(0);
    shell
        .run("serve --join 127.0.0.1:9")
        .ends(2)
        .says("cluster.peer_listen = null: is needed beside cluster.seeds");
    let shell = shell
        .variable("DOCKET__CLUSTER__CA", "node/ca.pem")
        .variable("DOCKET__CLUSTER__CERTIFICATE", "node/node-2.pem")
        .variable("DOCKET__CLUSTER__KEY", "node/node-2.key");
    let serve = "serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --peer-listen 127.0.0.1:0";
    shell
        .run(serve)
        .ends(2)
        .says("set cluster.id to the cluster that its certificate was made for");
    let shell = shell.variable("DOCKET__CLUSTER__ID", "shop");
    shell
        .run(&format!("{serve} --join 127.0.0.1:9 --node-id 3"))
        .ends(1)
        .says("another node's");
    shell
        .run(&format!("{serve} --node-id 2"))
        .ends(1)
        .says("docket cluster init")
        .says("--join");
}

//! What a standby says of the key that it has to the primary.

use std::fs;

use super::{NO_KEY, Said, output};
use crate::{
    server::{Server, serve_args, until},
    support::Shell,
};

/// What a standby says: without a key, with one that is not known, and with the primary's.
pub(super) fn standby(primary: &Server, key: &str, unknown: &str, said: &mut Said) {
    let config = format!(
        "[log]\nlevel = \"trace\"\n[standby]\nof = [\"{}\"]\nadvertise = \"http://127.0.0.1:9\"\napi_key = \"file:primary.key\"\npoll_ms = 100\n",
        primary.grpc()
    );
    let shell = Shell::new().file("docket.toml", &config);
    for (what, wrong) in [("no key", NO_KEY), ("a key that is not known", unknown)] {
        fs::write(shell.path().join("primary.key"), wrong).unwrap();
        let mut serve = shell.command(serve_args(&["--config", "docket.toml"]));
        said.add(&format!("a standby with {what}"), output(&mut serve, 1));
    }
    fs::write(shell.path().join("primary.key"), key).unwrap();
    for command in ["config show", "config show -o json"] {
        let run = shell.run(&format!("{command} --config docket.toml")).ends(0);
        said.run(&format!("{command} of a standby"), &run);
    }
    let standby = Server::start_with(&shell, &["--config", "docket.toml"]);
    until(
        "the standby to follow",
        || {
            let (_, metrics) = standby.admin("/metrics")?;
            metrics.contains("docket_standby_follows 1").then_some(())
        },
        || standby.log(),
    );
    for path in ["/metrics", "/status", "/readyz?verbose"] {
        said.add(&format!("{path} of the standby"), standby.admin(path).unwrap().1);
    }
    let status = format!("standby status {} --api-key-file primary.key", standby.flags());
    said.run("standby status", &shell.run(&status).ends(0));
    said.add("what the standby announced", standby.announced.to_string());
    let log = standby.log();
    assert!(log.contains("TRACE"), "the log is not at trace level");
    standby.stop();
    said.add("the log of the standby", log);
    for state in ["docket-data/standby.json", "docket-data/identity.json"] {
        said.add(state, fs::read_to_string(shell.path().join(state)).unwrap());
    }
}

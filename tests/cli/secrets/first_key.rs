//! The first administrator's key, where the configuration says where it is.

use std::fs;

use crate::{server::Server, support::Shell};

#[test]
fn the_first_administrators_key_is_needed_by_the_first_start_and_by_no_other() {
    let made = Shell::new().run("config admin-key").ends(0);
    let key = made.stdout.trim();
    let shell = Shell::new()
        .variable("DOCKET_API_KEY", key)
        .file("docket.toml", "[auth]\nadmin_key = \"file:first.key\"\n");
    let path = shell.path().join("first.key");
    let refused = || {
        shell
            .run("serve --config docket.toml --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0")
            .ends(1)
    };
    refused().says("auth.admin_key: cannot read file:first.key");
    fs::write(&path, "hunter2").unwrap();
    let told = refused().says("auth.admin_key: it is no API key").stderr.clone();
    assert!(!told.contains("hunter2"), "{told}");

    fs::write(&path, key).unwrap();
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    let create = "customer create acme --currency eur --credit-limit 100";
    shell.run(&format!("{create} {}", server.flags())).ends(0);
    server.stop();

    // It is taken away, as whoever cares for it does.
    fs::remove_file(&path).unwrap();
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    shell.run(&format!("customer list {}", server.flags())).ends(0);
    // That it is configured is told; that it cannot be read is no matter any more.
    assert!(!server.log().contains("cannot read"), "{}", server.log());
    server.stop();
}

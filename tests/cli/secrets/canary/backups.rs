//! What is said of backups, and of the bucket that they are in.

use super::{BUCKET, Said, output};
use crate::{
    secrets::beside::Beside,
    server::{Server, until},
    support::Shell,
};

/// Where the command makes one.
const BY_HAND: &str = "s3://backups/by/hand";

/// What is said of backups in a bucket, by the node and by the commands: those that are made, and those that cannot be read.
pub(super) fn backups(shell: &Shell, server: &Server, beside: &Beside, said: &mut Said) {
    let flags = server.flags();
    // One is made at a time in each place, and the node is at its own in its own one.
    let create = format!("backup create --to {BY_HAND} --key env:CANARY_BACKUPS {flags}");
    said.run("backup create", &shell.run(&create).ends(0));
    // And the node its own.
    until(
        "a backup to be made by the node",
        || {
            let (_, metrics) = server.admin("/metrics")?;
            metrics
                .contains("docket_backup_until_timestamp_seconds ")
                .then_some(())
        },
        || server.log(),
    );
    for command in ["list", "verify", "list -o json", "verify --deep"] {
        let command = format!("backup {command} --from {BY_HAND} --key env:CANARY_BACKUPS");
        said.run(&command, &shell.run(&command).ends(0));
    }
    for from in [
        "s3://backups/shop/eu --key env:CANARY_OTHER_BACKUPS",
        "s3://backups/shop/eu",
        "s3://gone/shop",
    ] {
        let command = format!("backup verify --from {from}");
        said.run(&command, &shell.run(&command).ends(1));
    }
    let list = format!("backup list --from {BUCKET} --key env:CANARY_BACKUPS");
    let mut stranger = shell.command(list.split(' '));
    stranger.env("AWS_ACCESS_KEY_ID", "other");
    said.add("a bucket that refuses", output(&mut stranger, 1));
    said.add("the names in the bucket", beside.stored().join("\n"));
}

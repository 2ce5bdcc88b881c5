//! `docket backup`: a cluster's state kept elsewhere, and a new cluster made of it.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Subcommand;
use docket_audit::{AUDIT_DIR, Audit, AuditError, AuditOptions, Entry, Who, actions};
use docket_backup::{Key, Manifest, Progress, Repository, Source as _, Wanted, create};
use docket_secrets::Reference;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;

use super::{
    args::{ClientArgs, Context},
    keys::KeysArgs,
};
use crate::{
    backup::{Checked, Remote, Restore, choose, new_id, place, verify},
    failure::Failure,
    output::{Field, Output, Records, Tone, bytes},
    serve,
    values::time,
};

/// How often it is told how far something is.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// `docket backup`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket backup create --to /mnt/backups/shop
  docket backup list --from /mnt/backups/shop
  docket backup verify --from /mnt/backups/shop --deep
  docket backup restore --from /mnt/backups/shop --data-dir /var/lib/docket-new

A repository has the backups of one cluster: the first is whole, each further
one has what came since. How they are kept is in docs/backup.md.

It is a folder, or s3://BUCKET/PREFIX of any S3-compatible store, reached as
AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN and AWS_CA_BUNDLE say.

With --key all of it is sealed: whoever has a backup that is not has every
account, the keys that sign tokens, and the secrets of webhooks. The key is 32
random bytes in a file or a variable: openssl rand -hex 32 > backup.key")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be done with backups.
#[derive(Debug, Subcommand)]
enum Command {
    /// Back a running cluster up, whole or what came since the last time
    Create(Create),
    /// List the backups of a repository, oldest first
    List(List),
    /// Read a backup, and see whether each byte is as it was written
    Verify(Verify),
    /// Make a new data directory of a backup, as of its end or of a time
    Restore(RestoreArgs),
}

/// Create.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket backup create --to /mnt/backups/shop
  docket backup create --to /mnt/backups/shop --key file:/etc/docket/backup.key
  docket backup create --to /mnt/backups/shop --full

Whatever was answered before it begins is in it. The cluster goes on as it does;
the server that is asked has to have a replica of every shard. Each file is read
again when it is written. One that broke off is gone on with.

Needs an admin's credentials with the scopes operations and access.")]
struct Create {
    /// The repository: a folder, or s3://BUCKET/PREFIX; empty for a new one
    #[arg(long, value_name = "PLACE")]
    to: String,
    #[command(flatten)]
    seal: Seal,
    /// Rest on no backup before it
    #[arg(long)]
    full: bool,
}

/// List.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket backup list --from /mnt/backups/shop
  docket backup list --from /mnt/backups/shop -o json | jq '.backups[-1].until'

A backup that is not finished is not listed.")]
struct List {
    #[command(flatten)]
    from: Kept,
}

/// Verify.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket backup verify --from /mnt/backups/shop
  docket backup verify --from /mnt/backups/shop --deep
  docket backup verify 20261130T051500Z-1f3a --from /mnt/backups/shop

It reads what a restore would read. With --deep it also does what a restore
does, in memory: every entry of every log is applied.
Exit codes: 0 good, 1 not.")]
struct Verify {
    /// The backup [default: the newest]
    #[arg(value_name = "BACKUP")]
    id: Option<String>,
    #[command(flatten)]
    from: Kept,
    /// Apply all of it, too
    #[arg(long)]
    deep: bool,
}

/// Restore.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket backup restore --from /mnt/backups/shop --data-dir new
  docket backup restore --from /mnt/backups/shop --data-dir new \\
      --at 2026-11-30T05:15:00Z
  docket serve --data-dir new

The folder becomes that of the first node of a new cluster, with a new id, and
with all orders, customers, items, accounts and keys as they were. It grows as
any other: docket cluster init. One that broke off is gone on with, by the same
command, as of the backup that it was begun with. Nothing is ever restored over
what is there.

Before it serves: it delivers to the webhooks and asks the payment providers
that it knows. Of a copy, keep it from reaching them.")]
struct RestoreArgs {
    /// The backup [default: the newest, or the first that reaches --at]
    #[arg(value_name = "BACKUP")]
    id: Option<String>,
    #[command(flatten)]
    from: Kept,
    /// The new server's folder, empty or not there
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// All as it was at this time: a moment, or a span before now such as 2h
    #[arg(long, value_name = "TIME", value_parser = time::since)]
    at: Option<Timestamp>,
    #[command(flatten)]
    keys: KeysArgs,
}

/// Where backups are.
#[derive(Debug, clap::Args)]
struct Kept {
    /// The repository: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE")]
    from: String,
    #[command(flatten)]
    seal: Seal,
}

/// What they are sealed with.
#[derive(Debug, clap::Args)]
struct Seal {
    /// Where the key is: file:PATH or env:VARIABLE
    #[arg(long = "key", value_name = "REFERENCE")]
    seal_key: Option<Reference>,
}

impl Args {
    /// Whether it calls a server.
    pub fn asks_a_server(&self) -> bool {
        matches!(self.command, Command::Create(_))
    }

    /// Does it, with the flags from in front of the command beneath its own.
    pub async fn run(
        self,
        outer: ClientArgs,
        data_dir: Option<PathBuf>,
        output: Output,
    ) -> Result<(), Failure> {
        let Self { client, command } = self;
        match &command {
            Command::Create(_) => {}
            Command::List(_) => client.refuse("backup list")?,
            Command::Verify(_) => client.refuse("backup verify")?,
            Command::Restore(_) => client.refuse("backup restore")?,
        }
        if data_dir.is_some() && !matches!(command, Command::Restore(_)) {
            return Err(Failure::Usage(
                "--data-dir is of use to `docket backup restore` alone".to_owned(),
            ));
        }
        match command {
            Command::Create(args) => {
                let context = client.or(outer).link(output)?.connect().await?;
                args.run(&context).await
            }
            Command::List(args) => args.run(&output).await,
            Command::Verify(args) => args.run(&output).await,
            Command::Restore(args) => args.run(data_dir, &output).await,
        }
    }
}

impl Create {
    async fn run(self, Context { client, output }: &Context) -> Result<(), Failure> {
        let (place, key) = (place(&self.to).map_err(Failure::Usage)?, self.seal.key()?);
        let remote = Remote::new(client);
        // Whose it is, before anything is written.
        let cluster_id = remote.point().await.map_err(failed)?.cluster_id;
        let repository = Repository::open_or_make(place, key, &cluster_id)
            .await
            .map_err(failed)?;
        let now = Timestamp::now();
        let wanted = Wanted {
            id: new_id(now),
            now_us: now.as_microsecond(),
            full: self.full,
        };
        let mut teller = Teller::new();
        let mut tell = |progress: &Progress<'_>| {
            let Progress {
                id,
                resumed,
                done,
                groups,
                bytes: put,
            } = progress;
            let resumed = if *resumed { ", gone on with" } else { "" };
            let line = format!("backup {id}{resumed}: {done} of {groups} groups, {}", bytes(*put));
            teller.tell(*done == *groups, &line);
        };
        let made = create(&repository, &remote, &wanted, &mut tell).await;
        teller.end();
        output.fields(&fields(&made.map_err(failed)?))
    }
}

impl List {
    async fn run(self, output: &Output) -> Result<(), Failure> {
        let repository = self.from.open().await?;
        let mut rows = Vec::new();
        for id in repository.backups().await.map_err(failed)? {
            let (manifest, _) = repository.manifest(&id).await.map_err(failed)?;
            rows.push(fields(&manifest));
        }
        if let Some(unfinished) = repository.unfinished().await.map_err(failed)? {
            let id = unfinished.id;
            output.note(&format!(
                "{id} was begun and is not finished: docket backup create goes on with it"
            ));
        }
        output.records(
            "backups",
            &Records {
                columns: &["backup", "until", "full", "bytes", "objects"],
                rows,
            },
        )
    }
}

impl Verify {
    async fn run(self, output: &Output) -> Result<(), Failure> {
        let repository = Arc::new(self.from.open().await?);
        let chosen = choose(&repository, self.id.as_deref(), None).await?;
        let groups = chosen.chain.first().map_or(0, |newest| newest.groups.len());
        let mut teller = Teller::new();
        let mut tell = |done: usize, checked: &Checked| {
            let line = format!("verified {done} of {groups} groups, {}", bytes(checked.bytes));
            teller.tell(done == groups, &line);
        };
        let checked = verify(&repository, &chosen, self.deep, &mut tell).await;
        teller.end();
        let Checked {
            objects,
            bytes: read,
            entries,
        } = checked?;
        let newest = chosen.chain.first().map(|newest| newest.id.as_str());
        let mut fields = vec![
            Field::text("backup", newest.unwrap_or_default()),
            Field::flag("good", true).tone(Tone::Good),
            Field::number("backups_read", chosen.chain.len() as u64),
            Field::number("objects", objects),
            Field::shown("bytes", json!(read), bytes(read)),
        ];
        if self.deep {
            fields.push(Field::number("entries", entries));
        }
        output.fields(&fields)
    }
}

impl RestoreArgs {
    async fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        // What the new server's configuration says of its folder is not asked: nobody restores there by mistake.
        let (keys, _) = self.keys.open().await?;
        let data_dir = self
            .data_dir
            .or(outer)
            .ok_or_else(|| Failure::Usage("name the new server's folder with --data-dir".to_owned()))?;
        let repository = Arc::new(self.from.open().await?);
        let (mut id, mut at_us) = (self.id, self.at.map(Timestamp::as_microsecond));
        // Where nothing is named what was begun there is gone on with, also where there is a newer backup by now.
        if id.is_none()
            && at_us.is_none()
            && let Some((begun, until_us)) = Restore::begun(&data_dir)?
        {
            (id, at_us) = (Some(begun), Some(until_us));
        }
        let chosen = choose(&repository, id.as_deref(), at_us).await?;
        let (id, groups) = match chosen.chain.first() {
            Some(newest) => (newest.id.clone(), newest.groups.len()),
            None => return Err(Failure::Other("a backup without a manifest".to_owned())),
        };
        serve::make_data_dir(&data_dir)?;
        let restore = Restore::begin(&chosen, &data_dir, &keys)?;
        let mut teller = Teller::new();
        let mut tell = |done: usize, entries: u64| {
            let line = format!("restored {done} of {groups} groups, {entries} entries");
            teller.tell(done == groups, &line);
        };
        let restored = restore.run(&repository, &chosen, &mut tell).await;
        teller.end();
        let restored = restored?;
        let until = moment(chosen.until_us);
        let audit = Audit::open_with(&data_dir.join(AUDIT_DIR), 1, AuditOptions::default(), keys);
        let audit = audit.map_err(|cause| unrecorded(&cause))?;
        let cluster = format!("clusters/{}", restored.cluster_id);
        let made = Entry::new(Who::operator(), actions::BACKUP_RESTORE, cluster);
        let made = made.detail("backup", id.clone()).detail("until", until.clone());
        let recorded = audit.record(made).await;
        audit.close().await;
        recorded.map_err(|cause| unrecorded(&cause))?;
        output.fields(&[
            Field::text("data_dir", &data_dir.display().to_string()),
            Field::text("cluster_id", &restored.cluster_id),
            Field::text("backup", &id),
            Field::text("until", &until),
            Field::number("entries", restored.entries),
            Field::number("groups", groups as u64),
            Field::number("groups_resumed", restored.resumed as u64),
        ])
    }
}

impl Kept {
    async fn open(&self) -> Result<Repository, Failure> {
        let key = self.seal.key()?;
        Repository::open(place(&self.from).map_err(Failure::Usage)?, key)
            .await
            .map_err(failed)
    }
}

impl Seal {
    fn key(&self) -> Result<Option<Key>, Failure> {
        let Some(reference) = &self.seal_key else {
            return Ok(None);
        };
        let read = match reference {
            Reference::File(path) => std::fs::read_to_string(path).map_err(|cause| cause.to_string()),
            Reference::Variable(name) => std::env::var(name).map_err(|cause| cause.to_string()),
            Reference::Vault(_) => Err("this command asks no secrets' server".to_owned()),
        };
        let secret = read.map(SecretString::from);
        let secret = secret.map_err(|cause| Failure::Usage(format!("cannot read {reference}: {cause}")))?;
        let key = Key::of(&secret);
        key.map(Some)
            .map_err(|cause| Failure::Usage(format!("{reference}: {cause}")))
    }
}

/// A backup as it is shown.
fn fields(manifest: &Manifest) -> Vec<Field> {
    let until = moment(manifest.until_us);
    let parent = manifest.parent.as_ref().map(|parent| parent.id.clone());
    let shown = bytes(manifest.bytes());
    vec![
        Field::text("backup", &manifest.id),
        Field::text("until", &until),
        Field::flag("full", manifest.full),
        Field::shown("bytes", json!(manifest.bytes()), shown),
        Field::number("objects", manifest.objects().count() as u64),
        Field::text("cluster_id", &manifest.cluster_id).hidden(),
        Field::number("node_id", manifest.node).hidden(),
        Field::shown("parent", json!(parent), ""),
    ]
}

fn moment(time_us: i64) -> String {
    Timestamp::from_microsecond(time_us).map_or_else(|_| time_us.to_string(), |time| time.to_string())
}

fn failed(cause: impl std::fmt::Display) -> Failure {
    Failure::Other(cause.to_string())
}

fn unrecorded(cause: &AuditError) -> Failure {
    Failure::Other(format!(
        "it is restored, and the audit log cannot be written: {cause}"
    ))
}

/// Tells on stderr how far something is: on a terminal in one line that is written again and again.
struct Teller {
    is_terminal: bool,
    last: Option<Instant>,
}

impl Teller {
    fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            last: None,
        }
    }

    fn tell(&mut self, is_end: bool, line: &str) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= TELL_EVERY);
        if !is_due && !is_end {
            return;
        }
        self.last = Some(Instant::now());
        // Whoever does not hear it has the result.
        let _ = match self.is_terminal {
            true => write!(io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }

    fn end(&self) {
        if self.is_terminal && self.last.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}

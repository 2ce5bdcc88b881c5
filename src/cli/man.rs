//! `docket man`: its manual pages.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use crate::failure::Failure;

/// `docket man`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket man | man -l -
  docket man --out /usr/local/share/man/man1

With --out one page is written for each command: docket.1, docket-order.1,
docket-order-place.1 and so on.")]
pub struct Args {
    /// Folder for the pages of all commands; made if it is not there [default:
    /// the first page alone, to stdout]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Args {
    /// Writes the pages.
    pub fn run(self) -> Result<(), Failure> {
        let command = super::command().disable_help_subcommand(true);
        let Some(dir) = self.out else {
            let mut page = Vec::new();
            let written = clap_mangen::Man::new(command)
                .render(&mut page)
                .and_then(|()| io::stdout().write_all(&page));
            return match written {
                Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Failure::Other(format!("cannot write to stdout: {cause}")))
                }
                _ => Ok(()),
            };
        };
        fs::create_dir_all(&dir)
            .and_then(|()| clap_mangen::generate_to(command, &dir))
            .map_err(|cause| {
                Failure::Other(format!("cannot write manual pages to {}: {cause}", dir.display()))
            })
    }
}

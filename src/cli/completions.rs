//! `docket completions`: a script that completes commands in a shell.

use std::io;

use clap_complete::Shell;

use crate::failure::Failure;

/// `docket completions`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket completions bash > /etc/bash_completion.d/docket
  docket completions zsh > ~/.zfunc/_docket
  docket completions fish > ~/.config/fish/completions/docket.fish")]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

impl Args {
    /// Prints the script.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "docket", &mut script);
        match io::Write::write_all(&mut io::stdout(), &script) {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Other(format!("cannot write to stdout: {cause}")))
            }
            _ => Ok(()),
        }
    }
}

//! Help: for every command, readable in 80 columns.

use crate::support::Shell;

/// Every command, found by asking each for those beneath it.
fn commands(shell: &Shell, above: &str, found: &mut Vec<(String, String)>) {
    let help = shell.run(&format!("{above} --help")).ends(0).stdout;
    let beneath: Vec<String> = help
        .split_once("\nCommands:\n")
        .map(|(_, rest)| rest.split("\n\n").next().unwrap_or_default())
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    found.push((above.to_owned(), help));
    for name in beneath {
        commands(shell, &format!("{above} {name}"), found);
    }
}

#[test]
fn every_help_page_is_as_reviewed_and_fits_80_columns() {
    let shell = Shell::new();
    let mut found = Vec::new();
    commands(&shell, "", &mut found);
    assert!(found.len() > 25, "found only {} commands", found.len());
    let mut all = String::new();
    for (command, help) in found {
        assert!(
            help.contains("\nExamples:\n"),
            "docket{command} --help has no examples"
        );
        for line in help.lines() {
            assert!(
                line.chars().count() <= 80,
                "docket{command} --help is too wide: {line}"
            );
        }
        all.push_str(&format!("$ docket{command} --help\n{help}\n"));
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn version_and_completions_go_to_stdout() {
    let shell = Shell::new();
    assert!(shell.run("--version").ends(0).stdout.starts_with("docket 0."));
    for name in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = shell.run(&format!("completions {name}")).ends(0).stdout;
        assert!(script.contains("customer"), "{name}");
    }
}

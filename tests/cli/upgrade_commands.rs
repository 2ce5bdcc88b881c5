//! The commands of `deploy/upgrade` for other machines, with tools in place of ssh, systemctl and kubectl that note what they are asked.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// A folder with programs that are found before all others.
struct Tools(TempDir);

impl Tools {
    fn new(tools: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in tools {
            folder.tool(name, text);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tool(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(
            &path,
            format!("#!/bin/sh\nlog='{}'\n{text}\n", self.path("log").display()),
        )
        .unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, command: &str, args: &[&Path], variables: &[(&str, &str)]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy/upgrade")
            .join(command);
        let path = format!("{}:{}", self.0.path().display(), env::var("PATH").unwrap());
        Command::new(script)
            .args(args)
            .env("PATH", path)
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// What the tools were asked since the last time.
    fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.path("log"));
        log.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_service_is_stopped_given_the_other_program_and_started() {
    let tools = Tools::new(&[
        ("ssh", "echo \"ssh $3\" >>\"$log\"; exec sh -c \"$4\""),
        ("sudo", "exec \"$@\""),
        ("systemctl", "echo \"systemctl $*\" >>\"$log\""),
        ("new", "echo \"new $*\" >>\"$log\"; exit 10"),
        ("bad", "echo \"bad $*\" >>\"$log\"; exit 1"),
    ]);
    let (link, new, bad) = (tools.path("docket"), tools.path("new"), tools.path("bad"));
    let mut variables = vec![
        ("DOCKET_HOSTS", "1=one.example 2=two.example"),
        ("DOCKET_NODE", "2"),
        ("DOCKET_STEP", "exchange"),
        ("DOCKET_LINK", link.to_str().unwrap()),
    ];
    let exchanged = tools.run("systemd", &[&new], &variables);
    assert!(exchanged.status.success(), "{exchanged:?}");
    assert_eq!(
        tools.asked(),
        [
            "ssh two.example",
            "systemctl stop docket",
            "systemctl reset-failed docket",
            "systemctl start --no-block docket"
        ]
    );
    assert_eq!(fs::read_link(&link).unwrap(), new);

    // Checked first: nothing to compare with is no difference, and a difference leaves the node as it was.
    variables.push(("DOCKET_CHECK", "1"));
    let exchanged = tools.run("systemd", &[&new], &variables);
    assert!(exchanged.status.success(), "{exchanged:?}");
    assert_eq!(
        tools.asked(),
        [
            "ssh two.example",
            "systemctl stop docket",
            "new upgrade check --data-dir /var/lib/docket",
            "systemctl reset-failed docket",
            "systemctl start --no-block docket"
        ]
    );
    let refused = tools.run("systemd", &[&bad], &variables);
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(
        tools.asked(),
        [
            "ssh two.example",
            "systemctl stop docket",
            "bad upgrade check --data-dir /var/lib/docket",
            "systemctl reset-failed docket",
            "systemctl start --no-block docket"
        ]
    );
    assert_eq!(fs::read_link(&link).unwrap(), new);

    variables.push(("DOCKET_NODE", "7"));
    let unknown = tools.run("systemd", &[&new], &variables);
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("has no node 7"),
        "{unknown:?}"
    );
    assert!(tools.asked().is_empty());
}

#[test]
fn a_pod_is_made_anew_with_the_other_image_in_its_turn() {
    // Each look at the pod shows another one, once something was asked for.
    let tools = Tools::new(&[(
        "kubectl",
        "shift 2\n\
         case $1 in\n\
         get) wc -l <\"$log\" 2>/dev/null || echo 0 ;;\n\
         *) echo \"$*\" >>\"$log\" ;;\n\
         esac",
    )]);
    let on_delete = "patch statefulset docket --type merge -p \
                     {\"spec\":{\"updateStrategy\":{\"type\":\"OnDelete\",\"rollingUpdate\":null}}}";
    for (step, image) in [("exchange", "docket:0.2.0"), ("restore", "docket:0.1.0")] {
        let variables = [
            ("DOCKET_NODE", "3"),
            ("DOCKET_STEP", step),
            ("DOCKET_NEW", "docket:0.2.0"),
            ("DOCKET_OLD", "docket:0.1.0"),
        ];
        let done = tools.run("kubernetes", &[], &variables);
        assert!(done.status.success(), "{done:?}");
        assert_eq!(
            tools.asked(),
            [
                on_delete.to_owned(),
                format!("set image statefulset/docket docket={image}"),
                "delete pod docket-3 --wait=false".to_owned()
            ]
        );
    }
    // Without a way back nothing is begun.
    let variables = [
        ("DOCKET_NODE", "3"),
        ("DOCKET_STEP", "exchange"),
        ("DOCKET_NEW", "docket:0.2.0"),
    ];
    let refused = tools.run("kubernetes", &[], &variables);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(tools.asked().is_empty());
}

//! What a server says when it is ready: its addresses and, at its first start, three commands to paste.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use super::Running;
use crate::{
    client::{DEFAULT_ADDRESS, DEFAULT_KEY_FILE},
    config::Config,
    failure::Failure,
    output::{Field, Format, Output},
};

/// Prints it on stdout.
///
/// # Errors
/// Stdout cannot be written.
pub fn announce(server: &Running, config: &Config, output: &Output) -> Result<(), Failure> {
    let scheme = if config.tls.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    let address = format!("{scheme}://{}", server.grpc_address());
    let admin = format!("http://{}", server.admin_address());
    let console = if config.admin.console { ", console" } else { "" };
    let key_file = server.key_file().map(|path| path.display().to_string());
    if output.format() == Format::Table {
        output.line(&format!("Docket {} is ready.\n", env!("CARGO_PKG_VERSION")))?;
    }
    let rest = server.rest_address().map(|rest| format!("{scheme}://{rest}"));
    let mut fields = vec![Field::text("grpc", &address)];
    fields.extend(rest.map(|rest| {
        let shown = format!("{rest} (/v1, openapi.json)");
        Field::shown("rest", rest.into(), shown)
    }));
    fields.extend([
        Field::shown(
            "admin",
            admin.clone().into(),
            format!("{admin} (livez, readyz, metrics, status{console})"),
        ),
        Field::text("data_dir", &config.server.data_dir.display().to_string()),
        Field::shown(
            "key_file",
            key_file.clone().into(),
            key_file.clone().unwrap_or_default(),
        ),
        Field::flag("first_start", server.is_first_start()).hidden(),
    ]);
    output.fields(&fields)?;
    if server.is_first_start() {
        let address = format!("{scheme}://{}", reachable(server.grpc_address()));
        let flags = flags(&address, config, key_file.as_deref());
        output.line(&commands(&program(), &flags))?;
    }
    Ok(())
}

/// Three commands that work as they stand, in the folder where the server was started.
fn commands(program: &str, flags: &str) -> String {
    format!(
        "\nTry it from another terminal:\n\n  \
         {program} customer create acme --currency EUR --credit-limit 500.00{flags}\n  \
         {program} item create tea --currency EUR --price 4.50 --on-hand 100{flags}\n  \
         {program} order place --customer acme tea:2{flags}\n\n\
         The key file is an administrator's: whoever reads it may do everything."
    )
}

/// Where a client on this machine reaches a server that listens at `address`: on every address means on loopback, too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The flags without which the commands would not find this server or its key.
fn flags(address: &str, config: &Config, key_file: Option<&str>) -> String {
    let mut flags = String::new();
    if address != DEFAULT_ADDRESS {
        flags.push_str(&format!(" --addr {}", quoted(address)));
    }
    if let Some(certificate) = &config.tls.certificate {
        flags.push_str(&format!(" --ca {}", quoted(&certificate.display().to_string())));
    }
    if let Some(path) = key_file.filter(|path| Path::new(path) != Path::new(DEFAULT_KEY_FILE)) {
        flags.push_str(&format!(" --api-key-file {}", quoted(path)));
    }
    flags
}

/// How this program was called: a shell may not find it otherwise.
fn program() -> String {
    env::args()
        .next()
        .filter(|name| name.contains('/'))
        .map_or_else(|| "docket".to_owned(), |name| quoted(&name))
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:[]@%+=,".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_carry_only_the_flags_that_they_need() {
        let mut config = Config::default();
        assert_eq!(
            flags(DEFAULT_ADDRESS, &config, Some("./docket-data/admin.key")),
            ""
        );
        config.tls.certificate = Some("my cert.pem".into());
        assert_eq!(
            flags("https://127.0.0.1:9", &config, Some("/x/admin.key")),
            " --addr https://127.0.0.1:9 --ca 'my cert.pem' --api-key-file /x/admin.key"
        );
    }

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:7070"), "127.0.0.1:7070");
        assert_eq!(reached("[::]:7070"), "[::1]:7070");
        assert_eq!(reached("10.1.2.3:7070"), "10.1.2.3:7070");
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must_be() {
        assert_eq!(quoted("./target/debug/docket"), "./target/debug/docket");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}

//! How a provider is reached over HTTP.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use http::{HeaderValue, Uri};
use secrecy::{ExposeSecret as _, SecretString};

use super::breaker::BreakerConfig;

/// The longest of any time here: what is longer is a slip, and sums of these must not overflow.
const TIME_MAX: Duration = Duration::from_secs(3_600);
/// More connections than that are not kept open for nothing.
const IDLE_CONNECTIONS_MAX: usize = 1_024;

/// How a provider is reached over HTTP, and how much patience it gets.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// What its addresses begin with: `https://HOST[:PORT][/PATH]`. `http` only for a loopback address, or with
    /// [`allow_http`](Self::allow_http).
    pub url: String,
    /// Whether `http` is allowed to others: then everybody on the way reads the token. Default false.
    pub allow_http: bool,
    /// What is sent as `authorization: Bearer …`. Default none.
    pub token: Option<SecretString>,
    /// A PEM file with certificates of authorities that are trusted beside the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// How long connecting may take, TLS not counted. This and each other time: up to an hour. Default 3 seconds.
    pub connect_timeout: Duration,
    /// How long one request may take, from connecting to the last byte of the reply. Default 10 seconds.
    pub timeout: Duration,
    /// How often one `settle` asks at most: each time, where something is not known, what happened, and then again.
    /// From 1 to 100. Default 3.
    pub attempts: u32,
    /// The least pause between attempts; each is twice the one before, and then by chance up to twice that. Default 100 ms.
    pub backoff_min: Duration,
    /// The most that the pause grows to, before chance. Default 2 seconds.
    pub backoff_max: Duration,
    /// When it is left alone.
    pub breaker: BreakerConfig,
    /// The longest reply, in bytes. Default 65,536.
    pub reply_bytes_max: usize,
    /// Connections that are kept open while nothing is asked, up to 1,024. Default 8.
    pub idle_connections_max: usize,
    /// Makes the pauses repeatable, for tests. Default none.
    pub jitter_seed: Option<u64>,
}

impl HttpConfig {
    /// The defaults, for a provider at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            allow_http: false,
            token: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            attempts: 3,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            breaker: BreakerConfig::default(),
            reply_bytes_max: 65_536,
            idle_connections_max: 8,
            jitter_seed: None,
        }
    }

    /// Whether all of it can be. Reads no file.
    ///
    /// # Errors
    /// Names the first option that cannot.
    pub fn validate(&self) -> Result<(), HttpConfigError> {
        self.base()?;
        authorization(self.token.as_ref())?;
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("backoff_min", self.backoff_min),
            ("backoff_max", self.backoff_max),
            ("breaker_open_for", self.breaker.open_for),
        ];
        for (option, time) in times {
            if time.is_zero() || time > TIME_MAX {
                return Err(refused(
                    option,
                    "must be from 1 to 3,600,000 ms, which is an hour",
                ));
            }
        }
        if self.backoff_min > self.backoff_max {
            return Err(refused("backoff_max", "must be at least the least pause"));
        }
        if !(1..=100).contains(&self.attempts) {
            return Err(refused("attempts", "must be from 1 to 100"));
        }
        if self.breaker.failures_max == 0 {
            return Err(refused("breaker_failures_max", "must be at least 1"));
        }
        if self.idle_connections_max > IDLE_CONNECTIONS_MAX {
            return Err(refused("idle_connections_max", "must be from 0 to 1,024"));
        }
        if !(256..=16 << 20).contains(&self.reply_bytes_max) {
            return Err(refused("reply_bytes_max", "must be from 256 to 16,777,216"));
        }
        Ok(())
    }

    /// The address without a slash at its end, and whether it is encrypted.
    pub(super) fn base(&self) -> Result<(String, bool), HttpConfigError> {
        const RULE: &str = "must be https://HOST[:PORT][/PATH], without a user, a query or a fragment";
        // What is refused is not repeated: somebody may have written a password into it.
        let uri: Uri = self.url.parse().map_err(|_| refused("url", RULE))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused("url", RULE));
        };
        if authority.host().is_empty()
            || authority.as_str().contains('@')
            || uri.query().is_some()
            || self.url.contains('#')
        {
            return Err(refused("url", RULE));
        }
        match scheme {
            "https" => {}
            "http" if self.allow_http || is_loopback(authority.host()) => {}
            "http" => {
                return Err(refused(
                    "url",
                    "must begin with https, unless it is a loopback address or allow_http is true",
                ));
            }
            _ => return Err(refused("url", RULE)),
        }
        Ok((self.url.trim_end_matches('/').to_owned(), scheme == "https"))
    }
}

/// The header that a token makes.
pub(super) fn authorization(token: Option<&SecretString>) -> Result<Option<HeaderValue>, HttpConfigError> {
    let Some(token) = token else { return Ok(None) };
    let token = token.expose_secret();
    let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = fits.then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let Some(mut header) = header.flatten() else {
        return Err(refused("token", "must be one line of visible ASCII characters"));
    };
    header.set_sensitive(true);
    Ok(Some(header))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An option of a provider that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} {requirement}")]
pub struct HttpConfigError {
    /// The field of [`HttpConfig`]; those of its breaker begin with `breaker_`.
    pub option: &'static str,
    /// What it must be. Has no secret.
    pub requirement: String,
}

pub(super) fn refused(option: &'static str, requirement: impl Into<String>) -> HttpConfigError {
    HttpConfigError {
        option,
        requirement: requirement.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_address_is_https_unless_it_is_here() {
        for good in [
            "https://pay.example.org",
            "https://pay.example.org:8443/docket/v1/",
            "http://127.0.0.1:9/",
            "http://[::1]:9",
            "http://localhost:9",
        ] {
            assert_eq!(HttpConfig::new(good).validate(), Ok(()), "{good}");
        }
        for bad in [
            "",
            "pay.example.org",
            "/payments",
            "ftp://pay.example.org",
            "http://pay.example.org",
            "http://127.0.0.1.example.org",
            "https://user:hunter2@pay.example.org",
            "https://pay.example.org/?a=b",
            "https://pay.example.org/#a",
            "https://",
        ] {
            let refused = HttpConfig::new(bad).validate().unwrap_err();
            assert_eq!(refused.option, "url", "{bad}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        let mut open = HttpConfig::new("http://pay.example.org");
        open.allow_http = true;
        assert_eq!(open.validate(), Ok(()));
    }

    #[test]
    fn the_token_is_one_line_and_shown_nowhere() {
        let mut config = HttpConfig::new("https://pay.example.org");
        config.token = Some("hunter2".into());
        assert_eq!(config.validate(), Ok(()));
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        let header = authorization(config.token.as_ref()).unwrap().unwrap();
        assert!(!format!("{header:?}").contains("hunter2"), "{header:?}");
        for bad in ["", "hunter2\n", "hunter 2", "hünter2"] {
            config.token = Some(bad.into());
            let refused = config.validate().unwrap_err();
            assert_eq!(refused.option, "token");
            assert!(!refused.to_string().contains("unter"), "{refused}");
        }
    }

    #[test]
    fn bounds_that_cannot_be_are_named() {
        #[track_caller]
        fn check(option: &str, change: fn(&mut HttpConfig)) {
            let mut config = HttpConfig::new("https://pay.example.org");
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().option, option);
        }
        check("timeout", |config| config.timeout = Duration::ZERO);
        check("connect_timeout", |config| config.connect_timeout = Duration::MAX);
        check("backoff_max", |config| {
            config.backoff_max = Duration::from_millis(1)
        });
        check("attempts", |config| config.attempts = 0);
        check("breaker_failures_max", |config| config.breaker.failures_max = 0);
        check("idle_connections_max", |config| {
            config.idle_connections_max = IDLE_CONNECTIONS_MAX + 1;
        });
        check("breaker_open_for", |config| {
            config.breaker.open_for = Duration::ZERO
        });
        check("reply_bytes_max", |config| config.reply_bytes_max = 1);
    }
}

//! Who the caller is: found by a fixed order of sources, sent with every call, never shown.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

/// The key file that `docket serve` writes at its first start, seen from the folder it was started in.
pub const DEFAULT_KEY_FILE: &str = "./docket-data/admin.key";

/// What a key file may hold at most, in bytes; more is not a key.
const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// Where credentials came from, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// There are none.
    #[default]
    None,
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nowhere"),
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A key file that was asked for cannot be read.
    #[error("cannot read the API key file {path}: {cause}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Text that cannot stand in a header.
    #[error("the credentials from {source_name} are empty or hold characters that no key or token has")]
    Text {
        /// Where they came from.
        source_name: Source,
    },
}

/// What the command line says about credentials; at most one of them.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// An access token.
    pub token: Option<String>,
    /// An API key.
    pub api_key: Option<String>,
    /// A file with an API key.
    pub api_key_file: Option<PathBuf>,
}

/// Adds credentials and the deadline to every call.
#[derive(Clone, Default)]
pub struct Credentials {
    header: Option<(&'static str, MetadataValue<Ascii>)>,
    source: Source,
    timeout: Option<Duration>,
    /// W3C Trace Context: what is sent with every call, so that it belongs to the trace of who has started this program.
    trace: Vec<(&'static str, MetadataValue<Ascii>)>,
}

/// Where who starts a program says in which trace, and the header of the same.
const TRACE: [(&str, &str); 2] = [("TRACEPARENT", "traceparent"), ("TRACESTATE", "tracestate")];

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// No credentials, for the calls that need none.
    pub fn none() -> Self {
        Self::default()
    }

    /// An API key that is at hand.
    ///
    /// # Errors
    /// Text that no key has.
    pub fn api_key(key: &SecretString, source: Source) -> Result<Self, CredentialsError> {
        Self::header("x-api-key", key.expose_secret().trim().to_owned(), source)
    }

    /// The first that there is: `--token`, `--api-key`, `--api-key-file`, `DOCKET_TOKEN`, `DOCKET_API_KEY`,
    /// `DOCKET_API_KEY_FILE`, and the file that a server started here wrote.
    ///
    /// # Errors
    /// A file that was asked for and cannot be read, or text that no key or token has.
    pub fn find(asked: Asked) -> Result<Self, CredentialsError> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(token) = asked.token {
            return Self::token(&token, Source::Flag("--token"));
        }
        if let Some(key) = asked.api_key {
            return Self::api_key(&key.into(), Source::Flag("--api-key"));
        }
        if let Some(path) = asked.api_key_file {
            return Self::file(path);
        }
        if let Some(token) = variable("DOCKET_TOKEN") {
            return Self::token(&token, Source::Variable("DOCKET_TOKEN"));
        }
        if let Some(key) = variable("DOCKET_API_KEY") {
            return Self::api_key(&key.into(), Source::Variable("DOCKET_API_KEY"));
        }
        if let Some(path) = variable("DOCKET_API_KEY_FILE") {
            return Self::file(path.into());
        }
        if Path::new(DEFAULT_KEY_FILE).exists() {
            return Self::file(DEFAULT_KEY_FILE.into());
        }
        Ok(Self::none())
    }

    /// Where they came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The header that they are sent in; none where there are none.
    pub fn as_header(&self) -> Option<(&'static str, MetadataValue<Ascii>)> {
        self.header.clone()
    }

    /// The same with a deadline for every call.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// The same in the trace that the environment names, where it does. What no header can carry names none.
    pub fn with_trace(mut self) -> Self {
        self.trace = TRACE
            .into_iter()
            .filter_map(|(variable, header)| {
                let value = env::var(variable).ok().filter(|value| !value.is_empty())?;
                Some((header, MetadataValue::try_from(value).ok()?))
            })
            .collect();
        self
    }

    /// The same without any.
    pub fn without_timeout(self) -> Self {
        Self {
            timeout: None,
            ..self
        }
    }

    fn token(token: &str, source: Source) -> Result<Self, CredentialsError> {
        if token.trim().is_empty() {
            return Err(CredentialsError::Text { source_name: source });
        }
        Self::header("authorization", format!("Bearer {}", token.trim()), source)
    }

    fn file(path: PathBuf) -> Result<Self, CredentialsError> {
        let read = || {
            if fs::metadata(&path)?.len() > KEY_FILE_BYTES_MAX {
                return Err(io::Error::other("it is too large to be a key"));
            }
            fs::read_to_string(&path)
        };
        let key = read().map_err(|cause| CredentialsError::File {
            path: path.clone(),
            cause,
        })?;
        Self::api_key(&key.into(), Source::File(path))
    }

    fn header(name: &'static str, value: String, source: Source) -> Result<Self, CredentialsError> {
        match MetadataValue::try_from(value) {
            Ok(mut value) if !value.is_empty() => {
                value.set_sensitive(true);
                Ok(Self {
                    header: Some((name, value)),
                    source,
                    timeout: None,
                    trace: Vec::new(),
                })
            }
            _ => Err(CredentialsError::Text { source_name: source }),
        }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some((name, value)) = &self.header {
            request.metadata_mut().insert(*name, value.clone());
        }
        for (name, value) in &self.trace {
            request.metadata_mut().insert(*name, value.clone());
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_into_its_header_and_is_never_shown() {
        let mut credentials = Credentials::api_key(&"secret\n".into(), Source::Flag("--api-key")).unwrap();
        let request = credentials.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("x-api-key").unwrap(), "secret");
        assert!(!format!("{credentials:?} {:?}", request.metadata()).contains("secret"));
    }

    #[test]
    fn a_token_goes_behind_bearer() {
        let mut credentials = Credentials::find(Asked {
            token: Some("abc".into()),
            ..Asked::default()
        })
        .unwrap();
        let request = credentials.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer abc");
    }

    #[test]
    fn a_key_file_that_is_missing_or_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let find = || {
            Credentials::find(Asked {
                api_key_file: Some(path.clone()),
                ..Asked::default()
            })
        };
        assert!(find().unwrap_err().to_string().contains("admin.key"));
        fs::write(&path, "x".repeat(5_000)).unwrap();
        assert!(find().unwrap_err().to_string().contains("too large"));
        fs::write(&path, "two\nlines").unwrap();
        assert!(find().unwrap_err().to_string().contains("admin.key"));
        fs::write(&path, " \n").unwrap();
        assert!(find().unwrap_err().to_string().contains("empty"));
        fs::write(&path, "key\n").unwrap();
        assert_eq!(find().unwrap().source(), &Source::File(path.clone()));
    }
}

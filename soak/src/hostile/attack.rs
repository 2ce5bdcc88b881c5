//! The attacks: what each does, how strongly, and what holds it.

use std::io;

use super::{calls, connections, crew::Crew, frames, operators, rest};

/// An attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// Calls that are reset as soon as they are made.
    RapidReset,
    /// Headers that never end.
    EndlessHeaders,
    /// Few bytes that stand for many headers.
    HeaderBomb,
    /// Frames that ask for answers which are not read.
    ControlFlood,
    /// A call of empty frames.
    EmptyFrames,
    /// HTTP/2's first bytes, slowly.
    SlowOpening,
    /// Ten thousand connections that ask for nothing.
    Connections,
    /// TLS that does not go on.
    HalfOpenTls,
    /// TLS that begins again and again.
    TlsHellos,
    /// Requests that come a byte at a time.
    SlowBodies,
    /// Answers that are not taken.
    UnreadReplies,
    /// Messages of a gigabyte.
    HugeMessages,
    /// Messages that say they are compressed.
    Compressed,
    /// Logins with wrong passwords.
    LoginStorm,
    /// Keys and tokens that do not hold.
    WrongCredentials,
    /// The operators' port.
    Operators,
    /// Heads of REST that come a byte at a time.
    RestSlowHeads,
    /// Bodies of REST that come a byte at a time.
    RestSlowBodies,
    /// Requests of REST whose answers are not read.
    RestPipelined,
    /// Connections to REST, all of one address.
    RestConnections,
    /// Heads of REST that are too long, or have too much in them.
    RestHeaderBomb,
    /// Bodies of REST in chunks that have no end.
    RestChunks,
    /// JSON that costs more than it weighs.
    RestJson,
}

/// How strong an attack is.
#[derive(Clone, Copy, Debug)]
pub struct Force {
    /// Who comes at the same time.
    pub visitors: usize,
    /// From so many addresses.
    pub addresses: usize,
    /// How often somebody comes, in all.
    pub visits_per_second: f64,
    /// How much those do who are there, in all: streams, frames or calls.
    pub work_per_second: f64,
}

/// What an attack must run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// One of these answers.
    Answer(&'static [&'static str]),
    /// A metric that grows.
    Metric(&'static str),
}

impl Attack {
    /// All, in the order in which they are made.
    pub const ALL: [Self; 23] = [
        Self::RapidReset,
        Self::EndlessHeaders,
        Self::HeaderBomb,
        Self::ControlFlood,
        Self::EmptyFrames,
        Self::SlowOpening,
        Self::Connections,
        Self::SlowBodies,
        Self::UnreadReplies,
        Self::HugeMessages,
        Self::Compressed,
        Self::LoginStorm,
        Self::WrongCredentials,
        Self::Operators,
        Self::RestSlowHeads,
        Self::RestSlowBodies,
        Self::RestPipelined,
        Self::RestConnections,
        Self::RestHeaderBomb,
        Self::RestChunks,
        Self::RestJson,
        Self::HalfOpenTls,
        Self::TlsHellos,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid-reset",
            Self::EndlessHeaders => "endless-headers",
            Self::HeaderBomb => "header-bomb",
            Self::ControlFlood => "control-flood",
            Self::EmptyFrames => "empty-frames",
            Self::SlowOpening => "slow-opening",
            Self::Connections => "connections",
            Self::HalfOpenTls => "half-open-tls",
            Self::TlsHellos => "tls-hellos",
            Self::SlowBodies => "slow-bodies",
            Self::UnreadReplies => "unread-replies",
            Self::HugeMessages => "huge-messages",
            Self::Compressed => "compressed",
            Self::LoginStorm => "login-storm",
            Self::WrongCredentials => "wrong-credentials",
            Self::Operators => "operators",
            Self::RestSlowHeads => "rest-slow-heads",
            Self::RestSlowBodies => "rest-slow-bodies",
            Self::RestPipelined => "rest-pipelined",
            Self::RestConnections => "rest-connections",
            Self::RestHeaderBomb => "rest-header-bomb",
            Self::RestChunks => "rest-chunks",
            Self::RestJson => "rest-json",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attack| attack.name() == name)
    }

    /// What it does.
    pub fn does(self) -> &'static str {
        match self {
            Self::RapidReset => "calls that are reset as soon as they are made",
            Self::EndlessHeaders => "HEADERS without an end, CONTINUATION after CONTINUATION",
            Self::HeaderBomb => "16 KiB of HPACK that stand for 48 MiB of headers",
            Self::ControlFlood => "PING and SETTINGS, whose answers are not read",
            Self::EmptyFrames => "a call of DATA frames with nothing in them",
            Self::SlowOpening => "the first bytes of HTTP/2, four a second",
            Self::Connections => "10,000 connections that ask for nothing",
            Self::HalfOpenTls => "nothing, half a ClientHello or a whole one, and no more",
            Self::TlsHellos => "whole ClientHellos, dropped when they are answered",
            Self::SlowBodies => "customers' calls that come two bytes a second",
            Self::UnreadReplies => "customers' calls without a window for the answer",
            Self::HugeMessages => "messages that say they have a gigabyte",
            Self::Compressed => "messages that say they are compressed",
            Self::LoginStorm => "logins with wrong passwords, from many addresses",
            Self::WrongCredentials => "keys and tokens that do not hold",
            Self::Operators => "strange paths, long heads and slow ones on the admin port",
            Self::RestSlowHeads => "REST: heads that come two bytes a second",
            Self::RestSlowBodies => "REST: customers' bodies that come two bytes a second",
            Self::RestPipelined => "REST: requests without end whose answers are not read",
            Self::RestConnections => "REST: 4,000 connections of one address",
            Self::RestHeaderBomb => "REST: many headers, long ones, and heads without an end",
            Self::RestChunks => "REST: endless chunks, and chunks with long extensions",
            Self::RestJson => "REST: a megabyte of JSON, nested, wide, or of escapes",
        }
    }

    /// How strong it is.
    pub fn force(self) -> Force {
        let force = |visitors, addresses, visits_per_second: f64, work_per_second: f64| Force {
            visitors,
            addresses,
            visits_per_second,
            work_per_second,
        };
        match self {
            Self::RapidReset => force(8, 4, 200.0, 20_000.0),
            Self::EndlessHeaders => force(8, 4, 200.0, 2_000.0),
            Self::HeaderBomb => force(8, 4, 200.0, 500.0),
            Self::ControlFlood => force(8, 4, 100.0, 20_000.0),
            Self::EmptyFrames => force(8, 4, 100.0, 20_000.0),
            Self::SlowOpening => force(2_000, 16, 1_000.0, 1.0),
            Self::Connections => force(10_000, 16, 3_000.0, 1.0),
            Self::HalfOpenTls => force(1_000, 16, 500.0, 1.0),
            Self::TlsHellos => force(16, 16, 100.0, 1.0),
            Self::SlowBodies => force(16, 4, 100.0, 1_000.0),
            Self::UnreadReplies => force(16, 4, 100.0, 1_000.0),
            Self::HugeMessages => force(8, 4, 50.0, 300.0),
            Self::Compressed => force(4, 4, 50.0, 500.0),
            Self::LoginStorm => force(64, 64, 200.0, 500.0),
            // Of one address: so that also where the machine is busy its failures come faster than they are forgiven.
            Self::WrongCredentials => force(32, 1, 200.0, 2_000.0),
            Self::Operators => force(96, 4, 300.0, 500.0),
            Self::RestSlowHeads => force(6_000, 16, 3_000.0, 1.0),
            Self::RestSlowBodies => force(1_000, 4, 1_000.0, 1_000.0),
            Self::RestPipelined => force(64, 4, 200.0, 5_000.0),
            Self::RestConnections => force(4_000, 1, 3_000.0, 1.0),
            Self::RestHeaderBomb => force(16, 4, 200.0, 500.0),
            Self::RestChunks => force(16, 4, 100.0, 500.0),
            Self::RestJson => force(12, 4, 30.0, 500.0),
        }
    }

    /// Whether it is made against a server with TLS.
    pub fn needs_tls(self) -> bool {
        matches!(self, Self::HalfOpenTls | Self::TlsHellos)
    }

    /// What it must run into, by the name of the bound.
    pub fn held_by(self) -> Held {
        const CALM: &[&str] = &["GOAWAY ENHANCE_YOUR_CALM"];
        match self {
            Self::RapidReset => Held::Answer(CALM),
            Self::EndlessHeaders => Held::Answer(CALM),
            Self::HeaderBomb => Held::Answer(&[
                "answered",
                "GOAWAY ENHANCE_YOUR_CALM",
                "RST_STREAM PROTOCOL_ERROR",
            ]),
            Self::ControlFlood => Held::Answer(&["taken", "not read any further"]),
            Self::EmptyFrames => Held::Answer(&["answered", "RST_STREAM CANCEL", "GOAWAY ENHANCE_YOUR_CALM"]),
            Self::SlowOpening | Self::HalfOpenTls => {
                Held::Metric("docket_connections_total{outcome=\"handshake_timeout\"}")
            }
            Self::Connections | Self::RestSlowHeads | Self::RestConnections => {
                Held::Metric("docket_connections_total{outcome=\"displaced\"}")
            }
            Self::TlsHellos => Held::Answer(&["answered"]),
            Self::SlowBodies | Self::UnreadReplies | Self::RestSlowBodies => {
                Held::Metric("docket_limiter_denials_total{limiter=\"customer_in_flight\"}")
            }
            Self::HugeMessages => Held::Answer(&["MESSAGE_TOO_LARGE"]),
            Self::Compressed => Held::Answer(&["COMPRESSION_UNSUPPORTED"]),
            Self::LoginStorm => Held::Answer(&["TOO_MANY_PASSWORDS", "TOO_MANY_LOGINS", "RATE_LIMITED"]),
            Self::WrongCredentials => Held::Metric("docket_limiter_denials_total{limiter=\"failure\"}"),
            Self::Operators => Held::Answer(&["HTTP 404"]),
            Self::RestPipelined => Held::Answer(&["not read any further"]),
            Self::RestHeaderBomb => Held::Answer(&["HTTP 431"]),
            Self::RestChunks => Held::Answer(&["MESSAGE_TOO_LARGE"]),
            Self::RestJson => Held::Answer(&["INVALID_ARGUMENT"]),
        }
    }

    pub(super) async fn visit(self, crew: &Crew, number: usize) -> io::Result<()> {
        match self {
            Self::RapidReset => frames::rapid_reset(crew, number).await,
            Self::EndlessHeaders => frames::endless_headers(crew, number).await,
            Self::HeaderBomb => frames::header_bomb(crew, number).await,
            Self::ControlFlood => frames::control_flood(crew, number).await,
            Self::EmptyFrames => frames::empty_frames(crew, number).await,
            Self::SlowOpening => connections::slow_opening(crew, number).await,
            Self::Connections => connections::idle(crew, number).await,
            Self::HalfOpenTls => connections::half_open_tls(crew, number).await,
            Self::TlsHellos => connections::tls_hellos(crew, number).await,
            Self::SlowBodies => calls::slow_bodies(crew, number).await,
            Self::UnreadReplies => calls::unread_replies(crew, number).await,
            Self::HugeMessages => calls::huge_messages(crew, number).await,
            Self::Compressed => calls::compressed(crew, number).await,
            Self::LoginStorm => calls::logins(crew, number).await,
            Self::WrongCredentials => calls::wrong_credentials(crew, number).await,
            Self::Operators => operators::probe(crew, number).await,
            Self::RestSlowHeads => rest::slow_heads(crew, number).await,
            Self::RestSlowBodies => rest::slow_bodies(crew, number).await,
            Self::RestPipelined => rest::pipelined(crew, number).await,
            Self::RestConnections => rest::idle(crew, number).await,
            Self::RestHeaderBomb => rest::header_bomb(crew, number).await,
            Self::RestChunks => rest::chunks(crew, number).await,
            Self::RestJson => rest::costly_json(crew, number).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_is_found_by_its_name_and_has_force() {
        for attack in Attack::ALL {
            assert_eq!(Attack::named(attack.name()), Some(attack));
            let force = attack.force();
            assert!(force.visitors > 0 && force.addresses > 0 && force.visits_per_second > 0.0);
            assert!(attack.does().chars().count() <= 60, "{}", attack.does());
        }
        assert_eq!(Attack::named("flood"), None);
    }
}

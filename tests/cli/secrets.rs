//! Secrets: from a real OpenBao server, rotated while the node serves; and nowhere to be found.

mod bao;
mod beside;
mod canary;
mod first_key;
mod http;
mod rotation;

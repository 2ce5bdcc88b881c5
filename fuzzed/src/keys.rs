//! The keys that the inputs are sealed with, the same in each run: what a search has found is found again.

use std::sync::LazyLock;

use docket_sealing::{Cipher, Head, Keyring};
use secrecy::SecretString;

/// The id of the key that there is.
pub const KEY: &str = "fuzz";
const BYTES: &str = "5f2d8c1e9a4b7f3065c2d1e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f901";
const SALT: &str = "000102030405060708090a0b0c0d0e0f";
/// The archive's own key, sealed with that one, as its file has it.
pub const ARCHIVE_HEAD: &str = include_str!("archive-head.txt");

static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    let id = KEY.parse().expect("an id");
    Keyring::new(Some(id), [(id, &SecretString::from(BYTES))]).expect("a key")
});

/// A keyring with one key.
pub fn keys() -> &'static Keyring {
    &KEYS
}

static HEAD: LazyLock<Head> = LazyLock::new(|| {
    let sealer = KEYS.sealer(b"any").expect("random bytes").expect("a key");
    let drawn = sealer.head().text();
    let (before, _) = drawn.split_once("salt ").expect("a salt");
    let text = format!("{before}salt {SALT}\n");
    Head::of_text(&text).expect("a head").0
});

/// A head of that key, with the same salt always.
pub fn head() -> &'static Head {
    &HEAD
}

/// What seals and opens under that head.
pub fn cipher(label: &[u8]) -> Cipher {
    KEYS.opener(&HEAD, label).expect("the key is there")
}

//! Sealing: what opens, what does not, and bytes that must open for ever.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use docket_sealing::{
    Head, HeadError, INNER_ADDED_BYTES, InnerKey, KeyId, Keyring, KeyringError, Nonce, SealError, TAG_BYTES,
};
use secrecy::SecretString;

const LABEL: &[u8] = b"of a test";

fn id(text: &str) -> KeyId {
    text.parse().unwrap()
}

/// A key of the same byte, 32 times.
fn secret(byte: u8) -> SecretString {
    SecretString::from(format!("{byte:02x}").repeat(32))
}

fn ring(current: &str, keys: &[(&str, u8)]) -> Keyring {
    let secrets: Vec<_> = keys
        .iter()
        .map(|(name, byte)| (id(name), secret(*byte)))
        .collect();
    let current = (!current.is_empty()).then(|| id(current));
    Keyring::new(current, secrets.iter().map(|(id, secret)| (*id, secret))).unwrap()
}

fn sealed(keys: &Keyring, nonce: Nonce, beside: &[u8], text: &[u8]) -> (Head, Vec<u8>) {
    let cipher = keys.sealer(LABEL).unwrap().unwrap();
    let mut bytes = text.to_vec();
    cipher.seal(nonce, beside, &mut bytes, 0).unwrap();
    (*cipher.head(), bytes)
}

fn opened(
    keys: &Keyring,
    (head, sealed): &(Head, Vec<u8>),
    nonce: Nonce,
    beside: &[u8],
    label: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut opened = b"what was there".to_vec();
    let done = keys.opener(head, label)?.open(nonce, beside, sealed, &mut opened);
    assert!(done.is_ok() || opened.is_empty());
    done.map(|()| opened)
}

#[test]
fn what_is_sealed_opens_in_its_place_with_its_key_alone_and_whichever_bit_is_flipped_it_does_not() {
    let keys = ring("b", &[("a", 1), ("b", 2)]);
    let nonce = Nonce::new(1, 7);
    let it = sealed(&keys, nonce, b"frame 7", b"orders");
    assert_eq!(it.1.len(), 6 + TAG_BYTES);
    assert_eq!(opened(&keys, &it, nonce, b"frame 7", LABEL).unwrap(), b"orders");
    let changed = Err(SealError::Changed { id: id("b") });
    assert_eq!(opened(&keys, &it, nonce, b"frame 8", LABEL), changed);
    assert_eq!(opened(&keys, &it, Nonce::new(1, 8), b"frame 7", LABEL), changed);
    assert_eq!(opened(&keys, &it, Nonce::new(2, 7), b"frame 7", LABEL), changed);
    assert_eq!(opened(&keys, &it, nonce, b"frame 7", b"another"), changed);
    for bit in 0..it.1.len() * 8 {
        let mut flipped = it.clone();
        flipped.1[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            opened(&keys, &flipped, nonce, b"frame 7", LABEL),
            changed,
            "bit {bit}"
        );
    }
    for length in 0..it.1.len() {
        let cut = (it.0, it.1[..length].to_vec());
        assert_eq!(opened(&keys, &cut, nonce, b"frame 7", LABEL), changed, "{length}");
    }
    // Under another salt the same is something else.
    assert_ne!(it.1, sealed(&keys, nonce, b"frame 7", b"orders").1);
}

#[test]
fn a_key_that_is_missing_is_told_from_one_that_is_another_and_both_are_named() {
    let it = sealed(&ring("a", &[("a", 1)]), Nonce::ONE, b"", b"orders");
    let open = |keys: &Keyring| opened(keys, &it, Nonce::ONE, b"", LABEL).unwrap_err();
    for keys in [Keyring::default(), ring("b", &[("b", 1)])] {
        let error = open(&keys);
        assert_eq!(error, SealError::NoKey { id: id("a") });
        assert!(error.is_of_keys() && error.to_string().contains("`a`"), "{error}");
    }
    let error = open(&ring("a", &[("a", 2)]));
    assert_eq!(error, SealError::WrongKey { id: id("a") });
    assert!(error.is_of_keys() && error.to_string().contains("`a`"), "{error}");
    // A key that nothing new is sealed with opens what is there.
    let old = ring("", &[("a", 1)]);
    assert_eq!(opened(&old, &it, Nonce::ONE, b"", LABEL).unwrap(), b"orders");
    assert!(old.sealer(LABEL).unwrap().is_none() && old.current().is_none());
    assert!(Keyring::default().sealer(LABEL).unwrap().is_none());
}

#[test]
fn keys_are_32_bytes_in_hexadecimal_or_base64_under_ids_that_are_there_once() {
    let of = |texts: &[(&str, &str)], current: Option<&str>| {
        let keys: Vec<_> = texts
            .iter()
            .map(|(name, text)| (id(name), SecretString::from(*text)))
            .collect();
        Keyring::new(current.map(id), keys.iter().map(|(id, secret)| (*id, secret)))
    };
    let (hex, base64) = ("07".repeat(32), "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    let it = sealed(&ring("a", &[("a", 7)]), Nonce::ONE, b"", b"orders");
    for text in [hex.clone(), base64.to_owned(), format!(" {hex}\n")] {
        let keys = of(&[("a", &text)], None).unwrap();
        assert_eq!(opened(&keys, &it, Nonce::ONE, b"", LABEL).unwrap(), b"orders");
        assert!(!format!("{keys:?}").contains("0707"), "{keys:?}");
    }
    for text in [
        "",
        "correct horse battery staple",
        &"07".repeat(31),
        &"07".repeat(33),
    ] {
        let error = of(&[("a", text)], None).unwrap_err();
        assert_eq!(error, KeyringError::Key(id("a")));
        assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
    }
    let twice = of(&[("a", &hex), ("a", &hex)], None);
    assert_eq!(twice.unwrap_err(), KeyringError::Twice(id("a")));
    let none = of(&[("a", &hex)], Some("b"));
    assert_eq!(none.unwrap_err(), KeyringError::NoCurrent(id("b")));
    for text in ["", "A", "a b", "a/b", &"a".repeat(33)] {
        assert_eq!(text.parse::<KeyId>(), Err(KeyringError::Id), "{text}");
    }
    assert_eq!(id(&"a".repeat(32)).as_str().len(), 32);
}

#[test]
fn a_head_reads_back_from_its_bytes_and_its_text_and_from_nothing_that_is_cut() {
    let (head, _) = sealed(&ring("2026-11", &[("2026-11", 1)]), Nonce::ONE, b"", b"");
    let mut bytes = Vec::new();
    head.put(&mut bytes);
    assert_eq!(bytes.len(), head.len());
    let whole = [&bytes[..], b"rest"].concat();
    assert_eq!(Head::take(&whole), Some((head, &b"rest"[..])));
    for length in 0..bytes.len() {
        assert_eq!(Head::take(&bytes[..length]), None, "{length}");
    }
    let text = head.text() + "inner 00\n";
    assert_eq!(Head::of_text(&text), Ok((head, "inner 00\n")));
    for length in 0..head.text().len() {
        assert!(Head::of_text(&text[..length]).is_err(), "{length}");
    }
    let newer = text.replace("sealed 1", "sealed 2");
    assert_eq!(Head::of_text(&newer), Err(HeadError::Version));
    assert_eq!(Head::of_text("anything\n"), Err(HeadError::Broken));
}

/// Files hold what this sealed: it must open for ever.
#[test]
fn what_the_first_version_sealed_opens_for_ever() {
    let head = "docket sealed 1\nkey a\ncheck ff882870\nsalt 000102030405060708090a0b0c0d0e0f\n";
    let of_now = sealed(&ring("a", &[("a", 1)]), Nonce::ONE, b"", b"").0.text();
    let (Ok((head, _)), Ok((now, _))) = (Head::of_text(head), Head::of_text(&of_now)) else {
        unreachable!("both are heads")
    };
    let check = |head: Head| head.text().lines().nth(2).map(str::to_owned);
    assert_eq!(check(head), check(now), "the check of a key never changes");
    let it = (head, KNOWN.to_vec());
    let keys = ring("", &[("a", 1)]);
    assert_eq!(
        opened(&keys, &it, Nonce::new(1, 2), b"beside", LABEL).unwrap(),
        b"orders"
    );
}

/// `orders`, with the key of 32 ones, under the salt 00 to 0f, as the second of kind 1. Not made by this program: by another implementation of HKDF
/// and AES-GCM, from what the head of the crate says.
const KNOWN: [u8; 6 + TAG_BYTES] = [
    0x92, 0x5d, 0xf9, 0x1d, 0x8f, 0xc6, 0x87, 0x00, 0xde, 0x20, 0x89, 0x77, 0xca, 0x63, 0x65, 0xf3, 0x88,
    0x64, 0x29, 0x9a, 0x9b, 0xce,
];

#[test]
fn an_inner_key_is_kept_with_the_key_of_the_day_and_what_it_sealed_stays() {
    let (old, new) = (ring("a", &[("a", 1)]), ring("b", &[("a", 1), ("b", 2)]));
    let inner = InnerKey::generate().unwrap();
    let it = inner.seal(b"here", b"orders").unwrap();
    assert_eq!(it.len(), 6 + INNER_ADDED_BYTES);
    let read = |keys: &Keyring, text: &str| {
        let (head, rest) = Head::of_text(text).unwrap();
        InnerKey::unwrap(keys, &head, rest, LABEL).map(|(inner, rest)| (inner, rest.to_owned()))
    };
    let text = inner.wrapped(&old, LABEL).unwrap().unwrap() + "plain no\n";
    let (again, rest) = read(&new, &text).unwrap();
    assert_eq!(rest, "plain no\n");
    let text = again.wrapped(&new, LABEL).unwrap().unwrap();
    let (again, _) = read(&ring("", &[("b", 2)]), &text).unwrap();
    assert_eq!(again.open(b"here", &it).unwrap(), b"orders");
    assert_eq!(again.seal(b"here", b"orders").unwrap(), it, "the same again");
    assert_eq!(again.open(b"there", &it), None);
    assert_eq!(
        read(&ring("", &[("a", 1)]), &text).err(),
        Some(SealError::NoKey { id: id("b") })
    );
    for bit in 0..it.len() * 8 {
        let mut flipped = it.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(again.open(b"here", &flipped), None, "bit {bit}");
    }
    let salt = |it: &[u8]| it[..16].to_vec();
    assert_ne!(salt(&it), salt(&again.seal(b"here", b"order").unwrap()));
    assert_ne!(salt(&it), salt(&again.seal(b"there", b"orders").unwrap()));
    assert_eq!(again.name(1, b"acme"), inner.name(1, b"acme"));
    assert_ne!(again.name(1, b"acme"), again.name(2, b"acme"));
    assert_eq!(format!("{inner:?}"), "InnerKey(…)");
}

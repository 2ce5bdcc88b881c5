//! An archive as a disk gives it back, with its key: entries of its trees, and whatever is asked of a shelf then.

use std::sync::{Arc, LazyLock};

use docket_persistence::{
    archive::{Archive, Key, Keyed as _, Put, Shelf},
    mem::MemKeyed,
};
use tempfile::TempDir;

use crate::{
    Taken,
    keys::{ARCHIVE_HEAD, keys},
    tidy,
};

/// The shelf that is looked at.
pub const SHELF: u16 = 7;
/// The trees that there are, by the number that stands in front of an entry.
pub const TREES: [&str; 6] = ["7/values", "7/more", "7/numbers", "7/by-1", "7/by-2", "7/since"];
/// Behind which the checksum of a value's head is made right.
const VALUES: u8 = 0;
const HEAD_BYTES: usize = 19;
const NOTHING: Key = [0; 16];
const ALL: Key = [0xFF; 16];

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tidy::folder();
    std::fs::write(folder.path().join("sealed"), ARCHIVE_HEAD).expect("a file");
    folder
});

/// An archive in memory, sealed with the key that there is.
pub fn sealed(keyed: &MemKeyed) -> Archive {
    Archive::on(Arc::new(keyed.clone()), FOLDER.path(), keys()).expect("its key is there")
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Taken(bytes);
    let (Some(flags), Some(asked)) = (input.byte(), input.number()) else {
        return;
    };
    let (keyed, is_sealed) = (MemKeyed::new(), flags & 1 != 0);
    while let Some(tree) = input.byte() {
        let (Some(key), Some(value)) = (input.piece(), input.piece()) else {
            break;
        };
        let mut value = value.to_vec();
        if flags & 2 != 0 && tree == VALUES {
            mend(&mut value);
        }
        let tree = TREES[usize::from(tree) % TREES.len()];
        keyed.put(tree, key, &value).expect("it is in memory");
    }
    let archive = match is_sealed {
        true => sealed(&keyed),
        false => Archive::new(Arc::new(keyed.clone())),
    };
    ask(&archive.shelf(SHELF), &asked);
    put(&archive.shelf(SHELF), &asked, bytes);
}

/// Where a value is whole, as one of a single part: its length and its checksum as they should be.
fn mend(value: &mut [u8]) {
    if let Some((head, stored)) = value.split_first_chunk_mut::<HEAD_BYTES>() {
        head[11..15].copy_from_slice(&(stored.len() as u32).to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[3..11]), stored);
        head[15..].copy_from_slice(&crc.to_be_bytes());
    }
}

fn ask(shelf: &Shelf, asked: &Key) {
    if let Ok(Some(found)) = shelf.get(asked) {
        assert_eq!(found.key, *asked);
        let _ = shelf.key_of(found.number);
    }
    let _ = shelf.since(asked[0]);
    let _ = shelf.key_of(u64::from_be_bytes(
        asked[..8].try_into().expect("eight of sixteen"),
    ));
    for (from, below) in [(&NOTHING, &ALL), (&NOTHING, asked), (asked, &ALL)] {
        if let Ok(found) = shelf.newest(from, below, 4) {
            assert!(found.len() <= 4);
            assert!(found.iter().all(|found| from <= &found.key && &found.key < below));
        }
        for by in [&b"customer"[..], &asked[..4], &[]] {
            let Ok(found) = shelf.newest_by((1, by), from, below, 4) else {
                continue;
            };
            assert!(found.len() <= 4);
            assert!(found.windows(2).all(|pair| pair[0].key > pair[1].key));
            for found in found {
                assert!(shelf.is_found_by((1, by), &found.key).expect("it is in memory"));
            }
        }
    }
}

/// Whatever is there: what is put is found.
fn put(shelf: &Shelf, key: &Key, value: &[u8]) {
    let put = Put {
        number: 3,
        key: *key,
        value,
        by: &[(2, b"put")],
    };
    shelf.put(&put).expect("it is in memory");
    let found = shelf.get(key).expect("what was put").expect("what was put");
    assert_eq!((found.number, found.key, &*found.value), (3, *key, value));
    assert!(shelf.is_found_by((2, b"put"), key).expect("it is in memory"));
    assert_eq!(shelf.key_of(3).expect("what was put"), Some(*key));
}

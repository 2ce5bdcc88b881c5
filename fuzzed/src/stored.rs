//! A snapshot as a disk gives it back, sealed or not: chunks of its database, and blocks of its file.

use docket_persistence::snapshot::Pieces;
use docket_sealing::{Cipher, Nonce};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::{
    Taken,
    keys::{cipher, head, keys},
};

/// What the keys of snapshots are derived for.
const LABEL: &[u8] = b"docket snapshot 3";
const GROUP: u32 = 7;
const ID: u64 = 12;
const CHUNK_HEADER_BYTES: usize = 5;

/// What a piece of an input is: the byte in front of it.
pub mod kind {
    /// An entry of the database, as it is.
    pub const CHUNK: u8 = 0;
    /// The same, its checksum made right.
    pub const MENDED: u8 = 1;
    /// Meta bytes, sealed where the snapshot is.
    pub const META: u8 = 2;
    /// Bytes of the file.
    pub const DATA: u8 = 3;
    /// A block of the file, its hash made right.
    pub const BLOCK: u8 = 4;
    /// The bytes of a block, sealed where the snapshot is.
    pub const STATE: u8 = 5;
    /// The end of what was put before, as it should be.
    pub const END: u8 = 6;
}

/// The first byte of an input whose snapshot is sealed; of any other it is not.
pub const SEALED: u8 = 1;

/// What is put together.
struct Made {
    sealer: Option<Cipher>,
    chunks: Vec<Vec<u8>>,
    data: Vec<u8>,
    blocks: u64,
    meta: Vec<u8>,
    meta_bytes: u64,
    state: Vec<u8>,
    hash: Xxh3,
    /// Nothing was put that is not as it should be, but for what is behind the end.
    is_right: bool,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Taken(bytes);
    let is_sealed = input.byte() == Some(SEALED);
    let mut made = Made {
        sealer: is_sealed.then(|| cipher(LABEL)),
        chunks: Vec::new(),
        data: Vec::new(),
        blocks: 0,
        meta: Vec::new(),
        meta_bytes: 0,
        state: Vec::new(),
        hash: Xxh3::new(),
        is_right: true,
    };
    let mut ended = false;
    while let Some(kind) = input.byte() {
        let piece = input.piece().unwrap_or_default();
        made.is_right &= !ended;
        match kind % 7 {
            kind::META if made.blocks == 0 => made.meta(piece),
            kind::STATE => made.state(piece),
            kind::END => {
                made.end();
                ended = true;
            }
            kind => made.damage(kind, piece),
        }
    }
    made.is_right &= ended;
    made.check(is_sealed);
}

impl Made {
    fn seal(&self, nonce: Nonce, bytes: &mut Vec<u8>, from: usize) {
        let beside = [&GROUP.to_le_bytes()[..], &ID.to_le_bytes()].concat();
        if let Some(sealer) = &self.sealer {
            sealer.seal(nonce, &beside, bytes, from).expect("it is short");
        }
    }

    fn chunk(&mut self, kind: u8, mut chunk: Vec<u8>) {
        chunk[4] = kind;
        let key = self.chunks.len() as u64;
        mend(key, &mut chunk);
        self.chunks.push(chunk);
    }

    fn meta(&mut self, piece: &[u8]) {
        let mut chunk = vec![0; CHUNK_HEADER_BYTES];
        chunk.extend_from_slice(piece);
        let number = self.chunks.len() as u64;
        self.seal(Nonce::new(1, number), &mut chunk, CHUNK_HEADER_BYTES);
        let stored = &chunk[CHUNK_HEADER_BYTES..];
        self.hash.update(stored);
        self.meta_bytes += stored.len() as u64;
        self.meta.extend_from_slice(piece);
        self.chunk(1, chunk);
    }

    fn state(&mut self, piece: &[u8]) {
        let mut block = piece.to_vec();
        self.seal(Nonce::new(2, self.blocks), &mut block, 0);
        let hash = xxh3_64_with_seed(&block, self.blocks);
        self.data.extend_from_slice(&hash.to_le_bytes());
        self.data.extend_from_slice(&(block.len() as u32).to_le_bytes());
        self.data.extend_from_slice(&block);
        self.hash.update(&hash.to_le_bytes());
        self.blocks += 1;
        self.state.extend_from_slice(piece);
    }

    fn end(&mut self) {
        let mut chunk = vec![0; CHUNK_HEADER_BYTES];
        chunk.push(if self.sealer.is_some() { 3 } else { 2 });
        let state = self.state_bytes();
        let fields = [
            self.chunks.len() as u64,
            self.meta_bytes,
            state,
            self.hash.digest(),
            self.blocks,
        ];
        for field in fields {
            chunk.extend_from_slice(&field.to_le_bytes());
        }
        self.seal(Nonce::new(3, 0), &mut chunk, CHUNK_HEADER_BYTES + 1);
        self.chunk(3, chunk);
    }

    /// As the end counts them: before they are sealed.
    fn state_bytes(&self) -> u64 {
        self.state.len() as u64
    }

    fn damage(&mut self, kind: u8, piece: &[u8]) {
        self.is_right = false;
        match kind {
            kind::CHUNK | kind::MENDED | kind::META => {
                let mut chunk = piece.to_vec();
                if kind == kind::MENDED {
                    mend(self.chunks.len() as u64, &mut chunk);
                }
                self.chunks.push(chunk);
            }
            kind::DATA => self.data.extend_from_slice(piece),
            _ => {
                self.data
                    .extend_from_slice(&xxh3_64_with_seed(piece, self.blocks).to_le_bytes());
                self.data.extend_from_slice(&(piece.len() as u32).to_le_bytes());
                self.data.extend_from_slice(piece);
                self.blocks += 1;
            }
        }
    }

    fn check(&self, is_sealed: bool) {
        let chunks: Vec<(u64, &[u8])> = (0..).zip(self.chunks.iter().map(|chunk| &**chunk)).collect();
        let pieces = Pieces {
            which: (GROUP, ID),
            head: is_sealed.then(head),
            chunks: &chunks,
            data: &self.data,
        };
        let checked = pieces.check(keys());
        match &checked {
            Ok((meta, state)) if self.is_right => {
                assert_eq!((&**meta, state), (&*self.meta, &self.state));
            }
            Ok(_) => {}
            Err(error) => assert!(!self.is_right, "what is whole is refused: {error}"),
        }
        // Sealed, it is no other's, and without its key it is nobody's.
        if is_sealed {
            let of_another = Pieces {
                which: (GROUP, ID + 1),
                ..pieces
            };
            assert!(of_another.check(keys()).is_err());
            assert!(pieces.check(&Default::default()).is_err());
        }
    }
}

fn mend(key: u64, chunk: &mut [u8]) {
    if let Some((sum, rest)) = chunk.split_at_mut_checked(4) {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&key.to_be_bytes()), rest);
        sum.copy_from_slice(&crc.to_le_bytes());
    }
}

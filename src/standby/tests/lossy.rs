//! A way to the primary on which connections are refused, come late, or lose what is answered, as it is drawn.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// How long what is asked has to arrive before the answer is lost.
const ARRIVES_WITHIN: Duration = Duration::from_millis(30);

/// Numbers that look random, and are the same for a seed.
pub struct Drawn(u64);

impl Drawn {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One below this (SplitMix64).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub fn pause(&mut self, below_ms: u64) -> Duration {
        Duration::from_micros(self.below(below_ms * 1_000))
    }
}

/// One such way.
pub struct Way {
    pub address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Way {
    /// To there. Of `of` connections one is refused, one loses its answers, and one is late; of 0 none.
    pub async fn to(primary: SocketAddr, seed: u64, of: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drawn = Arc::new(Mutex::new(Drawn::new(seed)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let drawn = Arc::clone(&drawn);
                tokio::spawn(async move {
                    let (fate, pause) = {
                        let mut drawn = drawn.lock();
                        let fate = if of == 0 { u64::MAX } else { drawn.below(of) };
                        (fate, drawn.pause(20))
                    };
                    // Whichever of the two goes away ends it.
                    let _ = carry(stream, primary, fate, pause).await;
                });
            }
        });
        Self {
            address,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

async fn carry(mut stream: TcpStream, to: SocketAddr, fate: u64, pause: Duration) -> std::io::Result<()> {
    if fate == 0 {
        return Ok(());
    }
    let mut primary = TcpStream::connect(to).await?;
    if fate == 1 {
        let (mut asked, _unanswered) = stream.split();
        let (mut read, mut write) = primary.split();
        let mut bytes = [0; 4_096];
        // What is asked goes there, and what is answered is thrown away.
        let lost = async {
            let mut thrown = [0; 4_096];
            while read.read(&mut thrown).await.is_ok_and(|count| count > 0) {}
        };
        let goes = async {
            while let Ok(count @ 1..) = asked.read(&mut bytes).await {
                if write.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(ARRIVES_WITHIN, futures::future::join(lost, goes)).await;
        return Ok(());
    }
    if fate == 2 {
        sleep(pause).await;
    }
    copy_bidirectional(&mut stream, &mut primary).await.map(drop)
}

//! Who attacks: so many visitors at a time, who come from addresses of the loopback network that are not the honest client's, at a rate that is
//! bounded, since on one machine whoever attacks takes the processor, too.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::attack::Attack;

/// Of what is sent and not read the system keeps so much, where little is to be kept.
const LITTLE_ROOM_BYTES: u32 = 16 * 1_024;

/// Whoever waits for its turn falls behind by no more than this.
const CATCH_UP_MAX: Duration = Duration::from_millis(100);
/// Different answers that are told apart.
const NOTES_MAX: usize = 64;

/// What is attacked.
#[derive(Debug)]
pub struct Ground {
    /// gRPC.
    pub grpc: SocketAddr,
    /// The operators' endpoints.
    pub admin: SocketAddr,
    /// REST.
    pub rest: SocketAddr,
    /// Keys of customers who mean no good.
    pub keys: Vec<String>,
}

/// What came of an attack.
#[derive(Debug, Default)]
pub struct Notes {
    answers: Mutex<BTreeMap<String, u64>>,
    visits: AtomicU64,
    bytes: AtomicU64,
}

impl Notes {
    /// The server answered so.
    pub fn note(&self, answer: impl Into<String>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answer.into();
        let answer = match answers.len() < NOTES_MAX || answers.contains_key(&answer) {
            true => answer,
            false => "other".to_owned(),
        };
        *answers.entry(answer).or_default() += 1;
    }

    /// So many bytes were sent.
    pub fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Each answer, and how often it was given.
    pub fn all(&self) -> Vec<(String, u64)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers
            .iter()
            .map(|(answer, times)| (answer.clone(), *times))
            .collect()
    }

    /// How often somebody came, and how many bytes were sent.
    pub fn offered(&self) -> (u64, u64) {
        (self.visits.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// So many turns a second for all together.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    next: Mutex<Instant>,
}

impl Pace {
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for so many turns at once.
    pub async fn turns(&self, turns: usize) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let since = now.checked_sub(CATCH_UP_MAX).unwrap_or(now);
            let at = (*next).max(since);
            *next = at + Duration::from_secs_f64(turns as f64 / self.per_second);
            at
        };
        sleep_until(at).await;
    }
}

/// Who attacks.
#[derive(Debug)]
pub struct Crew {
    pub ground: Arc<Ground>,
    pub notes: Arc<Notes>,
    /// What the visitors do, in all.
    pub work: Pace,
    visits: Pace,
    addresses: usize,
}

impl Crew {
    pub fn new(attack: Attack, ground: Arc<Ground>, notes: Arc<Notes>) -> Self {
        let force = attack.force();
        Self {
            ground,
            notes,
            work: Pace::new(force.work_per_second),
            visits: Pace::new(force.visits_per_second),
            addresses: force.addresses,
        }
    }

    /// Attacks until it is dropped.
    pub async fn attack(self, attack: Attack) {
        let crew = Arc::new(self);
        let mut visitors = JoinSet::new();
        for number in 0..attack.force().visitors {
            // They come one by one: to begin thousands at once keeps this machine from all else for as long as several orders take.
            crew.visits.turns(1).await;
            let crew = Arc::clone(&crew);
            visitors.spawn(async move {
                loop {
                    crew.notes.visits.fetch_add(1, SeqCst);
                    if let Err(error) = attack.visit(&crew, number).await {
                        crew.notes.note(ending(&error));
                    }
                    crew.visits.turns(1).await;
                }
            });
        }
        // Nobody ends by itself, but by a bug, which shows in what was done.
        while visitors.join_next().await.is_some() {}
        sleep(Duration::MAX).await;
    }

    /// Connects to gRPC from this visitor's address.
    pub async fn grpc(&self, number: usize) -> io::Result<TcpStream> {
        self.connect(number, self.ground.grpc).await
    }

    /// Connects to the operators' endpoints.
    pub async fn admin(&self, number: usize) -> io::Result<TcpStream> {
        self.connect(number, self.ground.admin).await
    }

    /// Connects to REST.
    pub async fn rest(&self, number: usize) -> io::Result<TcpStream> {
        self.connect(number, self.ground.rest).await
    }

    /// The same, where what is sent and not read finds no room soon.
    pub async fn rest_with_little_room(&self, number: usize) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(LITTLE_ROOM_BYTES)?;
        self.connect_by(socket, number, self.ground.rest).await
    }

    async fn connect(&self, number: usize, to: SocketAddr) -> io::Result<TcpStream> {
        self.connect_by(TcpSocket::new_v4()?, number, to).await
    }

    async fn connect_by(&self, socket: TcpSocket, number: usize, to: SocketAddr) -> io::Result<TcpStream> {
        // All of 127.0.0.0/8 is this machine. The honest client is at 127.0.0.1.
        let from =
            Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + (number % self.addresses) as u32);
        socket.bind((from, 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The key of a customer who means no good.
    pub fn key(&self, number: usize) -> &str {
        let keys = &self.ground.keys;
        keys.get(number % keys.len().max(1)).map_or("", String::as_str)
    }
}

fn ending(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "cut".to_owned()
        }
        io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        kind => format!("not reached ({kind})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_at_the_pace_however_many_wait() {
        let (pace, began) = (Pace::new(100.0), Instant::now());
        for _ in 0..50 {
            pace.turns(2).await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((0.85..=1.01).contains(&took), "{took}");
    }
}

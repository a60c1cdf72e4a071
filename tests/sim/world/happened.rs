//! What came to pass under a seed.

/// What came to pass, so that a test can tell whether everything was tried.
#[derive(Clone, Debug, Default)]
pub struct Happened {
    pub acknowledged: u64,
    pub cuts: u64,
    pub takeovers: u64,
    pub crashes: u64,
    pub shut: u64,
    pub quota: u64,
    pub refused: u64,
    pub withheld: u64,
    pub stalls: u64,
    pub commits_failed: u64,
    pub dropped: u64,
    pub read_back: u64,
    pub read_backwards: u64,
    /// Commits of another stream than the default one.
    pub streamed: u64,
    pub resent: u64,
    pub elided: u64,
    pub orders: u64,
    pub steps: u64,
    /// Messages that brought several readings.
    pub shared: u64,
}

impl Happened {
    pub fn all(&self) -> [u64; 19] {
        [
            self.acknowledged,
            self.cuts,
            self.takeovers,
            self.crashes,
            self.shut,
            self.quota,
            self.refused,
            self.withheld,
            self.stalls,
            self.commits_failed,
            self.dropped,
            self.read_back,
            self.read_backwards,
            self.streamed,
            self.resent,
            self.elided,
            self.orders,
            self.steps,
            self.shared,
        ]
    }

    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.cuts += other.cuts;
        self.takeovers += other.takeovers;
        self.crashes += other.crashes;
        self.shut += other.shut;
        self.quota += other.quota;
        self.refused += other.refused;
        self.withheld += other.withheld;
        self.stalls += other.stalls;
        self.commits_failed += other.commits_failed;
        self.dropped += other.dropped;
        self.read_back += other.read_back;
        self.read_backwards += other.read_backwards;
        self.streamed += other.streamed;
        self.resent += other.resent;
        self.elided += other.elided;
        self.orders += other.orders;
        self.steps += other.steps;
        self.shared += other.shared;
    }
}

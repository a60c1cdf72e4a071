//! What goes wrong under a seed.

use fieldgate::bridge::{DrainOrder, Priority};
use fieldgate::mqtt::Version;

/// What the models do wrong on purpose, to see whether the simulation notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The disk says that it has written what it has only taken.
    AcknowledgesBeforeWriting,
    /// One message in fifty never gets from the broker to the bridge.
    LosesForward,
    /// One in twenty changes places with the next.
    SwapsForwards,
    /// One in five comes twice.
    RepeatsForwards,
    /// Of the broker's batches only the first half is on disk.
    TearsState,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub fault: Fault,
    pub version: Version,
    /// Connections to upstream end at random.
    pub cuts: bool,
    /// Upstream forgets its session at some of them.
    pub session_loss: bool,
    /// PUBACKs overtake each other.
    pub reorder: bool,
    /// Some messages upstream refuses for good.
    pub refuses: bool,
    /// At times it takes nothing for now.
    pub quota: bool,
    /// Some PUBACKs never come.
    pub withholds: bool,
    /// Some CONNECTs are refused.
    pub shut: bool,
    pub crashes: u32,
    /// They are power cuts: the monotonic clock begins anew.
    pub power: bool,
    /// Writing fails for a while.
    pub disk_full: bool,
    /// Some operations take seconds.
    pub disk_slow: bool,
    /// The outbox may be this large; then the oldest quarter goes.
    pub outbox_max: Option<usize>,
    /// The wall clock steps.
    pub clock_steps: bool,
    /// LAN connections end at random.
    pub lan_cuts: bool,
    /// Upstream sends orders.
    pub orders: bool,
    /// How a backlog goes out.
    pub drain: DrainOrder,
    /// What the LAN publishes goes into a stream of its own, of this priority.
    pub stream: Option<Priority>,
    /// Readings share messages.
    pub batch: bool,
}

impl Plan {
    pub fn of(seed: u64, fault: Fault) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5EED);
        let mut one_in = |n: u32| random.u32(0..n) == 0;
        let version = if one_in(2) { Version::V5 } else { Version::V311 };
        let v5 = version == Version::V5;
        Self {
            fault,
            version,
            cuts: !one_in(4),
            session_loss: one_in(2),
            reorder: one_in(3),
            refuses: one_in(3) && v5,
            quota: one_in(3) && v5,
            withholds: one_in(5),
            shut: one_in(4),
            crashes: if one_in(2) { 1 + u32::from(one_in(2)) * 2 } else { 0 },
            power: one_in(2),
            disk_full: one_in(4),
            disk_slow: one_in(4),
            outbox_max: one_in(6).then_some(20_000),
            clock_steps: one_in(3),
            lan_cuts: !one_in(4),
            orders: one_in(2),
            // A fault is looked for where the order is that of coming.
            drain: match (one_in(3), one_in(4)) {
                _ if fault != Fault::None => DrainOrder::OldestFirst,
                (true, _) => DrainOrder::NewestFirst,
                (false, true) => DrainOrder::Interleave,
                (false, false) => DrainOrder::OldestFirst,
            },
            stream: match one_in(3) {
                false => None,
                true if one_in(2) => Some(Priority::Normal),
                true => Some(if one_in(2) { Priority::High } else { Priority::Low }),
            },
            batch: one_in(3) && fault == Fault::None,
        }
    }

    /// Whether acknowledgements may take longer than the disk's usual few milliseconds.
    pub const fn has_bad_disk(&self) -> bool {
        self.disk_full || self.disk_slow
    }
}

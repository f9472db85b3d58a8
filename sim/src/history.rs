//! What clients asked of a cluster, and what they were told: the evidence that [`crate::invariants`] judge.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_client::api::{Code, Error, Outcome};
use cairn_store::digest::Digest;
use cairn_store::id::{RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Ack, Epoch, Version};

/// The machine that a node is or was on. A client knows addresses, and a node whose disks were replaced has the address of
/// the one before, whose name its own begins with.
pub fn machine_of(node: &NodeName) -> &str {
    node.as_str().split('-').next().unwrap_or_default()
}

/// A moment of the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Since the beginning.
    pub at: Duration,
    /// The newest revision that any node had applied by then; 0 where nobody looks into nodes.
    pub revision: u64,
    /// By how much more clocks had gone on by then, all in all: machines slept, and leapt when they woke.
    pub leapt: Duration,
}

/// How long an answer is remembered at least, in log time: as long as its client waits, and so much (`node`'s margin) beyond.
const ANSWER_KEPT: Duration = Duration::from_secs(30);

impl Moment {
    /// Whether the answer to what was asked now is certainly remembered then. Later the same request is another one.
    pub fn is_remembered_at(self, then: Self) -> bool {
        (then.at + then.leapt).saturating_sub(self.at + self.leapt) <= ANSWER_KEPT
    }
}

/// What was asked of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A new version. Every save has other bytes, so that its digest tells which it was.
    Save {
        /// Of its bytes.
        digest: Digest,
        /// Copies on other nodes.
        replicas: u8,
        /// When it is done.
        ack: Ack,
        /// How many versions to keep.
        keep: u32,
        /// The head that must stand.
        if_version: Option<Version>,
        /// The epoch that must stand.
        epoch: Option<Epoch>,
    },
    /// The bytes of a version; of the newest one if none is named.
    Load {
        /// Which.
        version: Option<Version>,
        /// And the ownership.
        claim: bool,
        /// By what the node knows.
        stale: bool,
    },
    /// The ownership.
    Claim,
    /// An end of the ownership.
    Release {
        /// In which epoch.
        epoch: Epoch,
    },
    /// An end of the segment, or of one version.
    Remove {
        /// Only this one.
        version: Option<Version>,
    },
    /// That a version is kept.
    Pin {
        /// Which.
        version: Version,
    },
    /// That it need not be any more.
    Unpin {
        /// Which; none means all.
        version: Option<Version>,
    },
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A version is durable.
    Saved {
        /// Of which registration.
        segment: SegmentId,
        /// Its number.
        version: Version,
        /// Under which ownership.
        epoch: Epoch,
        /// What the cluster says that it is.
        digest: Digest,
        /// Whose.
        owner: Option<NodeName>,
    },
    /// A version is here.
    Loaded {
        /// Its number.
        version: Version,
        /// The epoch, after the claim if there was one.
        epoch: Epoch,
        /// What the cluster says that it is.
        digest: Digest,
        /// What was read.
        read: Digest,
        /// Whose the segment is.
        owner: Option<NodeName>,
        /// Whether the load made it so.
        claimed: bool,
    },
    /// The node is the owner.
    Claimed {
        /// From this epoch on.
        epoch: Epoch,
        /// Of this version.
        head: Option<Version>,
        /// Who.
        owner: NodeName,
    },
    /// It is done.
    Done,
    /// There is no such name, or no such version.
    Absent,
    /// It was refused; nothing happened.
    Refused(Code),
    /// It may have happened, or may still happen.
    Unknown,
}

impl Told {
    /// What an error of the cluster says.
    pub fn error(error: &Error) -> Self {
        match (error.outcome, error.code) {
            (Outcome::Unknown, _) => Self::Unknown,
            (Outcome::None, Code::NotFound) => Self::Absent,
            (Outcome::None, code) => Self::Refused(code),
        }
    }

    /// Whether it was done.
    pub fn is_success(&self) -> bool {
        match self {
            Self::Saved { .. } | Self::Loaded { .. } | Self::Claimed { .. } | Self::Done => true,
            Self::Absent | Self::Refused(_) | Self::Unknown => false,
        }
    }

    /// Whether it may have changed something.
    pub fn may_have_happened(&self) -> bool {
        self.is_success() || *self == Self::Unknown
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The node that was asked.
    pub node: NodeName,
    /// The same for the same request, however often it is asked.
    pub request: RequestId,
    /// About what.
    pub name: Name,
    /// What was asked.
    pub ask: Ask,
    /// When.
    pub asked: Moment,
    /// What was told, and when; none if no answer came.
    pub told: Option<(Moment, Told)>,
}

impl Call {
    /// What was told, if anything was.
    pub fn answer(&self) -> &Told {
        self.told.as_ref().map_or(&Told::Unknown, |(_, told)| told)
    }

    /// The node that answered: another one than was asked if that one's disks were replaced meanwhile. To another node it is
    /// another request.
    pub fn answered_by(&self) -> &NodeName {
        match self.answer() {
            Told::Saved { owner: Some(owner), .. } | Told::Claimed { owner, .. } => owner,
            Told::Loaded { owner: Some(owner), claimed: true, .. } => owner,
            _ => &self.node,
        }
    }
}

/// All calls, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The calls.
    pub calls: Vec<Call>,
    /// Nodes that were emptied for a while: what they own may lose its owner, though no call asks for that.
    pub drains: Vec<Drained>,
}

/// For so long a node may have been emptied.
#[derive(Clone, Debug)]
pub struct Drained {
    /// Which.
    pub node: NodeName,
    /// From when on.
    pub from: Moment,
    /// Until when; none while it may not have ended.
    pub to: Option<Moment>,
}

impl Drained {
    /// Whether the node may have been emptied at this revision.
    pub fn covers(&self, node: &NodeName, revision: u64) -> bool {
        self.node == *node && self.from.revision < revision && self.to.is_none_or(|to| revision <= to.revision)
    }
}

impl History {
    /// A call is made; tells its place.
    pub fn ask(&mut self, call: Call) -> usize {
        self.calls.push(call);
        self.calls.len() - 1
    }

    /// A call is answered.
    pub fn tell(&mut self, place: usize, at: Moment, told: Told) {
        if let Some(call) = self.calls.get_mut(place) {
            call.told = Some((at, told));
        }
    }

    /// The calls about each name, in their order.
    pub fn by_name(&self) -> BTreeMap<&Name, Vec<&Call>> {
        let mut names: BTreeMap<&Name, Vec<&Call>> = BTreeMap::new();
        for call in &self.calls {
            names.entry(&call.name).or_default().push(call);
        }
        names
    }

    /// When each request was made first: whatever it did, it did not do before.
    pub fn first_asked(&self) -> BTreeMap<RequestId, Moment> {
        let mut first = BTreeMap::new();
        for call in &self.calls {
            first.entry(call.request).or_insert(call.asked);
        }
        first
    }
}

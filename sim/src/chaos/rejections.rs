//! What the state machine can refuse: a run of many seeds must have met all of it.

use cairn_store::meta::Rejection;

macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        /// Every kind of refusal.
        pub const REJECTIONS: &[&str] = &[$(stringify!($kind)),+];

        /// Does not compile while a kind is missing above.
        const _: fn(&Rejection) = |rejection| match rejection {
            $(Rejection::$kind { .. } => {})+
        };
    };
}

kinds!(
    AlreadyFounded,
    NotFounded,
    NoSuchNode,
    NodeNameTaken,
    TooManyNodes,
    NameTaken,
    NoSuchSegment,
    NoSuchVersion,
    NotOwner,
    StaleEpoch,
    HeadMoved,
    StorageOnly,
    TooFewCopies,
    NoOwnCopy,
    ReceiptExpired,
    CopySpent,
    OtherBytes,
    Redundant,
    TooManyCopies,
    NotEmpty,
    Retained,
    NotExpired,
    RequestExpired,
    RequestMismatch,
    RequestsFull,
    OutOfBounds,
    Pinned,
    TooManyPins,
    TooFewStay,
    OwnersCopy,
    Draining,
    NotDraining,
    LastNode,
    LastCopy,
    NotEmptied,
    NodeRemoved,
    HasSegments,
    OtherSource,
    Restoring,
    Recovering,
    NotRecovering,
    Leased,
    NoLease,
    NotLapsed,
    NoObject,
    Archived,
);

/// Refusals that no simulated cluster can meet, and why. Golden scripts and tests of bounds in the store meet them.
pub const UNMET: [(&str, &str); 11] = [
    ("TooManyNodes", "a thousand members"),
    ("TooManyCopies", "a thousand lost copies of a version"),
    ("TooManyPins", "64 pinned versions of a segment"),
    ("RequestsFull", "half a million answers"),
    ("HasSegments", "a life's cluster begins with nothing"),
    ("OtherSource", "a life's cluster begins with nothing"),
    ("Restoring", "a life's cluster begins with nothing"),
    ("Recovering", "a life's cluster begins with nothing"),
    ("NotRecovering", "a life's cluster begins with nothing"),
    ("NoObject", "a life's nodes have no global tier; the story `global` has"),
    ("Archived", "a life's nodes have no global tier; the story `global` has"),
];

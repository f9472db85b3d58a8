//! Rejections of the state machine in the words of the public contract.

use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_store::meta::{Outcome, Rejection, Reply};
use cairn_store::name::Name;
use cairn_store::node::NodeName;

use crate::core::Core;

/// No such name.
pub fn no_such_name(name: &Name) -> Error {
    Error::new(Code::NotFound, format!("no segment has the name {name}")).hint("see `cairn ls`")
}

/// What to do about a name that was registered and never got a version.
pub fn without_version(name: &Name) -> String {
    format!("its first save goes on, or was broken off with its node; then `cairn rm {name}` frees the name at once")
}

/// No such node.
pub fn no_such_node(name: &NodeName) -> Error {
    Error::new(Code::NotFound, format!("no node has the name {name}")).hint("see `cairn node ls`")
}

impl Core {
    /// A reply about the segment `name`, in the words of the public contract.
    pub fn answer(&self, name: &Name, reply: Reply) -> Result<Outcome, Error> {
        reply.map_err(|rejection| self.explain(name, &rejection))
    }

    fn explain(&self, name: &Name, rejection: &Rejection) -> Error {
        let owner_of = |owner: &Option<_>| match owner {
            Some(node) => format!("node {} owns it", self.name_of(*node)),
            None => "nobody owns it".to_owned(),
        };
        let take_over = format!("take it over with `cairn load {name} --claim` or `cairn claim {name}`");
        match rejection {
            Rejection::NoSuchSegment => no_such_name(name),
            Rejection::NoSuchVersion(version) => {
                Error::new(Code::NotFound, format!("{name} has no version {version}"))
                    .hint(format!("see `cairn history {name}`"))
            }
            // Not as if the name were not there: whoever asks for it would begin anew.
            Rejection::NoSuchNode(node) if *node == self.me() => {
                Error::new(Code::Conflict, "this node was removed from the cluster: it owns nothing any more")
                    .hint("ask another executor node; see `cairn node ls`")
            }
            Rejection::NoSuchNode(node) => {
                let message = format!("node {} is not a member of this cluster", self.name_of(*node));
                Error::new(Code::NotFound, message).hint("see `cairn node ls`")
            }
            Rejection::NameTaken { owner } => {
                Error::new(Code::Conflict, format!("the name {name} is taken: {}", owner_of(owner))).hint(take_over)
            }
            Rejection::NotOwner { owner } => {
                let message = format!("this node does not own {name}: {}", owner_of(owner));
                Error::new(Code::Conflict, message).hint(take_over)
            }
            Rejection::StaleEpoch { current } => {
                Error::new(Code::Conflict, format!("the epoch of {name} is {current}"))
                    .hint(format!("see `cairn show {name}`; after a change of owner, load the newest version first"))
            }
            Rejection::HeadMoved { head } => {
                Error::new(Code::Conflict, format!("the newest version of {name} is {head}"))
                    .hint(format!("see `cairn history {name}`"))
            }
            Rejection::Leased { owner, until } => {
                let left = Duration::from_millis(until.0.saturating_sub(self.now().state.time.0));
                let message = format!(
                    "{name} is owned by node {} under a lease for another {} at most, if it is not renewed",
                    self.name_of(*owner),
                    humantime::format_duration(left)
                );
                Error::new(Code::Conflict, message)
                    .hint("try again when the lease is over, or have its holder release it")
            }
            Rejection::NoLease => Error::new(
                Code::Conflict,
                format!("{name} has no lease that could be renewed: it is over, or was released"),
            )
            .hint(format!("`cairn claim {name} --lease TIME` begins another one, if nobody else has taken over")),
            Rejection::StorageOnly => {
                Error::new(Code::Conflict, "a storage-only node cannot own a segment").hint("ask an executor node")
            }
            Rejection::Retained(version) => {
                Error::new(Code::Conflict, format!("version {version} of {name} is kept: {rejection}"))
                    .hint(format!("`cairn rm {name}` takes the whole segment away"))
            }
            Rejection::Pinned(version) => {
                Error::new(Code::Conflict, format!("version {version} of {name} is pinned"))
                    .hint(format!("unpin it first: `cairn unpin {name} --version {version}`"))
            }
            Rejection::TooManyPins(most) => {
                Error::new(Code::Conflict, format!("{name} has as many pinned versions as it may: {most}"))
                    .hint(format!("unpin one of them first; see `cairn history {name}`"))
            }
            Rejection::TooFewCopies { .. } | Rejection::NoOwnCopy => {
                let message = format!("durability not reached: {rejection}; nothing was committed");
                Error::new(Code::Durability, message).hint("holders left while it was saved: save again")
            }
            Rejection::RequestExpired => Error::new(Code::Unavailable, rejection.to_string())
                .unknown()
                .hint("look at the segment before you ask again with a new request id"),
            Rejection::RequestMismatch => {
                Error::new(Code::Conflict, rejection.to_string()).hint("use a new request id")
            }
            Rejection::RequestsFull => Error::unavailable(rejection.to_string())
                .hint("ask less often; answers are kept as long as clients wait"),
            Rejection::OutOfBounds(_) => Error::new(Code::Invalid, rejection.to_string()),
            Rejection::NodeNameTaken(_) | Rejection::TooManyNodes(_) => {
                Error::new(Code::Conflict, rejection.to_string())
            }
            Rejection::Draining(node) => {
                let message = format!("node {} is being emptied: it takes over nothing", self.name_of(*node));
                Error::new(Code::Conflict, message).hint("ask another executor node; see `cairn node ls`")
            }
            Rejection::NotDraining(_) | Rejection::LastCopy(_) => {
                Error::new(Code::Conflict, format!("{name}: {rejection}"))
            }
            Rejection::LastNode | Rejection::NotEmptied { .. } | Rejection::NodeRemoved(_) => {
                Error::new(Code::Conflict, rejection.to_string())
            }
            Rejection::Restoring => Error::unavailable(
                "the cluster is being restored from a backup: nothing is changed until all of it is in",
            )
            .hint("see `cairn cluster recovery`; `cairn meta restore` with the same file goes on with it"),
            Rejection::NoObject => {
                let message = format!("durability not reached: {rejection}; nothing was committed");
                Error::new(Code::Durability, message).hint("save again; see `cairn global status`")
            }
            Rejection::NotFounded => Error::unavailable("the cluster is not founded yet"),
            Rejection::AlreadyFounded
            | Rejection::ReceiptExpired
            | Rejection::CopySpent
            | Rejection::OtherBytes
            | Rejection::Redundant
            | Rejection::TooManyCopies
            | Rejection::NotEmpty
            | Rejection::NotExpired
            | Rejection::TooFewStay { .. }
            | Rejection::HasSegments
            | Rejection::OtherSource(_)
            | Rejection::Recovering
            | Rejection::NotRecovering
            | Rejection::NotLapsed
            | Rejection::Archived
            | Rejection::OwnersCopy => Error::new(Code::Internal, format!("{name}: {rejection}")),
        }
    }
}

/// A good reply of a kind that was not asked for: a defect.
pub fn unexpected(outcome: &Outcome) -> Error {
    Error::new(Code::Internal, format!("the cluster answered something else: {outcome:?}"))
}

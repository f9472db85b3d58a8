//! Whom the leader marks up or down.

use std::time::Duration;

use crate::id::NodeId;

/// A member, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Who.
    pub node: NodeId,
    /// As it is marked now.
    pub up: bool,
    /// How long ago it answered; none if never since this leader leads.
    pub silent: Option<Duration>,
}

/// The marks to change: `(node, up)`. A node that never answered this leader counts as silent for as long as the
/// leader leads.
pub fn marks(signs: &[Sign], leading: Duration, down_after: Duration) -> Vec<(NodeId, bool)> {
    let changed = |sign: &Sign| {
        let heard = sign.silent.is_some_and(|silent| silent < down_after);
        let silent = sign.silent.unwrap_or(leading) >= down_after;
        match sign.up {
            true if silent => Some((sign.node, false)),
            false if heard => Some((sign.node, true)),
            _ => None,
        }
    };
    signs.iter().filter_map(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_down_after_it_was_silent_long_enough() {
        let secs = Duration::from_secs;
        let sign = |up, silent: Option<u64>| Sign { node: NodeId(1), up, silent: silent.map(secs) };
        let cases = [
            (sign(true, Some(1)), 60, None),
            (sign(true, Some(5)), 60, Some(false)),
            (sign(true, None), 4, None),
            (sign(true, None), 5, Some(false)),
            (sign(false, None), 60, None),
            (sign(false, Some(5)), 60, None),
            (sign(false, Some(1)), 60, Some(true)),
        ];
        for (sign, leading, mark) in cases {
            let expected: Vec<_> = mark.map(|up| (NodeId(1), up)).into_iter().collect();
            assert_eq!(marks(&[sign], secs(leading), secs(5)), expected, "{sign:?} after {leading} s");
        }
    }
}

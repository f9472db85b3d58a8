//! Whether the receipts of a save suffice.

use crate::segment::Ack;

/// How a save stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The owner's own copy is durable.
    pub own: bool,
    /// Distinct other nodes with durable copies.
    pub others: u8,
    /// Targets that may still give a receipt.
    pub hopeful: u8,
}

/// What to do with a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Commit now.
    Enough,
    /// Wait for more receipts.
    Wait,
    /// It can no longer be reached: give up, commit nothing.
    Never,
}

/// Counts distinct *other* nodes; the owner's own copy is always needed (R9).
pub fn enough(ack: Ack, wanted: u8, standing: Standing) -> Verdict {
    let need = ack.needed(wanted);
    if standing.others.saturating_add(standing.hopeful) < need {
        Verdict::Never
    } else if standing.own && standing.others >= need {
        Verdict::Enough
    } else {
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_each_acknowledgement_asks_for() {
        let cases = [
            (Ack::All, 2, 2),
            (Ack::All, 0, 0),
            (Ack::Quorum, 1, 1),
            (Ack::Quorum, 2, 2),
            (Ack::Quorum, 3, 2),
            (Ack::Quorum, 4, 3),
            (Ack::One, 3, 1),
            (Ack::One, 0, 0),
            (Ack::Local, 3, 0),
        ];
        for (ack, wanted, need) in cases {
            let standing = |others| Standing { own: true, others, hopeful: wanted - others };
            assert_eq!(ack.needed(wanted), need, "{ack} of {wanted}");
            assert_eq!(enough(ack, wanted, standing(need)), Verdict::Enough, "{ack} of {wanted}");
            if need > 0 {
                assert_eq!(enough(ack, wanted, standing(need - 1)), Verdict::Wait, "{ack} of {wanted}");
                let lost = Standing { own: true, others: need - 1, hopeful: 0 };
                assert_eq!(enough(ack, wanted, lost), Verdict::Never, "{ack} of {wanted}");
            }
        }
    }

    #[test]
    fn the_own_copy_is_always_needed() {
        let standing = Standing { own: false, others: 2, hopeful: 0 };
        assert_eq!(enough(Ack::All, 2, standing), Verdict::Wait);
        assert_eq!(enough(Ack::Local, 2, standing), Verdict::Wait);
    }
}

//! Numbers of a plan's parts, written as ranges.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A set of numbers: `3,17-40`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts(BTreeSet<usize>);

impl Parts {
    /// All numbers below this.
    pub(crate) fn below(count: usize) -> Self {
        Self((0..count).collect())
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.0.contains(&number)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Without those at these places, in the order of numbers.
    pub(crate) fn without(&self, from: usize, count: usize) -> Self {
        let kept = self.0.iter().enumerate().filter(|(place, _)| *place < from || *place >= from + count);
        Self(kept.map(|(_, number)| *number).collect())
    }
}

impl FromStr for Parts {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = BTreeSet::new();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            parts.extend(from.parse::<usize>()?..=to.parse()?);
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for number in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *number => *last = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        let text = |(from, to): &(usize, usize)| if from == to { format!("{from}") } else { format!("{from}-{to}") };
        f.write_str(&ranges.iter().map(text).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_are_written() {
        let parts: Parts = "3,17-19,40".parse().unwrap();
        assert_eq!(parts.to_string(), "3,17-19,40");
        assert!(parts.contains(18) && !parts.contains(4));
        assert_eq!(parts.without(1, 3).to_string(), "3,40");
        assert_eq!(Parts::below(4).to_string(), "0-3");
        assert!("x".parse::<Parts>().is_err());
    }
}

//! H: bad or excessive input costs bounded memory, disk and descriptors, and gets a typed error.

/// Something that was counted, and how much of it there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Of whom.
    pub node: &'a str,
    /// What.
    pub what: &'a str,
    /// How much there was.
    pub found: u64,
    /// How much there may be.
    pub most: u64,
}

/// What went beyond its bound.
pub fn violations<'a>(bounds: impl IntoIterator<Item = Bound<'a>>) -> Vec<String> {
    let beyond = bounds.into_iter().filter(|bound| bound.found > bound.most);
    beyond
        .map(|Bound { node, what, found, most }| format!("H: {node} has {found} {what}, of {most} at most"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_may_be_reached_and_not_passed() {
        let bound = |found| Bound { node: "n1", what: "connections", found, most: 4 };
        assert!(violations([bound(0), bound(4)]).is_empty());
        assert_eq!(violations([bound(5)]), ["H: n1 has 5 connections, of 4 at most"]);
    }
}

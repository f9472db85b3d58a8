//! A: an acknowledged version loads, bit for bit, while one holder or the global copy lives.

use cairn_client::api::Code;
use cairn_store::digest::Digest;
use cairn_store::name::Name;
use cairn_store::segment::Version;

/// A version that was acknowledged and that nobody took away, and what a load of it gave.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Of what.
    pub name: Name,
    /// Which.
    pub version: Version,
    /// What was acknowledged.
    pub digest: Digest,
    /// Whether a node that runs has an intact copy that the cluster counts.
    pub intact: bool,
    /// What a load gave.
    pub loaded: Result<Digest, Code>,
}

/// What is wrong with loads after all faults have ended.
pub fn violations(kept: &[Kept]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Kept { name, version, digest, intact, loaded } in kept {
        match loaded {
            Ok(read) if read == digest => {}
            Ok(read) => wrong.push(format!("A: version {version} of {name} loads as {read}, not as {digest}")),
            // Without an intact copy an error is all that can be said, but it must be the right one.
            Err(Code::Corrupt | Code::Unavailable | Code::NotFound) if !intact => {}
            Err(code) => {
                wrong.push(format!("A: version {version} of {name} was acknowledged and does not load: {code}"))
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(intact: bool, loaded: Result<&[u8], Code>) -> Vec<String> {
        let (name, digest) = ("job/a".parse().unwrap(), Digest::of(b"right"));
        violations(&[Kept { name, version: Version(1), digest, intact, loaded: loaded.map(Digest::of) }])
    }

    #[test]
    fn what_was_acknowledged_loads() {
        assert!(kept(true, Ok(b"right")).is_empty());
        assert!(kept(false, Err(Code::Corrupt)).is_empty());
        for wrong in [kept(true, Ok(b"wrong")), kept(true, Err(Code::Corrupt)), kept(true, Err(Code::NotFound))] {
            assert_eq!(wrong.len(), 1, "{wrong:?}");
        }
        assert_eq!(kept(false, Ok(b"wrong")).len(), 1);
        assert_eq!(kept(false, Err(Code::Internal)).len(), 1);
    }
}

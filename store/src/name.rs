//! The name of a segment, unique in the cluster.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A valid segment name: components of `[A-Za-z0-9._-]` joined by `/`.
///
/// No component is empty, `.` or `..`, or starts with a dot or a dash, so a name can never be taken for a path or
/// for an option. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text is empty.
    #[error("a name has at least one character")]
    Empty,
    /// The text is longer than [`Name::MAX_BYTES`].
    #[error("a name has at most {max} bytes, this one has {0}", max = Name::MAX_BYTES)]
    TooLong(usize),
    /// The text starts or ends with `/`, or has two in a row.
    #[error("a name is made of parts joined by single slashes, without one at the start or the end")]
    EmptyPart,
    /// A part starts with a dot or a dash.
    #[error("the part {0:?} starts with a dot or a dash")]
    BadStart(String),
    /// A character outside the alphabet.
    #[error("the character {0:?} is not allowed: use letters, digits, '.', '_', '-', and '/' between parts")]
    BadCharacter(char),
}

impl Name {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Whether a name can start with `text`; any can with the empty one.
    ///
    /// # Errors
    /// Why not, as far as `text` shows it.
    pub fn check_prefix(text: &str) -> Result<(), InvalidName> {
        // What ends with a slash goes on with a part.
        let whole = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() { Ok(()) } else { whole.parse::<Self>().map(drop) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidName::TooLong(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(InvalidName::BadCharacter(bad));
        }
        for part in text.split('/') {
            if part.is_empty() {
                return Err(InvalidName::EmptyPart);
            }
            if part.starts_with(['.', '-']) {
                return Err(InvalidName::BadStart(part.into()));
            }
        }
        Ok(Self(text.into()))
    }
}

/// Names sort and compare as their texts do.
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Decoding checks the rules again: a name from outside is never trusted.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_what_the_contract_allows() {
        for text in ["a", "db/main", "A-1/b_2/c.3", "x..y", &"n".repeat(255)] {
            assert_eq!(text.parse::<Name>().map(|n| n.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_what_could_be_a_path_or_an_option() {
        use InvalidName as E;
        let cases = [
            ("", E::Empty),
            ("/etc/passwd", E::EmptyPart),
            ("a//b", E::EmptyPart),
            ("a/", E::EmptyPart),
            ("..", E::BadStart("..".into())),
            ("a/../b", E::BadStart("..".into())),
            (".hidden", E::BadStart(".hidden".into())),
            ("-rf", E::BadStart("-rf".into())),
            ("a b", E::BadCharacter(' ')),
            ("a\nb", E::BadCharacter('\n')),
            ("naïve", E::BadCharacter('ï')),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Name>(), Err(error), "{text:?}");
        }
        assert_eq!("n".repeat(256).parse::<Name>(), Err(E::TooLong(256)));
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_name() {
        for text in ["", "a", "db/", "db/ma", &"n".repeat(255)] {
            assert_eq!(Name::check_prefix(text), Ok(()), "{text:?}");
        }
        for text in ["/", "/x", "a//", "a/../b", ".", "-", "a b", "a\n", "naïve", &"n".repeat(256)] {
            assert!(Name::check_prefix(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_of_a_name_is_never_refused(name in "[A-Za-z0-9_][A-Za-z0-9._-]{0,9}(/[a-z0-9]{1,3}){0,3}", at in 0_usize..30) {
            prop_assert!(name.parse::<Name>().is_ok());
            let prefix = name.get(..at.min(name.len())).unwrap_or_default();
            prop_assert_eq!(Name::check_prefix(prefix), Ok(()));
        }

        #[test]
        fn a_name_never_leaves_a_folder(text in ".{0,300}") {
            if let Ok(name) = text.parse::<Name>() {
                let path = std::path::Path::new(name.as_str());
                prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            }
        }
    }
}

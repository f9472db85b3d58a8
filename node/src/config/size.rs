//! Bytes, as people write them.

const UNITS: [(&str, u64); 12] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1000_u64.pow(2)),
    ("gb", 1000_u64.pow(3)),
    ("tb", 1000_u64.pow(4)),
    ("pb", 1000_u64.pow(5)),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
];

/// `1073741824`, `1GiB`, `500 MB`.
pub(super) fn parse(text: &str) -> Result<u64, &'static str> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    match (number.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => number.checked_mul(factor).ok_or("it is more than 16 EiB"),
        _ => Err("write bytes as a whole number, such as 1073741824, \"10GiB\" or \"500MB\""),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn people_write_bytes_in_many_ways() {
        let good =
            [("0", 0), ("1073741824", 1 << 30), ("10GiB", 10 << 30), ("500 MB", 500_000_000), (" 1kib ", 1024)];
        for (text, bytes) in good {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "10 apples", "99999999999PiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Times to the nanosecond, as pax writes them: seconds and a fraction, before 1970 with a minus sign.

use rustix::fs::Timespec;

const NANOS: i64 = 1_000_000_000;

/// The text of a time.
pub(super) fn text(time: Timespec) -> String {
    let (seconds, nanos) = (time.tv_sec, time.tv_nsec);
    if seconds >= 0 || nanos == 0 {
        return format!("{seconds}.{nanos:09}");
    }
    // The fraction counts forwards, the text backwards.
    format!("-{}.{:09}", (seconds + 1).unsigned_abs(), NANOS - nanos)
}

/// The time of a text; none if it is not one.
pub(super) fn parse(text: &str) -> Option<Timespec> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !plain(seconds) || !plain(fraction) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(match (negative, nanos) {
        (false, nanos) => Timespec { tv_sec: seconds, tv_nsec: nanos },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, nanos) => Timespec { tv_sec: -seconds - 1, tv_nsec: NANOS - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_comes_back() {
        for (seconds, nanos, written) in [
            (0, 0, "0.000000000"),
            (1_700_000_000, 5, "1700000000.000000005"),
            (-1, 500_000_000, "-0.500000000"),
            (-2, 0, "-2.000000000"),
            (-2, 999_999_999, "-1.000000001"),
        ] {
            let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
            assert_eq!(text(time), written);
            assert_eq!(parse(written), Some(time), "{written}");
        }
        assert_eq!(parse("7"), Some(Timespec { tv_sec: 7, tv_nsec: 0 }));
        assert_eq!(parse("7.25"), Some(Timespec { tv_sec: 7, tv_nsec: 250_000_000 }));
        for bad in ["", "-", "--1", "1.", ".5", "x", "1.x", "+1", "9999999999999999999"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

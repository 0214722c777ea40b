//! Milliseconds since 1970 as the two spellings of HTTP: RFC 3339 in JSON, IMF-fixdate in headers.

const DAY_MS: u64 = 86_400_000;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Later than this a year has five digits, which neither spelling knows; such times show as this one.
const LAST_MS: u64 = 253_402_300_799_999;

/// `2026-11-21T01:44:55.123Z`.
pub(super) fn rfc3339(ms: u64) -> String {
    let ms = ms.min(LAST_MS);
    let (year, month, day) = civil(ms / DAY_MS);
    let (hour, minute, second) = clock(ms);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// `Sat, 21 Nov 2026 01:44:55 GMT`, as bytes of a header. Written by hand: it is on the hot path.
pub(super) fn imf(ms: u64) -> Vec<u8> {
    let ms = ms.min(LAST_MS);
    let days = ms / DAY_MS;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = clock(ms);
    let mut out = Vec::with_capacity(29);
    out.extend_from_slice(WEEKDAYS.get((days % 7) as usize).copied().unwrap_or_default().as_bytes());
    out.extend_from_slice(b", ");
    two(&mut out, day);
    out.push(b' ');
    out.extend_from_slice(MONTHS.get((month - 1) as usize).copied().unwrap_or_default().as_bytes());
    out.push(b' ');
    two(&mut out, year / 100);
    two(&mut out, year % 100);
    for (lead, part) in [(b' ', hour), (b':', minute), (b':', second)] {
        out.push(lead);
        two(&mut out, part);
    }
    out.extend_from_slice(b" GMT");
    out
}

fn two(out: &mut Vec<u8>, number: u64) {
    out.push(b'0' + (number / 10 % 10) as u8);
    out.push(b'0' + (number % 10) as u8);
}

fn clock(ms: u64) -> (u64, u64, u64) {
    let seconds = ms % DAY_MS / 1000;
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a day since 1970 in the Gregorian calendar. Years are counted from March,
/// so that the leap day is a year's last, and in eras of 400 years, after which everything repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imf_text(ms: u64) -> String {
        String::from_utf8(imf(ms)).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(imf_text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(imf_text(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(rfc3339(951_782_400_007), "2000-02-29T00:00:00.007Z");
        assert_eq!(rfc3339(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(civil(days), (year, month, day));
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}

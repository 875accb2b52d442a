//! What lies on disk, and small languages inside of requests.

use puffer_core::Timestamp;
use puffer_core::alarm::Statistic;
use puffer_core::autoscaling::schedule::Recurrence;
use puffer_core::ec2::Cidr;

use crate::{Target, choice};

pub(crate) const ENVELOPE: Target = Target {
    name: "envelope",
    run: |data| {
        let (number, bytes) = choice(data);
        let schema = puffer_inventory::schema();
        let names: Vec<_> = schema.names().collect();
        let name = number.checked_rem(names.len()).and_then(|i| names.get(i));
        let _ = schema.check_row(name.copied().unwrap_or_default(), bytes);
    },
    seeds: &[
        br#"  {"v":1,"d":{"name":"/a","value":"ami-1","version":1,"modified_at":1}}"#,
        br#"  {"v":0,"d":{}}"#,
        br#"  {"v":65535,"d":null}"#,
    ],
    words: &[
        "{",
        "}",
        "[",
        "]",
        "\"v\":",
        "\"d\":",
        "1",
        "null",
        "\"id\":\"i-1\"",
        "\"name\":\"a\"",
        "\"tags\":{}",
        "-1",
        "1e400",
        "\\ud800",
    ],
};

pub(crate) const RECURRENCE: Target = Target {
    name: "recurrence",
    run: |data| {
        let text = String::from_utf8_lossy(data);
        let (text, zone) = text.split_once('@').map_or((&*text, None), |(text, zone)| (text, Some(zone)));
        let Ok(recurrence) = Recurrence::parse(text, zone) else { return };
        for at_s in [0, 1_795_231_680, 4_102_444_800] {
            let at = Timestamp::from_secs(at_s);
            if let Some(next) = recurrence.after(at) {
                assert!(next > at, "{text}: {next} is not after {at}");
            }
        }
    },
    seeds: &[
        b"30 6 * * MON-FRI",
        b"*/5 0-3,9 1 1 *@Europe/Berlin",
        b"0 0 29 2 *",
        b"59 23 31 12 7@Pacific/Apia",
    ],
    words: &[
        "*",
        "/",
        "-",
        ",",
        " ",
        "0",
        "59",
        "31",
        "MON",
        "jan",
        "L",
        "#",
        "?",
        "@",
        "UTC",
        "America/New_York",
        "@daily",
        "99999999999",
    ],
};

pub(crate) const SMALL_TEXTS: Target = Target {
    name: "small_texts",
    run: |data| {
        let text = String::from_utf8_lossy(data);
        let _ = Timestamp::parse_rfc3339(&text);
        let _ = Statistic::parse(&text);
        if let Ok(block) = text.parse::<Cidr>() {
            assert_eq!(block.to_string().parse::<Cidr>().ok(), Some(block));
        }
        for prefix in ["i", "ami", "subnet"] {
            let _ = puffer_core::ec2::is_well_formed_id(prefix, &text);
        }
    },
    seeds: &[
        b"2026-11-21T03:28:00.123+01:00",
        b"PR(100:2000)",
        b"tm10%:90%",
        b"172.31.0.0/16",
        b"i-0123456789abcdef0",
    ],
    words: &[
        "p99.9",
        "TC(",
        ":",
        ")",
        "%",
        "/",
        ".",
        "-",
        "T",
        "Z",
        "0",
        "255",
        "4294967296",
        "1e9",
        "\u{e9}",
    ],
};

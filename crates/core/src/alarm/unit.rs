use serde::{Deserialize, Serialize};

macro_rules! units {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// Units of a metric, as CloudWatch's `StandardUnit` lists them. A metric's data of different units are
        /// different streams.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[allow(missing_docs)]
        #[repr(u8)]
        pub enum Unit { #[default] $($variant),* }

        impl Unit {
            /// All units.
            pub const ALL: &'static [Unit] = &[$(Unit::$variant),*];

            /// CloudWatch's name.
            pub const fn name(self) -> &'static str {
                match self { $(Unit::$variant => $name),* }
            }

            /// Reads CloudWatch's name.
            pub fn parse(name: &str) -> Option<Unit> {
                match name { $($name => Some(Unit::$variant),)* _ => None }
            }
        }
    };
}

units! {
    None = "None",
    Seconds = "Seconds",
    Microseconds = "Microseconds",
    Milliseconds = "Milliseconds",
    Bytes = "Bytes",
    Kilobytes = "Kilobytes",
    Megabytes = "Megabytes",
    Gigabytes = "Gigabytes",
    Terabytes = "Terabytes",
    Bits = "Bits",
    Kilobits = "Kilobits",
    Megabits = "Megabits",
    Gigabits = "Gigabits",
    Terabits = "Terabits",
    Percent = "Percent",
    Count = "Count",
    BytesPerSecond = "Bytes/Second",
    KilobytesPerSecond = "Kilobytes/Second",
    MegabytesPerSecond = "Megabytes/Second",
    GigabytesPerSecond = "Gigabytes/Second",
    TerabytesPerSecond = "Terabytes/Second",
    BitsPerSecond = "Bits/Second",
    KilobitsPerSecond = "Kilobits/Second",
    MegabitsPerSecond = "Megabits/Second",
    GigabitsPerSecond = "Gigabits/Second",
    TerabitsPerSecond = "Terabits/Second",
    CountPerSecond = "Count/Second",
}

//! Where the cgroup hierarchies of this machine are mounted: pure v2, or v1 controllers with v2 beside them.

use std::fs;
use std::path::{Path, PathBuf};

use super::state::unescape;

/// Where the hierarchies are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Mount point of v2.
    pub(super) v2: PathBuf,
    /// Mount points of the v1 hierarchies with their controllers (`cpu,cpuacct`, `name=systemd`).
    pub(super) v1: Vec<(PathBuf, Vec<String>)>,
}

impl Layout {
    /// As this process sees it; `None` without a v2 mount.
    pub(super) fn detect() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    fn parse(mountinfo: &str) -> Option<Self> {
        let mut v2 = None;
        let mut v1: Vec<(PathBuf, Vec<String>)> = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(unescape) else { continue };
            let mut right = right.split(' ');
            let kind = right.next().unwrap_or_default();
            let options = right.nth(1).unwrap_or_default();
            match kind {
                "cgroup2" if v2.is_none() => v2 = Some(PathBuf::from(point)),
                "cgroup" => {
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|o| {
                            !matches!(
                                *o,
                                "rw" | "ro" | "xattr" | "clone_children" | "noprefix" | "release_agent"
                            )
                        })
                        .filter(|o| !o.starts_with("release_agent="))
                        .map(str::to_string)
                        .collect();
                    if !v1.iter().any(|(_, seen)| *seen == controllers) {
                        v1.push((PathBuf::from(point), controllers));
                    }
                }
                _ => {}
            }
        }
        Some(Layout { v2: v2?, v1 })
    }

    /// Mount point of the v1 hierarchy with `controller`.
    pub(super) fn v1_of(&self, controller: &str) -> Option<&Path> {
        self.v1
            .iter()
            .find(|(_, names)| names.iter().any(|n| n == controller))
            .map(|(point, _)| point.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_pure_layouts_are_told_apart() {
        let hybrid = "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
32 24 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let layout = Layout::parse(hybrid).unwrap();
        assert_eq!(layout.v2, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(layout.v1_of("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(layout.v1_of("name=systemd"), Some(Path::new("/sys/fs/cgroup/systemd")));
        assert_eq!(layout.v1_of("memory"), None);
        let pure =
            Layout::parse("32 24 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate")
                .unwrap();
        assert!(pure.v1.is_empty());
        assert_eq!(Layout::parse("1 0 0:1 / / rw - ext4 /dev/vda rw"), None);
    }
}

//! What comes from instances and with images.

use std::fs;

use crate::Target;

pub(crate) const METADATA_PATH: Target = Target {
    name: "metadata_path",
    run: |data| puffer_network::fuzzing::metadata_path(&String::from_utf8_lossy(data)),
    seeds: &[
        b"meta-data/network/interfaces/macs/02:00:00:00:00:01/vpc-id",
        b"meta-data/public-keys/0/openssh-key",
        b"user-data",
        b"dynamic/instance-identity/document",
    ],
    words: &[
        "/",
        "//",
        "..",
        "meta-data",
        "macs",
        "02:00:00:00:00:01",
        "tags/instance/",
        "0=",
        "%2e",
        "\u{e9}",
    ],
};

/// A line per entry: its kind (`f`ile, `d`irectory, `l`ink, `h`ard link), name, and after a `>` where a link leads. Written as they are: no
/// tool of ours would make such an archive.
pub(crate) const ARCHIVE: Target = Target {
    name: "archive",
    run: archive,
    seeds: &[
        b"dbin\nfbin/sh\nlbin/ash>sh\nhbin/copy>bin/sh\nf.wh.gone\nfetc/.wh..wh..opq",
        b"lup>..\nfup/outside\nlroot>/\nfroot/outside",
        b"da\nla/b>../..\nfa/b/outside\nhhard>../outside",
    ],
    words: &[
        "\n",
        "f",
        "d",
        "l",
        "h",
        ">",
        "..",
        "/",
        "./",
        "outside",
        ".wh.",
        ".wh..wh..opq",
        "up",
        "/tmp",
        "\u{e9}",
    ],
};

/// Nothing outside the target is made, changed or removed.
fn archive(data: &[u8]) {
    const BYTES: &[u8] = b"content";
    let place = tempfile::tempdir().expect("a directory");
    let target = place.path().join("target");
    let outside = place.path().join("outside");
    fs::create_dir(&target).expect("a directory");
    fs::write(&outside, "untouched").expect("a file");
    let mut tar = tar::Builder::new(Vec::new());
    for line in data.split(|b| *b == b'\n') {
        let Some((kind, rest)) = line.split_first() else { continue };
        let mut parts = rest.splitn(2, |b| *b == b'>');
        let (name, link) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_entry_type(match kind {
            b'd' => tar::EntryType::Directory,
            b'l' => tar::EntryType::Symlink,
            b'h' => tar::EntryType::Link,
            _ => tar::EntryType::Regular,
        });
        // The safe setters refuse what we want to try.
        let old = header.as_old_mut();
        old.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        old.linkname.iter_mut().zip(link).for_each(|(to, from)| *to = *from);
        let body = if header.entry_type().is_file() { BYTES } else { &[] };
        header.set_size(body.len() as u64);
        header.set_cksum();
        tar.append(&header, body).expect("memory");
    }
    let bytes = tar.into_inner().expect("memory");
    for layered in [false, true] {
        puffer_compute::fuzzing::unpack(&bytes, &target, layered);
    }
    // And what is not even an archive.
    puffer_compute::fuzzing::unpack(data, &target, false);
    let mut names: Vec<_> =
        fs::read_dir(place.path()).expect("a directory").flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["outside", "target"], "something was made or removed outside: {data:?}");
    assert_eq!(fs::read(&outside).expect("a file"), b"untouched");
}

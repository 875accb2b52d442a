//! The store as its users see it, and archives that are not well-meant.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::*;
use crate::process::BundleKind;

fn new(n: u32) -> NewImage {
    NewImage {
        id: format!("ami-{n:017x}"),
        name: format!("image {n}"),
        description: None,
        aliases: Vec::new(),
        created_at: Timestamp::from_secs(i64::from(n)),
    }
}

struct World {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&dir.path().join("images")).unwrap();
        World { dir, store }
    }

    fn root(&self, manifest: &Manifest) -> PathBuf {
        self.store.dir().join(&manifest.layers[0])
    }

    fn tarball(&self, name: &str, fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> PathBuf {
        let path = self.dir.path().join(name);
        let bytes = tar_bytes(fill);
        let mut file = fs::File::create(&path).unwrap();
        match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => {
                let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                encoder.write_all(&bytes).unwrap();
                encoder.finish().unwrap();
            }
            Some("zst") => file.write_all(&zstd::encode_all(&bytes[..], 1).unwrap()).unwrap(),
            _ => file.write_all(&bytes).unwrap(),
        }
        path
    }
}

fn tar_bytes(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

/// Adds an entry under exactly this name, also one that the builder itself would refuse.
fn add(
    builder: &mut tar::Builder<Vec<u8>>,
    name: &str,
    kind: tar::EntryType,
    mode: u32,
    link: &str,
    data: &str,
) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(nix::unistd::getuid().as_raw().into());
    header.set_gid(nix::unistd::getgid().as_raw().into());
    header.set_size(data.len() as u64);
    header.set_cksum();
    builder.append(&header, data.as_bytes()).unwrap();
}

fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, data: &str) {
    add(builder, name, tar::EntryType::Regular, 0o644, "", data);
}

#[test]
fn imports_tarballs_of_each_compression() {
    let world = World::new();
    for (n, name) in [(1, "a.tar"), (2, "a.tar.gz"), (3, "a.tar.zst")] {
        let path = world.tarball(name, |b| {
            add(b, "./", tar::EntryType::Directory, 0o755, "", "");
            add(b, "./locked/", tar::EntryType::Directory, 0o555, "", "");
            file(b, "./locked/file", "inside");
            add(b, "bin", tar::EntryType::Symlink, 0o777, "usr/bin", "");
            add(b, "usr/bin/", tar::EntryType::Directory, 0o755, "", "");
            add(b, "bin/tool", tar::EntryType::Regular, 0o4755, "", "tool");
            add(b, "twin", tar::EntryType::Link, 0o644, "locked/file", "");
            add(b, "null", tar::EntryType::Char, 0o666, "", "");
        });
        let image = world.store.import(new(n), &path, &mut |_| {}).unwrap();
        let root = world.root(&image);
        assert_eq!(image.kind, BundleKind::Rootfs);
        assert_eq!(fs::read_to_string(root.join("twin")).unwrap(), "inside");
        let mode = |p: &str| fs::symlink_metadata(root.join(p)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("locked"), mode("usr/bin/tool")), (0o555, 0o4755));
        assert!(!root.join("null").exists(), "devices are left out");
        assert_eq!(world.store.verify(&image.id).unwrap(), image);
    }
    let (good, bad) = world.store.list().unwrap();
    assert_eq!((good.len(), bad.len()), (3, 0));
    assert_eq!(world.store.image_ref(&good[0].id).unwrap().layers, [world.root(&good[0])]);
}

#[test]
fn nothing_is_written_outside_the_image() {
    type Fill = fn(&mut tar::Builder<Vec<u8>>);
    let cases: [(&str, Fill); 6] = [
        ("dots", |b| file(b, "../escaped", "x")),
        ("inner dots", |b| file(b, "a/../../escaped", "x")),
        ("link", |b| {
            add(b, "out", tar::EntryType::Symlink, 0o777, "../../..", "");
            file(b, "out/escaped", "x");
        }),
        ("absolute link", |b| {
            add(b, "out", tar::EntryType::Symlink, 0o777, "/tmp", "");
            file(b, "out/puffer-escaped", "x");
        }),
        // The directory's mode and owner are set last, when its parent leads out.
        ("directory turned link", |b| {
            add(b, "out/", tar::EntryType::Directory, 0o755, "", "");
            add(b, "out/bystander/", tar::EntryType::Directory, 0o777, "", "");
            add(b, "out", tar::EntryType::Symlink, 0o777, "../../..", "");
        }),
        ("hard link", |b| {
            add(b, "out", tar::EntryType::Symlink, 0o777, "/etc", "");
            add(b, "passwd", tar::EntryType::Link, 0o644, "out/passwd", "");
        }),
    ];
    for (n, (name, fill)) in (10..).zip(cases) {
        let world = World::new();
        let path = world.tarball("evil.tar", fill);
        let bystander = world.dir.path().join("bystander");
        fs::create_dir(&bystander).unwrap();
        fs::set_permissions(&bystander, fs::Permissions::from_mode(0o700)).unwrap();
        let result = world.store.import(new(n), &path, &mut |_| {});
        assert!(!world.dir.path().join("escaped").exists(), "{name}");
        assert_eq!(fs::metadata(&bystander).unwrap().permissions().mode() & 0o777, 0o700, "{name}");
        assert!(!world.store.dir().join("escaped").exists(), "{name}");
        assert!(!Path::new("/tmp/puffer-escaped").exists(), "{name}");
        match result {
            // The link was replaced by a directory inside.
            Ok(image) => assert!(name.ends_with("link") && world.root(&image).join("out").is_dir(), "{name}"),
            Err(_) => {
                assert_eq!(fs::read_dir(world.store.dir()).unwrap().count(), 0, "{name}: nothing is left")
            }
        }
    }
}

#[test]
fn refuses_what_is_no_archive() {
    let world = World::new();
    for (n, (content, kind)) in (20..).zip([
        (&b"hello"[..], "text"),
        (b"", "empty"),
        (b"\xfd7zXZ\0rest", "xz"),
        (b"\x1f\x8bxx", "cut gzip"),
    ]) {
        let path = world.dir.path().join("file");
        fs::write(&path, content).unwrap();
        let error = world.store.import(new(n), &path, &mut |_| {}).unwrap_err();
        assert!(matches!(error, ImageError::Input(_) | ImageError::Io { .. }), "{kind}: {error}");
        assert_eq!(fs::read_dir(world.store.dir()).unwrap().count(), 0, "{kind}");
    }
}

#[test]
fn whiteouts_that_name_no_entry_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "etc/.wh...", "etc/.wh."] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        fs::create_dir_all(target.join("etc")).unwrap();
        let bytes = tar_bytes(|b| file(b, name, ""));
        crate::fuzzing::unpack(&bytes, &target, true);
        assert!(target.join("etc").exists(), "{name} removed a directory");
    }
}

#[test]
fn imports_an_oci_archive_with_whiteouts() {
    let world = World::new();
    let low = tar_bytes(|b| {
        file(b, "etc/keep", "low");
        file(b, "etc/gone", "low");
        file(b, "opaque/old", "low");
    });
    let high = tar_bytes(|b| {
        file(b, "etc/.wh.gone", "");
        file(b, "opaque/.wh..wh..opq", "");
        file(b, "opaque/new", "high");
    });
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    let mut blob = |bytes: Vec<u8>, media: &str| {
        let hex: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let size = bytes.len();
        blobs.push((hex.clone(), bytes));
        serde_json::json!({"mediaType": media, "digest": format!("sha256:{hex}"), "size": size})
    };
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let layers = [
        blob(low, layer),
        blob(zstd::encode_all(&high[..], 1).unwrap(), "application/vnd.oci.image.layer.v1.tar+zstd"),
    ];
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Entrypoint": ["/bin/app"], "Cmd": ["-v"], "Env": ["A=1"], "WorkingDir": "/etc", "ExposedPorts": {"8080/tcp": {}}},
    });
    let config = blob(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = blob(manifest.to_string().into_bytes(), "application/vnd.oci.image.manifest.v1+json");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    let archive = |blobs: &[(String, Vec<u8>)]| {
        world.tarball("image.tar.gz", |b| {
            for (hex, bytes) in blobs {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                b.append_data(&mut header, format!("blobs/sha256/{hex}"), &bytes[..]).unwrap();
            }
            file(b, "index.json", &index);
        })
    };
    let image = world.store.import(new(30), &archive(&blobs), &mut |_| {}).unwrap();
    let root = world.root(&image);
    assert!(matches!(image.source, ImageSource::Oci { .. }));
    assert!(root.join("etc/keep").exists() && !root.join("etc/gone").exists());
    assert!(root.join("opaque/new").exists() && !root.join("opaque/old").exists());
    let how = fs::read_to_string(root.parent().unwrap().join("puffer-image.json")).unwrap();
    let how: crate::process::BundleManifest = serde_json::from_str(&how).unwrap();
    assert_eq!((how.command, how.port), (vec!["/bin/app".to_owned(), "-v".to_owned()], Some(8080)));

    blobs[0].1[600] ^= 1;
    let error = world.store.import(new(31), &archive(&blobs), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn damage_is_seen() {
    let world = World::new();
    let path = world.tarball("a.tar", |b| file(b, "f", "content"));
    let image = world.store.import(new(40), &path, &mut |_| {}).unwrap();
    fs::write(world.root(&image).join("f"), "cut").unwrap();
    assert!(matches!(world.store.verify(&image.id), Err(ImageError::Damaged { .. })));
    fs::remove_dir_all(world.root(&image)).unwrap();
    assert!(matches!(world.store.get(&image.id), Err(ImageError::Damaged { .. })));
    let other = world.store.import(new(41), &path, &mut |_| {}).unwrap();
    fs::write(world.store.dir().join(&other.id).join("manifest.json"), "{").unwrap();
    let (good, bad) = world.store.list().unwrap();
    assert_eq!((good.len(), bad.len()), (0, 2));
    assert!(matches!(world.store.get("ami-00000000000000099"), Err(ImageError::NotFound(_))));
    assert!(matches!(world.store.get("../x"), Err(ImageError::NotFound(_))));
}

#[test]
fn layers_stay_as_long_as_anything_uses_them() {
    let world = World::new();
    let path = world.tarball("a.tar", |b| file(b, "f", "content"));
    let base = world.store.import(new(50), &path, &mut |_| {}).unwrap();
    let staged = world.store.stage(new(51)).unwrap();
    fs::write(staged.root().join("g"), "more").unwrap();
    let layers = vec![world.root(&base), staged.root()];
    let source = ImageSource::Instance { instance_id: "i-1".into() };
    let upper = staged.adopt(layers, source).unwrap();
    assert_eq!(upper.size_bytes, 11);
    world.store.remove(&base.id).unwrap();
    world.store.remove(&base.id).unwrap();
    assert!(matches!(world.store.get(&base.id), Err(ImageError::NotFound(_))));
    let none = std::collections::HashSet::new();
    world.store.collect(&none).unwrap();
    assert_eq!(world.store.image_ref(&upper.id).unwrap().layers.len(), 2);
    world.store.remove(&upper.id).unwrap();
    world.store.collect(&[world.root(&base)].into()).unwrap();
    assert!(world.root(&base).is_dir() && !world.store.dir().join(&upper.id).exists());
    world.store.collect(&none).unwrap();
    assert_eq!(fs::read_dir(world.store.dir()).unwrap().count(), 0);
}

#[test]
fn a_sweep_spares_work_in_progress() {
    let world = World::new();
    let staged = world.store.stage(new(60)).unwrap();
    assert!(matches!(world.store.stage(new(60)), Err(ImageError::Exists(_))));
    let left = world.store.dir().join(".making-ami-00000000000000061");
    fs::create_dir_all(left.join("root")).unwrap();
    world.store.sweep().unwrap();
    assert!(staged.root().is_dir() && !left.exists());
    drop(staged);
    assert_eq!(fs::read_dir(world.store.dir()).unwrap().count(), 0);
}

#[test]
fn a_bundle_keeps_what_it_says_of_itself() {
    let world = World::new();
    let dir = world.dir.path().join("bundle");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("puffer-image.json"), r#"{"kind":"process","command":["sleep","9"]}"#).unwrap();
    let image = world.store.import(new(70), &dir, &mut |_| {}).unwrap();
    assert_eq!(image.kind, BundleKind::Process);
    assert!(world.store.dir().join(&image.id).join("puffer-image.json").is_file());
}

/// The reader of cloud-configs against documents of the kind people write. Needs python3.
#[test]
fn reads_cloud_configs() {
    let document = "#cloud-config\nhostname: web-1  # name\nwrite_files:\n- path: /tmp/a\n  content: |\n    x: 1\n      # kept\n\n    end\n  permissions: '0600'\n- {path: /b, content: \"x\\ny\", append: true}\nusers:\n  - default\n  - name: bob\n    groups: [a, \"b c\"]\nruncmd:\n  - echo hi > /tmp/c\n  - [ sh, -c, \"echo a: b # c\" ]\n  - - ls\n    - -l\n  - >-\n    folded\n    text\n";
    let wanted = serde_json::json!({
        "hostname": "web-1",
        "write_files": [
            {"path": "/tmp/a", "content": "x: 1\n  # kept\n\nend\n", "permissions": "0600"},
            {"path": "/b", "content": "x\ny", "append": true},
        ],
        "users": ["default", {"name": "bob", "groups": ["a", "b c"]}],
        "runcmd": ["echo hi > /tmp/c", ["sh", "-c", "echo a: b # c"], ["ls", "-l"], "folded text"],
    });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cloud_config.py"), FIRST_BOOT[1].2).unwrap();
    let program = "import json, sys, cloud_config as c; print(json.dumps(c.Reader(sys.argv[1]).block(0)))";
    let output = std::process::Command::new("python3")
        .args(["-B", "-c", program, document])
        .current_dir(dir.path())
        .output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: needs python3");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let found: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(found, wanted);
}

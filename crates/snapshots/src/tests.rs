//! Files that are whole, and every way in which one is not.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;

fn header(keys: u64) -> Header {
    Header {
        cluster: "1a2b3c4d-0000-4000-8000-000000000000".into(),
        revision: 10_000,
        server_version: "v1.36.2+ferry.0.1.0".into(),
        time: "2026-11-30T12:00:00Z".into(),
        keys,
        canonical: true,
        cluster_keys: false,
        volumes: String::new(),
        data_dir: String::new(),
        encryption: None,
    }
}

fn object(number: i64, bytes: usize) -> Object {
    Object {
        key: format!("/registry/configmaps/default/c{number:05}"),
        value: vec![b'v'; bytes].into(),
        mod_revision: number + 1,
        create_revision: number,
        version: 2,
        expires: 0,
    }
}

/// What an API server sends, with so many objects a chunk.
fn sent(objects: &[Object], each: usize) -> Vec<u8> {
    let (mut encoder, mut bytes) = Encoder::begin(&header(objects.len() as u64), None).unwrap();
    for some in objects.chunks(each) {
        let mut content = Vec::new();
        some.iter().for_each(|object| object.encode(&mut content).unwrap());
        let packed = Packed::new(Kind::Objects, some.len() as u32, &content).unwrap();
        bytes.extend(encoder.chunk(packed).unwrap());
    }
    bytes.extend(encoder.end().unwrap().0);
    bytes
}

fn read(bytes: &[u8], secret: Option<&Secret>) -> Result<Vec<Object>> {
    let mut reader = Reader::open(bytes)?;
    reader.unlock(secret)?;
    let objects = reader.objects().collect::<Result<Vec<_>>>()?;
    while reader.content()?.is_some() {}
    Ok(objects)
}

/// A small file with a bit of everything, saved.
fn saved(dir: &Path, secret: Option<&Secret>) -> Vec<u8> {
    let objects: Vec<Object> = (0..5).map(|n| object(n, 10)).collect();
    let file = File { name: "ca.key".into(), mode: 0o600, content: b"key".to_vec() };
    let contents = Contents { files: vec![file], ..Contents::default() };
    let path = dir.join("s.ferrysnapshot");
    drop(fs::remove_file(&path));
    let saved = save(&sent(&objects, 2)[..], &contents, secret, |_| path.clone()).unwrap();
    assert_eq!((saved.totals.objects, saved.totals.files, saved.totals.chunks), (5, 1, 4));
    fs::read(path).unwrap()
}

fn secrets() -> [Option<Secret>; 2] {
    [None, Some(Secret::Key(vec![7; 32]))]
}

#[test]
fn what_is_saved_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let objects: Vec<Object> = (0..3000).map(|n| object(n, (n as usize * 37) % 5000)).collect();
    let many = sent(&objects, 100);
    assert_eq!(read(&many, None).unwrap(), objects);
    let passphrase = Secret::Passphrase(b"correct horse".to_vec());
    for (n, secret) in secrets().iter().chain([&Some(passphrase)]).enumerate() {
        let path = dir.path().join(format!("{n}.ferrysnapshot"));
        let saved = save(&many[..], &Contents::default(), secret.as_ref(), |_| path.clone()).unwrap();
        assert_eq!(saved.totals.objects, 3000);
        assert_eq!(saved.header.encryption.is_some(), secret.is_some());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(read(&bytes, secret.as_ref()).unwrap(), objects);
        let found = bytes.windows(10).any(|window| window == b"/registry/");
        assert_eq!(found, secret.is_none(), "in clear only where it is not encrypted");
        assert_eq!(header_of(&bytes[..1000]).unwrap().revision, 10_000);
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "nothing else is left: {names:?}");
}

#[test]
fn no_altered_byte_goes_unseen() {
    let dir = tempfile::tempdir().unwrap();
    for secret in secrets() {
        let whole = saved(dir.path(), secret.as_ref());
        verify(&whole[..], secret.as_ref()).unwrap();
        verify(&whole[..], None).unwrap();
        for at in 0..whole.len() {
            for bit in [0x01, 0x80] {
                let mut altered = whole.clone();
                altered[at] ^= bit;
                assert!(verify(&altered[..], secret.as_ref()).is_err(), "byte {at} of {}", whole.len());
                assert!(verify(&altered[..], None).is_err(), "byte {at}, unopened");
            }
        }
    }
}

#[test]
fn no_cut_or_longer_file_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    for secret in secrets() {
        let whole = saved(dir.path(), secret.as_ref());
        for length in 0..whole.len() {
            let error = verify(&whole[..length], secret.as_ref()).unwrap_err();
            assert!(matches!(error, Error::Damaged(_)), "{length}: {error}");
            assert!(verify(&whole[..length], None).is_err(), "{length}, unopened");
        }
        let longer = [&whole[..], b"x"].concat();
        let said = verify(&longer[..], secret.as_ref()).unwrap_err().to_string();
        assert_eq!(said, "not a whole snapshot: something follows its end");
        assert!(verify(&longer[..], None).is_err());
    }
}

/// Where the chunks of a file begin, and where its end does.
fn chunks(bytes: &[u8]) -> Vec<usize> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 16 + number(12) + 32;
    let mut found = vec![at];
    while bytes[at + 4] != 255 {
        at += 20 + number(at + 16) + 32;
        found.push(at);
    }
    found
}

/// The same file with what everybody can compute made to fit again: somebody altered it who has no key.
fn forged(mut bytes: Vec<u8>) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA256, digest};
    let body = bytes.len() - 32;
    let whole = digest(&SHA256, &bytes[..body]);
    bytes[body..].copy_from_slice(whole.as_ref());
    bytes
}

#[test]
fn chunks_of_an_encrypted_file_cannot_be_swapped_repeated_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let secret = Secret::Key(vec![7; 32]);
    let whole = saved(dir.path(), Some(&secret));
    let other = saved(dir.path(), Some(&secret));
    assert_ne!(whole, other, "each file has a key of its own");
    let at = chunks(&whole);
    let piece = |n: usize| &whole[at[n]..at[n + 1]];
    let head = &whole[..at[0]];
    let tail = &whole[at[3]..];
    let last = &whole[at[4]..];
    let check = |pieces: &[&[u8]]| {
        let bytes = forged(pieces.concat());
        assert!(verify(&bytes[..], Some(&secret)).is_err());
    };
    assert!(verify(&forged(whole.clone())[..], Some(&secret)).is_ok());
    check(&[head, piece(1), piece(0), piece(2), tail]);
    check(&[head, piece(0), piece(0), piece(2), tail]);
    check(&[head, piece(0), piece(1), tail]);
    check(&[head, piece(0), piece(1), piece(2), last]);
    check(&[&other[..at[0]], piece(0), piece(1), piece(2), tail]);
    // A chunk given another place, with all checksums made to fit: only the encryption knows.
    let preamble: chunk::Digest = head[head.len() - 32..].try_into().unwrap();
    let moved = |from: usize, to: u32| {
        let mut bytes = piece(from).to_vec();
        bytes[..4].copy_from_slice(&to.to_le_bytes());
        let end = bytes.len() - 32;
        let head = chunk::Head::decode(bytes[..20].try_into().unwrap()).unwrap();
        let digest = head.digest(&preamble, &bytes[20..end]);
        bytes[end..].copy_from_slice(&digest);
        bytes
    };
    let swapped = forged([head, &moved(1, 0), &moved(0, 1), piece(2), tail].concat());
    verify(&swapped[..], None).unwrap();
    let said = verify(&swapped[..], Some(&secret)).unwrap_err().to_string();
    assert!(said.contains("somebody altered it"), "{said}");
}

#[test]
fn the_secret_has_to_be_the_one() {
    let dir = tempfile::tempdir().unwrap();
    let [_, secret] = secrets();
    let encrypted = saved(dir.path(), secret.as_ref());
    let said = |bytes: &[u8], secret: Option<Secret>| read(bytes, secret.as_ref()).unwrap_err().to_string();
    assert_eq!(said(&encrypted, None), "it is encrypted: give --key-file or --passphrase-file");
    assert!(said(&encrypted, Some(Secret::Key(vec![8; 32]))).starts_with("this key or passphrase is not the one"));
    let passphrase = Secret::Passphrase(b"12345678".to_vec());
    assert_eq!(said(&encrypted, Some(passphrase)), "it is encrypted with a key file: give --key-file");
    let plain = saved(dir.path(), None);
    assert_eq!(said(&plain, secret), "it is not encrypted, and a key or passphrase was given");
    let file = dir.path().join("key");
    fs::write(&file, "short").unwrap();
    assert!(Secret::key_file(&file).unwrap_err().to_string().contains("has 5 bytes, and a key has 32 at least"));
    fs::write(&file, "correct horse\nand more").unwrap();
    assert!(matches!(Secret::passphrase_file(&file), Ok(Secret::Passphrase(p)) if p == b"correct horse"));
}

#[test]
fn a_stream_that_breaks_off_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let objects: Vec<Object> = (0..100).map(|n| object(n, 1000)).collect();
    let bytes = sent(&objects, 10);
    let path = dir.path().join("x.ferrysnapshot");
    for length in [0, 10, bytes.len() / 2, bytes.len() - 33, bytes.len() - 1] {
        let error = save(&bytes[..length], &Contents::default(), None, |_| path.clone()).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{length}: {error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{length}");
    }
    save(&bytes[..], &Contents::default(), None, |_| path.clone()).unwrap();
    let again = save(&bytes[..], &Contents::default(), None, |_| path.clone()).unwrap_err().to_string();
    assert!(again.ends_with("x.ferrysnapshot is there already"), "{again}");
}

#[test]
fn keys_out_of_order_or_too_new_are_refused() {
    let said = |objects: &[Object]| read(&sent(objects, 10), None).unwrap_err().to_string();
    assert!(said(&[object(2, 1), object(1, 1)]).contains("not in order"));
    assert!(said(&[object(1, 1), object(1, 1)]).contains("not in order"));
    assert!(said(&[object(50_000, 1)]).contains("is newer than the snapshot"));
}

#[test]
fn volumes_come_back_with_modes_links_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let write = |name: &str, content: &[u8], mode: u32| {
        let path = from.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(&path).unwrap().write_all(content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ n >> 8) as u8).collect();
    write("pvc-1/data/large", &large, 0o640);
    write("pvc-1/empty", b"", 0o600);
    write(&format!("pvc-2/{}/deep", "long".repeat(40)), b"x", 0o755);
    fs::set_permissions(from.join("pvc-2"), fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink("data/large", from.join("pvc-1/link")).unwrap();
    // Long ago, folders too.
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for name in ["pvc-1/data/large", "pvc-1", "pvc-2"] {
        fs::File::open(from.join(name)).unwrap().set_times(fs::FileTimes::new().set_modified(then)).unwrap();
    }
    let contents = Contents { volumes: Some(from.clone()), ..Contents::default() };
    let secret = Secret::Key(vec![7; 32]);
    let path = dir.path().join("v.ferrysnapshot");
    save(&sent(&[object(1, 1)], 1)[..], &contents, Some(&secret), |_| path.clone()).unwrap();
    let mut reader = Reader::open(fs::File::open(&path).unwrap()).unwrap();
    reader.unlock(Some(&secret)).unwrap();
    assert_eq!(reader.header().volumes, from.display().to_string());
    assert_eq!(reader.objects().count(), 1);
    let Some(Content::Volumes(first)) = reader.content().unwrap() else { panic!("no volumes") };
    volumes::unpack(&mut reader, first, &to).unwrap();
    assert!(reader.content().unwrap().is_none(), "and the end was verified");
    assert_eq!(fs::read(to.join("pvc-1/data/large")).unwrap(), large);
    assert_eq!(fs::read_link(to.join("pvc-1/link")).unwrap(), Path::new("data/large"));
    for name in ["pvc-1/data/large", "pvc-1/empty", "pvc-1", "pvc-2"] {
        let (a, b) = (fs::metadata(from.join(name)).unwrap(), fs::metadata(to.join(name)).unwrap());
        assert_eq!((a.mode(), a.uid(), a.gid(), a.mtime()), (b.mode(), b.uid(), b.gid(), b.mtime()), "{name}");
    }
    assert_eq!(fs::read(to.join(format!("pvc-2/{}/deep", "long".repeat(40)))).unwrap(), b"x");
}

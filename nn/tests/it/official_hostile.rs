//! Checkpoints made to harm: archives and pickles whose checksums are right and whose contents are not.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nn::NamedTensor;
use nn::official::{STATE_DICT_KEY, read_pth};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::small::cases;

/// An archive of these entries, uncompressed.
fn archive(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join("made.pth.tar");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

fn tuple(numbers: &[i32]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|n| [b"J".to_vec(), n.to_le_bytes().to_vec()].concat());
    [b"(".to_vec(), numbers.collect(), b"t".to_vec()].concat()
}

/// `{"model_state_dict": {"w": torch.Tensor(storage "0", offset, shape, strides)}}` as PyTorch pickles it.
fn pickle(class: &str, storage: &str, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    [
        b"\x80\x02}".to_vec(),
        text(STATE_DICT_KEY),
        b"}".to_vec(),
        text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text(storage),
        text("cpu"),
        b"K\x06tQJ".to_vec(),
        offset.to_le_bytes().to_vec(),
        tuple(shape),
        tuple(strides),
        b"\x89}tRss.".to_vec(),
    ]
    .concat()
}

fn read(pickle: &[u8], storage: &[u8]) -> Result<Vec<NamedTensor>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = archive(folder.path(), &[("a/data.pkl", pickle), ("a/data/0", storage)]);
    read_pth(&path, STATE_DICT_KEY).map_err(|error| error.to_string())
}

/// The name of the one tensor, when `name` is what the checkpoint calls it.
fn read_name(name: &str) -> String {
    let made = pickle("FloatStorage", "0", 0, &[6], &[1]);
    let place = made.windows(6).position(|window| window == text("w")).unwrap();
    let renamed = [&made[..place], &text(name)[..], &made[place + 6..]].concat();
    read(&renamed, &six()).unwrap().remove(0).name
}

#[test]
fn a_wrapped_networks_names_are_those_of_the_network() {
    assert_eq!(read_name("module.backbone.w"), "backbone.w");
    assert_eq!(read_name("module.module.w"), "module.w");
    assert_eq!(read_name("backbone.module.w"), "backbone.module.w");
}

fn six() -> Vec<u8> {
    (1..=6).flat_map(|value| (value as f32).to_le_bytes()).collect()
}

#[test]
fn offsets_and_strides_are_followed() {
    for (offset, shape, strides, expected) in [
        (0, &[2, 3][..], &[3, 1][..], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..]),
        (0, &[3, 2], &[1, 3], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
        (2, &[2], &[2], &[3.0, 5.0]),
        (5, &[], &[], &[6.0]),
        (0, &[0, 3], &[3, 1], &[]),
    ] {
        let tensors = read(&pickle("FloatStorage", "0", offset, shape, strides), &six()).unwrap();
        assert_eq!((tensors.len(), tensors[0].name.as_str()), (1, "w"));
        assert_eq!(tensors[0].values, expected);
    }
    let doubles: Vec<u8> = [0.5_f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(read(&pickle("DoubleStorage", "0", 0, &[2], &[1]), &doubles).unwrap()[0].values, [0.5, -2.0]);
    // 1.5 and -2 in half precision.
    assert_eq!(
        read(&pickle("HalfStorage", "0", 0, &[2], &[1]), &[0x00, 0x3e, 0x00, 0xc0]).unwrap()[0].values,
        [1.5, -2.0]
    );
}

/// Sizes that would take more memory than the file has, places outside the storage, names outside the archive.
#[test]
fn declared_sizes_are_not_believed() {
    const MOST: i32 = i32::MAX;
    for (pickle, problem) in [
        (pickle("FloatStorage", "0", 0, &[MOST], &[1]), "declare 8589934588 bytes"),
        (pickle("FloatStorage", "0", 0, &[MOST, MOST, MOST], &[1, 1, 1]), "impossible shape"),
        (pickle("FloatStorage", "0", 0, &[7], &[1]), "reaches beyond its storage of 24 bytes"),
        (pickle("FloatStorage", "0", 1, &[2, 3], &[3, 1]), "reaches beyond"),
        (pickle("FloatStorage", "0", 0, &[2], &[MOST]), "reaches beyond"),
        (pickle("FloatStorage", "0", -1, &[2], &[1]), "`w` is described by wrong values"),
        (pickle("FloatStorage", "0", 0, &[-2], &[1]), "`w` is described by wrong values"),
        (pickle("FloatStorage", "0", 0, &[2, 3], &[1]), "`w` is described by wrong values"),
        (pickle("FloatStorage", "0", 0, &[1; 9], &[1; 9]), "`w` is described by wrong values"),
        (pickle("FloatStorage", &"0".repeat(513), 0, &[2], &[1]), "`w` is described by wrong values"),
        (pickle("LongStorage", "0", 0, &[2], &[1]), "`w` is of LongStorage, expected floating-point numbers"),
        (
            pickle("FloatStorage", "../../../etc/passwd", 0, &[2], &[1]),
            "`a/data/../../../etc/passwd` in the archive",
        ),
        (b"X\xff\xff\xff\xff".to_vec(), "its pickle is damaged: a text is cut off"),
        // What a call would do if anything called: os.system("touch harmed").
        (
            [b"cos\nsystem\n".to_vec(), text("touch harmed"), b"\x85R.".to_vec()].concat(),
            "expected a dictionary",
        ),
    ] {
        let error = read(&pickle, &six()).unwrap_err();
        assert!(error.contains(problem), "{problem}: {error}");
    }
    assert!(!Path::new("harmed").exists());
}

/// A value in a value, so deep that a stack would overflow; a value doubled so often that no memory would hold it.
#[test]
fn nested_pickles_are_errors() {
    for bytes in [
        [b")".to_vec(), vec![0x85; 3_000_000], b".".to_vec()].concat(),
        [b")q\x00".to_vec(), b"h\x00h\x00\x86q\x00".repeat(64), b".".to_vec()].concat(),
    ] {
        let error = read(&bytes, &six()).unwrap_err();
        assert!(error.contains("expected a dictionary"), "{error}");
    }
    let error = read(&vec![b')'; 5 << 20], &six()).unwrap_err();
    assert!(error.contains("declares 5242880 bytes, at most 4194304 are read"), "{error}");
}

#[test]
fn compressed_entries_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = archive(folder.path(), &[("a/data.pkl", &pickle("FloatStorage", "0", 0, &[6], &[1]))]);
    // The compression method in the local header (offset 8) and in the central directory (offset 10): deflate.
    let mut bytes = std::fs::read(&path).unwrap();
    let central = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[8] = 8;
    bytes[central + 10] = 8;
    std::fs::write(&path, bytes).unwrap();
    let error = read_pth(&path, STATE_DICT_KEY).unwrap_err().to_string();
    assert!(error.contains("data.pkl") && error.contains("ompress"), "{error}");
}

proptest! {
    #![proptest_config(cases(4000))]

    /// 4000 executions: a pickle with bytes changed, put in or taken out, under a right checksum.
    #[test]
    fn changed_pickles_do_not_panic(
        changes in prop::collection::vec((0.0..1.0_f64, 0..4_usize, prop::collection::vec(any::<u8>(), 0..4)), 1..4),
    ) {
        let mut bytes = pickle("FloatStorage", "0", 0, &[2, 3], &[3, 1]);
        for (place, gone, new) in changes {
            let start = (place * bytes.len() as f64) as usize;
            let end = bytes.len().min(start + gone);
            bytes.splice(start..end, new);
        }
        if let Ok(tensors) = read(&bytes, &six()) {
            for tensor in tensors {
                prop_assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
            }
        }
    }

    /// 4000 executions: any bytes as a pickle.
    #[test]
    fn any_pickle_does_not_panic(bytes in prop::collection::vec(prop_oneof![
        prop::sample::select(&b"\x80\x85\x86\x87\x88\x89\x81\x8a()]}tldcXJKMGNQRbqrhjaesu."[..]),
        any::<u8>(),
    ], 0..60)) {
        let _ = read(&bytes, &six());
    }
}

//! What is known about each data set before a byte of it is read: METHODOLOGY.md, section "Data".

use std::fmt;
use std::str::FromStr;

use crate::channels::Channels;
use crate::{Error, Result};

/// One of the data sets that experiments name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// CIFAR-10: 10 classes, 32x32.
    Cifar10,
    /// CIFAR-100 with its 100 fine labels, 32x32.
    Cifar100,
    /// TinyImageNet: 200 classes, 64x64.
    TinyImagenet,
    /// Images made by [`crate::synthetic`].
    Synthetic,
}

impl Id {
    /// Every data set, in the order in which they are listed to the user.
    pub const ALL: [Id; 4] = [Id::Cifar10, Id::Cifar100, Id::TinyImagenet, Id::Synthetic];

    /// The name in commands, configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            Id::Cifar10 => "cifar10",
            Id::Cifar100 => "cifar100",
            Id::TinyImagenet => "tiny-imagenet",
            Id::Synthetic => "synthetic",
        }
    }

    /// Constants of this data set.
    pub fn spec(self) -> &'static Spec {
        match self {
            Id::Cifar10 => &CIFAR10,
            Id::Cifar100 => &CIFAR100,
            Id::TinyImagenet => &TINY_IMAGENET,
            Id::Synthetic => &SYNTHETIC,
        }
    }
}

impl Spec {
    /// Mean and deviation of the channels.
    pub fn channels(&self) -> Channels {
        Channels { mean: self.mean.map(f64::from), std: self.std.map(f64::from) }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Id::ALL
            .into_iter()
            .find(|id| id.name() == name)
            .ok_or_else(|| Error::UnknownDataset { name: name.to_owned() })
    }
}

/// Constants of one data set.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The data set these constants belong to.
    pub id: Id,
    /// Its name in prose.
    pub title: &'static str,
    /// Where it lives on the hub; none for images that we make ourselves.
    pub hub: Option<HubSpec>,
    /// Number of classes K.
    pub classes: usize,
    /// Height and width of an image in pixels.
    pub image: usize,
    /// Mean of each channel (red, green, blue) on the [0, 1] scale, computed on the training part.
    pub mean: [f32; 3],
    /// Standard deviation of each channel on the [0, 1] scale.
    pub std: [f32; 3],
    /// Rows of training, validation and test split in the full protocol.
    pub rows: SplitRows,
}

/// Rows of the three splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitRows {
    /// Training rows.
    pub train: usize,
    /// Validation rows, held out of the published training file.
    pub val: usize,
    /// Test rows.
    pub test: usize,
}

/// Where a data set lives on the hub and how its rows are named.
#[derive(Clone, Debug)]
pub struct HubSpec {
    /// Repository id, `owner/name`.
    pub repo: &'static str,
    /// The pinned commit, 40 hexadecimal digits.
    pub revision: &'static str,
    /// File with the training and validation rows.
    pub train: HubFile,
    /// File with the test rows.
    pub test: HubFile,
    /// Column of the encoded image, a struct {bytes, path}.
    pub image_column: &'static str,
    /// Column of the class label.
    pub label_column: &'static str,
}

/// One file of a hub repository at the pinned revision.
#[derive(Clone, Debug)]
pub struct HubFile {
    /// Path inside the repository.
    pub path: &'static str,
    /// Length in bytes, where it was read from the real file.
    pub bytes: Option<u64>,
    /// SHA-256 in lower-case hexadecimal, where it was read from the real file.
    pub sha256: Option<&'static str>,
}

const CIFAR_ROWS: SplitRows = SplitRows { train: 45_000, val: 5_000, test: 10_000 };

static CIFAR10: Spec = Spec {
    id: Id::Cifar10,
    title: "CIFAR-10",
    hub: Some(HubSpec {
        repo: "uoft-cs/cifar10",
        revision: "0b2714987fa478483af9968de7c934580d0bb9a2",
        train: HubFile {
            path: "plain_text/train-00000-of-00001.parquet",
            bytes: Some(119_705_255),
            sha256: Some("8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883"),
        },
        test: HubFile {
            path: "plain_text/test-00000-of-00001.parquet",
            bytes: Some(23_940_850),
            sha256: Some("841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de"),
        },
        image_column: "img",
        label_column: "label",
    }),
    classes: 10,
    image: 32,
    mean: [0.4915, 0.4821, 0.4464],
    std: [0.2472, 0.2437, 0.2617],
    rows: CIFAR_ROWS,
};

static CIFAR100: Spec = Spec {
    id: Id::Cifar100,
    title: "CIFAR-100",
    hub: Some(HubSpec {
        repo: "uoft-cs/cifar100",
        revision: "aadb3af77e9048adbea6b47c21a81e47dd092ae5",
        train: HubFile {
            path: "cifar100/train-00000-of-00001.parquet",
            bytes: Some(118_518_617),
            sha256: Some("694865d6b990e234804f01268586c41e88bcbbb75e20858432c05ad4081aca23"),
        },
        test: HubFile {
            path: "cifar100/test-00000-of-00001.parquet",
            bytes: Some(23_772_751),
            sha256: Some("98776c529bb146a9c791229df74a5cf076be9b43d82dbbd334b6a7788d73dc68"),
        },
        image_column: "img",
        label_column: "fine_label",
    }),
    classes: 100,
    image: 32,
    mean: [0.5072, 0.4866, 0.4410],
    std: [0.2673, 0.2564, 0.2760],
    rows: CIFAR_ROWS,
};

static TINY_IMAGENET: Spec = Spec {
    id: Id::TinyImagenet,
    title: "TinyImageNet",
    hub: Some(HubSpec {
        repo: "zh-plus/tiny-imagenet",
        revision: "5a77092c28e51558c5586e9c5eb71a7e17a5e43f",
        train: HubFile {
            path: "data/train-00000-of-00001-1359597a978bc4fa.parquet",
            bytes: None,
            sha256: None,
        },
        test: HubFile {
            path: "data/valid-00000-of-00001-70d52db3c749a935.parquet",
            bytes: None,
            sha256: None,
        },
        image_column: "image",
        label_column: "label",
    }),
    classes: 200,
    image: 64,
    mean: [0.4802, 0.4481, 0.3976],
    std: [0.2770, 0.2691, 0.2822],
    rows: SplitRows { train: 90_000, val: 10_000, test: 10_000 },
};

/// Mean and deviation of the synthetic images are set by how they are made (centred on mid-grey), not estimated.
static SYNTHETIC: Spec = Spec {
    id: Id::Synthetic,
    title: "synthetic images",
    hub: None,
    classes: 10,
    image: 16,
    mean: [0.5, 0.5, 0.5],
    std: [0.14, 0.14, 0.14],
    rows: SplitRows { train: 3_000, val: 500, test: 2_000 },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_an_unknown_one_lists_them() {
        for id in Id::ALL {
            assert_eq!(id.name().parse::<Id>().unwrap(), id);
            assert_eq!(id.spec().id, id);
        }
        let message = "cifar".parse::<Id>().unwrap_err().to_string();
        assert!(message.contains("`cifar`") && message.contains("cifar10"), "{message}");
        assert!(message.contains("tiny-imagenet"), "{message}");
    }

    #[test]
    fn pinned_revisions_and_hashes_are_whole() {
        for id in Id::ALL {
            let Some(hub) = &id.spec().hub else { continue };
            assert_eq!(hub.revision.len(), 40, "{id}");
            for hash in [hub.train.sha256, hub.test.sha256].into_iter().flatten() {
                assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{id}: {hash}");
            }
        }
    }
}

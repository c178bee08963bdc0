//! The sets, spaces and directions that tensors are named after.

/// Training images, clean or perturbed as a method perturbs them in training. In the order of tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// As they are.
    Clean,
    /// Gaussian noise a pixel.
    Gaussian,
    /// Output diversified sampling.
    Ods,
    /// ODS scaled by the perturbing teacher's confidence.
    ConfOds,
    /// As the method of this name, which is not of the paper, perturbs them.
    Method(String),
}

impl Set {
    /// Those that every experiment has.
    pub const PAPER: [Self; 4] = [Self::Clean, Self::Gaussian, Self::Ods, Self::ConfOds];

    /// The name in tensors and tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Clean => "clean",
            Self::Gaussian => "gaussian",
            Self::Ods => "ods",
            Self::ConfOds => "conf-ods",
            Self::Method(name) => name,
        }
    }

    /// What `method` makes of training images.
    pub fn of(method: &str) -> Self {
        match method {
            "be-kd-gaussian" => Self::Gaussian,
            "be-kd-ods" => Self::Ods,
            "be-kd-conf-ods" => Self::ConfOds,
            other => Self::Method(other.to_owned()),
        }
    }

    /// The set of this [`name`](Self::name).
    pub fn named(name: &str) -> Self {
        let paper = Self::PAPER.into_iter().find(|set| set.name() == name);
        paper.unwrap_or_else(|| Self::Method(name.to_owned()))
    }
}

/// What a Jacobian or a change is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Logits less their mean over classes: adding a number to all of them changes no prediction.
    Logits,
    /// Probabilities.
    Probs,
}

impl Space {
    /// Both, in the order of tables.
    pub const ALL: [Self; 2] = [Self::Logits, Self::Probs];

    /// The name in tensors and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probs => "probs",
        }
    }
}

/// Where a step goes whose first-order remainder is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Along Gaussian noise.
    Gaussian,
    /// Along the teacher's own ODS direction.
    Ods,
}

impl Direction {
    /// Both, in the order of tables.
    pub const ALL: [Self; 2] = [Self::Gaussian, Self::Ods];

    /// The name in tensors and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Ods => "ods",
        }
    }
}

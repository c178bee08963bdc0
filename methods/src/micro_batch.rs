//! The gradient of a batch that is too large for memory: that of its pieces, added up.
//!
//! A batch is cut between batch-norm groups alone, so every image keeps the statistics that it has in the whole batch. A
//! piece draws what the whole batch draws for its images, and counts by its share of them. The running statistics follow
//! the first group: its piece is the last, because a method may predict with them before it trains.

use std::ops::Range;

use candle_core::{Device, Tensor};
use nn::{Error, Result};
use random::Draws;

use crate::batch::{Batch, Loss, Step};
use crate::method::Method;
use crate::noise::Noise;

/// Whole batch-norm groups of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    images: Range<usize>,
    groups: Range<usize>,
}

/// Images of the largest of a batch's batch-norm groups: the least that it can be cut into.
pub fn largest_group(images: usize, groups: usize) -> usize {
    images.div_ceil(groups.clamp(1, images.max(1)))
}

/// Pieces of at most `most` images, in order, each as large as can be; `None` where a group is larger.
fn cut(images: usize, groups: usize, most: usize) -> Option<Vec<Piece>> {
    let groups = groups.clamp(1, images.max(1));
    let start = |group: usize| group * images / groups;
    // The piece is cut into its own groups, which must begin where those of the whole batch do.
    let fits = |first: usize, end: usize| {
        let (count, rows) = (end - first, start(end) - start(first));
        rows <= most && (0..count).all(|group| start(first) + group * rows / count == start(first + group))
    };
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < groups {
        let end = (first + 1..=groups).rev().find(|&end| fits(first, end))?;
        pieces.push(Piece { images: start(first)..start(end), groups: first..end });
        first = end;
    }
    Some(pieces)
}

/// The loss of a batch, without gradients, and the gradient of its total by the student's parameters: in one pass, or where
/// the batch has more than `most` images in passes of at most so many. Both ways give the same numbers but for rounding.
///
/// # Errors
/// [`Error::State`] where a batch-norm group has more than `most` images, where the method's loss is none of groups, or
/// where it does not depend on the student; the method's own.
pub fn gradient(
    method: &dyn Method,
    batch: &Batch,
    step: &Step<'_>,
    most: Option<usize>,
) -> Result<(Loss, Tensor)> {
    let images = batch.images.dim(0)?;
    let Some(most) = most.filter(|&most| most < images) else {
        return of_piece(method, batch, step, 1.0);
    };
    if method.couples_groups() {
        return Err(Error::State(
            "the method's loss couples batch-norm groups: a batch cannot be cut".into(),
        ));
    }
    let Some(pieces) = cut(images, step.groups, most) else {
        return Err(Error::State(format!(
            "a batch is cut at batch-norm groups only, and the largest of {images} images has {}, more than {most}",
            largest_group(images, step.groups)
        )));
    };
    let still = step.student.with_still_statistics();
    let mut losses = Vec::new();
    let mut sum: Option<Tensor> = None;
    for piece in pieces.iter().rev() {
        let (start, len) = (piece.images.start, piece.images.len());
        let part = Batch {
            images: batch.images.narrow(0, start, len)?,
            labels: batch.labels.narrow(0, start, len)?,
        };
        let noise = OfPiece { whole: step.noise, images, groups: step.groups.clamp(1, images), piece };
        let student = if piece.groups.start == 0 { step.student } else { &still };
        let step = Step { student, groups: piece.groups.len(), noise: &noise, ..*step };
        let (loss, gradient) = of_piece(method, &part, &step, len as f64 / images as f64)?;
        losses.push(loss);
        sum = Some(match sum {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        });
    }
    losses.reverse();
    Ok((joined(&losses)?, sum.ok_or_else(no_image)?))
}

/// `share` of a batch's loss, and its gradient.
fn of_piece(method: &dyn Method, batch: &Batch, step: &Step<'_>, share: f64) -> Result<(Loss, Tensor)> {
    let Loss { total, ce, kd, logits } = method.loss(batch, step)?;
    let of_share = |part: Tensor| if share == 1.0 { Ok(part) } else { part * share };
    let total = of_share(total)?;
    let gradients = total.backward()?;
    let Some(gradient) = gradients.get(step.student.params()) else {
        return Err(Error::State("the loss does not depend on the network's parameters".to_owned()));
    };
    let loss = Loss {
        total: total.detach(),
        ce: of_share(ce.detach())?,
        kd: kd.map(|kd| of_share(kd.detach())).transpose()?,
        logits: logits.detach(),
    };
    Ok((loss, gradient.clone()))
}

fn no_image() -> Error {
    Error::State("the batch has no image".to_owned())
}

/// The loss of the whole batch from its pieces' shares, which are added in their order: the sum has the same bits on every machine.
fn joined(pieces: &[Loss]) -> Result<Loss> {
    let sum = |parts: Vec<&Tensor>| -> Result<Tensor> {
        let (first, rest) = parts.split_first().ok_or_else(no_image)?;
        Ok(rest.iter().try_fold((*first).clone(), |sum, part| sum + *part)?)
    };
    let kds: Option<Vec<&Tensor>> = pieces.iter().map(|loss| loss.kd.as_ref()).collect();
    let logits: Vec<&Tensor> = pieces.iter().map(|loss| &loss.logits).collect();
    Ok(Loss {
        total: sum(pieces.iter().map(|loss| &loss.total).collect())?,
        ce: sum(pieces.iter().map(|loss| &loss.ce).collect())?,
        kd: kds.map(sum).transpose()?,
        logits: Tensor::cat(&logits, 1)?,
    })
}

/// The draws of a whole batch that belong to a piece of it.
struct OfPiece<'a> {
    whole: &'a dyn Noise,
    images: usize,
    groups: usize,
    piece: &'a Piece,
}

impl OfPiece<'_> {
    /// The piece's rows of what `draw` draws for the whole batch, given its shape, where the piece's is `shape`.
    fn rows(&self, shape: &[usize], draw: impl Fn(&[usize]) -> Result<Tensor>) -> Result<Tensor> {
        let Some((&batch, image)) = shape.split_first() else {
            return Err(Error::State("draws for images need the shape of a batch".to_owned()));
        };
        if batch != self.piece.images.len() {
            return Err(Error::Shape {
                operation: "noise",
                expected: format!("a draw for each of the {} images", self.piece.images.len()),
                found: shape.to_vec(),
            });
        }
        Ok(draw(&[&[self.images], image].concat())?.narrow(0, self.piece.images.start, batch)?)
    }
}

impl Noise for OfPiece<'_> {
    fn draws(&self, name: &str) -> Draws {
        self.whole.draws(name)
    }

    fn indices(&self, name: &str, groups: usize, count: usize) -> Vec<usize> {
        let all = self.whole.indices(name, self.groups, count);
        all.into_iter().skip(self.piece.groups.start).take(groups).collect()
    }

    fn uniform(&self, name: &str, range: (f32, f32), shape: &[usize], device: &Device) -> Result<Tensor> {
        self.rows(shape, |whole| self.whole.uniform(name, range, whole, device))
    }

    fn normal(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        self.rows(shape, |whole| self.whole.normal(name, whole, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every piece holds whole groups, has them where the batch has them, and is no larger than asked for; a batch that
    /// fits is one piece; where a group does not fit there are none.
    #[test]
    fn pieces_are_whole_groups() {
        for images in 1..=40 {
            for groups in 1..=6 {
                let count = groups.min(images);
                let group_of = |row: usize| ((row + 1) * count - 1) / images;
                for most in 1..=images + 1 {
                    let Some(pieces) = cut(images, groups, most) else {
                        assert!(most < largest_group(images, groups), "{images} {groups} {most}");
                        continue;
                    };
                    assert!(most >= largest_group(images, groups));
                    assert!(most < images || pieces.len() == 1);
                    let mut next = 0;
                    for piece in &pieces {
                        assert!(piece.images.start == next && piece.images.len() <= most);
                        next = piece.images.end;
                        let (len, within) = (piece.images.len(), piece.groups.len());
                        for row in 0..len {
                            let own = ((row + 1) * within - 1) / len;
                            assert_eq!(piece.groups.start + own, group_of(piece.images.start + row));
                        }
                    }
                    assert_eq!(next, images);
                }
            }
        }
    }

    /// 256 images in 4 groups, as in the protocol: by two groups, and one by one.
    #[test]
    fn pieces_are_as_few_as_can_be() {
        let of = |most| cut(256, 4, most).unwrap().iter().map(|piece| piece.images.len()).collect::<Vec<_>>();
        assert_eq!(
            [of(256), of(255), of(130), of(100)],
            [vec![256], vec![192, 64], vec![128; 2], vec![64; 4]]
        );
        assert_eq!(cut(256, 4, 63), None);
        assert_eq!(largest_group(256, 4), 64);
    }
}

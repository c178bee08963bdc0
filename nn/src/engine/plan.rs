//! How a pass is cut: which rows form a batch-norm group, a task and a sub-batch, and which nodes form a segment.

use std::ops::Range;

use super::graph::Graph;

/// Tasks that a pass is cut into, whatever the number of threads; each keeps its own sums of weight gradients.
const TASKS: usize = 16;
/// Floats of one feature map that a sub-batch should not exceed, so that a node's output is still in cache when the
/// next node reads it.
const SUB_BATCH_FLOATS: usize = 32 * 1024;
/// Images in a sub-batch at most.
const SUB_BATCH_ROWS: usize = 8;

/// The rows of one pass: row m * batch + b is image b seen by member m.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub members: usize,
    pub batch: usize,
    /// Batch-norm groups: group g holds its consecutive part of the images, for all members.
    pub groups: usize,
    /// Rows of a task; tasks do not cross members.
    task_rows: usize,
    /// Rows that a node takes at a time.
    pub sub_rows: usize,
    tiled_images: bool,
}

impl Plan {
    pub(crate) fn new(graph: &Graph, batch: usize, groups: usize) -> Self {
        let members = graph.member_count();
        let tasks = TASKS.div_ceil(members).clamp(1, batch.max(1));
        let largest = graph.features.iter().map(|f| f.len()).max().unwrap_or(1).max(1);
        let sub_rows = (SUB_BATCH_FLOATS / largest).clamp(1, SUB_BATCH_ROWS);
        Self {
            members,
            batch,
            groups: groups.clamp(1, batch.max(1)),
            task_rows: batch.div_ceil(tasks).max(1),
            sub_rows,
            tiled_images: graph.tiled_images,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.members * self.batch
    }

    pub(crate) fn member(&self, row: usize) -> usize {
        row / self.batch
    }

    /// The image that a row reads.
    pub(crate) fn image(&self, row: usize) -> usize {
        if self.tiled_images { row } else { row % self.batch }
    }

    /// Images that the pass is given.
    pub(crate) fn images(&self) -> usize {
        if self.tiled_images { self.rows() } else { self.batch }
    }

    /// The batch-norm group of a row: part g holds images g * B / G .. (g + 1) * B / G.
    pub(crate) fn group(&self, row: usize) -> usize {
        ((row % self.batch + 1) * self.groups - 1) / self.batch
    }

    /// The row ranges that run at the same time, in the order in which their sums are added.
    pub(crate) fn tasks(&self) -> Vec<Range<usize>> {
        (0..self.members)
            .flat_map(|member| {
                let (start, end) = (member * self.batch, (member + 1) * self.batch);
                (start..end).step_by(self.task_rows).map(move |row| row..(row + self.task_rows).min(end))
            })
            .collect()
    }

    /// A task's sub-batches.
    pub(crate) fn sub_batches(&self, task: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, rows) = (task.end, self.sub_rows);
        task.clone().step_by(rows).map(move |row| row..(row + rows).min(end))
    }
}

/// Node ranges of the forward pass between which batch statistics are summed up: a node that applies a norm comes
/// after the segment that made the norm's feature map. One segment where the statistics are constants.
pub(crate) fn forward_segments(graph: &Graph, batch_statistics: bool) -> Vec<Range<usize>> {
    cut(graph.nodes.len(), batch_statistics, |start, node| {
        let made = |f: usize| graph.nodes[start..node].iter().any(|n| n.out() == f);
        graph.nodes[node].norms().iter().any(|&n| made(graph.norms[n].feature))
    })
}

/// The same for the backward pass, in the order of execution: a node whose output is normalised comes after the
/// segment with the node that applied the norm. Ranges count from the last node backwards.
pub(crate) fn backward_segments(graph: &Graph, batch_statistics: bool) -> Vec<Range<usize>> {
    let count = graph.nodes.len();
    let node_at = |step: usize| &graph.nodes[count - 1 - step];
    cut(count, batch_statistics, |start, step| {
        let out = node_at(step).out();
        (start..step).any(|s| node_at(s).norms().iter().any(|&n| graph.norms[n].feature == out))
    })
}

fn cut(count: usize, enabled: bool, before: impl Fn(usize, usize) -> bool) -> Vec<Range<usize>> {
    let mut segments = Vec::new();
    let mut start = 0;
    for node in 0..count {
        if enabled && node > start && before(start, node) {
            segments.push(start..node);
            start = node;
        }
    }
    segments.push(start..count);
    segments
}

/// For each feature map a place in memory for passes that keep nothing: maps that are needed at the same time get
/// different places. Returns the place of each feature and the floats of each place.
pub(crate) fn places(graph: &Graph) -> (Vec<usize>, Vec<usize>) {
    let last_read = |feature: usize| {
        graph.nodes.iter().rposition(|n| n.reads().contains(&feature)).unwrap_or(graph.nodes.len())
    };
    let mut place_of = vec![0; graph.features.len()];
    let mut sizes: Vec<usize> = Vec::new();
    // Node after which the place is free again.
    let mut busy_until: Vec<usize> = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let feature = node.out();
        let len = graph.features[feature].len();
        let free = (0..sizes.len())
            .filter(|&p| busy_until[p] < index)
            .min_by_key(|&p| (sizes[p] < len, sizes[p].abs_diff(len)));
        let place = free.unwrap_or_else(|| {
            sizes.push(0);
            busy_until.push(0);
            sizes.len() - 1
        });
        sizes[place] = sizes[place].max(len);
        busy_until[place] = last_read(feature);
        place_of[feature] = place;
    }
    (place_of, sizes)
}

//! What kernels say of the bytes that they move.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::small::{self, values};
use super::{Emulated, There};
use crate::engine::backward::Wanted;
use crate::network::Mode;
use crate::precision::Precision;
use crate::spec::{Family, NetworkSpec, Shortcut};

/// A block of two convolutions with a shortcut: maps and weights, each once a kernel.
#[test]
fn bytes_moved() {
    let spec = NetworkSpec { in_planes: 4, ..small::spec(Family::ResNet, Shortcut::Identity, 1, 6) };
    for (precision, element) in [(Precision::F32, 4), (Precision::Bf16, 2)] {
        let (network, graph) = (small::network(&spec, 1), spec.graph().unwrap());
        let Some(device) = Emulated::new(false).map(Arc::new) else { return };
        let there = There::on(Arc::clone(&device), &network, &graph, precision);
        let (batch, pixels) = (2, 36);
        let images = values(&small::images(&spec, batch, 1));
        // Values of the input, of each map, and of the convolutions' weights.
        let (image, map) = (batch * 3 * pixels, batch * 4 * pixels);
        let (first, second) = (4 * 9 * 3, 4 * 9 * 4);
        let classifier = batch * 4 + batch * 4 + 4 * 4;
        let is = |found: &BTreeMap<&str, usize>, expected: &[(&str, usize)]| {
            for (kernel, bytes) in expected {
                assert_eq!(found.get(kernel), Some(bytes), "{kernel}, {precision}: {found:?}");
            }
        };

        let forward = there.forward(&graph, &images, (Mode::Train { groups: 1 }, true), true);
        is(
            &device.take_moved(),
            &[
                ("image_in", image * (4 + element)),
                ("direct_forward", (image + 5 * map + first + 2 * second) * element + classifier * 4),
                ("moments", 3 * map * element),
                ("norm_relu", 2 * map * element),
                // The stem's, without a shortcut, and the block's.
                ("join", (2 + 3) * map * element),
                ("pool", map * element + batch * 4 * 4),
            ],
        );
        let weights = vec![1.0; batch * spec.classes];
        there.backward(&graph, forward, &weights, Wanted { params: true, images: true });
        is(
            &device.take_moved(),
            &[
                ("direct_data", (image + 5 * map + first + 2 * second) * element + classifier * 4),
                ("direct_filter", (image + 5 * map + first + 2 * second) * element + classifier * 4),
                ("image_grad", image * (element + 4)),
            ],
        );
    }
}

// Training images from those that lie on the device as bytes (examples, 3, size, size): a crop of the image padded by
// `pad`, mirrored or not, over 255. The draws are those of the CPU's loader: top, left, mirror, of the example's own
// stream. One block an image; `rows` names the examples.
extern "C" __global__ void __launch_bounds__(THREADS)
    augment(const unsigned char *images, const unsigned *rows, float *to, unsigned size, unsigned pad, unsigned crop,
            unsigned key0, unsigned key1, unsigned epoch) {
    FOLLOW;
    unsigned row = rows[blockIdx.x], length = 3 * size * size;
    unsigned top = pad, left = pad, flip = 0;
    if (crop) {
        Draws draws(key0, key1, epoch, row, 0);
        top = draws.below(2 * pad + 1);
        left = draws.below(2 * pad + 1);
        flip = draws.below(2);
    }
    const unsigned char *from = images + (unsigned long long)row * length;
    for (unsigned index = threadIdx.x; index < length; index += THREADS) {
        unsigned x = index % size, y = index / size % size, plane = index / size / size;
        unsigned from_y = y + top - pad, from_x = (flip ? size - 1 - x : x) + left - pad;
        bool inside = from_y < size && from_x < size;
        to[blockIdx.x * length + index] =
            inside ? __fdiv_rn((float)from[(plane * size + from_y) * size + from_x], 255.0f) : 0.0f;
    }
}

// The examples' labels.
extern "C" __global__ void __launch_bounds__(THREADS)
    gather_labels(const unsigned *labels, const unsigned *rows, unsigned *to, unsigned count) {
    FOLLOW;
    EACH(index, count) to[index] = labels[rows[index]];
}

// Between candle's planar tensors (rows, channels, pixels) and the engine's maps (rows, pixels, channels).

// (x - mean) / std of each image.
extern "C" __global__ void __launch_bounds__(THREADS)
    image_in(const float *images, const float *mean, const float *std, act *to, unsigned count, unsigned channels,
             unsigned pixels) {
    FOLLOW;
    EACH(index, count) {
        unsigned c = index % channels, pixel = index / channels % pixels, row = index / channels / pixels;
        to[index] = narrow((images[(row * channels + c) * pixels + pixel] - mean[c]) / std[c]);
    }
}

// The gradient by the images: the members' rows of each image added up in order, over std.
extern "C" __global__ void __launch_bounds__(THREADS)
    image_grad(const act *grads, const float *std, float *to, unsigned count, unsigned channels, unsigned pixels,
               unsigned copies) {
    FOLLOW;
    EACH(index, count) {
        unsigned pixel = index % pixels, c = index / pixels % channels, row = index / pixels / channels;
        const act *from = grads + (row * pixels + pixel) * channels + c;
        float sum = 0.0f;
        for (unsigned copy = 0; copy < copies; copy++) sum += wide(from[copy * count]);
        to[index] = sum / std[c];
    }
}

// The last feature map, planar.
extern "C" __global__ void __launch_bounds__(THREADS)
    map_out(const act *map, float *to, unsigned count, unsigned channels, unsigned pixels) {
    FOLLOW;
    EACH(index, count) {
        unsigned pixel = index % pixels, c = index / pixels % channels, row = index / pixels / channels;
        to[index] = wide(map[(row * pixels + pixel) * channels + c]);
    }
}

// Its gradient on the way back.
extern "C" __global__ void __launch_bounds__(THREADS)
    map_in(const float *planar, act *to, unsigned count, unsigned channels, unsigned pixels) {
    FOLLOW;
    EACH(index, count) {
        unsigned c = index % channels, pixel = index / channels % pixels, row = index / channels / pixels;
        to[index] = narrow(planar[(row * channels + c) * pixels + pixel]);
    }
}

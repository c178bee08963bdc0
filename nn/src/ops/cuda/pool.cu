// Mean over the pixels of each row and channel, of relu(norm(z)) where `norm` is not null. Pooled features are float
// whatever the maps are stored in. Threads: tiles of POOL_TILE channels by pixels; grid: (rows, tiles).
#define POOL_TILE 32u

extern "C" __global__ void __launch_bounds__(THREADS)
    pool(const act *z, const float *norm, float *to, unsigned channels, unsigned pixels, unsigned batch,
         unsigned members, unsigned groups) {
    FOLLOW;
    unsigned row = blockIdx.x, c = blockIdx.y * POOL_TILE + threadIdx.x % POOL_TILE;
    float sum = 0.0f;
    if (c < channels) {
        const act *from = z + row * pixels * channels + c;
        unsigned lane = threadIdx.x / POOL_TILE, lanes = THREADS / POOL_TILE;
        if (norm) {
            Norm<1> by(norm, group_of(row * pixels, Groups{pixels, batch, members, groups}), groups, c, channels);
            for (unsigned pixel = lane; pixel < pixels; pixel += lanes)
                sum += relu(by.apply(0, wide(from[pixel * channels])));
        } else {
            for (unsigned pixel = lane; pixel < pixels; pixel += lanes) sum += wide(from[pixel * channels]);
        }
    }
    Floats<1> total = {{sum}};
    sum_lanes<1>(total, POOL_TILE);
    if (threadIdx.x < POOL_TILE && c < channels) to[row * channels + c] = total.at[0] / (float)pixels;
}

// Its gradient: each pixel gets its share; onto what is there with `accumulate`.
extern "C" __global__ void __launch_bounds__(THREADS)
    pool_grad(const float *grad, act *to, unsigned count, unsigned channels, unsigned pixels, unsigned accumulate) {
    FOLLOW;
    EACH(index, count) {
        unsigned c = index % channels, row = index / channels / pixels;
        float value = grad[row * channels + c] / (float)pixels;
        to[index] = narrow(accumulate ? wide(to[index]) + value : value);
    }
}

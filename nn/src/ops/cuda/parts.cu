// Sums over the pixels of a batch-norm group: each block sums a part of them, and the last block to have done so adds the
// parts up. Which block that is changes nothing: it adds them in an order that depends on their number alone.

// The first of `count` pixels that belongs to the `part`-th of `parts`, of which there are below 2^16: count * part / parts.
__device__ inline unsigned part_start(unsigned count, unsigned part, unsigned parts) {
    return count / parts * part + count % parts * part / parts;
}

// The part of a group's pixels that a block sums: `blockIdx.x` of `gridDim.x` parts of group `blockIdx.z`. Threads form
// `tile` columns (a power of two) by THREADS / tile pixels; `blockIdx.y` counts tiles of columns. A group's pixels are its
// `run` pixels of each member one after the other, which lie `gap` pixels apart.
struct Part {
    unsigned start, end, column, lane, lanes, first, run, gap;
    __device__ Part(Groups of, unsigned tile) {
        unsigned group = blockIdx.z, first_image = group * of.batch / of.groups;
        unsigned images = (group + 1) * of.batch / of.groups - first_image;
        unsigned count = images * of.members * of.pixels;
        start = part_start(count, blockIdx.x, gridDim.x);
        end = part_start(count, blockIdx.x + 1, gridDim.x);
        column = blockIdx.y * tile + threadIdx.x % tile;
        lane = threadIdx.x / tile;
        lanes = THREADS / tile;
        first = first_image * of.pixels;
        run = max(images * of.pixels, 1u);
        gap = (of.batch - images) * of.pixels;
    }
};

// A way through a part, from the group's pixel `index` on: that pixel's place among all rows' pixels, and how many pixels of
// its run are left, it included.
struct Way {
    unsigned index, pixel;
    int left;
    __device__ Way(const Part &part, unsigned from) : index(from) {
        unsigned runs = index / part.run;
        pixel = part.first + index + runs * part.gap;
        left = (int)(part.run - (index - runs * part.run));
    }
    // To the thread's next pixel.
    __device__ void go_on(const Part &part) {
        index += part.lanes;
        pixel += part.lanes;
        for (left -= (int)part.lanes; left <= 0; left += (int)part.run) pixel += part.gap;
    }
};

// Whether this block is the last of `blocks` to come here. What all of them wrote before they came can then be read. A
// counter is at 0 before the first comes, and again when the last has.
__device__ inline bool is_last(unsigned *counter, unsigned blocks) {
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicInc(counter, blocks - 1) == blocks - 1;
        // The parts are not to be read from before the others wrote them.
        __threadfence();
    }
    __syncthreads();
    return last;
}

// What the blocks of a launch sum: two floats for each channel of a part, (groups, parts, 2, channels), and behind them two
// doubles for each channel of a group, (groups, 2, channels). There is a counter for each tile of columns and group, and
// then one for each tile.
struct Sums {
    float *parts;
    unsigned *counters;
    unsigned channels;

    __device__ float *of_part(unsigned part) const {
        return parts + (blockIdx.z * gridDim.x + part) * 2 * channels;
    }
    __device__ double *of_group(unsigned group) const {
        return reinterpret_cast<double *>(parts + gridDim.z * gridDim.x * 2 * channels) + group * 2 * channels;
    }
    // This part's, of the V channels from `c` on.
    template <int V> __device__ void write(unsigned c, const Floats<V> &first, const Floats<V> &second) const {
        put<V>(of_part(blockIdx.x) + c, first);
        put<V>(of_part(blockIdx.x) + channels + c, second);
    }
    // Whether all parts of this block's tile and group are written, and this block is to add them up.
    __device__ bool are_all_parts() const { return is_last(counters + blockIdx.y * gridDim.z + blockIdx.z, gridDim.x); }
    // The same for all groups of its tile.
    __device__ bool are_all_groups() const {
        if (gridDim.z > 1) return is_last(counters + gridDim.y * gridDim.z + blockIdx.y, gridDim.z);
        __syncthreads();
        return true;
    }
};

// How the last block adds parts up: every thread has W neighbouring channels of every PART_LANES-th part. SETS such sets of
// channels are added up at a time.
#define PART_LANES 32u
#define SETS (THREADS / PART_LANES)

// Of the sums of a set's W channels, the one at `w`.
template <int W> __device__ inline double own(const Doubles<W> &sums, unsigned w) {
    double sum = sums.at[0];
#pragma unroll
    for (unsigned other = 1; other < W; other++)
        if (w == other) sum = sums.at[other];
    return sum;
}

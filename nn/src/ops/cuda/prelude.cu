// What every kernel uses. Feature maps are (rows, pixels, channels), channels last; row m * batch + b is image b seen by
// member m. `act` is the type that feature maps are stored in; all arithmetic is in float.
#ifdef BF16
typedef unsigned short act;
__device__ inline float wide(act value) { return __uint_as_float((unsigned)value << 16); }
// To the nearest, ties to even; a NaN stays one.
__device__ inline act narrow(float value) {
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (act)((bits >> 16) | 0x40u);
    return (act)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#else
typedef float act;
__device__ inline float wide(act value) { return value; }
__device__ inline act narrow(float value) { return value; }
#endif

// Keeps a NaN, so that a network that has left the finite numbers shows it.
__device__ inline float relu(float value) { return value < 0.0f ? 0.0f : value; }

// Threads of every block; sums over a block rely on it.
#define THREADS 256u

// V neighbouring channels, read and written as one.
template <int V> struct alignas(V * sizeof(act)) Lanes { act at[V]; };
template <int V> struct Floats { float at[V]; };

template <int V> __device__ inline Floats<V> load(const act *from, unsigned vector) {
    Lanes<V> lanes = reinterpret_cast<const Lanes<V> *>(from)[vector];
    Floats<V> floats;
#pragma unroll
    for (int v = 0; v < V; v++) floats.at[v] = wide(lanes.at[v]);
    return floats;
}

template <int V> __device__ inline void store(act *to, unsigned vector, const Floats<V> &floats) {
    Lanes<V> lanes;
#pragma unroll
    for (int v = 0; v < V; v++) lanes.at[v] = narrow(floats.at[v]);
    reinterpret_cast<Lanes<V> *>(to)[vector] = lanes;
}

// Every vector of a launch: grid-stride.
#define EACH(index, count)                                                                                              \
    for (unsigned index = blockIdx.x * blockDim.x + threadIdx.x; index < (count); index += gridDim.x * blockDim.x)

// A kernel for 1, 4 and 8 channels at a time.
#define BY_LANES(name, parameters, arguments)                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_1 parameters { name<1> arguments; }                    \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_4 parameters { name<4> arguments; }                    \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_8 parameters { name<8> arguments; }

// How rows are cut into batch-norm groups: group g holds the images g * batch / groups .. (g + 1) * batch / groups, for
// all members.
struct Groups {
    unsigned pixels, batch, members, groups;
};

__device__ inline unsigned group_of(unsigned pixel, Groups of) {
    if (of.groups == 1) return 0;
    unsigned image = pixel / of.pixels % of.batch;
    return ((image + 1) * of.groups - 1) / of.batch;
}

// A norm's table holds `groups` rows of `channels` floats of each of mean, scale, shift and inverse deviation; its
// gradient's table of each of offset and slope.
template <int V> struct Norm {
    Floats<V> mean, scale, shift;
    __device__ Norm(const float *table, unsigned group, unsigned groups, unsigned column, unsigned columns) {
        unsigned channels = columns * V;
        const float *from = table + group * channels + column * V;
#pragma unroll
        for (int v = 0; v < V; v++) {
            mean.at[v] = from[v];
            scale.at[v] = from[groups * channels + v];
            shift.at[v] = from[2 * groups * channels + v];
        }
    }
    __device__ float apply(int v, float z) const { return (z - mean.at[v]) * scale.at[v] + shift.at[v]; }
};

// The first `columns` vector columns of a map of the same or twice the extent, every `stride`-th pixel: the shortcut
// without weights. Beyond its columns there are zeros.
struct Skip {
    unsigned columns, stride, width, from_width, from_pixels;
};

template <int V>
__device__ inline Floats<V> skip_at(const act *from, Skip skip, unsigned pixel, unsigned column, unsigned columns,
                                    unsigned pixels) {
    Floats<V> zero = {};
    if (column >= skip.columns) return zero;
    if (skip.stride == 1) return load<V>(from, pixel * skip.columns + column);
    unsigned row = pixel / pixels, place = pixel % pixels;
    unsigned y = place / skip.width * skip.stride, x = place % skip.width * skip.stride;
    return load<V>(from, (row * skip.from_pixels + y * skip.from_width + x) * skip.columns + column);
}

// Its transpose: what a pixel of the larger, thinner map gets from the gradient of the sum. `skip.columns` are those of
// the larger map, `skip.width` and `columns` of the sum, `skip.from_*` of the larger map.
template <int V>
__device__ inline Floats<V> skip_grad_at(const act *grad, Skip skip, unsigned pixel, unsigned column, unsigned columns,
                                         unsigned pixels) {
    if (skip.stride == 1) return load<V>(grad, pixel * columns + column);
    Floats<V> zero = {};
    unsigned row = pixel / skip.from_pixels, place = pixel % skip.from_pixels;
    unsigned y = place / skip.from_width, x = place % skip.from_width;
    if (y % skip.stride != 0 || x % skip.stride != 0) return zero;
    return load<V>(grad, (row * pixels + y / skip.stride * skip.width + x / skip.stride) * columns + column);
}

// The part of a group's pixels that a block sums: `blockIdx.x` of `gridDim.x` parts of group `blockIdx.z`. Threads form
// `tile` columns (a power of two) by THREADS / tile pixels; `blockIdx.y` counts tiles of columns.
struct Part {
    unsigned first_image, images, start, end, column, lane, lanes;
    __device__ Part(Groups of, unsigned tile) {
        unsigned group = blockIdx.z;
        first_image = group * of.batch / of.groups;
        images = (group + 1) * of.batch / of.groups - first_image;
        unsigned count = images * of.members * of.pixels;
        start = (unsigned)((unsigned long long)count * blockIdx.x / gridDim.x);
        end = (unsigned)((unsigned long long)count * (blockIdx.x + 1) / gridDim.x);
        column = blockIdx.y * tile + threadIdx.x % tile;
        lane = threadIdx.x / tile;
        lanes = THREADS / tile;
    }
    // The place among all rows' pixels of a group's pixel.
    __device__ unsigned pixel(unsigned index, Groups of) const {
        if (of.groups == 1) return index;
        unsigned per_member = images * of.pixels;
        return (index / per_member * of.batch + first_image) * of.pixels + index % per_member;
    }
};

// Adds `values` up over the lanes of a block, always in the same order; lane 0 has the sum.
template <int V> __device__ inline void sum_lanes(Floats<V> &values, unsigned tile) {
    __shared__ float sums[THREADS * V];
    __syncthreads();
#pragma unroll
    for (int v = 0; v < V; v++) sums[v * THREADS + threadIdx.x] = values.at[v];
    for (unsigned half = THREADS / 2; half >= tile; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
#pragma unroll
            for (int v = 0; v < V; v++)
                sums[v * THREADS + threadIdx.x] += sums[v * THREADS + threadIdx.x + half];
        }
    }
    __syncthreads();
#pragma unroll
    for (int v = 0; v < V; v++) values.at[v] = sums[v * THREADS + threadIdx.x];
}

// The same for one double a thread, over all threads with the same remainder by `tile`.
__device__ inline double sum_doubles(double value, unsigned tile) {
    __shared__ double sums[THREADS];
    __syncthreads();
    sums[threadIdx.x] = value;
    for (unsigned half = THREADS / 2; half >= tile; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    __syncthreads();
    return sums[threadIdx.x % tile];
}

// What every kernel uses. Feature maps are (rows, pixels, channels), channels last; row m * batch + b is image b seen by
// member m. `act` is the type that feature maps are stored in; all arithmetic is in float.
#ifdef BF16
typedef unsigned short act;
__device__ inline float wide(act value) { return __uint_as_float((unsigned)value << 16); }
// To the nearest, ties to even; a NaN stays one. One instruction for two values where the device has it.
__device__ inline act narrow(float value) {
#if __CUDA_ARCH__ >= 800
    act bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (act)((bits >> 16) | 0x40u);
    return (act)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}
#else
typedef float act;
__device__ inline float wide(act value) { return value; }
__device__ inline act narrow(float value) { return value; }
#endif

// Keeps a NaN, so that a network that has left the finite numbers shows it.
__device__ inline float relu(float value) { return value < 0.0f ? 0.0f : value; }

// The first statement of every kernel. A kernel may be started while the one before it runs: it waits here for what that
// writes, and lets the one after it be started.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define FOLLOW asm volatile("griddepcontrol.wait;\n\tgriddepcontrol.launch_dependents;" ::: "memory")
#else
#define FOLLOW
#endif

// Threads of every block; sums over a block rely on it.
#define THREADS 256u

// V neighbouring channels, read and written as one.
template <int V> struct alignas(V * sizeof(act)) Lanes { act at[V]; };
// The same as floats; in tables too, where they are read and written 16 bytes at a time.
template <int V> struct alignas(V % 4 == 0 ? 16 : 4) Floats { float at[V]; };

// Several loads on their way at a time stay `Lanes` until they are there: half the registers where an `act` is half a float.
template <int V> __device__ inline Lanes<V> fetch(const act *from, unsigned vector) {
    return reinterpret_cast<const Lanes<V> *>(from)[vector];
}

template <int V> __device__ inline Floats<V> widened(const Lanes<V> &lanes) {
    Floats<V> floats;
#pragma unroll
    for (int v = 0; v < V; v++) floats.at[v] = wide(lanes.at[v]);
    return floats;
}

template <int V> __device__ inline Floats<V> load(const act *from, unsigned vector) {
    return widened<V>(fetch<V>(from, vector));
}

template <int V> __device__ inline void add(Floats<V> &to, const Lanes<V> &lanes) {
#pragma unroll
    for (int v = 0; v < V; v++) to.at[v] += wide(lanes.at[v]);
}

template <int V> __device__ inline void store(act *to, unsigned vector, const Floats<V> &floats) {
    Lanes<V> lanes;
#pragma unroll
    for (int v = 0; v < V; v++) lanes.at[v] = narrow(floats.at[v]);
    reinterpret_cast<Lanes<V> *>(to)[vector] = lanes;
}

// V floats of a table.
template <int V> __device__ inline Floats<V> row(const float *from) {
    return *reinterpret_cast<const Floats<V> *>(from);
}

template <int V> __device__ inline void put(float *to, const Floats<V> &floats) {
    *reinterpret_cast<Floats<V> *>(to) = floats;
}

// Every value of a launch: grid-stride.
#define EACH(index, count)                                                                                              \
    for (unsigned index = blockIdx.x * blockDim.x + threadIdx.x; index < (count); index += gridDim.x * blockDim.x)

// A kernel for 1, 4 and 8 channels at a time.
#define BY_LANES(name, parameters, arguments)                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_1 parameters { FOLLOW; name<1> arguments; }            \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_4 parameters { FOLLOW; name<4> arguments; }            \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_8 parameters { FOLLOW; name<8> arguments; }

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

// The vectors of a map that a thread works on: those of one column of a span, `stride` vectors apart, several of them on
// their way from memory at a time. A span is what has one table: all rows, or where there are groups the rows of one member
// in one group, which are neighbours. Grid: (blocks of a span, spans); the threads of a span are a multiple of `columns`.
struct Span {
    unsigned group, column, first, end, stride, first_pixel, pixel_stride;
    __device__ Span(unsigned count, unsigned columns, Groups of) {
        unsigned start = 0;
        group = 0;
        end = count;
        if (of.groups > 1) {
            unsigned image = of.pixels * columns, member = blockIdx.y / of.groups * of.batch;
            group = blockIdx.y % of.groups;
            start = (member + group * of.batch / of.groups) * image;
            end = (member + (group + 1) * of.batch / of.groups) * image;
        }
        unsigned thread = blockIdx.x * THREADS + threadIdx.x;
        column = thread % columns;
        first = start + thread;
        first_pixel = first / columns;
        stride = gridDim.x * THREADS;
        pixel_stride = stride / columns;
    }
    // Whether `index` is followed by `u` vectors.
    __device__ bool has(unsigned index, int u) const { return u == 0 || index + u * stride < end; }
    // Vectors that may be gone on by: `u`, or none where the span ends before that.
    __device__ unsigned ahead(unsigned index, int u) const { return has(index, u) ? u : 0; }
};

// A norm's table holds `groups` rows of `channels` floats of each of mean, scale, shift and inverse deviation; its
// gradient's table of each of offset and slope. Tables begin at multiples of 16 bytes.
template <int V> struct Norm {
    Floats<V> mean, scale, shift;
    __device__ Norm(const float *table, unsigned group, unsigned groups, unsigned column, unsigned columns) {
        unsigned channels = columns * V;
        const float *from = table + group * channels + column * V;
        mean = row<V>(from);
        scale = row<V>(from + groups * channels);
        shift = row<V>(from + 2 * groups * channels);
    }
    __device__ float apply(int v, float z) const { return (z - mean.at[v]) * scale.at[v] + shift.at[v]; }
};

// The first `columns` vector columns of a map of the same or twice the extent, every `stride`-th pixel: the shortcut
// without weights. Beyond its columns there are zeros.
struct Skip {
    unsigned columns, stride, width, from_width, from_pixels;
};

template <int V>
__device__ inline Lanes<V> skip_at(const act *from, Skip skip, unsigned pixel, unsigned column, unsigned pixels) {
    Lanes<V> zero = {};
    if (column >= skip.columns) return zero;
    if (skip.stride == 1) return fetch<V>(from, pixel * skip.columns + column);
    unsigned row = pixel / pixels, place = pixel % pixels;
    unsigned y = place / skip.width * skip.stride, x = place % skip.width * skip.stride;
    return fetch<V>(from, (row * skip.from_pixels + y * skip.from_width + x) * skip.columns + column);
}

// Its transpose: what a pixel of the larger, thinner map gets from the gradient of the sum. `skip.columns` are those of
// the larger map, `skip.width` and `columns` of the sum, `skip.from_*` of the larger map.
template <int V>
__device__ inline Lanes<V> skip_grad_at(const act *grad, Skip skip, unsigned pixel, unsigned column, unsigned columns,
                                         unsigned pixels) {
    if (skip.stride == 1) return fetch<V>(grad, pixel * columns + column);
    Lanes<V> zero = {};
    unsigned row = pixel / skip.from_pixels, place = pixel % skip.from_pixels;
    unsigned y = place / skip.from_width, x = place % skip.from_width;
    if (y % skip.stride != 0 || x % skip.stride != 0) return zero;
    return fetch<V>(grad, (row * pixels + y / skip.stride * skip.width + x / skip.stride) * columns + column);
}

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

// The same for two sums at a time.
template <int V> __device__ inline void sum_lanes(Floats<V> &first, Floats<V> &second, unsigned tile) {
    Floats<2 * V> both;
#pragma unroll
    for (int v = 0; v < V; v++) {
        both.at[v] = first.at[v];
        both.at[V + v] = second.at[v];
    }
    sum_lanes<2 * V>(both, tile);
#pragma unroll
    for (int v = 0; v < V; v++) {
        first.at[v] = both.at[v];
        second.at[v] = both.at[V + v];
    }
}

// The same for doubles, over all threads with the same remainder by `tile`; all of them have the sum.
template <int W> struct Doubles { double at[W]; };

template <int W> __device__ inline void sum_doubles(Doubles<W> &values, unsigned tile) {
    __shared__ double sums[THREADS * W];
    __syncthreads();
#pragma unroll
    for (int w = 0; w < W; w++) sums[w * THREADS + threadIdx.x] = values.at[w];
    for (unsigned half = THREADS / 2; half >= tile; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
#pragma unroll
            for (int w = 0; w < W; w++)
                sums[w * THREADS + threadIdx.x] += sums[w * THREADS + threadIdx.x + half];
        }
    }
    __syncthreads();
#pragma unroll
    for (int w = 0; w < W; w++) values.at[w] = sums[w * THREADS + threadIdx.x % tile];
}

__device__ inline double sum_doubles(double value, unsigned tile) {
    Doubles<1> values = {{value}};
    sum_doubles<1>(values, tile);
    return values.at[0];
}

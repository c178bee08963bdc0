// Convolutions 3x3 of stride 1 as matrix products on tensor cores, all members in one launch: the rows of a product are
// pixels, its columns output channels, and its depth input channels under each of nine taps. Maps and weights are those of
// direct.cu; input and output channels are multiples of CHUNK, and rows of pixels no longer than WIDEST.
//
// Maps in f32 are rounded to TF32, to the nearest, when they are read. Sums are f32, in an order of their own that the shapes
// fix: the same bits each time.

// Channels that a block holds at a time, and the words that they take.
#define CHUNK 16u
#define WORDS (CHUNK * (unsigned)sizeof(act) / 4u)
// Pixels of a block: 16 for each warp.
#define PIXELS 128u
#define WIDEST 64u
// Pixels in a block's memory: its own, a row and one more to each side, and one of zeros.
#define HALO (PIXELS + 2u * WIDEST + 2u)
#define ZERO HALO
// Words from one pixel to the next, and from one output channel's weights to the next: so far apart that the lanes of a warp
// read different banks.
#define PIXEL_STRIDE (WORDS + 4u)
#define WEIGHT_STRIDE (9u * WORDS + 4u)

struct alignas(16) Quad {
    unsigned at[4];
};

// A value as a factor: in f32 rounded to TF32.
#ifdef BF16
__device__ inline act factor(act value) { return value; }
__device__ inline unsigned factor_word(unsigned word) { return word; }
#else
__device__ inline unsigned factor_word(unsigned word) {
    // Ties away from zero; what is not finite stays as it is.
    return (word & 0x7f800000u) == 0x7f800000u ? word : (word + 0x1000u) & 0xffffe000u;
}
__device__ inline act factor(act value) { return __uint_as_float(factor_word(__float_as_uint(value))); }
#endif

// to (16 x 8) += a (16 x one word of 8 lanes' depth) b, by a warp. With group = lane / 4 and place = lane % 4: `a` has the
// words `place` and `place + 4` of rows `group` and `group + 8` (a row's first words first), `b` those of column `group`, and `to` the
// columns 2 * place and the next of those rows. A word is one value of f32 or two neighbouring ones of bf16.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ inline void multiply(float (&to)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef BF16
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
#endif
                 : "+f"(to[0]), "+f"(to[1]), "+f"(to[2]), "+f"(to[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#elif defined(__CUDA_ARCH__)
// Before sm_80 there is no such instruction, and the host launches none of these kernels.
__device__ inline void multiply(float (&)[4], const unsigned (&)[4], const unsigned (&)[2]) {}
#else
__device__ inline void multiply(float (&to)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    host::matrix_multiply(sizeof(act) == 2, to, a, b);
}
#endif

// A member's map, and how it is cut.
struct Maps {
    unsigned channels, height, width, count;
};

// Whether the pixels around `pixel` under each tap lie in its image, a bit each; none for a pixel past the end.
__device__ inline unsigned taps_inside(unsigned pixel, const Maps &of) {
    if (pixel >= of.count) return 0;
    unsigned x = pixel % of.width, y = pixel / of.width % of.height, inside = 0x1ffu;
    if (x == 0) inside &= ~0x049u;
    if (x + 1 == of.width) inside &= ~0x124u;
    if (y == 0) inside &= ~0x007u;
    if (y + 1 == of.height) inside &= ~0x1c0u;
    return inside;
}

// CHUNK channels of `pixels` pixels from `first` on, zeros where there are none, and a pixel of zeros at `zero`.
__device__ inline void load_pixels(const act *from, const Maps &of, unsigned chunk, int first, unsigned pixels,
                                   unsigned zero, unsigned stride, act *to) {
    const unsigned quads = WORDS / 4u, lanes = 16u / (unsigned)sizeof(act);
    for (unsigned index = threadIdx.x; index < (pixels + 1) * quads; index += THREADS) {
        unsigned local = index / quads, part = index % quads;
        int pixel = first + (int)local;
        Quad quad = {};
        if (local < pixels && pixel >= 0 && pixel < (int)of.count) {
            quad = *reinterpret_cast<const Quad *>(from + (unsigned)pixel * of.channels + chunk + part * lanes);
#pragma unroll
            for (int word = 0; word < 4; word++) quad.at[word] = factor_word(quad.at[word]);
        }
        unsigned place = local < pixels ? local : zero;
        *reinterpret_cast<Quad *>(to + (place * stride + part * 4u) * (4u / (unsigned)sizeof(act))) = quad;
    }
}

// The weights of CHUNK input channels for COLUMNS output channels from `first` on: (column, tap, channel).
template <unsigned COLUMNS>
__device__ void load_weights(const act *weight, unsigned in, unsigned chunk, unsigned first, act *to) {
    const unsigned quads = WORDS / 4u, lanes = 16u / (unsigned)sizeof(act), values = 4u / (unsigned)sizeof(act);
    for (unsigned index = threadIdx.x; index < COLUMNS * 9u * quads; index += THREADS) {
        unsigned part = index % quads, tap = index / quads % 9u, column = index / quads / 9u;
        Quad quad =
            *reinterpret_cast<const Quad *>(weight + ((first + column) * 9u + tap) * in + chunk + part * lanes);
#pragma unroll
        for (int word = 0; word < 4; word++) quad.at[word] = factor_word(quad.at[word]);
        *reinterpret_cast<Quad *>(to + (column * WEIGHT_STRIDE + tap * WORDS + part * 4u) * values) = quad;
    }
}

// The same for the way back, where the convolution's outputs (`chunk`, of `in`) are read and its `out` inputs made: taps are
// turned round.
template <unsigned COLUMNS>
__device__ void load_turned(const act *weight, unsigned out, unsigned chunk, unsigned first, act *to) {
    const unsigned values = 4u / (unsigned)sizeof(act);
    for (unsigned index = threadIdx.x; index < COLUMNS * 9u * CHUNK; index += THREADS) {
        unsigned column = index % COLUMNS, tap = index / COLUMNS % 9u, channel = index / COLUMNS / 9u;
        act value = weight[((chunk + channel) * 9u + 8u - tap) * out + first + column];
        to[(column * WEIGHT_STRIDE + tap * WORDS) * values + channel] = factor(value);
    }
}

// Two values that become the output's channels `at` and the next.
struct Finish {
    const act *bias, *skip;
    unsigned accumulate;
    __device__ void store(act *to, unsigned at, unsigned channel, float first, float second) const {
        float values[2] = {first, second};
#pragma unroll
        for (unsigned v = 0; v < 2; v++) {
            if (accumulate) values[v] += wide(to[at + v]);
            if (bias) {
                values[v] += wide(bias[channel + v]);
                if (skip) values[v] += wide(skip[at + v]);
                values[v] = relu(values[v]);
            }
        }
        Lanes<2> pair;
        pair.at[0] = narrow(values[0]);
        pair.at[1] = narrow(values[1]);
        *reinterpret_cast<Lanes<2> *>(to + at) = pair;
    }
};

// y from x, 8 * TILES output channels a block. Grid: (tiles of a member's pixels, tiles of output channels, members).
template <unsigned TILES, bool TURNED>
__device__ void gemm(const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
                     unsigned height, unsigned width, Finish finish) {
    __shared__ Quad pixel_memory[(HALO + 1u) * PIXEL_STRIDE / 4u];
    __shared__ Quad weight_memory[8u * TILES * WEIGHT_STRIDE / 4u];
    act *pixels = reinterpret_cast<act *>(pixel_memory), *weights = reinterpret_cast<act *>(weight_memory);
    const unsigned *pixel_words = reinterpret_cast<const unsigned *>(pixel_memory);
    const unsigned *weight_words = reinterpret_cast<const unsigned *>(weight_memory);
    unsigned area = height * width, member = blockIdx.z, first = blockIdx.x * PIXELS;
    unsigned column = blockIdx.y * 8u * TILES;
    Maps of = {in, height, width, batch * area};
    const act *from = x + (unsigned long long)(member * batch % x_rows) * area * in;
    const act *by = weight + (unsigned long long)member * out * 9u * in;
    unsigned group = threadIdx.x % 32u / 4u, place = threadIdx.x % 4u, row = threadIdx.x / 32u * 16u + group;
    unsigned inside[2] = {taps_inside(first + row, of), taps_inside(first + row + 8u, of)};
    float sums[TILES][4] = {};
    for (unsigned chunk = 0; chunk < in; chunk += CHUNK) {
        if (chunk) __syncthreads();
        load_pixels(from, of, chunk, (int)first - (int)width - 1, PIXELS + 2u * width + 2u, ZERO, PIXEL_STRIDE, pixels);
        if (TURNED)
            load_turned<8u * TILES>(by, out, chunk, column, weights);
        else
            load_weights<8u * TILES>(by, in, chunk, column, weights);
        __syncthreads();
#pragma unroll
        for (unsigned tap = 0; tap < 9u; tap++) {
            unsigned source = row + tap / 3u * width + tap % 3u, at[2];
#pragma unroll
            for (unsigned half = 0; half < 2u; half++)
                at[half] = (inside[half] >> tap & 1u ? source + 8u * half : ZERO) * PIXEL_STRIDE + place;
#pragma unroll
            for (unsigned step = 0; step < WORDS; step += 8u) {
                unsigned a[4] = {pixel_words[at[0] + step], pixel_words[at[1] + step], pixel_words[at[0] + step + 4u],
                                 pixel_words[at[1] + step + 4u]};
#pragma unroll
                for (unsigned tile = 0; tile < TILES; tile++) {
                    unsigned word = (tile * 8u + group) * WEIGHT_STRIDE + tap * WORDS + step + place;
                    unsigned b[2] = {weight_words[word], weight_words[word + 4u]};
                    multiply(sums[tile], a, b);
                }
            }
        }
    }
#pragma unroll
    for (unsigned half = 0; half < 2u; half++) {
        unsigned pixel = first + row + 8u * half;
        if (pixel >= of.count) continue;
        act *to = y + (unsigned long long)member * of.count * out;
        Finish mine = finish;
        if (mine.skip) mine.skip += (unsigned long long)member * of.count * out;
#pragma unroll
        for (unsigned tile = 0; tile < TILES; tile++) {
            unsigned channel = column + tile * 8u + 2u * place;
            mine.store(to, pixel * out + channel, channel, sums[tile][2u * half], sums[tile][2u * half + 1u]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_forward_2(const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
                   unsigned height, unsigned width, const act *bias, const act *skip) {
    gemm<2, false>(x, weight, y, x_rows, batch, in, out, height, width, Finish{bias, skip, 0});
}
extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_forward_4(const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
                   unsigned height, unsigned width, const act *bias, const act *skip) {
    gemm<4, false>(x, weight, y, x_rows, batch, in, out, height, width, Finish{bias, skip, 0});
}

// The gradient by the convolution's input, from that by its output: `in` are the channels of the output here.
extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_data_2(const act *grad, const act *weight, act *to, unsigned batch, unsigned in, unsigned out, unsigned height,
                unsigned width, unsigned accumulate) {
    gemm<2, true>(grad, weight, to, gridDim.z * batch, batch, in, out, height, width, Finish{nullptr, nullptr, accumulate});
}
extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_data_4(const act *grad, const act *weight, act *to, unsigned batch, unsigned in, unsigned out, unsigned height,
                unsigned width, unsigned accumulate) {
    gemm<4, true>(grad, weight, to, gridDim.z * batch, batch, in, out, height, width, Finish{nullptr, nullptr, accumulate});
}

// The gradient by the weights. Here pixels are the depth of the product, and neighbouring ones lie in different rows of memory.
#ifdef BF16
#define DEPTH 16u
#define FILTER_STRIDE 12u
#else
#define DEPTH 8u
#define FILTER_STRIDE 24u
#endif
// Values of a block's result.
#define FILTER_VALUES (CHUNK * 9u * CHUNK)

// The pixels of a run of DEPTH that this lane holds in its word `word` (0 or 1) of a row or column: two in bf16, one in f32.
__device__ inline unsigned depth_at(unsigned word, unsigned value) {
    unsigned place = threadIdx.x % 4u;
#ifdef BF16
    return 2u * place + 8u * word + value;
#else
    return place + 4u * word + value;
#endif
}
#define DEPTH_VALUES (4u / (unsigned)sizeof(act))

// One channel of the pixels at these places of a block's memory, as a word.
__device__ inline unsigned depth_word(const act *tile, const unsigned *places, unsigned channel) {
    const unsigned stride = FILTER_STRIDE * DEPTH_VALUES;
#ifdef BF16
    return (unsigned)tile[places[0] * stride + channel] | (unsigned)tile[places[1] * stride + channel] << 16;
#else
    return __float_as_uint(tile[places[0] * stride + channel]);
#endif
}

// Each part's sums, (parts, members, O, 9, I) in f32: a block for every gridDim.x-th run of PIXELS pixels (x), CHUNK output by
// CHUNK input channels (y) and member (z).
extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_filter(const act *x, const act *grad, float *parts, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
                unsigned height, unsigned width) {
    __shared__ Quad pixel_memory[(HALO + 1u) * FILTER_STRIDE / 4u];
    __shared__ Quad grad_memory[(PIXELS + 1u) * FILTER_STRIDE / 4u];
    __shared__ float totals[FILTER_VALUES];
    act *pixels = reinterpret_cast<act *>(pixel_memory), *grads = reinterpret_cast<act *>(grad_memory);
    unsigned area = height * width, member = blockIdx.z, warp = threadIdx.x / 32u, group = threadIdx.x % 32u / 4u;
    unsigned o = blockIdx.y / (in / CHUNK) * CHUNK, i = blockIdx.y % (in / CHUNK) * CHUNK;
    Maps of_x = {in, height, width, batch * area}, of_grad = {out, height, width, batch * area};
    const act *from = x + (unsigned long long)(member * batch % x_rows) * area * in;
    const act *by = grad + (unsigned long long)member * batch * area * out;
    float sums[9][2][4] = {};
    for (unsigned first = blockIdx.x * PIXELS; first < of_x.count; first += gridDim.x * PIXELS) {
        __syncthreads();
        load_pixels(from, of_x, i, (int)first - (int)width - 1, PIXELS + 2u * width + 2u, ZERO, FILTER_STRIDE, pixels);
        load_pixels(by, of_grad, o, (int)first, PIXELS, PIXELS, FILTER_STRIDE, grads);
        __syncthreads();
#pragma unroll
        for (unsigned step = 0; step < 16u; step += DEPTH) {
            unsigned at[2][DEPTH_VALUES], inside[2][DEPTH_VALUES], a[4];
#pragma unroll
            for (unsigned word = 0; word < 2u; word++) {
#pragma unroll
                for (unsigned value = 0; value < DEPTH_VALUES; value++) {
                    at[word][value] = warp * 16u + step + depth_at(word, value);
                    inside[word][value] = taps_inside(first + at[word][value], of_x);
                }
                a[2u * word] = depth_word(grads, at[word], group);
                a[2u * word + 1u] = depth_word(grads, at[word], group + 8u);
            }
#pragma unroll
            for (unsigned tap = 0; tap < 9u; tap++) {
                unsigned under[2][DEPTH_VALUES];
#pragma unroll
                for (unsigned word = 0; word < 2u; word++) {
#pragma unroll
                    for (unsigned value = 0; value < DEPTH_VALUES; value++)
                        under[word][value] = inside[word][value] >> tap & 1u
                                                 ? at[word][value] + tap / 3u * width + tap % 3u
                                                 : ZERO;
                }
#pragma unroll
                for (unsigned tile = 0; tile < 2u; tile++) {
                    unsigned b[2] = {depth_word(pixels, under[0], tile * 8u + group),
                                     depth_word(pixels, under[1], tile * 8u + group)};
                    multiply(sums[tap][tile], a, b);
                }
            }
        }
    }
    // The warps' sums, one warp after the other.
    for (unsigned turn = 0; turn < THREADS / 32u; turn++) {
        __syncthreads();
        if (warp != turn) continue;
#pragma unroll
        for (unsigned tap = 0; tap < 9u; tap++) {
#pragma unroll
            for (unsigned value = 0; value < 8u; value++) {
                unsigned tile = value / 4u, row = group + value % 4u / 2u * 8u;
                unsigned column = tile * 8u + threadIdx.x % 4u * 2u + value % 2u;
                float &total = totals[(row * 9u + tap) * CHUNK + column];
                total = turn ? total + sums[tap][tile][value % 4u] : sums[tap][tile][value % 4u];
            }
        }
    }
    __syncthreads();
    float *to = parts + (unsigned long long)(blockIdx.x * gridDim.z + member) * out * 9u * in;
    for (unsigned index = threadIdx.x; index < FILTER_VALUES; index += THREADS)
        to[(o * 9u + index / CHUNK) * in + i + index % CHUNK] = totals[index];
}

// Values that a block of gemm_filter_sum adds up.
#define SUM_TILE 32u

// The parts' sums, `count` values each.
extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_filter_sum(const float *parts, act *to, unsigned part_count, unsigned count) {
    unsigned index = blockIdx.x * SUM_TILE + threadIdx.x % SUM_TILE;
    Floats<1> sum = {};
    for (unsigned part = threadIdx.x / SUM_TILE; part < part_count; part += THREADS / SUM_TILE)
        sum.at[0] += parts[(unsigned long long)part * count + index];
    sum_lanes<1>(sum, SUM_TILE);
    if (threadIdx.x < SUM_TILE) to[index] = narrow(sum.at[0]);
}

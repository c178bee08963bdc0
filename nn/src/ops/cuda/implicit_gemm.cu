// Convolutions 3x3 of stride 1 as matrix products on tensor cores, all members in one launch: the rows of a product are
// pixels, its columns output channels, and its depth input channels under each of nine taps. Maps and weights are those of
// direct.cu; input and output channels are multiples of CHUNK, and rows of pixels no longer than WIDEST.
//
// Maps in f32 are rounded to TF32, to the nearest, when they are read. Sums are f32, in an order of their own that the shapes
// fix: the same bits each time.

// Channels that a block holds at a time, and the words that they take.
#define CHUNK 16u
#define WORDS (CHUNK * (unsigned)sizeof(act) / 4u)
// Pixels of a block: 16 for each warp, once or twice.
#define PIXELS 128u
#define WIDEST 64u
// Pixels in a block's memory: its own, a row and one more to each side, and one of zeros behind them.
#define HALO(pixels) ((pixels) + 2u * WIDEST + 2u)
// Words from one pixel to the next, and from one output channel's weights to the next: so far apart that what a warp reads at
// a time lies in different banks.
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
__device__ inline Quad factors(Quad quad) {
#pragma unroll
    for (int word = 0; word < 4; word++) quad.at[word] = factor_word(quad.at[word]);
    return quad;
}

// Two operations of a warp. With group = lane / 4 and place = lane % 4:
//
// multiply: to (16 x 8) += a (16 rows of 8 words) b (8 columns of 8 words). A lane has the words `place` and `place + 4` of
// rows `group` and `group + 8` of a (the first words first) and of column `group` of b, and of `to` the columns 2 * place and the
// next in those rows. A word is one value of f32 or two neighbouring ones of bf16.
//
// read_rows: four matrices of 8 rows of 16 bytes, whose addresses the lanes name, eight lanes a matrix; of each, a lane gets
// word `place` of row `group`. read_columns takes them for values of two bytes, and gives column `group` of rows 2 * place and the next.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ inline void multiply(float (&to)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef BF16
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#endif
        : "+f"(to[0]), "+f"(to[1]), "+f"(to[2]), "+f"(to[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void read_rows(unsigned (&to)[4], const void *from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((unsigned)__cvta_generic_to_shared(from))
                 : "memory");
}
__device__ inline void read_columns(unsigned (&to)[4], const void *from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((unsigned)__cvta_generic_to_shared(from))
                 : "memory");
}
#elif defined(__CUDA_ARCH__)
// Before sm_80 there are no such instructions, and the host launches none of these kernels.
__device__ inline void multiply(float (&)[4], const unsigned (&)[4], const unsigned (&)[2]) {}
__device__ inline void read_rows(unsigned (&)[4], const void *) {}
__device__ inline void read_columns(unsigned (&)[4], const void *) {}
#else
__device__ inline void multiply(float (&to)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    host::matrix_multiply(sizeof(act) == 2, to, a, b);
}
__device__ inline void read_rows(unsigned (&to)[4], const void *from) { host::read_matrices(to, from, false); }
__device__ inline void read_columns(unsigned (&to)[4], const void *from) { host::read_matrices(to, from, true); }
#endif

// A member's map.
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
template <unsigned STRIDE>
__device__ void load_pixels(const act *from, const Maps &of, unsigned chunk, int first, unsigned pixels, unsigned zero,
                            unsigned *to) {
    const unsigned quads = WORDS / 4u, lanes = 16u / (unsigned)sizeof(act);
    for (unsigned index = threadIdx.x; index < (pixels + 1) * quads; index += THREADS) {
        unsigned local = index / quads, part = index % quads, pixel = (unsigned)(first + (int)local);
        Quad quad = {};
        // Before the first pixel the difference is a large number.
        if (local < pixels && pixel < of.count)
            quad = factors(*reinterpret_cast<const Quad *>(from + pixel * of.channels + chunk + part * lanes));
        *reinterpret_cast<Quad *>(to + (local < pixels ? local : zero) * STRIDE + part * 4u) = quad;
    }
}

// A block's weights: CHUNK input channels for COLUMNS output channels from `first` on, (column, tap, channel).
template <unsigned COLUMNS> struct Straight {
    static const unsigned SIZE = COLUMNS * WEIGHT_STRIDE;

    static __device__ void load(const act *weight, unsigned in, unsigned, unsigned chunk, unsigned first, unsigned *to) {
        const unsigned quads = WORDS / 4u, lanes = 16u / (unsigned)sizeof(act);
        for (unsigned index = threadIdx.x; index < COLUMNS * 9u * quads; index += THREADS) {
            unsigned part = index % quads, tap = index / quads % 9u, column = index / quads / 9u;
            const act *at = weight + ((first + column) * 9u + tap) * in + chunk + part * lanes;
            *reinterpret_cast<Quad *>(to + column * WEIGHT_STRIDE + tap * WORDS + part * 4u) =
                factors(*reinterpret_cast<const Quad *>(at));
        }
    }

    // The words of two tiles of 8 columns, for the channels from word `step` on: those of the first tile before those of the
    // second.
    static __device__ void read(unsigned (&to)[4], const unsigned *from, unsigned tile, unsigned tap, unsigned step) {
        unsigned lane = threadIdx.x % 32u, column = tile * 8u + lane % 8u + lane / 16u * 8u;
        read_rows(to, from + column * WEIGHT_STRIDE + tap * WORDS + step + lane / 8u % 2u * 4u);
    }
};

// The same for the way back, where the convolution's outputs (`chunk`) are read and its `out` inputs made: taps are turned
// round.
#ifdef BF16
// They lie as in memory, (tap, channel, column), and are turned as they are read.
template <unsigned COLUMNS> struct Turned {
    static const unsigned STRIDE = COLUMNS / 2u + 4u, SIZE = 9u * CHUNK * STRIDE;

    static __device__ void load(const act *weight, unsigned, unsigned out, unsigned chunk, unsigned first, unsigned *to) {
        const unsigned quads = COLUMNS / 8u;
        for (unsigned index = threadIdx.x; index < 9u * CHUNK * quads; index += THREADS) {
            unsigned part = index % quads, channel = index / quads % CHUNK, tap = index / quads / CHUNK;
            const act *at = weight + ((chunk + channel) * 9u + 8u - tap) * out + first + part * 8u;
            *reinterpret_cast<Quad *>(to + (tap * CHUNK + channel) * STRIDE + part * 4u) =
                *reinterpret_cast<const Quad *>(at);
        }
    }

    static __device__ void read(unsigned (&to)[4], const unsigned *from, unsigned tile, unsigned tap, unsigned) {
        unsigned lane = threadIdx.x % 32u, channel = lane % 8u + lane / 8u % 2u * 8u;
        read_columns(to, from + (tap * CHUNK + channel) * STRIDE + (tile + lane / 16u) * 4u);
    }
};
#else
template <unsigned COLUMNS> struct Turned : Straight<COLUMNS> {
    static __device__ void load(const act *weight, unsigned, unsigned out, unsigned chunk, unsigned first, unsigned *to) {
        for (unsigned index = threadIdx.x; index < COLUMNS * 9u * CHUNK; index += THREADS) {
            unsigned column = index % COLUMNS, tap = index / COLUMNS % 9u, channel = index / COLUMNS / 9u;
            act value = weight[((chunk + channel) * 9u + 8u - tap) * out + first + column];
            reinterpret_cast<act *>(to + column * WEIGHT_STRIDE + tap * WORDS)[channel] = factor(value);
        }
    }
};
#endif

// What becomes of a sum for place `at` of the output, whose channel is `channel`.
struct Plain {
    __device__ float operator()(float sum, const act *, unsigned, unsigned) const { return sum; }
};
struct Added {
    unsigned accumulate;
    __device__ float operator()(float sum, const act *to, unsigned at, unsigned) const {
        return accumulate ? wide(to[at]) + sum : sum;
    }
};
struct Folded {
    const act *bias, *skip;
    __device__ float operator()(float sum, const act *, unsigned at, unsigned channel) const {
        sum += wide(bias[channel]);
        return relu(skip ? sum + wide(skip[at]) : sum);
    }
};

// y from x: ROWS * PIXELS pixels and 8 * TILES output channels a block. Grid: (tiles of a member's pixels, tiles of output
// channels, members).
template <unsigned ROWS, unsigned TILES, class Weights, class Finish>
__device__ void gemm(const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
                     unsigned height, unsigned width, const Finish &finish) {
    const unsigned zero = HALO(ROWS * PIXELS);
    __shared__ Quad pixel_memory[(HALO(ROWS * PIXELS) + 1u) * PIXEL_STRIDE / 4u];
    __shared__ Quad weight_memory[Weights::SIZE / 4u];
    __shared__ unsigned short inside_memory[ROWS * PIXELS];
    unsigned *pixels = pixel_memory[0].at, *weights = weight_memory[0].at;
    unsigned area = height * width, member = blockIdx.z, first = blockIdx.x * ROWS * PIXELS;
    unsigned column = blockIdx.y * 8u * TILES, lane = threadIdx.x % 32u;
    Maps of = {in, height, width, batch * area};
    x += (unsigned long long)(member * batch % x_rows) * area * in;
    weight += (unsigned long long)member * out * 9u * in;
    if (threadIdx.x < ROWS * PIXELS) inside_memory[threadIdx.x] = (unsigned short)taps_inside(first + threadIdx.x, of);
    // This warp's first pixel; this lane's row of the matrices that it names, and the half of it.
    unsigned row = threadIdx.x / 32u * 16u * ROWS, half = lane / 16u * 4u;
    float sums[ROWS][TILES][4] = {};
    unsigned inside[ROWS];
    for (unsigned chunk = 0; chunk < in; chunk += CHUNK) {
        if (chunk) __syncthreads();
        load_pixels<PIXEL_STRIDE>(x, of, chunk, (int)first - (int)width - 1, ROWS * PIXELS + 2u * width + 2u, zero, pixels);
        Weights::load(weight, in, out, chunk, column, weights);
        __syncthreads();
#pragma unroll
        for (unsigned r = 0; r < ROWS; r++) inside[r] = inside_memory[row + r * 16u + lane % 16u];
#pragma unroll
        for (unsigned tap = 0; tap < 9u; tap++) {
            unsigned source = row + lane % 16u + tap / 3u * width + tap % 3u;
#pragma unroll
            for (unsigned step = 0; step < WORDS; step += 8u) {
                unsigned a[ROWS][4];
#pragma unroll
                for (unsigned r = 0; r < ROWS; r++) {
                    unsigned pixel = inside[r] >> tap & 1u ? source + r * 16u : zero;
                    read_rows(a[r], pixels + pixel * PIXEL_STRIDE + step + half);
                }
#pragma unroll
                for (unsigned tile = 0; tile < TILES; tile += 2u) {
                    unsigned b[4];
                    Weights::read(b, weights, tile, tap, step);
#pragma unroll
                    for (unsigned r = 0; r < ROWS; r++) {
                        multiply(sums[r][tile], a[r], {b[0], b[1]});
                        multiply(sums[r][tile + 1u], a[r], {b[2], b[3]});
                    }
                }
            }
        }
    }
    y += (unsigned long long)member * of.count * out;
#pragma unroll
    for (unsigned r = 0; r < 2u * ROWS; r++) {
        unsigned pixel = first + row + r * 8u + lane / 4u;
        if (pixel >= of.count) continue;
#pragma unroll
        for (unsigned tile = 0; tile < TILES; tile++) {
            unsigned channel = column + tile * 8u + lane % 4u * 2u, at = pixel * out + channel;
            Lanes<2> pair;
#pragma unroll
            for (unsigned v = 0; v < 2u; v++)
                pair.at[v] = narrow(finish(sums[r / 2u][tile][r % 2u * 2u + v], y, at + v, channel + v));
            *reinterpret_cast<Lanes<2> *>(y + at) = pair;
        }
    }
}

template <unsigned ROWS, unsigned TILES>
__device__ void gemm_forward(const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in,
                             unsigned out, unsigned height, unsigned width) {
    gemm<ROWS, TILES, Straight<8u * TILES>>(x, weight, y, x_rows, batch, in, out, height, width, Plain{});
}

// With a bias and a ReLU, and a shortcut (null for none) between them.
template <unsigned ROWS, unsigned TILES>
__device__ void gemm_folded(const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in,
                            unsigned out, unsigned height, unsigned width, const act *bias, const act *skip) {
    if (skip) skip += (unsigned long long)blockIdx.z * batch * height * width * out;
    gemm<ROWS, TILES, Straight<8u * TILES>>(x, weight, y, x_rows, batch, in, out, height, width, Folded{bias, skip});
}

// The gradient by the convolution's input, from that by its output: `in` are the channels of the output here.
template <unsigned ROWS, unsigned TILES>
__device__ void gemm_data(const act *grad, const act *weight, act *to, unsigned batch, unsigned in, unsigned out,
                          unsigned height, unsigned width, unsigned accumulate) {
    gemm<ROWS, TILES, Turned<8u * TILES>>(grad, weight, to, gridDim.z * batch, batch, in, out, height, width, Added{accumulate});
}

// A kernel for blocks of 128 pixels by 16 output channels (1), of 256 by 16 (2) and of 128 by 32 (4).
#define BY_TILES(name, parameters, arguments)                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_1 parameters { FOLLOW; name<1, 2> arguments; }         \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_2 parameters { FOLLOW; name<2, 2> arguments; }         \
    extern "C" __global__ void __launch_bounds__(THREADS) name##_4 parameters { FOLLOW; name<1, 4> arguments; }
BY_TILES(gemm_forward,
         (const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
          unsigned height, unsigned width),
         (x, weight, y, x_rows, batch, in, out, height, width))
BY_TILES(gemm_folded,
         (const act *x, const act *weight, act *y, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
          unsigned height, unsigned width, const act *bias, const act *skip),
         (x, weight, y, x_rows, batch, in, out, height, width, bias, skip))
BY_TILES(gemm_data,
         (const act *grad, const act *weight, act *to, unsigned batch, unsigned in, unsigned out, unsigned height,
          unsigned width, unsigned accumulate),
         (grad, weight, to, batch, in, out, height, width, accumulate))

// The gradient by the weights: rows are output channels, columns input channels, and the depth pixels, which are not neighbours
// in memory. DEPTH of them make a product.
#ifdef BF16
#define DEPTH 16u
#define FILTER_STRIDE 12u
#else
#define DEPTH 8u
#define FILTER_STRIDE 24u
#endif
// Values of a row of a block's result, and words from one of its rows to the next: so many that the eight banks which four
// neighbouring lanes of a warp add to are not those of the next four.
#define FILTER_ROW (9u * CHUNK)
#define TOTAL_STRIDE (FILTER_ROW + 8u)

// Neighbouring values of a block's result.
struct alignas(8) Two {
    float at[2];
};

// How a lane reads DEPTH pixels of two tiles of 8 channels, from `tile` on: where it looks for pixels (PLACES of them), and the
// words of its part of a product, those of tile 0 before those of tile 1.
#ifdef BF16
#define PLACES 1u
__device__ inline unsigned depth_place(unsigned) { return threadIdx.x % 16u; }
__device__ inline void read_depth(unsigned (&to)[4], const unsigned *tile, const unsigned (&pixels)[PLACES]) {
    read_columns(to, tile + pixels[0] * FILTER_STRIDE + threadIdx.x % 32u / 16u * 4u);
}
#else
#define PLACES 2u
__device__ inline unsigned depth_place(unsigned word) { return threadIdx.x % 4u + 4u * word; }
__device__ inline void read_depth(unsigned (&to)[4], const unsigned *tile, const unsigned (&pixels)[PLACES]) {
    unsigned group = threadIdx.x % 32u / 4u;
#pragma unroll
    for (unsigned at = 0; at < 4u; at++) to[at] = tile[pixels[at % 2u] * FILTER_STRIDE + at / 2u * 8u + group];
}
#endif

// Each part's sums, (parts, members, O, 9, I) in f32: a block for CHUNK output by CHUNK input channels (x), every gridDim.y-th
// run of PIXELS pixels (y) and member (z).
extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_filter(const act *x, const act *grad, float *parts, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
                unsigned height, unsigned width) {
    FOLLOW;
    const unsigned zero = HALO(PIXELS);
    __shared__ Quad pixel_memory[(HALO(PIXELS) + 1u) * FILTER_STRIDE / 4u];
    __shared__ Quad grad_memory[(PIXELS + 1u) * FILTER_STRIDE / 4u];
    __shared__ unsigned short inside_memory[PIXELS];
    __shared__ Two totals[CHUNK * TOTAL_STRIDE / 2u];
    unsigned *pixels = pixel_memory[0].at, *grads = grad_memory[0].at;
    unsigned area = height * width, member = blockIdx.z, warp = threadIdx.x / 32u;
    unsigned o = blockIdx.x / (in / CHUNK) * CHUNK, i = blockIdx.x % (in / CHUNK) * CHUNK;
    Maps of_x = {in, height, width, batch * area}, of_grad = {out, height, width, batch * area};
    x += (unsigned long long)(member * batch % x_rows) * area * in;
    grad += (unsigned long long)member * batch * area * out;
    float sums[9][2][4] = {};
    for (unsigned first = blockIdx.y * PIXELS; first < of_x.count; first += gridDim.y * PIXELS) {
        __syncthreads();
        if (threadIdx.x < PIXELS) inside_memory[threadIdx.x] = (unsigned short)taps_inside(first + threadIdx.x, of_x);
        load_pixels<FILTER_STRIDE>(x, of_x, i, (int)first - (int)width - 1, PIXELS + 2u * width + 2u, zero, pixels);
        load_pixels<FILTER_STRIDE>(grad, of_grad, o, (int)first, PIXELS, PIXELS, grads);
        __syncthreads();
#pragma unroll
        for (unsigned step = 0; step < 16u; step += DEPTH) {
            unsigned at[PLACES], inside[PLACES], by[4];
#pragma unroll
            for (unsigned place = 0; place < PLACES; place++) {
                at[place] = warp * 16u + step + depth_place(place);
                inside[place] = inside_memory[at[place]];
            }
            read_depth(by, grads, at);
            // Words of rows 0 to 7 and 8 to 15 for the first pixels, then for the others.
            unsigned a[4] = {by[0], by[2], by[1], by[3]};
#pragma unroll
            for (unsigned tap = 0; tap < 9u; tap++) {
                unsigned under[PLACES], b[4];
#pragma unroll
                for (unsigned place = 0; place < PLACES; place++)
                    under[place] = inside[place] >> tap & 1u ? at[place] + tap / 3u * width + tap % 3u : zero;
                read_depth(b, pixels, under);
                multiply(sums[tap][0], a, {b[0], b[1]});
                multiply(sums[tap][1], a, {b[2], b[3]});
            }
        }
    }
    // The warps' sums: in each turn a warp adds to a tap that is its own then.
    for (unsigned index = threadIdx.x; index < CHUNK * TOTAL_STRIDE / 2u; index += THREADS) totals[index] = {};
    unsigned group = threadIdx.x % 32u / 4u, place = threadIdx.x % 4u;
    for (unsigned turn = 0; turn < 9u; turn++) {
        __syncthreads();
#pragma unroll
        for (unsigned tap = 0; tap < 9u; tap++) {
            if ((warp + turn) % 9u != tap) continue;
#pragma unroll
            for (unsigned pair = 0; pair < 4u; pair++) {
                unsigned row = group + pair % 2u * 8u, column = tap * CHUNK + pair / 2u * 8u + place * 2u;
                Two &total = totals[(row * TOTAL_STRIDE + column) / 2u];
                Two sum = total;
                sum.at[0] += sums[tap][pair / 2u][pair % 2u * 2u];
                sum.at[1] += sums[tap][pair / 2u][pair % 2u * 2u + 1u];
                total = sum;
            }
        }
    }
    __syncthreads();
    float *to = parts + (unsigned long long)(blockIdx.y * gridDim.z + member) * out * 9u * in;
    for (unsigned index = threadIdx.x; index < CHUNK * FILTER_ROW; index += THREADS) {
        unsigned at = index / FILTER_ROW * TOTAL_STRIDE + index % FILTER_ROW;
        to[(o * 9u + index / CHUNK) * in + i + index % CHUNK] = totals[at / 2u].at[at % 2u];
    }
}

// The parts' sums, `count` values each, of which a block adds up `tile`, a power of two: the fewer parts, the more.
extern "C" __global__ void __launch_bounds__(THREADS)
    gemm_filter_sum(const float *parts, act *to, unsigned part_count, unsigned count, unsigned tile) {
    FOLLOW;
    unsigned index = blockIdx.x * tile + threadIdx.x % tile;
    Floats<1> sum = {};
    for (unsigned part = threadIdx.x / tile; part < part_count; part += THREADS / tile)
        sum.at[0] += parts[(unsigned long long)part * count + index];
    sum_lanes<1>(sum, tile);
    if (threadIdx.x < tile) to[index] = narrow(sum.at[0]);
}

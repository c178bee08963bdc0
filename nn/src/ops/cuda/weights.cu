// Weights on their way into the convolutions, and their gradients on the way out. Parameters are (O, I, taps); a
// convolution reads (M, O, taps, I): W o (s_m r_m^T) of each member m of a BatchEnsemble. From a member's gradient G by
// those weights follow: W gets the sum over m of s r^T o G, s_m[o] the sum over i and taps of W r G, r_m[i] that over o
// and taps of W s G.

// One layer: places of weight, s and r among the parameters (NONE where there is none) and of the packed weights;
// channels and taps; the place of the table of the norm that may be folded into it (NONE where none may be).
struct Layer {
    unsigned weight, s, r, packed, out, in, taps, norm;
};
#define NONE 0xffffffffu

// A block's work: which layer, and which part of it.
struct Work {
    unsigned layer, part;
};

// Pairs of an output and an input channel that a block of the elementwise kernels works on: a thread has every other tap of
// one.
#define PAIRS (THREADS / 2)

struct Pair {
    unsigned at, o, i, first_tap;
    __device__ Pair(const Layer &layer, unsigned part) {
        at = part * PAIRS + threadIdx.x % PAIRS;
        o = at / layer.in;
        i = at % layer.in;
        first_tap = threadIdx.x / PAIRS;
    }
    __device__ bool is_in(const Layer &layer) const { return o < layer.out; }
    // Its places among the parameters and among a member's packed weights.
    __device__ unsigned parameter(const Layer &layer, unsigned tap) const {
        return layer.weight + at * layer.taps + tap;
    }
    __device__ unsigned packed(const Layer &layer, unsigned m, unsigned tap) const {
        return layer.packed + ((m * layer.out + o) * layer.taps + tap) * layer.in + i;
    }
    // What a member of a BatchEnsemble has the weight times.
    __device__ float scale(const Layer &layer, unsigned m, const float *params) const {
        return params[layer.s + m * layer.out + o] * params[layer.r + m * layer.in + i];
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    pack_weights(const Layer *layers, const Work *work, const float *params, const float *norms, act *__restrict__ packed,
                 unsigned members) {
    FOLLOW;
    Work mine = work[blockIdx.x];
    Layer layer = layers[mine.layer];
    Pair pair(layer, mine.part);
    if (!pair.is_in(layer)) return;
    for (unsigned m = 0; m < members; m++) {
        float scale = layer.s != NONE ? pair.scale(layer, m, params) : 1.0f;
        for (unsigned tap = pair.first_tap; tap < layer.taps; tap += THREADS / PAIRS) {
            float value = params[pair.parameter(layer, tap)] * scale;
            // The scales follow the means in a table of one group.
            if (norms && layer.norm != NONE) value *= norms[layer.norm + layer.out + pair.o];
            packed[pair.packed(layer, m, tap)] = narrow(value);
        }
    }
}

// Once the scales are in the weights: what is left of each folded norm is a bias, and its table becomes that of an
// identity. `folds` holds for each: channels, the place of its table, that of its bias. Grid: folds.
extern "C" __global__ void __launch_bounds__(THREADS)
    fold_norms(const unsigned *folds, float *tables, act *biases) {
    FOLLOW;
    const unsigned *fold = folds + blockIdx.x * 3;
    unsigned channels = fold[0];
    float *table = tables + fold[1];
    for (unsigned c = threadIdx.x; c < channels; c += blockDim.x) {
        biases[fold[2] + c] = narrow(table[2 * channels + c] - table[c] * table[channels + c]);
        table[c] = 0.0f;
        table[channels + c] = 1.0f;
        table[2 * channels + c] = 0.0f;
    }
}

// The gradient of W, in the parameters' order.
extern "C" __global__ void __launch_bounds__(THREADS)
    weight_grads(const Layer *layers, const Work *work, const float *params, const act *packed,
                 float *__restrict__ grads, unsigned members) {
    FOLLOW;
    Work mine = work[blockIdx.x];
    Layer layer = layers[mine.layer];
    Pair pair(layer, mine.part);
    if (!pair.is_in(layer)) return;
    for (unsigned tap = pair.first_tap; tap < layer.taps; tap += THREADS / PAIRS) {
        float sum = 0.0f;
        for (unsigned m = 0; m < members; m++) {
            float value = wide(packed[pair.packed(layer, m, tap)]);
            if (layer.s != NONE) value *= pair.scale(layer, m, params);
            sum += value;
        }
        grads[pair.parameter(layer, tap)] = sum;
    }
}

// Output channels, of all members, that a block of s_grads works on.
#define S_TILE (THREADS / 32)

// A lane's part of the gradient of s: every 32nd input channel, TAPS of its taps on their way from memory at a time, which are
// neighbours among the parameters.
template <unsigned TAPS>
__device__ inline double s_sum(const Layer &layer, const float *weight, const act *from, const float *r) {
    double sum = 0.0;
    for (unsigned i = threadIdx.x % 32; i < layer.in; i += 32) {
        double scale = (double)r[i];
        for (unsigned first = 0; first < layer.taps; first += TAPS) {
#pragma unroll
            for (unsigned tap = first; tap < first + TAPS; tap++)
                sum += (double)(wide(from[tap * layer.in + i]) * weight[i * layer.taps + tap]) * scale;
        }
    }
    return sum;
}

// The gradient of s: a warp for each member and output channel.
extern "C" __global__ void __launch_bounds__(THREADS)
    s_grads(const Layer *layers, const Work *work, const float *params, const act *packed, float *grads,
            unsigned members) {
    FOLLOW;
    Work mine = work[blockIdx.x];
    Layer layer = layers[mine.layer];
    unsigned channel = mine.part * S_TILE + threadIdx.x / 32;
    if (channel >= members * layer.out) return;
    unsigned m = channel / layer.out, o = channel % layer.out, count = layer.taps * layer.in;
    const act *from = packed + layer.packed + channel * count;
    const float *weight = params + layer.weight + o * count, *r = params + layer.r + m * layer.in;
    double sum = layer.taps % 9 == 0 ? s_sum<9>(layer, weight, from, r) : s_sum<1>(layer, weight, from, r);
    for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
    if (threadIdx.x % 32 == 0) grads[layer.s + channel] = (float)sum;
}

// Input channels that a block of r_grads works on.
#define R_TILE 32u

// The gradient of r: a block for each member and tile of input channels.
extern "C" __global__ void __launch_bounds__(THREADS)
    r_grads(const Layer *layers, const Work *work, const float *params, const act *packed, float *grads) {
    FOLLOW;
    Work mine = work[blockIdx.x];
    Layer layer = layers[mine.layer];
    unsigned tiles = (layer.in + R_TILE - 1) / R_TILE, m = mine.part / tiles;
    unsigned i = mine.part % tiles * R_TILE + threadIdx.x % R_TILE;
    unsigned count = layer.out * layer.taps;
    const act *from = packed + layer.packed + m * count * layer.in + i;
    double sum = 0.0;
    if (i < layer.in) {
        for (unsigned index = threadIdx.x / R_TILE; index < count; index += THREADS / R_TILE) {
            unsigned tap = index % layer.taps, o = index / layer.taps;
            float weight = params[layer.weight + (o * layer.in + i) * layer.taps + tap];
            sum += (double)(wide(from[index * layer.in]) * weight) * (double)params[layer.s + m * layer.out + o];
        }
    }
    sum = sum_doubles(sum, R_TILE);
    if (threadIdx.x < R_TILE && i < layer.in) grads[layer.r + m * layer.in + i] = (float)sum;
}

// The gradient of a bias (sets, channels): the sum of each set's consecutive rows of `grad` (rows, channels). Grid:
// (channels, sets).
extern "C" __global__ void __launch_bounds__(THREADS)
    bias_grad(const float *grad, float *to, unsigned rows, unsigned channels) {
    FOLLOW;
    const float *from = grad + blockIdx.y * rows * channels + blockIdx.x;
    double sum = 0.0;
    for (unsigned row = threadIdx.x; row < rows; row += THREADS) sum += (double)from[row * channels];
    sum = sum_doubles(sum, 1);
    if (threadIdx.x == 0) to[blockIdx.y * channels + blockIdx.x] = (float)sum;
}

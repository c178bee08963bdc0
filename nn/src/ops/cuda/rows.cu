// Losses and what surrounds them: rows of `classes` logits, eight to a block of 32 threads each.
#define ROWS 8u
// Minus infinity, and what is no number.
#define LOWEST __uint_as_float(0xff800000u)
#define NOT_A_NUMBER __uint_as_float(0x7fc00000u)

struct Row {
    unsigned at, lane, start;
    bool inside;
    __device__ Row(unsigned rows, unsigned classes) {
        at = blockIdx.x * ROWS + threadIdx.x % ROWS;
        lane = threadIdx.x / ROWS;
        start = at * classes;
        inside = at < rows;
    }
};
// Every value of a thread's row that is the thread's.
#define OF_ROW(index, classes) for (unsigned index = row.lane; row.inside && index < (classes); index += THREADS / ROWS)

// The largest of one float a thread over all threads with the same remainder by ROWS. A NaN is passed over.
__device__ inline float largest_of_rows(float value) {
    __shared__ float values[THREADS];
    __syncthreads();
    values[threadIdx.x] = value;
    for (unsigned half = THREADS / 2; half >= ROWS; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) values[threadIdx.x] = fmaxf(values[threadIdx.x], values[threadIdx.x + half]);
    }
    __syncthreads();
    return values[threadIdx.x % ROWS];
}

// Where the first of the largest values of a thread's row is; infinity where none is a number.
__device__ inline float first_largest(Row row, const float *values, unsigned classes) {
    float mine = LOWEST;
    OF_ROW(k, classes) mine = fmaxf(mine, values[row.start + k]);
    float largest = largest_of_rows(mine), first = LOWEST;
    OF_ROW(k, classes) if (values[row.start + k] == largest) first = fmaxf(first, -(float)k);
    return -largest_of_rows(first);
}

// Softmax of a row over a temperature: the largest logit, and the logarithm of the sum of exp((z - largest) / tau).
struct Softmax {
    float largest, log_sum, inverse;
    __device__ Softmax(Row row, const float *logits, unsigned classes, float inverse_temperature) {
        inverse = inverse_temperature;
        float mine = LOWEST;
        OF_ROW(k, classes) mine = fmaxf(mine, logits[row.start + k]);
        largest = largest_of_rows(mine);
        double sum = 0.0;
        OF_ROW(k, classes) sum += (double)expf((logits[row.start + k] - largest) * inverse);
        log_sum = logf((float)sum_doubles(sum, ROWS));
    }
    __device__ float log_prob(float logit) const { return (logit - largest) * inverse - log_sum; }
};

// probs = softmax(logits / tau). Grid: rows / ROWS, as for all kernels of rows.
extern "C" __global__ void __launch_bounds__(THREADS)
    row_probs(const float *logits, float *probs, unsigned rows, unsigned classes, float inverse) {
    FOLLOW;
    Row row(rows, classes);
    Softmax of(row, logits, classes, inverse);
    OF_ROW(k, classes) probs[row.start + k] = expf(of.log_prob(logits[row.start + k]));
}

// Its gradient: p o (g - sum g p) / tau. Every g is taken less that of the largest p, which changes nothing where the p add up
// to 1: of a p that is nearly 1 the rounding is as large as all others together, and would otherwise be in the sum.
extern "C" __global__ void __launch_bounds__(THREADS)
    row_probs_grad(const float *probs, const float *grads, float *to, unsigned rows, unsigned classes, float inverse) {
    FOLLOW;
    Row row(rows, classes);
    float largest = first_largest(row, probs, classes);
    float start = row.inside && largest < (float)classes ? grads[row.start + (unsigned)largest] : 0.0f;
    double sum = 0.0;
    OF_ROW(k, classes) sum += (double)(grads[row.start + k] - start) * (double)probs[row.start + k];
    float mean = (float)sum_doubles(sum, ROWS);
    OF_ROW(k, classes) to[row.start + k] = inverse * probs[row.start + k] * (grads[row.start + k] - start - mean);
}

// The largest value of each row.
extern "C" __global__ void __launch_bounds__(THREADS)
    row_largest(const float *values, float *to, unsigned rows, unsigned classes) {
    FOLLOW;
    Row row(rows, classes);
    float mine = LOWEST;
    OF_ROW(k, classes) mine = fmaxf(mine, values[row.start + k]);
    float largest = largest_of_rows(mine);
    if (row.inside && row.lane == 0) to[row.at] = largest;
}

// -ln softmax(logits)_y of each row, and the gradient of their mean. `labels` are those of `batch` images, for each member; one
// that is no class makes the loss no number.
extern "C" __global__ void __launch_bounds__(THREADS)
    row_cross_entropy(const float *logits, const unsigned *labels, float *losses, float *grads, unsigned rows,
                      unsigned batch, unsigned classes) {
    FOLLOW;
    Row row(rows, classes);
    Softmax of(row, logits, classes, 1.0f);
    unsigned label = row.inside ? labels[row.at % batch] : 0;
    if (row.inside && row.lane == 0 && label >= classes) losses[row.at] = NOT_A_NUMBER;
    OF_ROW(k, classes) {
        float log_prob = of.log_prob(logits[row.start + k]);
        grads[row.start + k] = (expf(log_prob) - (k == label ? 1.0f : 0.0f)) / (float)rows;
        if (k == label) losses[row.at] = -log_prob;
    }
}

// sum t (ln t - ln q) of each row, q = softmax(logits / tau), or without `with_entropy` -sum t ln q; and the gradient of
// their mean. Targets of one member serve all where there are fewer `target_rows` than rows.
extern "C" __global__ void __launch_bounds__(THREADS)
    row_divergence(const float *targets, const float *logits, float *losses, float *grads, unsigned rows,
                   unsigned target_rows, unsigned classes, float inverse, unsigned with_entropy) {
    FOLLOW;
    Row row(rows, classes);
    Softmax of(row, logits, classes, inverse);
    const float *target = targets + (row.inside ? row.at % target_rows : 0) * classes;
    double mass = 0.0, loss = 0.0;
    OF_ROW(k, classes) {
        float t = target[k];
        // t ln t -> 0 for t -> 0: the floor keeps the logarithm finite.
        float log_target = with_entropy ? logf(t < 1.17549435e-38f ? 1.17549435e-38f : t) : 0.0f;
        mass += (double)t;
        loss += (double)(t * (log_target - of.log_prob(logits[row.start + k])));
    }
    mass = sum_doubles(mass, ROWS);
    loss = sum_doubles(loss, ROWS);
    if (row.inside && row.lane == 0) losses[row.at] = (float)loss;
    OF_ROW(k, classes) {
        float q = expf(of.log_prob(logits[row.start + k]));
        grads[row.start + k] = inverse * (q * (float)mass - target[k]) / (float)rows;
    }
}

// 1 where the first largest logit of a row is its label's, else 0.
extern "C" __global__ void __launch_bounds__(THREADS)
    row_hits(const float *logits, const unsigned *labels, float *hits, unsigned rows, unsigned batch, unsigned classes) {
    FOLLOW;
    Row row(rows, classes);
    float largest = first_largest(row, logits, classes);
    if (row.inside && row.lane == 0) hits[row.at] = largest == (float)labels[row.at % batch] ? 1.0f : 0.0f;
}

// The mean of `count` values. Grid: 1.
extern "C" __global__ void __launch_bounds__(THREADS)
    mean_of(const float *values, float *to, unsigned count) {
    FOLLOW;
    double sum = 0.0;
    for (unsigned index = threadIdx.x; index < count; index += THREADS) sum += (double)values[index];
    sum = sum_doubles(sum, 1);
    if (threadIdx.x == 0) to[0] = (float)(sum / (double)count);
}

// What a step leaves for the log: its total, cross-entropy, divergence (0 where `kd` is null) and hits. Grid: 1.
extern "C" __global__ void __launch_bounds__(THREADS)
    step_log(const float *total, const float *ce, const float *kd, const float *hits, float *to, unsigned count) {
    FOLLOW;
    double sum = 0.0;
    for (unsigned index = threadIdx.x; index < count; index += THREADS) sum += (double)hits[index];
    sum = sum_doubles(sum, 1);
    if (threadIdx.x != 0) return;
    to[0] = total[0];
    to[1] = ce[0];
    to[2] = kd ? kd[0] : 0.0f;
    to[3] = (float)sum;
}

// a x + b y, of single values.
extern "C" __global__ void __launch_bounds__(THREADS)
    blend_values(const float *x, const float *y, float *to, float a, float b) {
    FOLLOW;
    if (threadIdx.x == 0) to[0] = a * x[0] + b * y[0];
}

// to = values * by[0].
extern "C" __global__ void __launch_bounds__(THREADS)
    scale_by(const float *values, const float *by, float *to, unsigned count) {
    FOLLOW;
    float scale = by[0];
    EACH(index, count) to[index] = values[index] * scale;
}

// Each image's values over their length, which is taken as `least` at least. Grid: images.
extern "C" __global__ void __launch_bounds__(THREADS)
    unit_images(const float *values, float *to, unsigned dimension, float least) {
    FOLLOW;
    const float *from = values + blockIdx.x * dimension;
    double sum = 0.0;
    for (unsigned index = threadIdx.x; index < dimension; index += THREADS)
        sum += (double)from[index] * (double)from[index];
    float length = (float)sqrt(sum_doubles(sum, 1));
    // Keeps a NaN.
    if (length < least) length = least;
    for (unsigned index = threadIdx.x; index < dimension; index += THREADS)
        to[blockIdx.x * dimension + index] = from[index] / length;
}

// clip(x + size * d) to [0, 1], `size` times an image's own factor where there are `factors`.
extern "C" __global__ void __launch_bounds__(THREADS)
    clipped_step(const float *images, const float *directions, const float *factors, float *to, unsigned count,
                 unsigned dimension, float size) {
    FOLLOW;
    EACH(index, count) {
        float scale = factors ? factors[index / dimension] * size : size;
        float value = images[index] + scale * directions[index];
        to[index] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
    }
}

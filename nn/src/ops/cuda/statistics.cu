// Statistics of a feature map for its batch norm: each part's mean and squared distances from it, then all parts'
// together in double (Chan, Golub, LeVeque 1979).

// What a batch norm's statistics become: its table; the running statistics move with those of group 0, the variance as the
// unbiased one, where their addresses are not null.
struct BatchNorm {
    const float *gamma, *beta;
    float *running_mean, *running_var, *table;
    double epsilon, momentum;

    __device__ void follow(unsigned c, double mean, double variance, double count) const {
        double unbiased = variance * count / (count > 1.0 ? count - 1.0 : 1.0);
        running_mean[c] = (float)((double)running_mean[c] * (1.0 - momentum) + mean * momentum);
        running_var[c] = (float)((double)running_var[c] * (1.0 - momentum) + unbiased * momentum);
    }
    __device__ void write(unsigned group, unsigned groups, unsigned c, unsigned channels, double mean,
                          double variance) const {
        double inverse = 1.0 / sqrt(variance + epsilon);
        float *to = table + group * channels + c;
        to[0] = (float)mean;
        to[groups * channels] = (float)((double)gamma[c] * inverse);
        to[2 * groups * channels] = beta[c];
        to[3 * groups * channels] = (float)inverse;
    }
};

// From the parts' sums of the channels `first` .. `end` in this block's group.
template <int W>
__device__ void batch_statistics(const Sums &sums, unsigned first, unsigned end, Groups of, const BatchNorm &norm) {
    unsigned group = blockIdx.z, lane = threadIdx.x / SETS, set = threadIdx.x % SETS;
    unsigned count = ((group + 1) * of.batch / of.groups - group * of.batch / of.groups) * of.members * of.pixels;
    // There are no more parts than threads.
    __shared__ double pixels[THREADS];
    if (threadIdx.x < gridDim.x)
        pixels[threadIdx.x] = (double)(part_start(count, threadIdx.x + 1, gridDim.x) -
                                       part_start(count, threadIdx.x, gridDim.x));
    __shared__ double means[SETS * W];
    __syncthreads();
    for (unsigned base = first; base < end; base += SETS * W) {
        unsigned c = base + set * W, parts = c < end ? gridDim.x : 0;
        Doubles<W> mean = {}, variance = {};
        for (unsigned part = lane; part < parts; part += PART_LANES) {
            Floats<W> of_part = row<W>(sums.of_part(part) + c);
#pragma unroll
            for (int w = 0; w < W; w++) mean.at[w] += (double)of_part.at[w] * pixels[part];
        }
        sum_doubles<W>(mean, SETS);
        if (lane < W) means[set * W + lane] = own<W>(mean, lane) / (double)count;
        __syncthreads();
#pragma unroll
        for (int w = 0; w < W; w++) mean.at[w] = means[set * W + w];
        for (unsigned part = lane; part < parts; part += PART_LANES) {
            Floats<W> of_part = row<W>(sums.of_part(part) + c);
            Floats<W> squares = row<W>(sums.of_part(part) + sums.channels + c);
#pragma unroll
            for (int w = 0; w < W; w++) {
                double away = (double)of_part.at[w] - mean.at[w];
                variance.at[w] += (double)squares.at[w] + away * away * pixels[part];
            }
        }
        sum_doubles<W>(variance, SETS);
        if (lane < W && c < end) {
            double own_mean = own<W>(mean, lane), own_variance = own<W>(variance, lane) / (double)count;
            if (group == 0 && norm.running_mean) norm.follow(c + lane, own_mean, own_variance, (double)count);
            norm.write(group, of.groups, c + lane, sums.channels, own_mean, own_variance);
        }
    }
}

// Sums are taken relative to a part's first pixel, so that they do not cancel. The pass that sums also adds the shortcut
// that ends a pre-activation block.
template <int V>
__device__ void moments(act *z, const act *skip_from, Skip skip, Sums sums, unsigned tile, Groups of,
                        BatchNorm norm) {
    const int FLIGHT = 4;
    unsigned columns = sums.channels / V;
    Part part(of, tile);
    bool inside = part.column < columns;
    Floats<V> pivot = {}, sum = {}, square = {};
    if (inside && part.start < part.end) {
        unsigned pixel = Way(part, part.start).pixel;
        pivot = load<V>(z, pixel * columns + part.column);
        if (skip_from) add<V>(pivot, skip_at<V>(skip_from, skip, pixel, part.column, of.pixels));
    }
    // The pixel that all lanes measure from is read before lane 0 writes it.
    __syncthreads();
    if (inside) {
        for (Way way(part, part.start + part.lane); way.index < part.end;) {
            Lanes<V> from[FLIGHT], more[FLIGHT];
            unsigned at[FLIGHT], pixel = way.pixel;
            bool has[FLIGHT];
#pragma unroll
            for (int u = 0; u < FLIGHT; u++, way.go_on(part)) {
                has[u] = way.index < part.end;
                if (has[u]) pixel = way.pixel;
                at[u] = pixel * columns + part.column;
                from[u] = fetch<V>(z, at[u]);
                if (skip_from) more[u] = skip_at<V>(skip_from, skip, pixel, part.column, of.pixels);
            }
#pragma unroll
            for (int u = 0; u < FLIGHT; u++) {
                if (!has[u]) break;
                Floats<V> value = widened<V>(from[u]);
                if (skip_from) {
                    add<V>(value, more[u]);
                    store<V>(z, at[u], value);
                }
#pragma unroll
                for (int v = 0; v < V; v++) {
                    float distance = wide(narrow(value.at[v])) - pivot.at[v];
                    sum.at[v] += distance;
                    square.at[v] += distance * distance;
                }
            }
        }
    }
    sum_lanes<V>(sum, square, tile);
    if (inside && part.lane == 0) {
        float count = (float)max(part.end - part.start, 1u);
#pragma unroll
        for (int v = 0; v < V; v++) {
            square.at[v] = relu(square.at[v] - sum.at[v] * sum.at[v] / count);
            sum.at[v] = pivot.at[v] + sum.at[v] / count;
        }
        sums.write<V>(part.column * V, sum, square);
    }
    if (!sums.are_all_parts()) return;
    unsigned first = blockIdx.y * tile * V;
    batch_statistics<V % 4 == 0 ? 4 : 1>(sums, first, min(first + tile * V, sums.channels), of, norm);
}
BY_LANES(moments,
         (act *z, const act *skip_from, unsigned skip_columns, unsigned skip_stride, unsigned width,
          unsigned from_width, unsigned from_pixels, float *parts, unsigned *counters, unsigned channels, unsigned tile,
          unsigned pixels, unsigned batch, unsigned members, unsigned groups, const float *gamma, const float *beta,
          float *running_mean, float *running_var, float *table, double epsilon, double momentum),
         (z, skip_from, Skip{skip_columns, skip_stride, width, from_width, from_pixels},
          Sums{parts, counters, channels}, tile, Groups{pixels, batch, members, groups},
          BatchNorm{gamma, beta, running_mean, running_var, table, epsilon, momentum}))

// z += shortcut, where no statistics are wanted.
template <int V>
__device__ void add_skip(act *z, const act *skip_from, Skip skip, unsigned count, unsigned columns, unsigned pixels) {
    const int FLIGHT = 4;
    Span span(count, columns, Groups{pixels, 1, 1, 1});
    unsigned pixel = span.first_pixel;
    for (unsigned index = span.first; index < span.end; index += FLIGHT * span.stride) {
        Lanes<V> from[FLIGHT], more[FLIGHT];
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            unsigned ahead = span.ahead(index, u);
            from[u] = fetch<V>(z, index + ahead * span.stride);
            more[u] = skip_at<V>(skip_from, skip, pixel + ahead * span.pixel_stride, span.column, pixels);
        }
        pixel += FLIGHT * span.pixel_stride;
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            Floats<V> value = widened<V>(from[u]);
            add<V>(value, more[u]);
            if (span.has(index, u)) store<V>(z, index + u * span.stride, value);
        }
    }
}
BY_LANES(add_skip,
         (act *z, const act *skip_from, unsigned skip_columns, unsigned skip_stride, unsigned width,
          unsigned from_width, unsigned from_pixels, unsigned count, unsigned columns, unsigned pixels),
         (z, skip_from, Skip{skip_columns, skip_stride, width, from_width, from_pixels}, count, columns, pixels))

// Every norm's table from the running statistics, in one group. `norms` holds for each norm: channels, and the places of
// gamma and beta among the parameters, of the running mean and variance among the buffers, of the table. Grid: norms.
extern "C" __global__ void __launch_bounds__(THREADS)
    running_statistics(const unsigned *norms, const float *params, const float *buffers, float *tables,
                       double epsilon) {
    FOLLOW;
    const unsigned *norm = norms + blockIdx.x * 6;
    unsigned channels = norm[0];
    float *to = tables + norm[5];
    for (unsigned c = threadIdx.x; c < channels; c += blockDim.x) {
        double inverse = 1.0 / sqrt((double)buffers[norm[4] + c] + epsilon);
        to[c] = buffers[norm[3] + c];
        to[channels + c] = (float)((double)params[norm[1] + c] * inverse);
        to[2 * channels + c] = params[norm[2] + c];
        to[3 * channels + c] = (float)inverse;
    }
}

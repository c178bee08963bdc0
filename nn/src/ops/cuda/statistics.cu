// Statistics of a feature map for its batch norm: each part's mean and squared distances from it, then all parts'
// together in double (Chan, Golub, LeVeque 1979). Sums are taken relative to a part's first pixel, so that they do not
// cancel. The pass that sums also adds the shortcut that ends a pre-activation block.
template <int V>
__device__ void moments(act *z, const act *skip_from, Skip skip, float *parts, unsigned columns, unsigned tile,
                        Groups of) {
    const int FLIGHT = 4;
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
    sum_lanes<V>(sum, tile);
    sum_lanes<V>(square, tile);
    if (inside && part.lane == 0) {
        float count = (float)max(part.end - part.start, 1u);
        unsigned channels = columns * V;
        float *to = parts + ((blockIdx.z * gridDim.x + blockIdx.x) * 2) * channels + part.column * V;
#pragma unroll
        for (int v = 0; v < V; v++) {
            square.at[v] = relu(square.at[v] - sum.at[v] * sum.at[v] / count);
            sum.at[v] = pivot.at[v] + sum.at[v] / count;
        }
        put<V>(to, sum);
        put<V>(to + channels, square);
    }
}
BY_LANES(moments,
         (act *z, const act *skip_from, unsigned skip_columns, unsigned skip_stride, unsigned width,
          unsigned from_width, unsigned from_pixels, float *parts, unsigned columns, unsigned tile, unsigned pixels,
          unsigned batch, unsigned members, unsigned groups),
         (z, skip_from, Skip{skip_columns, skip_stride, width, from_width, from_pixels}, parts, columns, tile,
          Groups{pixels, batch, members, groups}))

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

// Channels that a block of the second steps works on.
#define STATISTICS_TILE 8u

// What a part of a group sums up to; no pixels where there are more parts than pixels.
struct PartMoments {
    double pixels, mean, squares;
    __device__ PartMoments(const float *parts, unsigned group, unsigned part, unsigned part_count, unsigned count,
                           unsigned channels, unsigned c) {
        unsigned start = part_start(count, part, part_count), end = part_start(count, part + 1, part_count);
        const float *from = parts + ((group * part_count + part) * 2) * channels + c;
        pixels = (double)(end - start);
        mean = start < end ? (double)from[0] : 0.0;
        squares = start < end ? (double)from[channels] : 0.0;
    }
};

// The norm's table from the parts; group 0 moves the running statistics, the variance as the unbiased one, where their
// addresses are not null.
// Grid: (tiles of channels, groups).
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_statistics(const float *parts, const float *gamma, const float *beta, float *running_mean, float *running_var,
                     float *table, unsigned channels, unsigned part_count, unsigned pixels, unsigned batch,
                     unsigned members, unsigned groups, double epsilon, double momentum) {
    unsigned group = blockIdx.y;
    unsigned c = blockIdx.x * STATISTICS_TILE + threadIdx.x % STATISTICS_TILE;
    unsigned images = (group + 1) * batch / groups - group * batch / groups;
    unsigned count = images * members * pixels;
    double mean = 0.0, variance = 0.0;
    unsigned first = c < channels ? threadIdx.x / STATISTICS_TILE : part_count;
    for (unsigned part = first; part < part_count; part += THREADS / STATISTICS_TILE) {
        PartMoments of(parts, group, part, part_count, count, channels, c);
        mean += of.mean * of.pixels;
    }
    mean = sum_doubles(mean, STATISTICS_TILE) / (double)count;
    for (unsigned part = first; part < part_count; part += THREADS / STATISTICS_TILE) {
        PartMoments of(parts, group, part, part_count, count, channels, c);
        variance += of.squares + (of.mean - mean) * (of.mean - mean) * of.pixels;
    }
    variance = sum_doubles(variance, STATISTICS_TILE) / (double)count;
    if (threadIdx.x >= STATISTICS_TILE || c >= channels) return;
    if (group == 0 && running_mean) {
        double unbiased = variance * (double)count / (double)(count > 1 ? count - 1 : 1);
        running_mean[c] = (float)((double)running_mean[c] * (1.0 - momentum) + mean * momentum);
        running_var[c] = (float)((double)running_var[c] * (1.0 - momentum) + unbiased * momentum);
    }
    double inverse = 1.0 / sqrt(variance + epsilon);
    float *to = table + group * channels + c;
    to[0] = (float)mean;
    to[groups * channels] = (float)((double)gamma[c] * inverse);
    to[2 * groups * channels] = beta[c];
    to[3 * groups * channels] = (float)inverse;
}

// Every norm's table from the running statistics, in one group. `norms` holds for each norm: channels, and the places of
// gamma and beta among the parameters, of the running mean and variance among the buffers, of the table. Grid: norms.
extern "C" __global__ void __launch_bounds__(THREADS)
    running_statistics(const unsigned *norms, const float *params, const float *buffers, float *tables,
                       double epsilon) {
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

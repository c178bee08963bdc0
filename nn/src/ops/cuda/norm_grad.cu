// The gradient of a batch norm, in two passes over the map: sums, then scale * (g - offset - (z - mean) * slope) with
// offset = mean of g and slope = mean of g * (z - mean) over the variance. With `masked` the gradient g counts where
// norm(z) > 0; the masked gradient is never written.

// Each part's sums of g and of g * (z - mean).
template <int V>
__device__ void grad_sums(const act *grad, const act *z, const float *norm, float *parts, unsigned columns,
                          unsigned tile, unsigned masked, Groups of) {
    const int FLIGHT = 4;
    Part part(of, tile);
    bool inside = part.column < columns;
    Floats<V> sum = {}, product = {};
    if (inside) {
        Norm<V> by(norm, blockIdx.z, of.groups, part.column, columns);
        unsigned at = 0;
        for (Way way(part, part.start + part.lane); way.index < part.end;) {
            Lanes<V> from[FLIGHT], from_z[FLIGHT];
            bool has[FLIGHT];
#pragma unroll
            for (int u = 0; u < FLIGHT; u++, way.go_on(part)) {
                has[u] = way.index < part.end;
                if (has[u]) at = way.pixel * columns + part.column;
                from[u] = fetch<V>(grad, at);
                from_z[u] = fetch<V>(z, at);
            }
#pragma unroll
            for (int u = 0; u < FLIGHT; u++) {
                if (!has[u]) break;
                Floats<V> value = widened<V>(from[u]), before = widened<V>(from_z[u]);
#pragma unroll
                for (int v = 0; v < V; v++) {
                    float kept = !masked || by.apply(v, before.at[v]) > 0.0f ? value.at[v] : 0.0f;
                    sum.at[v] += kept;
                    product.at[v] += kept * (before.at[v] - by.mean.at[v]);
                }
            }
        }
    }
    sum_lanes<V>(sum, tile);
    sum_lanes<V>(product, tile);
    if (inside && part.lane == 0) {
        unsigned channels = columns * V;
        float *to = parts + ((blockIdx.z * gridDim.x + blockIdx.x) * 2) * channels + part.column * V;
        put<V>(to, sum);
        put<V>(to + channels, product);
    }
}
BY_LANES(grad_sums,
         (const act *grad, const act *z, const float *norm, float *parts, unsigned columns, unsigned tile,
          unsigned masked, unsigned pixels, unsigned batch, unsigned members, unsigned groups),
         (grad, z, norm, parts, columns, tile, masked, Groups{pixels, batch, members, groups}))

// The gradients of gamma and beta (where wanted) and, where the statistics are the batch's (`offsets` not null), offset
// and slope, from the parts' sums. Grid: tiles of channels.
extern "C" __global__ void __launch_bounds__(THREADS)
    grad_coefficients(const float *parts, const float *table, float *grad_gamma, float *grad_beta, float *offsets,
                      unsigned channels, unsigned part_count, unsigned pixels, unsigned batch, unsigned members,
                      unsigned groups) {
    unsigned c = blockIdx.x * STATISTICS_TILE + threadIdx.x % STATISTICS_TILE;
    double gamma = 0.0, beta = 0.0;
    for (unsigned group = 0; group < groups; group++) {
        double sum = 0.0, product = 0.0;
        if (c < channels) {
            for (unsigned part = threadIdx.x / STATISTICS_TILE; part < part_count;
                 part += THREADS / STATISTICS_TILE) {
                const float *from = parts + ((group * part_count + part) * 2) * channels + c;
                sum += (double)from[0];
                product += (double)from[channels];
            }
        }
        sum = sum_doubles(sum, STATISTICS_TILE);
        product = sum_doubles(product, STATISTICS_TILE);
        if (c >= channels) continue;
        double inverse = (double)table[(3 * groups + group) * channels + c];
        gamma += product * inverse;
        beta += sum;
        if (offsets && threadIdx.x < STATISTICS_TILE) {
            unsigned images = (group + 1) * batch / groups - group * batch / groups;
            double count = (double)(images * members * pixels);
            offsets[group * channels + c] = (float)(sum / count);
            offsets[(groups + group) * channels + c] = (float)(product * inverse * inverse / count);
        }
    }
    if (threadIdx.x < STATISTICS_TILE && c < channels && grad_gamma) {
        grad_gamma[c] = (float)gamma;
        grad_beta[c] = (float)beta;
    }
}

// to = the norm's gradient + raw, the gradient by a map: `raw` may be null, `offsets` is where the statistics are constants.
template <int V>
__device__ void norm_grad(const act *grad, const act *z, const float *norm, const float *offsets, const act *raw,
                          act *to, unsigned count, unsigned columns, unsigned masked, Groups of) {
    const int FLIGHT = 2;
    Span span(count, columns, of);
    Norm<V> by(norm, span.group, of.groups, span.column, columns);
    Floats<V> offset = {}, slope = {};
    if (offsets) {
        const float *from = offsets + span.group * columns * V + span.column * V;
        offset = row<V>(from);
        slope = row<V>(from + of.groups * columns * V);
    }
    for (unsigned index = span.first; index < span.end; index += FLIGHT * span.stride) {
        Lanes<V> from[FLIGHT], from_z[FLIGHT], more[FLIGHT];
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            unsigned at = index + span.ahead(index, u) * span.stride;
            from[u] = fetch<V>(grad, at);
            from_z[u] = fetch<V>(z, at);
            if (raw) more[u] = fetch<V>(raw, at);
        }
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            Floats<V> value = widened<V>(from[u]), before = widened<V>(from_z[u]);
#pragma unroll
            for (int v = 0; v < V; v++) {
                float kept = !masked || by.apply(v, before.at[v]) > 0.0f ? value.at[v] : 0.0f;
                if (offsets) kept -= offset.at[v] + (before.at[v] - by.mean.at[v]) * slope.at[v];
                value.at[v] = by.scale.at[v] * kept;
            }
            if (raw) add<V>(value, more[u]);
            if (span.has(index, u)) store<V>(to, index + u * span.stride, value);
        }
    }
}
BY_LANES(norm_grad,
         (const act *grad, const act *z, const float *norm, const float *offsets, const act *raw, act *to,
          unsigned count, unsigned columns, unsigned masked, unsigned pixels, unsigned batch, unsigned members,
          unsigned groups),
         (grad, z, norm, offsets, raw, to, count, columns, masked, Groups{pixels, batch, members, groups}))

// The gradient of a batch norm, in two passes over the map: sums, then scale * (g - offset - (z - mean) * slope) with
// offset = mean of g and slope = mean of g * (z - mean) over the variance. With `masked` the gradient g counts where
// norm(z) > 0; the masked gradient is never written.

// Each part's sums of g and of g * (z - mean).
template <int V>
__device__ void grad_sums(const act *grad, const act *z, const float *norm, float *parts, unsigned columns,
                          unsigned tile, unsigned masked, Groups of) {
    Part part(of, tile);
    bool inside = part.column < columns;
    Floats<V> sum = {}, product = {};
    if (inside) {
        Norm<V> by(norm, blockIdx.z, of.groups, part.column, columns);
        for (unsigned index = part.start + part.lane; index < part.end; index += part.lanes) {
            unsigned at = part.pixel(index, of) * columns + part.column;
            Floats<V> value = load<V>(grad, at), before = load<V>(z, at);
#pragma unroll
            for (int v = 0; v < V; v++) {
                float kept = !masked || by.apply(v, before.at[v]) > 0.0f ? value.at[v] : 0.0f;
                sum.at[v] += kept;
                product.at[v] += kept * (before.at[v] - by.mean.at[v]);
            }
        }
    }
    sum_lanes<V>(sum, tile);
    sum_lanes<V>(product, tile);
    if (inside && part.lane == 0) {
        unsigned channels = columns * V;
        float *to = parts + ((blockIdx.z * gridDim.x + blockIdx.x) * 2) * channels + part.column * V;
#pragma unroll
        for (int v = 0; v < V; v++) {
            to[v] = sum.at[v];
            to[channels + v] = product.at[v];
        }
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

// to = the norm's gradient + raw, the gradient by a map: `grad` (behind the norm) or `raw` may be null, `offsets` is
// where the statistics are constants.
template <int V>
__device__ void norm_grad(const act *grad, const act *z, const float *norm, const float *offsets, const act *raw,
                          act *to, unsigned count, unsigned columns, unsigned masked, Groups of) {
    EACH(index, count) {
        unsigned column = index % columns, group = group_of(index / columns, of), channels = columns * V;
        Norm<V> by(norm, group, of.groups, column, columns);
        Floats<V> value = load<V>(grad, index), before = load<V>(z, index);
#pragma unroll
        for (int v = 0; v < V; v++) {
            float kept = !masked || by.apply(v, before.at[v]) > 0.0f ? value.at[v] : 0.0f;
            if (offsets) {
                const float *of_channel = offsets + group * channels + column * V + v;
                kept -= of_channel[0] + (before.at[v] - by.mean.at[v]) * of_channel[of.groups * channels];
            }
            value.at[v] = by.scale.at[v] * kept;
        }
        if (raw) {
            Floats<V> more = load<V>(raw, index);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] += more.at[v];
        }
        store<V>(to, index, value);
    }
}
BY_LANES(norm_grad,
         (const act *grad, const act *z, const float *norm, const float *offsets, const act *raw, act *to,
          unsigned count, unsigned columns, unsigned masked, unsigned pixels, unsigned batch, unsigned members,
          unsigned groups),
         (grad, z, norm, offsets, raw, to, count, columns, masked, Groups{pixels, batch, members, groups}))

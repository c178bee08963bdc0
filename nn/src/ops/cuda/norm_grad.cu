// The gradient of a batch norm, in two passes over the map: sums, then scale * (g - offset - (z - mean) * slope) with
// offset = mean of g and slope = mean of g * (z - mean) over the variance. With `masked` the gradient g counts where
// norm(z) > 0; the masked gradient is never written.

// What the sums become: the gradients of gamma and beta where their addresses are not null; offset and slope where the
// statistics are the batch's (`offsets` not null). `table` is the norm's.
struct NormGrads {
    const float *table;
    float *gamma, *beta, *offsets;
};

// From the parts' sums of the channels `first` .. `end` in this block's group, and then from all groups'.
template <int W>
__device__ void grad_coefficients(const Sums &sums, unsigned first, unsigned end, Groups of, const NormGrads &grads) {
    unsigned group = blockIdx.z, lane = threadIdx.x / SETS, channels = sums.channels;
    unsigned images = (group + 1) * of.batch / of.groups - group * of.batch / of.groups;
    double count = (double)(images * of.members * of.pixels);
    double *totals = sums.of_group(group);
    for (unsigned base = first; base < end; base += SETS * W) {
        unsigned c = base + threadIdx.x % SETS * W, parts = c < end ? gridDim.x : 0;
        Doubles<W> sum = {}, product = {};
        for (unsigned part = lane; part < parts; part += PART_LANES) {
            Floats<W> of_sum = row<W>(sums.of_part(part) + c);
            Floats<W> of_product = row<W>(sums.of_part(part) + channels + c);
#pragma unroll
            for (int w = 0; w < W; w++) {
                sum.at[w] += (double)of_sum.at[w];
                product.at[w] += (double)of_product.at[w];
            }
        }
        sum_doubles<W>(sum, SETS);
        sum_doubles<W>(product, SETS);
        if (lane < W && c < end) {
            c += lane;
            double own_sum = own<W>(sum, lane), own_product = own<W>(product, lane);
            double inverse = (double)grads.table[(3 * of.groups + group) * channels + c];
            totals[c] = own_product * inverse;
            totals[channels + c] = own_sum;
            if (grads.offsets) {
                grads.offsets[group * channels + c] = (float)(own_sum / count);
                grads.offsets[(of.groups + group) * channels + c] = (float)(own_product * inverse * inverse / count);
            }
        }
    }
    if (!grads.gamma || !sums.are_all_groups()) return;
    for (unsigned c = first + threadIdx.x; c < end; c += THREADS) {
        double gamma = 0.0, beta = 0.0;
        for (unsigned other = 0; other < of.groups; other++) {
            gamma += sums.of_group(other)[c];
            beta += sums.of_group(other)[channels + c];
        }
        grads.gamma[c] = (float)gamma;
        grads.beta[c] = (float)beta;
    }
}

// Each part's sums of g and of g * (z - mean).
template <int V>
__device__ void grad_sums(const act *grad, const act *z, const float *norm, Sums sums, unsigned tile,
                          unsigned masked, Groups of, NormGrads grads) {
    const int FLIGHT = 4;
    unsigned columns = sums.channels / V;
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
    sum_lanes<V>(sum, product, tile);
    if (inside && part.lane == 0) sums.write<V>(part.column * V, sum, product);
    if (!sums.are_all_parts()) return;
    unsigned first = blockIdx.y * tile * V;
    grad_coefficients<V % 4 == 0 ? 4 : 1>(sums, first, min(first + tile * V, sums.channels), of, grads);
}
BY_LANES(grad_sums,
         (const act *grad, const act *z, const float *norm, float *parts, unsigned *counters, unsigned channels,
          unsigned tile, unsigned masked, unsigned pixels, unsigned batch, unsigned members, unsigned groups,
          float *gamma, float *beta, float *offsets),
         (grad, z, norm, Sums{parts, counters, channels}, tile, masked, Groups{pixels, batch, members, groups},
          NormGrads{norm, gamma, beta, offsets}))

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

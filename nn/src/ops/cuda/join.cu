// out = relu(norm(z) + shortcut): the end of a post-activation block. The shortcut is a map, every second pixel of one,
// or a normalised one (`skip_norm`).
template <int V>
__device__ void join(const act *z, const float *norm, const act *skip_from, const float *skip_norm, Skip skip, act *to,
                     unsigned count, unsigned columns, Groups of) {
    const int FLIGHT = 2;
    Span span(count, columns, of);
    Norm<V> by(norm, span.group, of.groups, span.column, columns);
    Norm<V> other(skip_norm ? skip_norm : norm, span.group, of.groups, span.column, columns);
    unsigned pixel = span.first_pixel;
    for (unsigned index = span.first; index < span.end; index += FLIGHT * span.stride) {
        Lanes<V> from[FLIGHT], more[FLIGHT];
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            unsigned ahead = span.ahead(index, u), at = index + ahead * span.stride;
            from[u] = fetch<V>(z, at);
            if (skip_norm)
                more[u] = fetch<V>(skip_from, at);
            else if (skip_from)
                more[u] = skip_at<V>(skip_from, skip, pixel + ahead * span.pixel_stride, span.column, of.pixels);
        }
        pixel += FLIGHT * span.pixel_stride;
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            Floats<V> value = widened<V>(from[u]);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] = by.apply(v, value.at[v]);
            if (skip_norm) {
#pragma unroll
                for (int v = 0; v < V; v++) value.at[v] += other.apply(v, wide(more[u].at[v]));
            } else if (skip_from) {
                add<V>(value, more[u]);
            }
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] = relu(value.at[v]);
            if (span.has(index, u)) store<V>(to, index + u * span.stride, value);
        }
    }
}
BY_LANES(join,
         (const act *z, const float *norm, const act *skip_from, const float *skip_norm, unsigned skip_columns,
          unsigned skip_stride, unsigned width, unsigned from_width, unsigned from_pixels, act *to, unsigned count,
          unsigned columns, unsigned pixels, unsigned batch, unsigned members, unsigned groups),
         (z, norm, skip_from, skip_norm, Skip{skip_columns, skip_stride, width, from_width, from_pixels}, to, count,
          columns, Groups{pixels, batch, members, groups}))

// In place: grad = (grad + what the next block's shortcut hands back) where out > 0; each part's sums of grad and of
// grad * (z - mean). `next` may be null; `next_columns` and `next_pixels` are those of the next block's sum.
template <int V>
__device__ void join_grad(act *grad, const act *next, Skip skip, unsigned next_columns, unsigned next_pixels,
                          const act *out, const act *z, const float *norm, Sums sums, unsigned tile,
                          Groups of, NormGrads grads) {
    const int FLIGHT = 2;
    unsigned columns = sums.channels / V;
    Part part(of, tile);
    bool inside = part.column < columns;
    Floats<V> sum = {}, product = {};
    if (inside) {
        Norm<V> by(norm, blockIdx.z, of.groups, part.column, columns);
        for (Way way(part, part.start + part.lane); way.index < part.end;) {
            Lanes<V> from[FLIGHT], from_out[FLIGHT], from_z[FLIGHT], more[FLIGHT];
            unsigned at[FLIGHT], pixel = way.pixel;
            bool has[FLIGHT];
#pragma unroll
            for (int u = 0; u < FLIGHT; u++, way.go_on(part)) {
                has[u] = way.index < part.end;
                if (has[u]) pixel = way.pixel;
                at[u] = pixel * columns + part.column;
                from[u] = fetch<V>(grad, at[u]);
                from_out[u] = fetch<V>(out, at[u]);
                from_z[u] = fetch<V>(z, at[u]);
                if (next) more[u] = skip_grad_at<V>(next, skip, pixel, part.column, next_columns, next_pixels);
            }
#pragma unroll
            for (int u = 0; u < FLIGHT; u++) {
                if (!has[u]) break;
                Floats<V> value = widened<V>(from[u]);
                if (next) add<V>(value, more[u]);
#pragma unroll
                for (int v = 0; v < V; v++) {
                    value.at[v] = wide(from_out[u].at[v]) > 0.0f ? value.at[v] : 0.0f;
                    float kept = wide(narrow(value.at[v]));
                    sum.at[v] += kept;
                    product.at[v] += kept * (wide(from_z[u].at[v]) - by.mean.at[v]);
                }
                store<V>(grad, at[u], value);
            }
        }
    }
    if (!sums.parts) return;
    sum_lanes<V>(sum, product, tile);
    if (inside && part.lane == 0) sums.write<V>(part.column * V, sum, product);
    if (!sums.are_all_parts()) return;
    unsigned first = blockIdx.y * tile * V;
    grad_coefficients<V % 4 == 0 ? 4 : 1>(sums, first, min(first + tile * V, sums.channels), of, grads);
}
BY_LANES(join_grad,
         (act *grad, const act *next, unsigned skip_columns, unsigned skip_stride, unsigned next_width, unsigned width,
          unsigned next_columns, unsigned next_pixels, const act *out, const act *z, const float *norm, float *parts,
          unsigned *counters, unsigned channels, unsigned tile, unsigned pixels, unsigned batch, unsigned members,
          unsigned groups, float *gamma, float *beta, float *offsets),
         (grad, next, Skip{skip_columns, skip_stride, next_width, width, pixels}, next_columns, next_pixels, out, z,
          norm, Sums{parts, counters, channels}, tile, Groups{pixels, batch, members, groups},
          NormGrads{norm, gamma, beta, offsets}))

// to = (accumulate ? to : 0) + what a shortcut hands back to its map, from the gradient of the sum.
template <int V>
__device__ void spread(const act *grad, Skip skip, unsigned sum_columns, unsigned sum_pixels, act *to, unsigned count,
                       unsigned columns, unsigned accumulate) {
    const int FLIGHT = 2;
    Span span(count, columns, Groups{1, 1, 1, 1});
    unsigned pixel = span.first_pixel;
    for (unsigned index = span.first; index < span.end; index += FLIGHT * span.stride) {
        Lanes<V> from[FLIGHT], before[FLIGHT];
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            unsigned ahead = span.ahead(index, u), place = pixel + ahead * span.pixel_stride;
            from[u] = skip_grad_at<V>(grad, skip, place, span.column, sum_columns, sum_pixels);
            if (accumulate) before[u] = fetch<V>(to, index + ahead * span.stride);
        }
        pixel += FLIGHT * span.pixel_stride;
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            Floats<V> value = widened<V>(from[u]);
            if (accumulate) add<V>(value, before[u]);
            if (span.has(index, u)) store<V>(to, index + u * span.stride, value);
        }
    }
}
BY_LANES(spread,
         (const act *grad, unsigned skip_columns, unsigned skip_stride, unsigned sum_width, unsigned width,
          unsigned pixels, unsigned sum_columns, unsigned sum_pixels, act *to, unsigned count, unsigned columns,
          unsigned accumulate),
         (grad, Skip{skip_columns, skip_stride, sum_width, width, pixels}, sum_columns, sum_pixels, to, count, columns,
          accumulate))

// out = relu(norm(z) + shortcut): the end of a post-activation block. The shortcut is a map, every second pixel of one,
// or a normalised one (`skip_norm`).
template <int V>
__device__ void join(const act *z, const float *norm, const act *skip_from, const float *skip_norm, Skip skip, act *to,
                     unsigned count, unsigned columns, Groups of) {
    EACH(index, count) {
        unsigned column = index % columns, pixel = index / columns, group = group_of(pixel, of);
        Norm<V> by(norm, group, of.groups, column, columns);
        Floats<V> value = load<V>(z, index);
#pragma unroll
        for (int v = 0; v < V; v++) value.at[v] = by.apply(v, value.at[v]);
        if (skip_norm) {
            Norm<V> other(skip_norm, group, of.groups, column, columns);
            Floats<V> more = load<V>(skip_from, index);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] += other.apply(v, more.at[v]);
        } else if (skip_from) {
            Floats<V> more = skip_at<V>(skip_from, skip, pixel, column, columns, of.pixels);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] += more.at[v];
        }
#pragma unroll
        for (int v = 0; v < V; v++) value.at[v] = relu(value.at[v]);
        store<V>(to, index, value);
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
                          const act *out, const act *z, const float *norm, float *parts, unsigned columns,
                          unsigned tile, Groups of) {
    Part part(of, tile);
    bool inside = part.column < columns;
    Floats<V> sum = {}, product = {};
    if (inside) {
        Norm<V> by(norm, blockIdx.z, of.groups, part.column, columns);
        for (unsigned index = part.start + part.lane; index < part.end; index += part.lanes) {
            unsigned pixel = part.pixel(index, of), at = pixel * columns + part.column;
            Floats<V> value = load<V>(grad, at), result = load<V>(out, at), before = load<V>(z, at);
            if (next) {
                Floats<V> more = skip_grad_at<V>(next, skip, pixel, part.column, next_columns, next_pixels);
#pragma unroll
                for (int v = 0; v < V; v++) value.at[v] += more.at[v];
            }
#pragma unroll
            for (int v = 0; v < V; v++) {
                value.at[v] = result.at[v] > 0.0f ? value.at[v] : 0.0f;
                float kept = wide(narrow(value.at[v]));
                sum.at[v] += kept;
                product.at[v] += kept * (before.at[v] - by.mean.at[v]);
            }
            store<V>(grad, at, value);
        }
    }
    if (!parts) return;
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
BY_LANES(join_grad,
         (act *grad, const act *next, unsigned skip_columns, unsigned skip_stride, unsigned next_width, unsigned width,
          unsigned next_columns, unsigned next_pixels, const act *out, const act *z, const float *norm, float *parts,
          unsigned columns, unsigned tile, unsigned pixels, unsigned batch, unsigned members, unsigned groups),
         (grad, next, Skip{skip_columns, skip_stride, next_width, width, pixels}, next_columns, next_pixels, out, z,
          norm, parts, columns, tile, Groups{pixels, batch, members, groups}))

// to = (accumulate ? to : 0) + what a shortcut hands back to its map, from the gradient of the sum.
template <int V>
__device__ void spread(const act *grad, Skip skip, unsigned sum_columns, unsigned sum_pixels, act *to, unsigned count,
                       unsigned columns, unsigned accumulate) {
    EACH(index, count) {
        Floats<V> value = skip_grad_at<V>(grad, skip, index / columns, index % columns, sum_columns, sum_pixels);
        if (accumulate) {
            Floats<V> before = load<V>(to, index);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] += before.at[v];
        }
        store<V>(to, index, value);
    }
}
BY_LANES(spread,
         (const act *grad, unsigned skip_columns, unsigned skip_stride, unsigned sum_width, unsigned width,
          unsigned pixels, unsigned sum_columns, unsigned sum_pixels, act *to, unsigned count, unsigned columns,
          unsigned accumulate),
         (grad, Skip{skip_columns, skip_stride, sum_width, width, pixels}, sum_columns, sum_pixels, to, count, columns,
          accumulate))

// to = relu(norm(z)): what a convolution behind a norm reads.
template <int V>
__device__ void norm_relu(const act *z, const float *norm, act *to, unsigned count, unsigned columns, Groups of) {
    const int FLIGHT = 4;
    Span span(count, columns, of);
    Norm<V> by(norm, span.group, of.groups, span.column, columns);
    for (unsigned index = span.first; index < span.end; index += FLIGHT * span.stride) {
        Lanes<V> from[FLIGHT];
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) from[u] = fetch<V>(z, index + span.ahead(index, u) * span.stride);
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            Floats<V> value = widened<V>(from[u]);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] = relu(by.apply(v, value.at[v]));
            if (span.has(index, u)) store<V>(to, index + u * span.stride, value);
        }
    }
}
BY_LANES(norm_relu,
         (const act *z, const float *norm, act *to, unsigned count, unsigned columns, unsigned pixels, unsigned batch,
          unsigned members, unsigned groups),
         (z, norm, to, count, columns, Groups{pixels, batch, members, groups}))

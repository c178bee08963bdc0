// In place: y = relu(y + bias + skip), what is left of a folded norm where the convolution does not do it itself. `skip`
// may be null.
template <int V>
__device__ void finish_folded(act *y, const act *bias, const act *skip, unsigned count, unsigned columns) {
    const int FLIGHT = 2;
    Span span(count, columns, Groups{1, 1, 1, 1});
    Floats<V> shift = load<V>(bias, span.column);
    for (unsigned index = span.first; index < span.end; index += FLIGHT * span.stride) {
        Lanes<V> from[FLIGHT], skipped[FLIGHT];
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            unsigned at = index + span.ahead(index, u) * span.stride;
            from[u] = fetch<V>(y, at);
            if (skip) skipped[u] = fetch<V>(skip, at);
        }
#pragma unroll
        for (int u = 0; u < FLIGHT; u++) {
            Floats<V> value = widened<V>(from[u]);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] += shift.at[v];
            if (skip) add<V>(value, skipped[u]);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] = relu(value.at[v]);
            if (span.has(index, u)) store<V>(y, index + u * span.stride, value);
        }
    }
}
BY_LANES(finish_folded, (act *y, const act *bias, const act *skip, unsigned count, unsigned columns),
         (y, bias, skip, count, columns))

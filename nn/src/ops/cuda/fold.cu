// In place: y = relu(y + bias + skip), what is left of a folded norm where the convolution does not do it itself. `skip`
// may be null.
template <int V>
__device__ void finish_folded(act *y, const act *bias, const act *skip, unsigned count, unsigned columns) {
    EACH(index, count) {
        Floats<V> value = load<V>(y, index), more = load<V>(bias, index % columns);
#pragma unroll
        for (int v = 0; v < V; v++) value.at[v] += more.at[v];
        if (skip) {
            more = load<V>(skip, index);
#pragma unroll
            for (int v = 0; v < V; v++) value.at[v] += more.at[v];
        }
#pragma unroll
        for (int v = 0; v < V; v++) value.at[v] = relu(value.at[v]);
        store<V>(y, index, value);
    }
}
BY_LANES(finish_folded, (act *y, const act *bias, const act *skip, unsigned count, unsigned columns),
         (y, bias, skip, count, columns))

// to = relu(norm(z)): what a convolution behind a norm reads.
template <int V>
__device__ void norm_relu(const act *z, const float *norm, act *to, unsigned count, unsigned columns, Groups of) {
    EACH(index, count) {
        unsigned column = index % columns, pixel = index / columns;
        Norm<V> by(norm, group_of(pixel, of), of.groups, column, columns);
        Floats<V> value = load<V>(z, index);
#pragma unroll
        for (int v = 0; v < V; v++) value.at[v] = relu(by.apply(v, value.at[v]));
        store<V>(to, index, value);
    }
}
BY_LANES(norm_relu,
         (const act *z, const float *norm, act *to, unsigned count, unsigned columns, unsigned pixels, unsigned batch,
          unsigned members, unsigned groups),
         (z, norm, to, count, columns, Groups{pixels, batch, members, groups}))

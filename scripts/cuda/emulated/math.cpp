// libcublas and libcurand of an emulated device: what candle's device opens, and matrix products in float and double.
#include <string>
#include <vector>

#include "driver.h"

namespace {

struct Handle {
    void *stream = nullptr;
};

// Column major; strides are between the matrices of a batch.
template <class T> struct Product {
    int transposed_a, transposed_b, m, n, k;
    T alpha, beta;
    const T *a, *b;
    T *c;
    int lda, ldb, ldc;
    long long stride_a, stride_b, stride_c;
    int batches;

    void run() const {
        for (int batch = 0; batch < batches; batch++)
            for (int column = 0; column < n; column++)
                for (int row = 0; row < m; row++) {
                    double sum = 0;
                    for (int at = 0; at < k; at++) {
                        const T x =
                            a[batch * stride_a + (transposed_a ? (size_t)row * lda + at : (size_t)at * lda + row)];
                        const T y = b[batch * stride_b +
                                      (transposed_b ? (size_t)at * ldb + column : (size_t)column * ldb + at)];
                        sum += (double)x * y;
                    }
                    T &to = c[batch * stride_c + (size_t)column * ldc + row];
                    to = (T)(alpha * sum) + (beta == 0 ? 0 : beta * to);
                }
    }
};

} // namespace

extern "C" {

int cublasCreate_v2(Handle **made) { return *made = new Handle, emulated_disturb(); }
int cublasDestroy_v2(Handle *handle) { return delete handle, emulated_disturb(); }
int cublasSetStream_v2(Handle *handle, void *stream) { return handle->stream = stream, 0; }
int cublasGemmStridedBatchedEx(Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a,
                               int type_a, int lda, long long stride_a, const void *b, int type_b, int ldb,
                               long long stride_b, const void *beta, void *c, int type_c, int ldc, long long stride_c,
                               int batches, int, int) {
    if (type_a != 0 || type_b != 0 || type_c != 0) return 15;
    auto *at = static_cast<const float *>(a), *bt = static_cast<const float *>(b);
    Product<float> product = {ta,
                              tb,
                              m,
                              n,
                              k,
                              *static_cast<const float *>(alpha),
                              *static_cast<const float *>(beta),
                              at,
                              bt,
                              static_cast<float *>(c),
                              lda,
                              ldb,
                              ldc,
                              stride_a,
                              stride_b,
                              stride_c,
                              batches};
    return emulated_enqueue(handle->stream, [=] { product.run(); });
}
int cublasDgemmStridedBatched(Handle *handle, int ta, int tb, int m, int n, int k, const double *alpha, const double *a,
                              int lda, long long stride_a, const double *b, int ldb, long long stride_b,
                              const double *beta, double *c, int ldc, long long stride_c, int batches) {
    Product<double> product = {ta, tb,  m,   n,   k,        *alpha,   *beta,    a,      b,
                               c,  lda, ldb, ldc, stride_a, stride_b, stride_c, batches};
    return emulated_enqueue(handle->stream, [=] { product.run(); });
}

int curandCreateGenerator(void **made, int) { return *made = new int, emulated_disturb(); }
int curandDestroyGenerator(int *generator) { return delete generator, emulated_disturb(); }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetStream(void *, void *) { return 0; }

} // extern "C"

// libcudnn of an emulated device, its older calls. Its heuristics name algorithms that are not deterministic before those that
// are, and it spoils the workspace.
//
// EMULATED_CUDNN_REFUSES=fused: convolutions with bias, shortcut and ReLU are not supported. =deterministic: no
// algorithm and no engine is deterministic. =graph: there are no engines. =again: of the calls of a kind that ask for a
// workspace, a handle runs the first and refuses the others. =algorithms: it names none.
#include "convolution.h"

namespace {

struct Performance {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};

struct Activation {
    int mode, nan;
};

// The algorithms `first` (not deterministic), `second`, and one that takes no memory, in that order.
int name_algorithms(const Tensor &x, Convolution conv, bool forward, int asked, int *found, Performance *to) {
    int math = conv.math == FMA ? FMA : conv.math == DEFAULT_MATH && x.type == FLOAT ? DEFAULT_MATH : TENSOR_OP;
    Performance all[] = {
        {forward ? 6 : 0, OK, 1.0f, 4096, 0, math, {}},
        {1, OK, 2.0f, forward ? size_t(8192) : 4 * x.count(), 1, math, {}},
        {forward ? 0 : 3, OK, 3.0f, 0, forward, FMA, {}},
        {forward ? 4 : 2, NOT_SUPPORTED, -1.0f, 0, 1, FMA, {}},
    };
    *found = 0;
    if (refuses("algorithms")) return NOT_SUPPORTED;
    for (auto &one : all) {
        if (refuses("deterministic")) one.determinism = 0;
        if (*found < asked) to[(*found)++] = one;
    }
    return OK;
}

size_t needed(bool forward, const Tensor &x, int algorithm) {
    Performance all[8];
    int found;
    name_algorithms(x, {}, forward, 8, &found, all);
    for (int index = 0; index < found; index++)
        if (all[index].algorithm == algorithm) return all[index].memory;
    return 0;
}

} // namespace

extern "C" {

size_t cudnnGetVersion() { return 91900; }
const char *cudnnGetErrorString(int status) { return status == NOT_SUPPORTED ? "not supported" : "an emulated error"; }
int cudnnCreate(Handle **made) { return *made = new Handle, emulated_disturb(); }
int cudnnDestroy(Handle *handle) { return delete handle, emulated_disturb(); }
int cudnnSetStream(Handle *handle, void *stream) { return handle->stream = stream, OK; }

int cudnnCreateTensorDescriptor(Tensor **made) { return *made = new Tensor, OK; }
int cudnnDestroyTensorDescriptor(Tensor *tensor) { return delete tensor, OK; }
int cudnnSetTensor4dDescriptor(Tensor *tensor, int format, int type, int n, int c, int h, int w) {
    return set(tensor, format, type, n, c, h, w);
}
int cudnnSetTensor4dDescriptorEx(Tensor *tensor, int type, int n, int c, int h, int w, int ns, int cs, int hs, int ws) {
    int status = set(tensor, 0, type, n, c, h, w);
    int strides[] = {ns, cs, hs, ws};
    memcpy(tensor->strides, strides, sizeof strides);
    return status;
}
int cudnnCreateFilterDescriptor(Tensor **made) { return *made = new Tensor, OK; }
int cudnnDestroyFilterDescriptor(Tensor *filter) { return delete filter, OK; }
int cudnnSetFilter4dDescriptor(Tensor *filter, int type, int format, int k, int c, int h, int w) {
    return set(filter, format, type, k, c, h, w);
}
int cudnnCreateActivationDescriptor(Activation **made) { return *made = new Activation{-1, -1}, OK; }
int cudnnDestroyActivationDescriptor(Activation *activation) { return delete activation, OK; }
int cudnnSetActivationDescriptor(Activation *activation, int mode, int nan, double) {
    return *activation = {mode, nan}, OK;
}
int cudnnCreateConvolutionDescriptor(Convolution **made) { return *made = new Convolution, OK; }
int cudnnDestroyConvolutionDescriptor(Convolution *conv) { return delete conv, OK; }
int cudnnSetConvolution2dDescriptor(Convolution *conv, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                                    int dilation_w, int mode, int compute) {
    if (pad_h != pad_w || stride_h != stride_w || dilation_h != 1 || dilation_w != 1 || mode != 1 || compute != FLOAT)
        return NOT_SUPPORTED;
    return *conv = {pad_h, stride_h, DEFAULT_MATH}, OK;
}
int cudnnSetConvolutionMathType(Convolution *conv, int math) { return conv->math = math, OK; }
int cudnnSetConvolutionGroupCount(Convolution *, int groups) { return groups == 1 ? OK : NOT_SUPPORTED; }

int cudnnGetConvolutionForwardAlgorithm_v7(Handle *, Tensor *x, Tensor *w, Convolution *conv, Tensor *y, int asked,
                                           int *found, Performance *to) {
    return fits(*x, *w, *y, *conv) ? name_algorithms(*x, *conv, true, asked, found, to) : BAD_PARAM;
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *, Tensor *w, Tensor *y, Convolution *conv, Tensor *x, int asked,
                                                int *found, Performance *to) {
    return fits(*x, *w, *y, *conv) ? name_algorithms(*x, *conv, false, asked, found, to) : BAD_PARAM;
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *, Tensor *x, Tensor *y, Convolution *conv, Tensor *w,
                                                  int asked, int *found, Performance *to) {
    return fits(*x, *w, *y, *conv) ? name_algorithms(*x, *conv, false, asked, found, to) : BAD_PARAM;
}
int cudnnGetConvolutionForwardWorkspaceSize(Handle *, Tensor *x, Tensor *, Convolution *, Tensor *, int algorithm,
                                            size_t *bytes) {
    return *bytes = needed(true, *x, algorithm), OK;
}

int cudnnConvolutionForward(Handle *handle, const float *alpha, Tensor *x, const void *x_at, Tensor *w,
                            const void *w_at, Convolution *conv, int algorithm, void *workspace, size_t given,
                            const float *beta, Tensor *y, void *y_at) {
    if (!fits(*x, *w, *y, *conv)) return BAD_PARAM;
    return start(__func__, handle, workspace, given, needed(true, *x, algorithm),
                 [=, x = *x, w = *w, y = *y, conv = *conv, alpha = *alpha, beta = *beta] {
                     write(y, y_at, forward(x, x_at, w, w_at, y, conv), alpha, beta);
                 });
}
int cudnnConvolutionBiasActivationForward(Handle *handle, const float *alpha, Tensor *x, const void *x_at, Tensor *w,
                                          const void *w_at, Convolution *conv, int algorithm, void *workspace,
                                          size_t given, const float *beta, Tensor *z, const void *z_at, Tensor *bias,
                                          const void *bias_at, Activation *activation, Tensor *y, void *y_at) {
    // It takes a ReLU that keeps no NaN, and no other.
    if (refuses("fused") || activation->mode != 1 || activation->nan != 0) return NOT_SUPPORTED;
    if (!fits(*x, *w, *y, *conv) || memcmp(z, y, sizeof *y) || bias->dims[1] != y->dims[1] ||
        bias->count() != (size_t)y->dims[1])
        return BAD_PARAM;
    return start(__func__, handle, workspace, given, needed(true, *x, algorithm),
                 [=, x = *x, w = *w, y = *y, bias = *bias, conv = *conv, alpha = *alpha, beta = *beta] {
                     auto values = forward(x, x_at, w, w_at, y, conv), biases = read(bias, bias_at);
                     auto skip = beta == 0 ? std::vector<float>(values.size(), 0.0f) : read(y, z_at);
                     for (size_t at = 0; at < values.size(); at++) {
                         float sum = alpha * values[at] + beta * skip[at] + biases[at % biases.size()];
                         values[at] = sum > 0 ? sum : 0;
                     }
                     write(y, y_at, values, 1, 0);
                 });
}
int cudnnConvolutionBackwardData(Handle *handle, const float *alpha, Tensor *w, const void *w_at, Tensor *y,
                                 const void *y_at, Convolution *conv, int algorithm, void *workspace, size_t given,
                                 const float *beta, Tensor *x, void *x_at) {
    if (!fits(*x, *w, *y, *conv)) return BAD_PARAM;
    return start(__func__, handle, workspace, given, needed(false, *x, algorithm),
                 [=, x = *x, w = *w, y = *y, conv = *conv, alpha = *alpha, beta = *beta] {
                     write(x, x_at, backward_data(w, w_at, y, y_at, x, conv), alpha, beta);
                 });
}
int cudnnConvolutionBackwardFilter(Handle *handle, const float *alpha, Tensor *x, const void *x_at, Tensor *y,
                                   const void *y_at, Convolution *conv, int algorithm, void *workspace, size_t given,
                                   const float *beta, Tensor *w, void *w_at) {
    if (!fits(*x, *w, *y, *conv)) return BAD_PARAM;
    return start(__func__, handle, workspace, given, needed(false, *x, algorithm),
                 [=, x = *x, w = *w, y = *y, conv = *conv, alpha = *alpha, beta = *beta] {
                     write(w, w_at, backward_filter(x, x_at, y, y_at, w, conv), alpha, beta);
                 });
}

} // extern "C"

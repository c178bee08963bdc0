// What the emulated cuDNN computes: convolutions over any strides, in float, with factors cut off to TF32 where the math type
// allows it.
#pragma once
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "driver.h"

namespace {

enum Status { OK = 0, BAD_PARAM = 2000, TOO_SMALL = 2006, NOT_SUPPORTED = 3000, FAILED = 5000 };
enum DataType { FLOAT = 0, BFLOAT16 = 9 };
enum MathType { DEFAULT_MATH = 0, TENSOR_OP = 1, FMA = 3 };

struct Tensor {
    int type = -1, dims[4] = {}, strides[4] = {};
    size_t count() const { return (size_t)dims[0] * dims[1] * dims[2] * dims[3]; }
};
struct Convolution {
    int pad = 0, stride = 1, math = 0;
};
struct Handle {
    void *stream = nullptr;
    // Calls that have asked for a workspace.
    std::set<std::string> started = {};
};

// dims and strides in the order n, c, h, w.
int set(Tensor *tensor, int format, int type, int n, int c, int h, int w) {
    if ((type != FLOAT && type != BFLOAT16) || n < 1 || c < 1 || h < 1 || w < 1) return BAD_PARAM;
    *tensor = {type, {n, c, h, w}, {}};
    int nchw[] = {c * h * w, h * w, w, 1}, nhwc[] = {c * h * w, 1, w * c, c};
    memcpy(tensor->strides, format == 0 ? nchw : nhwc, sizeof nchw);
    return format <= 1 ? OK : BAD_PARAM;
}

float wide(uint16_t bits) {
    uint32_t all = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &all, 4);
    return value;
}
uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
uint16_t narrow(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
// cuDNN gives tensor cores what lies in memory, of which they read ten bits behind the point.
float tf32(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7f800000) == 0x7f800000) return value;
    bits &= ~0x1fffu;
    memcpy(&value, &bits, 4);
    return value;
}

template <class Each> void each(const Tensor &of, Each call) {
    for (int n = 0; n < of.dims[0]; n++)
        for (int h = 0; h < of.dims[2]; h++)
            for (int w = 0; w < of.dims[3]; w++)
                for (int c = 0; c < of.dims[1]; c++)
                    call((size_t)n * of.strides[0] + (size_t)c * of.strides[1] + (size_t)h * of.strides[2] +
                         (size_t)w * of.strides[3]);
}

// The values as (n, h, w, c).
std::vector<float> read(const Tensor &of, const void *from, bool rounded = false) {
    std::vector<float> values;
    values.reserve(of.count());
    each(of, [&](size_t at) {
        float value =
            of.type == FLOAT ? static_cast<const float *>(from)[at] : wide(static_cast<const uint16_t *>(from)[at]);
        values.push_back(rounded ? tf32(value) : value);
    });
    return values;
}

// alpha * values + beta * what is there; without beta, what is there is not read.
void write(const Tensor &of, void *to, const std::vector<float> &values, float alpha, float beta) {
    size_t index = 0;
    each(of, [&](size_t at) {
        auto *floats = static_cast<float *>(to);
        auto *halves = static_cast<uint16_t *>(to);
        float value = alpha * values[index++];
        if (beta != 0) value += beta * (of.type == FLOAT ? floats[at] : wide(halves[at]));
        if (of.type == FLOAT)
            floats[at] = value;
        else
            halves[at] = narrow(value);
    });
}

// Calls with the offsets of an output pixel, an input pixel and a tap that meet.
template <class Each> void meet(const Tensor &x, const Tensor &w, const Tensor &y, Convolution conv, int n, Each call) {
    int channels = x.dims[1], outputs = y.dims[1], kernel_h = w.dims[2], kernel_w = w.dims[3];
    for (int oy = 0; oy < y.dims[2]; oy++)
        for (int ox = 0; ox < y.dims[3]; ox++)
            for (int ky = 0; ky < kernel_h; ky++)
                for (int kx = 0; kx < kernel_w; kx++) {
                    int iy = oy * conv.stride + ky - conv.pad, ix = ox * conv.stride + kx - conv.pad;
                    if (iy < 0 || ix < 0 || iy >= x.dims[2] || ix >= x.dims[3]) continue;
                    call((((size_t)n * y.dims[2] + oy) * y.dims[3] + ox) * outputs,
                         (((size_t)n * x.dims[2] + iy) * x.dims[3] + ix) * channels,
                         (size_t)(ky * kernel_w + kx) * channels);
                }
}

bool fits(const Tensor &x, const Tensor &w, const Tensor &y, Convolution conv) {
    auto out = [&](int in, int kernel) { return (in + 2 * conv.pad - kernel) / conv.stride + 1; };
    return x.type == w.type && x.type == y.type && x.dims[1] == w.dims[1] && x.dims[0] == y.dims[0] &&
           w.dims[0] == y.dims[1] && y.dims[2] == out(x.dims[2], w.dims[2]) && y.dims[3] == out(x.dims[3], w.dims[3]);
}

bool rounds(const Tensor &x, Convolution conv) { return x.type == FLOAT && conv.math != FMA; }

std::vector<float> forward(const Tensor &x, const void *x_at, const Tensor &w, const void *w_at, const Tensor &y,
                           Convolution conv) {
    bool round = rounds(x, conv);
    auto images = read(x, x_at, round), weights = read(w, w_at, round);
    std::vector<float> output(y.count(), 0.0f);
    size_t channels = x.dims[1], outputs = y.dims[1], filter = (size_t)w.dims[1] * w.dims[2] * w.dims[3];
    for (int n = 0; n < x.dims[0]; n++)
        meet(x, w, y, conv, n, [&](size_t out, size_t in, size_t tap) {
            for (size_t o = 0; o < outputs; o++) {
                const float *a = &images[in], *b = &weights[o * filter + tap];
                float sum = 0;
                for (size_t c = 0; c < channels; c++) sum += a[c] * b[c];
                output[out + o] += sum;
            }
        });
    return output;
}

std::vector<float> backward_data(const Tensor &w, const void *w_at, const Tensor &y, const void *y_at, const Tensor &x,
                                 Convolution conv) {
    bool round = rounds(x, conv);
    auto grads = read(y, y_at, round), weights = read(w, w_at, round);
    std::vector<float> output(x.count(), 0.0f);
    size_t channels = x.dims[1], outputs = y.dims[1], filter = (size_t)w.dims[1] * w.dims[2] * w.dims[3];
    for (int n = 0; n < x.dims[0]; n++)
        meet(x, w, y, conv, n, [&](size_t out, size_t in, size_t tap) {
            for (size_t o = 0; o < outputs; o++) {
                float *to = &output[in];
                const float grad = grads[out + o], *from = &weights[o * filter + tap];
                for (size_t c = 0; c < channels; c++) to[c] += grad * from[c];
            }
        });
    return output;
}

std::vector<float> backward_filter(const Tensor &x, const void *x_at, const Tensor &y, const void *y_at,
                                   const Tensor &w, Convolution conv) {
    bool round = rounds(x, conv);
    auto images = read(x, x_at, round), grads = read(y, y_at, round);
    std::vector<double> total(w.count(), 0.0);
    std::vector<float> part(w.count());
    size_t channels = x.dims[1], outputs = y.dims[1], filter = (size_t)w.dims[1] * w.dims[2] * w.dims[3];
    for (int n = 0; n < x.dims[0]; n++) {
        std::fill(part.begin(), part.end(), 0.0f);
        meet(x, w, y, conv, n, [&](size_t out, size_t in, size_t tap) {
            for (size_t o = 0; o < outputs; o++) {
                float *to = &part[o * filter + tap];
                const float grad = grads[out + o], *from = &images[in];
                for (size_t c = 0; c < channels; c++) to[c] += grad * from[c];
            }
        });
        for (size_t at = 0; at < part.size(); at++) total[at] += part[at];
    }
    return std::vector<float>(total.begin(), total.end());
}

bool refuses(const char *what) {
    const char *refused = getenv("EMULATED_CUDNN_REFUSES");
    return refused && !strcmp(refused, what);
}

int start(const char *name, Handle *handle, void *workspace, size_t given, size_t asked, Work work) {
    if (given < asked || (asked && !workspace)) return TOO_SMALL;
    if (asked && refuses("again") && !handle->started.insert(name).second) return NOT_SUPPORTED;
    emulated_count(name);
    return emulated_enqueue(handle->stream,
                            [=] {
                                if (asked) memset(workspace, 0xff, asked);
                                work();
                            }) == 0
               ? OK
               : FAILED;
}

} // namespace

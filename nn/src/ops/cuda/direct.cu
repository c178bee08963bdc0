// Convolutions by their definition: for the classifier, and for every convolution where there is no cuDNN. Weights are
// (members, O, taps, I), maps channels last, the padding half the kernel.
struct Shape {
    unsigned in, out, kernel, stride, height, width, out_height, out_width;
};

// y (rows, out pixels, O) from x; row r reads row r % x_rows of x. `bias` holds one value an output channel, of each
// member where `bias_members` is not 0; it may be null.
extern "C" __global__ void __launch_bounds__(THREADS)
    direct_forward(const act *x, const act *weight, const float *bias, act *y, unsigned count, unsigned x_rows,
                   unsigned batch, unsigned bias_members, unsigned in, unsigned out, unsigned kernel, unsigned stride,
                   unsigned height, unsigned width, unsigned out_height, unsigned out_width) {
    FOLLOW;
    unsigned taps = kernel * kernel;
    int pad = (int)(kernel / 2);
    EACH(index, count) {
        unsigned o = index % out, ox = index / out % out_width, oy = index / out / out_width % out_height;
        unsigned row = index / out / out_width / out_height, member = row / batch;
        const act *from = x + row % x_rows * height * width * in;
        const act *by = weight + (member * out + o) * taps * in;
        float sum = 0.0f;
        for (unsigned tap = 0; tap < taps; tap++) {
            int iy = (int)(oy * stride + tap / kernel) - pad, ix = (int)(ox * stride + tap % kernel) - pad;
            if (iy < 0 || ix < 0 || iy >= (int)height || ix >= (int)width) continue;
            const act *pixel = from + ((unsigned)iy * width + (unsigned)ix) * in;
            for (unsigned i = 0; i < in; i++) sum += wide(pixel[i]) * wide(by[tap * in + i]);
        }
        if (bias) sum += bias[(bias_members ? member * out : 0) + o];
        y[index] = narrow(sum);
    }
}

// The gradient by x (rows, pixels, I), of each row for itself; onto what is there with `accumulate`.
extern "C" __global__ void __launch_bounds__(THREADS)
    direct_data(const act *grad, const act *weight, act *to, unsigned count, unsigned batch, unsigned accumulate,
                unsigned in, unsigned out, unsigned kernel, unsigned stride, unsigned height, unsigned width,
                unsigned out_height, unsigned out_width) {
    FOLLOW;
    unsigned taps = kernel * kernel, pad = kernel / 2;
    EACH(index, count) {
        unsigned i = index % in, ix = index / in % width, iy = index / in / width % height;
        unsigned row = index / in / width / height, member = row / batch;
        const act *from = grad + row * out_height * out_width * out;
        const act *by = weight + member * out * taps * in + i;
        float sum = 0.0f;
        for (unsigned tap = 0; tap < taps; tap++) {
            // The output pixel that reads this one through `tap`: oy * stride + tap_y - pad = iy.
            unsigned y = iy + pad - tap / kernel, x = ix + pad - tap % kernel;
            if (y % stride != 0 || x % stride != 0 || y / stride >= out_height || x / stride >= out_width) continue;
            if (iy + pad < tap / kernel || ix + pad < tap % kernel) continue;
            const act *pixel = from + (y / stride * out_width + x / stride) * out;
            for (unsigned o = 0; o < out; o++) sum += wide(pixel[o]) * wide(by[(o * taps + tap) * in]);
        }
        to[index] = narrow(accumulate ? wide(to[index]) + sum : sum);
    }
}

// Input channels that a block of direct_filter works on at most.
#define FILTER_TILE 32u

// The gradient by the weights (members, O, taps, I): a block for each tile of input channels (x), output channel and tap
// (y) and member (z), its threads' lanes over the member's output pixels.
extern "C" __global__ void __launch_bounds__(THREADS)
    direct_filter(const act *x, const act *grad, act *to, unsigned x_rows, unsigned batch, unsigned in, unsigned out,
                  unsigned kernel, unsigned stride, unsigned height, unsigned width, unsigned out_height,
                  unsigned out_width) {
    FOLLOW;
    unsigned taps = kernel * kernel, member = blockIdx.z, o = blockIdx.y / taps, tap = blockIdx.y % taps;
    // Few channels leave more lanes for the pixels.
    unsigned tile = FILTER_TILE;
    while (tile / 2 >= in) tile /= 2;
    unsigned i = blockIdx.x * tile + threadIdx.x % tile;
    int pad = (int)(kernel / 2);
    unsigned out_pixels = out_height * out_width;
    double sum = 0.0;
    if (i < in) {
#pragma unroll 4
        for (unsigned index = threadIdx.x / tile; index < batch * out_pixels; index += THREADS / tile) {
            unsigned row = member * batch + index / out_pixels, place = index % out_pixels;
            int iy = (int)(place / out_width * stride + tap / kernel) - pad;
            int ix = (int)(place % out_width * stride + tap % kernel) - pad;
            bool is_in = iy >= 0 && ix >= 0 && iy < (int)height && ix < (int)width;
            // Outside, any pixel is read, so that loads need not wait for what is known of those before.
            unsigned pixel = row % x_rows * height * width + (is_in ? (unsigned)iy * width + (unsigned)ix : 0);
            float product = wide(x[pixel * in + i]) * wide(grad[(row * out_pixels + place) * out + o]);
            sum += is_in ? (double)product : 0.0;
        }
    }
    sum = sum_doubles(sum, tile);
    if (threadIdx.x < tile && i < in) to[((member * out + o) * taps + tap) * in + i] = narrow((float)sum);
}

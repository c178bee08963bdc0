// One step of stochastic gradient descent over a range of parameters: g += decay * (p - centre); v = momentum * v + g;
// p -= rate * v, or rate * (g + momentum * v) with Nesterov. The operations and their order are the CPU's; no product is
// contracted into a sum, so the bits are too.
extern "C" __global__ void __launch_bounds__(THREADS)
    sgd(float *params, float *velocity, const float *grads, unsigned start, unsigned count, float rate, float momentum,
        float decay, float centre, unsigned nesterov) {
    EACH(index, count) {
        unsigned at = start + index;
        float p = params[at];
        float g = __fadd_rn(grads[at], __fmul_rn(decay, __fsub_rn(p, centre)));
        float v = __fadd_rn(__fmul_rn(momentum, velocity[at]), g);
        velocity[at] = v;
        float along = nesterov ? __fadd_rn(g, __fmul_rn(momentum, v)) : v;
        params[at] = __fsub_rn(p, __fmul_rn(rate, along));
    }
}

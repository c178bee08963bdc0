// What a group of parameters is stepped with: rate, weight decay, and what it decays towards.
struct Rates {
    float rate, decay, centre;
};

// Neighbouring parameters of one group, as many as a block takes at most.
struct Piece {
    unsigned start, count, fast;
};

// One step of stochastic gradient descent: g += decay * (p - centre); v = momentum * v + g; p -= rate * v, or rate * (g +
// momentum * v) with Nesterov. The operations and their order are the CPU's; no product is contracted into a sum, so the
// bits are too. Grid: pieces.
extern "C" __global__ void __launch_bounds__(THREADS)
    sgd(const Piece *pieces, float *params, float *velocity, const float *grads, float momentum, unsigned nesterov,
        float slow_rate, float slow_decay, float slow_centre, float fast_rate, float fast_decay, float fast_centre) {
    FOLLOW;
    Piece piece = pieces[blockIdx.x];
    Rates rates = piece.fast ? Rates{fast_rate, fast_decay, fast_centre} : Rates{slow_rate, slow_decay, slow_centre};
    for (unsigned index = threadIdx.x; index < piece.count; index += THREADS) {
        unsigned at = piece.start + index;
        float p = params[at];
        float g = __fadd_rn(grads[at], __fmul_rn(rates.decay, __fsub_rn(p, rates.centre)));
        float v = __fadd_rn(__fmul_rn(momentum, velocity[at]), g);
        velocity[at] = v;
        float along = nesterov ? __fadd_rn(g, __fmul_rn(momentum, v)) : v;
        params[at] = __fsub_rn(p, __fmul_rn(rates.rate, along));
    }
}

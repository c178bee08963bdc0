// Philox4x32-10 (Salmon et al. 2011), the generator of the crate `random`, with the same counters: (block, epoch, low and
// high word of the index). Words and uniforms have the CPU's bits; normals go through the device's own logarithm and
// cosine, in double, and differ by rounding at most.
struct Words {
    unsigned at[4];
};

__device__ inline Words philox(unsigned block, unsigned epoch, unsigned low, unsigned high, unsigned key0,
                               unsigned key1) {
    unsigned c0 = block, c1 = epoch, c2 = low, c3 = high;
    for (int round = 0; round < 10; round++) {
        unsigned long long a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
        c0 = (unsigned)(b >> 32) ^ c1 ^ key0;
        c1 = (unsigned)b;
        c2 = (unsigned)(a >> 32) ^ c3 ^ key1;
        c3 = (unsigned)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}

// Words one after the other, as `Draws` hands them out.
struct Draws {
    unsigned key0, key1, block, epoch, low, high, used;
    Words words;
    __device__ Draws(unsigned key0, unsigned key1, unsigned epoch, unsigned low, unsigned high)
        : key0(key0), key1(key1), block(0), epoch(epoch), low(low), high(high), used(4), words() {}
    __device__ unsigned next() {
        if (used == 4) {
            words = philox(block++, epoch, low, high, key0, key1);
            used = 0;
        }
        return words.at[used++];
    }
    // Uniform below n, by Lemire's multiplication with rejection.
    __device__ unsigned below(unsigned n) {
        unsigned threshold = (0u - n) % n;
        for (;;) {
            unsigned long long product = (unsigned long long)next() * n;
            if ((unsigned)product >= threshold) return (unsigned)(product >> 32);
        }
    }
};

// Uniform in [low_end, low_end + span), multiples of span / 2^24: a thread for four values. Row r draws at index
// first + r; `row_blocks` is per_row / 4 rounded up.
extern "C" __global__ void __launch_bounds__(THREADS)
    draw_uniform(float *to, unsigned count, unsigned per_row, unsigned row_blocks, unsigned key0, unsigned key1,
                 unsigned epoch, unsigned long long first, float low_end, float span) {
    FOLLOW;
    EACH(index, count) {
        unsigned row = index / row_blocks, block = index % row_blocks;
        unsigned long long at = first + row;
        Words words = philox(block, epoch, (unsigned)at, (unsigned)(at >> 32), key0, key1);
        for (unsigned v = 0; v < 4 && block * 4 + v < per_row; v++) {
            float unit = __fmul_rn((float)(words.at[v] >> 8), 1.0f / 16777216.0f);
            to[row * per_row + block * 4 + v] = __fadd_rn(low_end, __fmul_rn(span, unit));
        }
    }
}

// Standard normals by Box and Muller, two words each: a thread for two values. `row_blocks` is per_row / 2 rounded up.
extern "C" __global__ void __launch_bounds__(THREADS)
    draw_normal(float *to, unsigned count, unsigned per_row, unsigned row_blocks, unsigned key0, unsigned key1,
                unsigned epoch, unsigned long long first) {
    FOLLOW;
    EACH(index, count) {
        unsigned row = index / row_blocks, block = index % row_blocks;
        unsigned long long at = first + row;
        Words words = philox(block, epoch, (unsigned)at, (unsigned)(at >> 32), key0, key1);
        for (unsigned v = 0; v < 2 && block * 2 + v < per_row; v++) {
            double u = ((double)words.at[2 * v] + 1.0) * (1.0 / 4294967296.0);
            double turn = (double)words.at[2 * v + 1] * (1.0 / 4294967296.0);
            to[row * per_row + block * 2 + v] = (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * turn));
        }
    }
}

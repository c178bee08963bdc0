// CUDA C as C++ on the host: a block's threads run one after the other. A kernel with barriers runs each thread on a stack
// of its own; a barrier hands over to the next one. Threads (and blocks) run in rising or falling order, so that a result
// that depends on the order shows.
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>
#include <ucontext.h>

#define __global__
#define __device__
#define __shared__ static thread_local
#define __launch_bounds__(threads)

struct Index {
    unsigned x, y, z;
};
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;

namespace host {
constexpr unsigned BLOCK = 256;
constexpr size_t STACK = 64 * 1024;

struct Fiber {
    std::vector<char> stack;
    ucontext_t context;
    jmp_buf place;
    bool started = false, done = false;
};
static thread_local std::vector<Fiber> fibers;
static thread_local jmp_buf scheduler;
static thread_local unsigned current;
static thread_local bool with_barriers;
static thread_local void (*body)(void *);
static thread_local void *argument;

[[noreturn]] static void fail(const char *what) {
    fprintf(stderr, "emulated device: %s\n", what);
    abort();
}

__attribute__((noinline)) static void pause() {
    if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}

static void fiber() {
    for (;;) {
        body(argument);
        fibers[current].done = true;
        pause();
    }
}

__attribute__((noinline)) static void resume(unsigned thread) {
    if (_setjmp(scheduler)) return;
    Fiber &mine = fibers[thread];
    if (mine.started) _longjmp(mine.place, 1);
    mine.started = true;
    mine.stack.resize(STACK);
    getcontext(&mine.context);
    mine.context.uc_stack.ss_sp = mine.stack.data();
    mine.context.uc_stack.ss_size = STACK;
    mine.context.uc_link = nullptr;
    makecontext(&mine.context, fiber, 0);
    setcontext(&mine.context);
}

static void block(bool reverse) {
    if (!with_barriers) {
        for (unsigned t = 0; t < BLOCK; t++) {
            threadIdx = {reverse ? BLOCK - 1 - t : t, 0, 0};
            body(argument);
        }
        return;
    }
    for (Fiber &fiber : fibers) fiber.done = false;
    for (unsigned left = BLOCK; left > 0;) {
        for (unsigned t = 0; t < BLOCK; t++) {
            current = reverse ? BLOCK - 1 - t : t;
            threadIdx = {current, 0, 0};
            resume(current);
        }
        left = 0;
        for (Fiber &fiber : fibers) left += !fiber.done;
        if (left != 0 && left != BLOCK) fail("some threads of a block passed a barrier and others ended");
    }
}

template <class Body> static void run(const unsigned *grid, bool barriers, bool reverse, Body call) {
    with_barriers = barriers;
    if (barriers && fibers.empty()) fibers.resize(BLOCK);
    body = [](void *pointer) { (*static_cast<Body *>(pointer))(); };
    argument = &call;
    blockDim = {BLOCK, 1, 1};
    gridDim = {grid[0], grid[1], grid[2]};
    uint64_t count = (uint64_t)grid[0] * grid[1] * grid[2];
    for (uint64_t index = 0; index < count; index++) {
        uint64_t at = reverse ? count - 1 - index : index;
        blockIdx = {(unsigned)(at % grid[0]), (unsigned)(at / grid[0] % grid[1]), (unsigned)(at / grid[0] / grid[1])};
        block(reverse);
    }
}

template <class... A, size_t... I>
static void launch(void (*kernel)(A...), void **args, const unsigned *grid, bool barriers, bool reverse,
                   std::index_sequence<I...>) {
    run(grid, barriers, reverse, [&] { kernel(*static_cast<A *>(args[I])...); });
}
template <class... A>
static int launch(void (*kernel)(A...), void **args, unsigned count, const unsigned *grid, bool barriers, bool reverse) {
    if (count != sizeof...(A)) return 1;
    launch(kernel, args, grid, barriers, reverse, std::index_sequence_for<A...>());
    return 0;
}
} // namespace host

// The launcher of a kernel: 0, or 1 where the number of arguments is another.
#define EXPORT(kernel, barriers)                                                                                        \
    extern "C" int host_##kernel(void **args, unsigned count, const unsigned *grid, bool reverse) {                     \
        return host::launch(kernel, args, count, grid, barriers, reverse);                                              \
    }

static inline void __syncthreads() {
    if (!host::with_barriers) host::fail("a kernel that is listed as one without barriers has one");
    host::pause();
}

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }

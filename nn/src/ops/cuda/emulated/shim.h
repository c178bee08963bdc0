// CUDA C as C++ on the host: a block's threads run one after the other, each until it waits for others or ends. Threads that
// never wait share one stack; those that wait keep theirs. Threads (and blocks) run in rising or falling order, so that a
// result that depends on the order shows; of blocks that fall it is the last index that falls first.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>
#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static thread_local
#define __launch_bounds__(threads)

struct Index {
    unsigned x, y, z;
};
constexpr unsigned warpSize = 32;

namespace host {
constexpr size_t STACK = 64 * 1024;

// What a thread is at: it runs, it waits for all of its block or of its warp, or it has ended.
enum State : char { RUNS, AT_BLOCK, AT_WARP, ENDED };

// A stack that runs threads which have not begun, until one of them waits; then it is that thread's until it ends.
struct Fiber {
    std::unique_ptr<char[]> stack;
    ucontext_t context;
    void *place[5];
};

// What a thread brings to a product of its warp.
struct Factors {
    unsigned a[4], b[2];
};

// What runs a launch's blocks.
struct Machine {
    Index thread_index, block_index, block_dim, grid_dim;
    unsigned thread, next, count, at_block, at_warp, ended;
    bool reversed;
    void *scheduler[5];
    Fiber *current;
    void (*body)(void *);
    void *argument;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Fiber *> free, of_thread;
    std::vector<State> states;
    std::vector<uint64_t> exchanged;
    std::vector<Factors> factors;
    std::vector<char> memory;

    void enter(unsigned place) {
        thread = reversed ? count - 1 - place : place;
        thread_index.x = thread;
        if (block_dim.x == count) return;
        thread_index = {thread % block_dim.x, thread / block_dim.x % block_dim.y, thread / block_dim.x / block_dim.y};
    }
};
static thread_local Machine *machine;

[[noreturn]] static void fail(const char *what) {
    fprintf(stderr, "emulated device: %s\n", what);
    abort();
}

[[noreturn]] __attribute__((noipa)) static void jump(void **to) { __builtin_longjmp(to, 1); }

__attribute__((noipa)) static void leave(Machine &m) {
    if (!__builtin_setjmp(m.current->place)) jump(m.scheduler);
}

static void pause(State state) {
    Machine &m = *machine;
    m.states[m.thread] = state;
    m.of_thread[m.thread] = m.current;
    ++(state == AT_BLOCK ? m.at_block : m.at_warp);
    leave(m);
}

static void fiber() {
    Machine &m = *machine;
    for (;;) {
        while (m.next < m.count) {
            m.enter(m.next++);
            m.body(m.argument);
            m.states[m.thread] = ENDED;
            m.ended++;
        }
        m.free.push_back(m.current);
        leave(m);
    }
}

// Lets a stack go on until it is left.
__attribute__((noipa)) static void resume(Machine &m, Fiber *fiber_to_run) {
    if (__builtin_setjmp(m.scheduler)) return;
    m.current = fiber_to_run;
    jump(fiber_to_run->place);
}

__attribute__((noipa)) static void begin(Machine &m) {
    if (__builtin_setjmp(m.scheduler)) return;
    m.fibers.push_back(std::make_unique<Fiber>());
    m.current = m.fibers.back().get();
    m.current->stack.reset(new char[STACK]);
    getcontext(&m.current->context);
    m.current->context.uc_stack.ss_sp = m.current->stack.get();
    // Their ends apart, so that a cache can hold many.
    m.current->context.uc_stack.ss_size = STACK - m.fibers.size() * 448 % 32768;
    m.current->context.uc_link = nullptr;
    makecontext(&m.current->context, fiber, 0);
    setcontext(&m.current->context);
}

// Lets the threads of `first`..`last` that have waited go on, in order.
static void go_on(Machine &m, unsigned first, unsigned last) {
    for (unsigned index = first; index < last; index++) {
        unsigned t = m.reversed ? first + last - 1 - index : index;
        if (m.states[t] == ENDED) continue;
        m.states[t] = RUNS;
        m.enter(m.reversed ? m.count - 1 - t : t);
        resume(m, m.of_thread[t]);
    }
}

// Whether all threads of `first`..`last` that have not ended wait for their warp, and some do.
static bool warp_waits(const Machine &m, unsigned first, unsigned last) {
    bool any = false;
    for (unsigned t = first; t < last; t++) {
        if (m.states[t] != ENDED && m.states[t] != AT_WARP) return false;
        any |= m.states[t] == AT_WARP;
    }
    return any;
}

static void block(Machine &m) {
    m.next = m.at_block = m.at_warp = m.ended = 0;
    while (m.next < m.count) {
        if (m.free.empty()) {
            begin(m);
        } else {
            Fiber *fiber_to_run = m.free.back();
            m.free.pop_back();
            resume(m, fiber_to_run);
        }
    }
    while (m.ended < m.count) {
        if (m.at_block == m.count) {
            m.at_block = 0;
            go_on(m, 0, m.count);
            continue;
        }
        // On a device it is undefined what happens at a barrier that a part of the block has left by ending.
        if (m.at_block + m.ended == m.count) fail("some threads of a block passed a barrier and others ended");
        bool any = false;
        for (unsigned first = 0; first < m.count; first += warpSize) {
            unsigned last = first + warpSize < m.count ? first + warpSize : m.count;
            if (!warp_waits(m, first, last)) continue;
            for (unsigned t = first; t < last; t++) m.at_warp -= m.states[t] == AT_WARP;
            go_on(m, first, last);
            any = true;
        }
        if (!any) fail("threads wait for others that wait elsewhere");
    }
}

template <class Body>
static void run(const unsigned *grid, const unsigned *threads, unsigned memory, bool reverse, Body call) {
    if (!machine) machine = new Machine();
    Machine &m = *machine;
    m.body = [](void *pointer) { (*static_cast<Body *>(pointer))(); };
    m.argument = &call;
    m.reversed = reverse;
    m.block_dim = {threads[0], threads[1], threads[2]};
    m.grid_dim = {grid[0], grid[1], grid[2]};
    m.count = threads[0] * threads[1] * threads[2];
    m.thread_index = {};
    m.states.resize(m.count);
    m.of_thread.resize(m.count);
    m.exchanged.resize(m.count);
    m.factors.resize(m.count);
    m.memory.resize(memory + 16);
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    for (uint64_t index = 0; index < blocks; index++) {
        uint64_t at = reverse ? blocks - 1 - index : index;
        m.block_index = {(unsigned)(at % grid[0]), (unsigned)(at / grid[0] % grid[1]), (unsigned)(at / grid[0] / grid[1])};
        if (reverse)
            m.block_index = {(unsigned)(at / grid[2] / grid[1]), (unsigned)(at / grid[2] % grid[1]),
                             (unsigned)(at % grid[2])};
        block(m);
    }
}

template <class... A, size_t... I>
static void launch(void (*kernel)(A...), void **args, const unsigned *grid, const unsigned *threads, unsigned memory,
                   bool reverse, std::index_sequence<I...>) {
    run(grid, threads, memory, reverse, [&] { kernel(*static_cast<A *>(args[I])...); });
}
template <class... A>
static unsigned launch(void (*kernel)(A...), void **args, const unsigned *grid, const unsigned *threads, unsigned memory,
                       bool reverse) {
    if (args) launch(kernel, args, grid, threads, memory, reverse, std::index_sequence_for<A...>());
    return sizeof...(A);
}

// What the thread `lane` of the warp holds.
template <class T> static T exchange(T value, unsigned lane) {
    static_assert(sizeof(T) <= 8, "too large to exchange");
    Machine &m = *machine;
    unsigned other = m.thread / warpSize * warpSize + lane;
    memcpy(&m.exchanged[m.thread], &value, sizeof(T));
    pause(AT_WARP);
    if (other < m.count) memcpy(&value, &m.exchanged[other], sizeof(T));
    pause(AT_WARP);
    return value;
}

// One value of a word of bf16 (low half first) or TF32, whose last 13 bits a device does not read.
static float part(unsigned word, bool is_bf16, unsigned half) {
    word = !is_bf16 ? word & 0xffffe000u : half ? word & 0xffff0000u : word << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

// A warp's matrix product on a device's tensor cores, m16n8k16 in bf16 and m16n8k8 in TF32: to += a b, the 16 x 8 results and
// their factors spread over the lanes as PTX says.
static void matrix_multiply(bool is_bf16, float (&to)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Machine &m = *machine;
    unsigned lane = m.thread % warpSize, values = is_bf16 ? 2 : 1, words = 4;
    if (m.thread - lane + warpSize > m.count) fail("a product of a warp that is not whole");
    const Factors *of = &m.factors[m.thread - lane];
    memcpy(m.factors[m.thread].a, a, sizeof a);
    memcpy(m.factors[m.thread].b, b, sizeof b);
    pause(AT_WARP);
    for (unsigned at = 0; at < 4; at++) {
        unsigned row = lane / 4 + at / 2 * 8, column = lane % 4 * 2 + at % 2;
        for (unsigned word = 0; word < 2 * words; word++) {
            unsigned from = word % words, high = word / words;
            unsigned left = of[row % 8 * 4 + from].a[row / 8 + 2 * high], right = of[column * 4 + from].b[high];
            for (unsigned half = 0; half < values; half++)
                to[at] += part(left, is_bf16, half) * part(right, is_bf16, half);
        }
    }
    pause(AT_WARP);
}

// Four matrices of 8 rows of 16 bytes, whose addresses the lanes name, eight a matrix: word lane % 4 of row lane / 4 of each; or
// `turned`, for values of two bytes, the two of column lane / 4 in rows 2 * (lane % 4) and the next.
static void read_matrices(unsigned (&to)[4], const void *from, bool turned) {
    Machine &m = *machine;
    unsigned lane = m.thread % warpSize;
    if (m.thread - lane + warpSize > m.count) fail("matrices of a warp that is not whole");
    if (reinterpret_cast<uintptr_t>(from) % 16) fail("a row of a matrix that is not aligned");
    m.exchanged[m.thread] = reinterpret_cast<uintptr_t>(from);
    pause(AT_WARP);
    const uint64_t *rows = &m.exchanged[m.thread - lane];
    for (unsigned matrix = 0; matrix < 4; matrix++, rows += 8) {
        auto at = [&](unsigned row) { return reinterpret_cast<const char *>(rows[row]); };
        if (!turned) {
            memcpy(&to[matrix], at(lane / 4) + lane % 4 * 4, 4);
            continue;
        }
        unsigned short halves[2];
        for (unsigned half = 0; half < 2; half++) memcpy(&halves[half], at(lane % 4 * 2 + half) + lane / 4 * 2, 2);
        to[matrix] = halves[0] | (unsigned)halves[1] << 16;
    }
    pause(AT_WARP);
}

template <class T> static T *dynamic_shared() {
    return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(machine->memory.data()) + 15) / 16 * 16);
}
} // namespace host

#define threadIdx host::machine->thread_index
#define blockIdx host::machine->block_index
#define blockDim host::machine->block_dim
#define gridDim host::machine->grid_dim

// The launcher of a kernel; it answers how many arguments the kernel has, and without `args` does no more.
#define EXPORT(kernel)                                                                                                  \
    extern "C" unsigned host_##kernel(void **args, const unsigned *grid, const unsigned *threads, unsigned memory,      \
                                      bool reverse) {                                                                   \
        return host::launch(kernel, args, grid, threads, memory, reverse);                                              \
    }

// A clock whose steps are long, so that who waits by it does not wait long.
static inline long long clock64() {
    static thread_local long long now = 0;
    return now += 1000000;
}
static inline void __syncthreads() { host::pause(host::AT_BLOCK); }
// Threads and blocks run one after the other.
static inline void __threadfence() {}
static inline unsigned atomicInc(unsigned *at, unsigned last) { return std::exchange(*at, *at >= last ? 0 : *at + 1); }
template <class T> static T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
    return host::exchange(value, host::machine->thread % warpSize ^ mask);
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

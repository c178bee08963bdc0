// That the emulated device shows what is wrong: each line of output is a property that held; the first that does not
// ends the program. Link with the emulated libcuda.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <csignal>
#include <thread>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(uintptr_t *, int);
int cuCtxSetCurrent(uintptr_t);
int cuCtxSynchronize();
int cuStreamCreate(void **, unsigned);
int cuStreamSynchronize(void *);
int cuStreamBeginCapture_v2(void *, int);
int cuStreamEndCapture(void *, void **);
int cuStreamWaitEvent(void *, void *, unsigned);
int cuGraphInstantiateWithFlags(void **, void *, unsigned long long);
int cuGraphLaunch(void *, void *);
int cuEventCreate(void **, unsigned);
int cuEventRecord(void *, void *);
int cuMemAllocAsync(uint64_t *, size_t, void *);
int cuMemFreeAsync(uint64_t, void *);
int cuMemsetD8Async(uint64_t, unsigned char, size_t, void *);
int cuMemcpyDtoDAsync_v2(uint64_t, uint64_t, size_t, void *);
int cuModuleLoadData(void **, const void *);
int cuModuleUnload(void *);
int cuModuleGetFunction(void **, void *, const char *);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                   void **);
}

static const char *KERNELS = R"(
extern "C" __global__ void fill(unsigned *to, unsigned count) {
    for (unsigned at = threadIdx.x; at < count; at += blockDim.x) to[at] = at;
}
extern "C" __global__ void sum_of_warp(unsigned *to) {
    __shared__ unsigned sums[2];
    unsigned sum = threadIdx.x;
    for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) to[0] = sums[0] + sums[1];
}
struct alignas(16) Four {
    float at[4];
};
extern "C" __global__ void four(Four *to) { *to = Four{{1.0f, 2.0f, 3.0f, 4.0f}}; }
extern "C" __global__ void past_shared(unsigned *to, unsigned count) {
    __shared__ unsigned values[8];
    values[count] = to[0];
    to[1] = values[0];
}
extern "C" __global__ void torn_barrier(unsigned *to) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    to[0] = 1;
}
)";

static void hold(bool is_so, const char *what) {
    printf("%s: %s\n", is_so ? "holds" : "FAILS", what);
    if (!is_so) exit(1);
}

// Whether `work` ends its process by abort or at a check in a kernel.
static bool aborts(const std::function<void()> &work) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr);
        work();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGILL);
}

int main() {
    uintptr_t context;
    void *one, *other, *event, *module;
    hold(cuInit(0) == 0 && cuDevicePrimaryCtxRetain(&context, 0) == 0 && cuCtxSetCurrent(context) == 0,
         "a device opens");
    cuStreamCreate(&one, 0);
    cuStreamCreate(&other, 0);
    cuEventCreate(&event, 0);
    auto room = [&](size_t bytes) {
        uint64_t address;
        if (cuMemAllocAsync(&address, bytes, one)) exit(1);
        return address;
    };
    auto at = [](uint64_t address) { return *(volatile unsigned char *)address; };

    uint64_t x = room(4), y = room(4);
    hold(at(x) == 0xff, "fresh memory is NaN");
    cuMemsetD8Async(x, 1, 4, one);
    hold(at(x) == 0xff, "work waits until something waits for it");
    cuMemcpyDtoDAsync_v2(y, x, 4, other);
    cuStreamSynchronize(other);
    hold(at(y) == 0xff, "a stream that does not wait for another does not see its work");
    cuEventRecord(event, one);
    cuStreamWaitEvent(other, event, 0);
    cuMemcpyDtoDAsync_v2(y, x, 4, other);
    cuStreamSynchronize(other);
    hold(at(y) == 1, "one that waits does");

    // Forth and back: what stands behind the second wait is not done early when the other stream is the one that is run.
    void *back;
    cuEventCreate(&back, 0);
    uint64_t v = room(4), w = room(4);
    auto forth_and_back = [&](unsigned char value) {
        cuMemsetD8Async(v, value, 4, one);
        cuEventRecord(event, one);
        cuStreamWaitEvent(other, event, 0);
        cuMemcpyDtoDAsync_v2(y, v, 4, other);
        cuEventRecord(back, other);
        cuStreamWaitEvent(one, back, 0);
        cuMemcpyDtoDAsync_v2(w, y, 4, one);
    };
    forth_and_back(3);
    cuStreamSynchronize(other);
    hold(at(y) == 3 && at(w) == 0xff, "a stream that is waited for does what it must, and no more");
    cuStreamSynchronize(one);
    hold(at(w) == 3, "two streams wait for each other in turn");

    // The same, with both events again and again, while another thread runs whatever is there.
    std::atomic<bool> is_over = false;
    std::thread impatient([&] {
        cuCtxSetCurrent(1);
        while (!is_over) cuCtxSynchronize();
    });
    alarm(60);
    for (int turn = 1; turn <= 100000; turn++) {
        forth_and_back(turn % 100);
        if (turn % 100) continue;
        cuStreamSynchronize(one);
        if (at(w) != 0) hold(false, "two threads run two streams that wait for each other");
    }
    alarm(0);
    is_over = true;
    impatient.join();
    hold(true, "two threads run two streams that wait for each other");

    void *graph = nullptr, *made = nullptr;
    cuStreamBeginCapture_v2(one, 1);
    hold(cuStreamSynchronize(one) == 900 && cuStreamEndCapture(one, &graph) == 901 && !graph,
         "to wait spoils a capture");
    cuStreamBeginCapture_v2(one, 1);
    std::thread([] {
        cuCtxSetCurrent(1);
        cuModuleUnload(nullptr);
    }).join();
    hold(cuStreamEndCapture(one, &graph) == 901 && !graph, "so does a thread that changes the device");
    cuStreamBeginCapture_v2(one, 1);
    cuMemsetD8Async(x, 2, 4, one);
    hold(cuStreamEndCapture(one, &graph) == 0 && cuGraphInstantiateWithFlags(&made, graph, 0) == 0, "work is captured");
    cuStreamSynchronize(one);
    hold(at(x) == 1, "what is captured does not run");
    cuGraphLaunch(made, one);
    cuStreamSynchronize(one);
    hold(at(x) == 2, "a graph runs when it is launched");
    // On a branch y = x, while x is written again; then w = y.
    auto branched = [&](bool is_joined) {
        cuStreamBeginCapture_v2(one, 1);
        cuMemsetD8Async(x, 4, 4, one);
        cuEventRecord(event, one);
        cuStreamWaitEvent(other, event, 0);
        cuMemcpyDtoDAsync_v2(y, x, 4, other);
        cuMemsetD8Async(x, 6, 4, one);
        cuEventRecord(back, other);
        if (is_joined) cuStreamWaitEvent(one, back, 0);
        cuMemcpyDtoDAsync_v2(w, y, 4, one);
        return cuStreamEndCapture(one, &graph);
    };
    hold(branched(false) == 904, "a branch that is not joined spoils a capture");
    hold(branched(true) == 0 && cuGraphInstantiateWithFlags(&made, graph, 0) == 0, "one that is joined is captured");
    cuGraphLaunch(made, one);
    cuStreamSynchronize(one);
    hold(at(w) == 6, "a branch runs late: what it reads may be overwritten");
    cuEventRecord(event, other);
    cuStreamBeginCapture_v2(one, 1);
    hold(cuStreamWaitEvent(one, event, 0) == 905 && cuStreamEndCapture(one, &graph) == 901,
         "a capture waits for nothing outside of it");
    hold(aborts([&] { cuMemcpyDtoDAsync_v2(y, x, 5, one); }), "a copy past the end of its memory is caught");

    hold(cuModuleLoadData(&module, KERNELS) == 0, "kernels compile");
    auto launch = [&](const char *name, unsigned threads, uint64_t to, unsigned count) {
        void *function, *arguments[] = {&to, &count};
        if (cuModuleGetFunction(&function, module, name)) exit(1);
        return cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, one, arguments, nullptr);
    };
    uint64_t z = room(40);
    launch("fill", 32, z, 10);
    cuStreamSynchronize(one);
    hold(((unsigned *)z)[9] == 9, "a kernel runs");
    launch("sum_of_warp", 64, z, 0);
    cuStreamSynchronize(one);
    hold(((unsigned *)z)[0] == 64 * 63 / 2, "threads exchange values");
    hold(launch("fill", 2048, z, 10) == 1, "a block that is too large is refused");
    hold(aborts([&] {
             launch("torn_barrier", 32, z, 0);
             cuStreamSynchronize(one);
         }),
         "a barrier that not all threads reach is caught");
    hold(aborts([&] {
             launch("fill", 32, z, 11);
             cuMemFreeAsync(z, one);
             cuStreamSynchronize(one);
         }),
         "a kernel that writes past its memory is caught");
    hold(!aborts([&] {
        launch("four", 1, z, 0);
        launch("past_shared", 1, z, 7);
        cuStreamSynchronize(one);
    }),
         "vectors and shared arrays work");
    hold(aborts([&] {
             launch("four", 1, z + 4, 0);
             cuStreamSynchronize(one);
         }),
         "a vector that is not aligned is caught");
    hold(aborts([&] {
             launch("past_shared", 1, z, 8);
             cuStreamSynchronize(one);
         }),
         "a place past a shared array is caught");
    cuMemFreeAsync(z, one);
    cuStreamSynchronize(one);
    hold(at(z) == 0xff, "freed memory is NaN");
}

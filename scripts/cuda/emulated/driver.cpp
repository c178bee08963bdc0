// libcuda of an emulated device, but for its memory and kernels (memory.cpp, modules.cpp). Work is done on the host,
// later than on a device: a stream's waits in its queue until the host waits for it, or another stream that was told
// to; so a missing wait shows as missing results. A thread that waits runs what it waits for; several threads do so
// side by side.
//
// EMULATED_CUDA_DEVICES: how many there are (1). EMULATED_CUDA_COUNTS=1: at the end, how often the host called what.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "capture.h"
#include "driver.h"
#include "memory.h"

namespace {

enum Status {
    OK = 0,
    INVALID_VALUE = 1,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_READY = 600,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNJOINED = 904,
    CAPTURE_ISOLATION = 905,
};

struct Stream {
    int device;
    std::deque<Work> queue;
    // What it is captured into, and as which branch.
    std::shared_ptr<Graph> capture;
    size_t branch = 0;
    // Who runs its work now.
    std::thread::id runner;
};

struct Event {
    std::shared_ptr<Stream> stream;
    bool pending = false;
    std::chrono::steady_clock::time_point time;
    // Where it was captured.
    std::shared_ptr<Graph> capture;
    size_t branch = 0, place = 0;
};

// Guards all of the state below; open while work runs.
std::mutex state;
std::condition_variable progress;
struct Lock : std::unique_lock<std::mutex> {
    Lock() : unique_lock(state) {}
};

std::set<std::shared_ptr<Stream>> streams;
std::map<void *, std::shared_ptr<Stream>> handles;

// The context of a device is its number plus one.
thread_local uintptr_t context = 0;
int device() { return (int)context - 1; }
int devices() {
    static const int count = (int)emulated_setting("EMULATED_CUDA_DEVICES", 1);
    return count;
}

// Runs a stream's work, or as much of it as an event needs: what stands behind that may wait for who waits here.
void run(Lock &lock, const std::shared_ptr<Stream> &stream, const Event *until = nullptr) {
    auto me = std::this_thread::get_id();
    if (stream->runner == me) return;
    auto is_done = [&] { return until && !until->pending; };
    // Who runs it may wait for a stream that this thread runs, once the event is over.
    progress.wait(lock, [&] { return stream->runner == std::thread::id() || is_done(); });
    if (is_done()) return;
    stream->runner = me;
    while (!stream->queue.empty() && !is_done()) {
        Work work = std::move(stream->queue.front());
        stream->queue.pop_front();
        lock.unlock();
        work();
        work = nullptr;
        lock.lock();
    }
    stream->runner = {};
    progress.notify_all();
}

void run_all(Lock &lock) {
    for (auto &stream : std::vector<std::shared_ptr<Stream>>(streams.begin(), streams.end())) run(lock, stream);
}

// A thread's own default streams, which outlive it while they have work.
std::shared_ptr<Stream> own(int of) {
    thread_local std::map<int, std::shared_ptr<Stream>> mine;
    auto &stream = mine[of];
    if (!stream) {
        stream = std::make_shared<Stream>();
        stream->device = of;
        streams.insert(stream);
    }
    return stream;
}

// 0 and 1 are the legacy default stream, which is none here; 2 is the calling thread's own.
std::shared_ptr<Stream> find(void *handle) {
    if ((uintptr_t)handle == 2) return device() < 0 ? nullptr : own(device());
    auto found = handles.find(handle);
    return found == handles.end() ? nullptr : found->second;
}

bool is_legacy(void *handle) { return (uintptr_t)handle <= 1; }

// What waits for the device, or changes it at once, spoils a capture by the same thread.
int spoil() {
    for (auto &stream : streams)
        if (stream->capture && stream->capture->capturer == std::this_thread::get_id()) {
            stream->capture->invalidated = true;
            return CAPTURE_UNSUPPORTED;
        }
    return OK;
}

int enqueue(Lock &lock, void *handle, Work work) {
    if (is_legacy(handle)) {
        if (int status = spoil()) return status;
        run_all(lock);
        lock.unlock();
        work();
        lock.lock();
        return OK;
    }
    auto stream = find(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->device != device()) emulated_fail("a stream of another device than the thread's");
    if (!stream->capture) {
        stream->queue.push_back(std::move(work));
        return OK;
    }
    if (stream->capture->invalidated) return CAPTURE_INVALIDATED;
    stream->capture->branches[stream->branch].push_back({std::move(work), 0, 0});
    return OK;
}

int synchronize(Lock &lock) {
    if (int status = spoil()) return status;
    return run_all(lock), OK;
}

} // namespace

size_t emulated_setting(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

void emulated_count(const char *name) {
    struct Counts {
        std::mutex state;
        std::map<std::string, size_t> calls;
        ~Counts() {
            for (auto &[name, count] : calls) fprintf(stderr, "emulated device: %zu %s\n", count, name.c_str());
        }
    };
    static const bool is_asked = emulated_setting("EMULATED_CUDA_COUNTS", 0);
    if (!is_asked) return;
    static Counts counts;
    std::lock_guard<std::mutex> lock(counts.state);
    counts.calls[name]++;
}

void emulated_fail(const char *what) {
    fprintf(stderr, "emulated device: %s\n", what);
    abort();
}

int emulated_enqueue(void *handle, Work work) {
    Lock lock;
    return enqueue(lock, handle, std::move(work));
}

int emulated_spoil() {
    Lock lock;
    return spoil();
}

int emulated_disturb() {
    Lock lock;
    for (auto &stream : streams)
        if (stream->capture && stream->device == device()) stream->capture->invalidated = true;
    return spoil();
}

extern "C" {

int cuInit(unsigned) { return devices() == 0 ? 100 : OK; }
int cuGetErrorString(int status, const char **text) {
    static thread_local char message[64];
    snprintf(message, sizeof message, status == 2 ? "out of memory" : "emulated status %d", status);
    *text = message;
    return OK;
}
int cuGetErrorName(int status, const char **text) { return cuGetErrorString(status, text); }

int cuDeviceGetCount(int *count) { return *count = devices(), OK; }
int cuDeviceGet(int *found, int ordinal) {
    if (ordinal < 0 || ordinal >= devices()) return INVALID_DEVICE;
    return *found = ordinal, OK;
}
int cuDeviceGetName(char *name, int length, int) { return snprintf(name, length, "Emulated CUDA device"), OK; }
int cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
    case 1: *value = 1024; break;     // threads of a block
    case 8: *value = 48 << 10; break; // shared memory of a block
    case 10: *value = 32; break;      // threads of a warp
    case 16: *value = 4; break;       // multiprocessors
    case 75: *value = 9; break;       // compute capability
    case 115: *value = 1; break;      // memory pools
    default: *value = 0;
    }
    return OK;
}

int cuDevicePrimaryCtxRetain(uintptr_t *made, int of) { return *made = of + 1, OK; }
int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
int cuCtxGetCurrent(uintptr_t *current) { return *current = context, OK; }
int cuCtxSetCurrent(uintptr_t to) { return context = to, OK; }
int cuCtxSynchronize() {
    emulated_count(__func__);
    Lock lock;
    return synchronize(lock);
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    emulated_count(__func__);
    Lock lock;
    if (int status = spoil()) return status;
    return memory::allocate(device(), address, bytes);
}
int cuMemFree_v2(uint64_t address) {
    emulated_count(__func__);
    Lock lock;
    if (int status = spoil()) return status;
    run_all(lock);
    return memory::release(address), OK;
}
int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) {
    emulated_count(__func__);
    Lock lock;
    auto of = find(stream);
    if (of && of->capture) emulated_fail("memory is allocated in a capture");
    return memory::allocate(device(), address, bytes);
}
int cuMemFreeAsync(uint64_t address, void *stream) {
    emulated_count(__func__);
    Lock lock;
    auto of = find(stream);
    if (of && of->capture) emulated_fail("memory is freed in a capture");
    return enqueue(lock, stream, [=] { memory::release(address); });
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    emulated_count(__func__);
    Lock lock;
    auto of = find(stream);
    if (of && of->capture) emulated_fail("host memory is copied in a capture");
    memory::check(to, bytes, "a copy to the device");
    auto *start = static_cast<const char *>(from);
    auto held = std::make_shared<std::vector<char>>(start, start + bytes);
    return enqueue(lock, stream, [=] { memcpy((void *)to, held->data(), held->size()); });
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    emulated_count(__func__);
    Lock lock;
    auto of = find(stream);
    if (of && of->capture) return spoil();
    memory::check(from, bytes, "a copy from the device");
    if (of) run(lock, of);
    if (is_legacy(stream)) run_all(lock);
    return memcpy(to, (void *)from, bytes), OK;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    emulated_count(__func__);
    Lock lock;
    memory::check(to, bytes, "a copy on the device");
    memory::check(from, bytes, "a copy on the device");
    return enqueue(lock, stream, [=] { memmove((void *)to, (void *)from, bytes); });
}
int cuMemcpyPeerAsync(uint64_t to, uintptr_t, uint64_t from, uintptr_t, size_t bytes, void *stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    emulated_count(__func__);
    Lock lock;
    memory::check(to, bytes, "a fill");
    return enqueue(lock, stream, [=] { memset((void *)to, value, bytes); });
}

int cuStreamCreate(void **made, unsigned) {
    Lock lock;
    auto stream = std::make_shared<Stream>();
    stream->device = device();
    streams.insert(stream);
    handles[stream.get()] = stream;
    return *made = stream.get(), OK;
}
int cuStreamCreateWithPriority(void **made, unsigned flags, int) { return cuStreamCreate(made, flags); }
int cuStreamDestroy_v2(void *handle) {
    Lock lock;
    auto stream = find(handle);
    if (!stream || (uintptr_t)handle == 2) return INVALID_HANDLE;
    run(lock, stream);
    handles.erase(handle);
    streams.erase(stream);
    return OK;
}
int cuStreamSynchronize(void *handle) {
    emulated_count(__func__);
    Lock lock;
    if (is_legacy(handle)) return synchronize(lock);
    auto stream = find(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capture) return spoil();
    return run(lock, stream), OK;
}
int cuStreamIsCapturing(void *handle, int *answer) {
    Lock lock;
    auto stream = find(handle);
    *answer = stream && stream->capture ? 1 + stream->capture->invalidated : 0;
    return OK;
}
int cuStreamBeginCapture_v2(void *handle, int) {
    Lock lock;
    auto stream = find(handle);
    if (!stream || stream->capture) return CAPTURE_UNSUPPORTED;
    stream->capture = std::make_shared<Graph>();
    stream->branch = 0;
    stream->capture->capturer = std::this_thread::get_id();
    return OK;
}
int cuStreamEndCapture(void *handle, void **graph) {
    Lock lock;
    auto stream = find(handle);
    if (!stream || !stream->capture || stream->branch != 0) return INVALID_VALUE;
    auto captured = stream->capture;
    captured->ended = true;
    for (auto &other : streams)
        if (other->capture == captured) other->capture = nullptr;
    int status = captured->invalidated ? CAPTURE_INVALIDATED : captured->is_joined() ? OK : CAPTURE_UNJOINED;
    *graph = status == OK ? new Graph(*captured) : nullptr;
    return status;
}
int cuGraphInstantiateWithFlags(void **made, void *graph, unsigned long long) {
    if (!graph) return INVALID_VALUE;
    return *made = new std::shared_ptr<Graph>(new Graph(*static_cast<Graph *>(graph))), OK;
}
int cuGraphDestroy(void *graph) { return delete static_cast<Graph *>(graph), OK; }
int cuGraphExecDestroy(void *made) { return delete static_cast<std::shared_ptr<Graph> *>(made), OK; }
int cuGraphUpload(void *, void *) { return OK; }
int cuGraphLaunch(void *made, void *stream) {
    emulated_count(__func__);
    auto graph = *static_cast<std::shared_ptr<Graph> *>(made);
    return emulated_enqueue(stream, [graph] { graph->run(); });
}

int cuEventCreate(void **made, unsigned) { return *made = new std::shared_ptr<Event>(new Event), OK; }
int cuEventDestroy_v2(void *event) { return delete static_cast<std::shared_ptr<Event> *>(event), OK; }
int cuEventRecord(void *handle, void *stream) {
    emulated_count(__func__);
    Lock lock;
    // What waits for an earlier record of the same event still waits for that.
    auto &event_of = *static_cast<std::shared_ptr<Event> *>(handle);
    auto event = event_of = std::make_shared<Event>();
    event->stream = find(stream);
    if (event->stream && event->stream->capture) {
        if (event->stream->capture->invalidated) return CAPTURE_INVALIDATED;
        event->capture = event->stream->capture;
        event->branch = event->stream->branch;
        event->place = event->capture->branches[event->branch].size();
        return OK;
    }
    event->pending = true;
    return enqueue(lock, stream, [event] {
        Lock lock;
        event->time = std::chrono::steady_clock::now();
        event->pending = false;
        progress.notify_all();
    });
}
int cuEventSynchronize(void *handle) {
    Lock lock;
    auto event = *static_cast<std::shared_ptr<Event> *>(handle);
    if (event->capture) return spoil(), CAPTURE_UNSUPPORTED;
    if (event->pending && event->stream) run(lock, event->stream);
    return OK;
}
int cuEventQuery(void *handle) {
    Lock lock;
    auto event = *static_cast<std::shared_ptr<Event> *>(handle);
    return event->pending ? NOT_READY : OK;
}
int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
    Lock lock;
    auto from = *static_cast<std::shared_ptr<Event> *>(start), to = *static_cast<std::shared_ptr<Event> *>(end);
    if (!from->stream || !to->stream || from->capture || to->capture) return INVALID_HANDLE;
    if (from->pending || to->pending) return NOT_READY;
    return *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count(), OK;
}
int cuStreamWaitEvent(void *waiting, void *handle, unsigned) {
    Lock lock;
    auto event = *static_cast<std::shared_ptr<Event> *>(handle);
    auto stream = find(waiting);
    if (stream && event->capture) {
        auto &graph = event->capture;
        if (graph->invalidated) return CAPTURE_INVALIDATED;
        if (graph->ended) return INVALID_VALUE;
        if (!stream->capture) {
            stream->capture = graph;
            stream->branch = graph->branches.size();
            graph->branches.emplace_back();
        }
        if (stream->capture != graph) return CAPTURE_ISOLATION;
        return graph->branches[stream->branch].push_back({nullptr, event->branch, event->place}), OK;
    }
    if (stream && stream->capture) return stream->capture->invalidated = true, CAPTURE_ISOLATION;
    return enqueue(lock, waiting, [event] {
        Lock lock;
        if (event->pending && event->stream) run(lock, event->stream, event.get());
    });
}

} // extern "C"

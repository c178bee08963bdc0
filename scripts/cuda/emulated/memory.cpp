// Memory of emulated devices: the host's, fenced, and NaN when fresh and when freed.
//
// EMULATED_CUDA_MIB: memory of each device (8192).
#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>

#include "driver.h"

namespace {

enum Status { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201 };

// Bytes before and after an allocation; bytes of freed memory that nobody gets yet.
constexpr size_t GUARD = 256, QUARANTINE = 256 << 20;
constexpr int FILL = 0xff;

struct Allocation {
    size_t bytes;
    int device;
    char *base;
};

struct Pool {
    size_t used = 0, high = 0;
    uint64_t threshold = 0;
};

std::mutex state;
using Lock = std::lock_guard<std::mutex>;
std::map<int, Pool> pools;
std::map<uintptr_t, Allocation> allocations;
std::list<std::pair<char *, size_t>> quarantine;
size_t quarantined = 0;

size_t total() { return emulated_setting("EMULATED_CUDA_MIB", 8192) << 20; }

} // namespace

void memory::check(uint64_t address, size_t bytes, const char *what) {
    Lock lock(state);
    auto after = allocations.upper_bound(address);
    if (bytes == 0) return;
    if (after != allocations.begin()) {
        auto &[start, allocation] = *std::prev(after);
        if (address + bytes <= start + allocation.bytes) return;
    }
    emulated_fail((std::string(what) + " of " + std::to_string(bytes) + " bytes outside of any allocation").c_str());
}

int memory::allocate(int device, uint64_t *address, size_t bytes) {
    if (device < 0) return INVALID_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    Lock lock(state);
    Pool &mine = pools[device];
    if (mine.used + bytes > total()) return OUT_OF_MEMORY;
    char *base = static_cast<char *>(aligned_alloc(GUARD, (bytes + 3 * GUARD) / GUARD * GUARD));
    memset(base, FILL, bytes + 2 * GUARD);
    *address = (uint64_t)base + GUARD;
    allocations[*address] = {bytes, device, base};
    mine.used += bytes;
    mine.high = std::max(mine.high, mine.used);
    return OK;
}

void memory::release(uint64_t address) {
    Lock lock(state);
    auto found = allocations.find(address);
    if (found == allocations.end()) emulated_fail("memory is freed that was not allocated");
    auto [bytes, of, base] = found->second;
    allocations.erase(found);
    pools[of].used -= bytes;
    for (size_t at = 0; at < GUARD; at++)
        if ((base[at] & 0xff) != FILL || (base[GUARD + bytes + at] & 0xff) != FILL)
            emulated_fail("something wrote outside of its memory");
    memset(base, FILL, bytes + 2 * GUARD);
    quarantine.push_back({base, bytes});
    quarantined += bytes;
    while (quarantined > QUARANTINE) {
        free(quarantine.front().first);
        quarantined -= quarantine.front().second;
        quarantine.pop_front();
    }
}

extern "C" {

int cuDeviceGetDefaultMemPool(void **pool, int of) {
    Lock lock(state);
    return *pool = &pools[of], OK;
}
int cuMemPoolSetAttribute(void *pool, int attribute, void *value) {
    Lock lock(state);
    auto *of = static_cast<Pool *>(pool);
    uint64_t to = *static_cast<uint64_t *>(value);
    if (attribute == 4) return of->threshold = to, OK;
    if (attribute != 8 || to != 0) return INVALID_VALUE;
    return of->high = of->used, OK;
}
int cuMemPoolTrimTo(void *, size_t) { return OK; }
int cuMemPoolGetAttribute(void *pool, int attribute, void *value) {
    Lock lock(state);
    auto *of = static_cast<Pool *>(pool);
    if (attribute != 7 && attribute != 8) return INVALID_VALUE;
    return *static_cast<uint64_t *>(value) = attribute == 7 ? of->used : of->high, OK;
}
int cuMemGetInfo_v2(size_t *free_bytes, size_t *all) {
    uintptr_t context;
    cuCtxGetCurrent(&context);
    if (context == 0) return INVALID_CONTEXT;
    Lock lock(state);
    *all = total();
    return *free_bytes = *all - pools[(int)context - 1].used, OK;
}

} // extern "C"

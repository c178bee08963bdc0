// Memory of emulated devices.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" int cuCtxGetCurrent(uintptr_t *current);

namespace memory {
// A status of CUDA.
int allocate(int device, uint64_t *address, size_t bytes);
// The program ends where it was not allocated, or something wrote beside it.
void release(uint64_t address);
// The program ends where no allocation holds this.
void check(uint64_t address, size_t bytes, const char *what);
} // namespace memory

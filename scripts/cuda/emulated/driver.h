// What the emulated libraries share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

using Work = std::function<void()>;

// Adds work to a stream of the calling thread's device; a status of CUDA.
int emulated_enqueue(void *stream, Work work);
// What a call answers that waits for the device: an error where the calling thread records a graph, which that spoils.
int emulated_spoil();
// The same of a call that changes the device as a whole: it spoils what any thread records there.
int emulated_disturb();
// Counts a call of that name by the host.
void emulated_count(const char *name);
// A number from the environment.
size_t emulated_setting(const char *name, size_t otherwise);
// Runs a command; what it printed, and whether it succeeded.
bool emulated_command(const char *command, std::string &output);
// Ends the program: it did what a device does not allow.
[[noreturn]] void emulated_fail(const char *what);

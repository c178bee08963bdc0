// The kernels of an emulated device: text that g++ compiles, kept in the folder of temporary files.
//
// EMULATED_CUDA_REVERSE=1: blocks and threads run from the last to the first.
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "driver.h"

namespace {

enum Status { OK = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, NOT_FOUND = 500 };

struct Function {
    std::string name;
    unsigned (*launch)(void **, const unsigned *, const unsigned *, unsigned, bool);
    const unsigned *sizes;
};

struct Module {
    void *library = nullptr;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

std::mutex state;

std::string cached(const std::string &text) {
    const char *folder = getenv("TMPDIR");
    std::string cache = std::string(folder && *folder ? folder : "/tmp") + "/emulated-cuda-" + std::to_string(getuid());
    mkdir(cache.c_str(), 0700);
    uint64_t hash = 1469598103934665603u;
    for (unsigned char byte : text) hash = (hash ^ byte) * 1099511628211u;
    return cache + "/" + std::to_string(hash);
}

std::string file_text(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

// Names of the kernels in a preprocessed text.
std::vector<std::string> kernels(const std::string &text) {
    std::vector<std::string> names;
    const std::string mark = "extern \"C\" __global__ void";
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
        size_t open = text.find('(', at);
        if (text.compare(text.find_first_not_of(" \n", at + mark.size()), 17, "__launch_bounds__") == 0)
            open = text.find('(', open + 1);
        size_t end = text.find_last_not_of(" \n", open - 1) + 1;
        size_t start = text.find_last_of(" \n)", end - 1) + 1;
        names.push_back(text.substr(start, end - start));
    }
    return names;
}

// `extern __shared__ T name[];` as a pointer.
std::string without_dynamic_arrays(std::string text) {
    const std::string mark = "extern __shared__ ";
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at)) {
        size_t type = at + mark.size(), space = text.find(' ', type), open = text.find('[', space);
        size_t end = text.find(';', open);
        std::string of = text.substr(type, space - type), name = text.substr(space + 1, open - space - 1);
        text.replace(at, end - at, of + " *" + name + " = host::dynamic_shared<" + of + ">()");
    }
    return text;
}

// Stops at vectors read from where they cannot be, and at places past the end of a block's arrays.
const std::string COMPILER = "g++ -std=c++17 -O2 -ffp-contract=off -fno-strict-aliasing -fsanitize=alignment,bounds "
                             "-fsanitize-undefined-trap-on-error -fPIC -shared -Wl,-Bsymbolic -w ";

// The library of a module's kernels, compiled on first sight.
int load(const std::string &image, Module &module) {
    std::string text = file_text(PREFIX "/shim.h") + file_text(PREFIX "/device.h") + without_dynamic_arrays(image);
    for (auto &name : kernels(image)) text += "EXPORT(" + name + ")\nEXPORT_SIZES(" + name + ")\n";
    std::string path = cached(COMPILER + text), library = path + ".so";
    if (access(library.c_str(), R_OK) != 0) {
        std::string mine = path + "-" + std::to_string(getpid());
        std::ofstream(mine + ".cpp", std::ios::binary) << text;
        std::string command = COMPILER + mine + ".cpp -o " + mine + ".so 2>&1", output;
        if (!emulated_command(command.c_str(), output)) {
            fprintf(stderr, "emulated device: %s\n%s\n", command.c_str(), output.c_str());
            return INVALID_IMAGE;
        }
        rename((mine + ".so").c_str(), library.c_str());
        unlink((mine + ".cpp").c_str());
    }
    module.library = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!module.library) fprintf(stderr, "emulated device: %s\n", dlerror());
    return module.library ? OK : INVALID_IMAGE;
}

} // namespace

bool emulated_command(const char *command, std::string &output) {
    FILE *pipe = popen(command, "r");
    if (!pipe) return false;
    char part[4096];
    for (size_t read; (read = fread(part, 1, sizeof part, pipe)) > 0;) output.append(part, read);
    return pclose(pipe) == 0;
}

extern "C" {

int cuModuleLoadData(void **made, const void *image) {
    if (int status = emulated_disturb()) return status;
    std::lock_guard<std::mutex> lock(state);
    auto module = std::make_unique<Module>();
    if (int status = load(static_cast<const char *>(image), *module)) return status;
    return *made = module.release(), OK;
}
int cuModuleUnload(void *) { return emulated_disturb(); }
int cuModuleGetFunction(void **found, void *handle, const char *name) {
    std::lock_guard<std::mutex> lock(state);
    auto *module = static_cast<Module *>(handle);
    auto &function = module->functions[name];
    if (!function) {
        auto symbol = [&](const char *prefix) { return dlsym(module->library, (std::string(prefix) + name).c_str()); };
        void *launch = symbol("host_"), *sizes = symbol("sizes_");
        if (!launch || !sizes) return NOT_FOUND;
        function = std::make_unique<Function>();
        function->name = name;
        function->launch = reinterpret_cast<decltype(function->launch)>(launch);
        function->sizes = reinterpret_cast<const unsigned *(*)()>(sizes)();
    }
    return *found = function.get(), OK;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int threads, size_t) {
    return *blocks = 768 / threads, threads > 0 ? OK : INVALID_VALUE;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, void *function, int threads, size_t shared, unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared);
}
// The driver's CUlaunchConfig.
struct LaunchConfig {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared;
    void *stream;
    const void *attributes;
    unsigned attribute_count;
};

int cuLaunchKernel(void *handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void *stream, void **parameters, void **extra) {
    auto *function = static_cast<Function *>(handle);
    emulated_count(function->name.c_str());
    std::vector<unsigned> sizes = {grid_x, grid_y, grid_z, block_x, block_y, block_z};
    for (unsigned size : sizes)
        if (size == 0) return INVALID_VALUE;
    uint64_t threads = (uint64_t)block_x * block_y * block_z;
    if (extra || threads > 1024 || block_z > 64 || grid_y > 65535 || grid_z > 65535 || shared > 48 << 10)
        return INVALID_VALUE;
    auto values = std::make_shared<std::vector<std::vector<char>>>();
    for (const unsigned *size = function->sizes; *size; size++) {
        auto *from = static_cast<const char *>(parameters[values->size()]);
        values->emplace_back(from, from + *size);
    }
    return emulated_enqueue(stream, [=] {
        static const bool reverse = emulated_setting("EMULATED_CUDA_REVERSE", 0);
        std::vector<void *> arguments;
        for (auto &value : *values) arguments.push_back(value.data());
        function->launch(arguments.data(), sizes.data(), sizes.data() + 3, shared, reverse);
    });
}
// A kernel that may be started early is not: it is to wait for the one before it, before it touches memory.
int cuLaunchKernelEx(const LaunchConfig *config, void *handle, void **parameters, void **extra) {
    const int PROGRAMMATIC_STREAM_SERIALIZATION = 6;
    auto *attributes = static_cast<const int *>(config->attributes);
    if (config->attribute_count > 1) return INVALID_VALUE;
    if (config->attribute_count == 1 && (attributes[0] != PROGRAMMATIC_STREAM_SERIALIZATION || attributes[2] != 1))
        return INVALID_VALUE;
    return cuLaunchKernel(handle, config->grid_x, config->grid_y, config->grid_z, config->block_x, config->block_y,
                          config->block_z, config->shared, config->stream, parameters, extra);
}

} // extern "C"

// libnvrtc of an emulated device: its PTX is the text, preprocessed.
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <unistd.h>

#include "driver.h"

namespace {
struct Program {
    std::string text, log;
};
} // namespace

extern "C" {

// Not a real compiler's: what it makes is kept under another name than theirs.
int nvrtcVersion(int *major, int *minor) { return *major = 0, *minor = 1, 0; }
int nvrtcCreateProgram(Program **made, const char *text, const char *, int headers, const char *const *,
                       const char *const *) {
    return headers ? 3 : (*made = new Program{text, ""}, 0);
}
int nvrtcDestroyProgram(Program **program) { return delete *program, *program = nullptr, 0; }
int nvrtcCompileProgram(Program *program, int, const char *const *) {
    char path[] = "/tmp/nvrtc-XXXXXX";
    close(mkstemp(path));
    std::ofstream(path, std::ios::binary) << program->text;
    std::string command = std::string("g++ -E -P -nostdinc -x c++ ") + path, output;
    bool is_good = emulated_command(command.c_str(), output);
    unlink(path);
    (is_good ? program->text : program->log) = output;
    return is_good ? 0 : 6;
}
int nvrtcGetPTXSize(Program *program, size_t *bytes) { return *bytes = program->text.size() + 1, 0; }
int nvrtcGetPTX(Program *program, char *to) { return strcpy(to, program->text.c_str()), 0; }
int nvrtcGetProgramLogSize(Program *program, size_t *bytes) { return *bytes = program->log.size() + 1, 0; }
int nvrtcGetProgramLog(Program *program, char *to) { return strcpy(to, program->log.c_str()), 0; }
const char *nvrtcGetErrorString(int) { return "an emulated error"; }

} // extern "C"

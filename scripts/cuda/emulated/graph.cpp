// The graph API of the emulated cuDNN: graphs of one convolution. An attribute must have its own type, and be set before its
// descriptor is finished and read after. Its heuristics name an engine that is not deterministic first, and others that sum in
// half precision, that are compiled when they are built, and that cannot be built; those on tensor cores round factors to TF32.
#include <algorithm>
#include <map>

#include "convolution.h"

namespace {

enum Kind { CONVOLUTION = 1, ENGINE, CONFIGURATION, HEURISTICS, PLAN, FORWARD = 10, FILTER, DATA, GRAPH = 15, PACK, TENSOR };
enum Type { HANDLE = 0, DATA_TYPE, INT64 = 3, REAL = 4, POINTER = 6, MODE, HEURISTIC, NUMERICAL = 11, PART = 15, BEHAVIOUR = 19 };
enum Mode { FALLBACK = 2 };
enum Note { TENSOR_CORE = 0, REDUCED = 2, NONDETERMINISTIC = 4 };

// Each attribute's type, and how many values it takes.
struct Attribute {
    int kind, type, count;
};
const std::map<int, Attribute> ATTRIBUTES = {
    {100, {CONVOLUTION, DATA_TYPE, 1}}, {101, {CONVOLUTION, MODE, 1}},  {102, {CONVOLUTION, INT64, 2}},
    {103, {CONVOLUTION, INT64, 2}},     {104, {CONVOLUTION, INT64, 2}}, {105, {CONVOLUTION, INT64, 2}},
    {106, {CONVOLUTION, INT64, 1}},     {200, {HEURISTICS, HEURISTIC, 1}}, {201, {HEURISTICS, PART, 1}},
    {400, {PLAN, HANDLE, 1}},           {401, {PLAN, PART, 1}},         {700, {FORWARD, REAL, 1}},
    {701, {FORWARD, REAL, 1}},          {702, {FORWARD, PART, 1}},      {703, {FORWARD, PART, 1}},
    {704, {FORWARD, PART, 1}},          {705, {FORWARD, PART, 1}},      {706, {DATA, REAL, 1}},
    {707, {DATA, REAL, 1}},             {708, {DATA, PART, 1}},         {709, {DATA, PART, 1}},
    {710, {DATA, PART, 1}},             {711, {DATA, PART, 1}},         {712, {FILTER, REAL, 1}},
    {713, {FILTER, REAL, 1}},           {714, {FILTER, PART, 1}},       {715, {FILTER, PART, 1}},
    {716, {FILTER, PART, 1}},           {717, {FILTER, PART, 1}},       {800, {GRAPH, HANDLE, 1}},
    {801, {GRAPH, PART, 1}},            {900, {TENSOR, INT64, 1}},      {901, {TENSOR, DATA_TYPE, 1}},
    {902, {TENSOR, INT64, 4}},          {903, {TENSOR, INT64, 4}},      {906, {TENSOR, INT64, 1}},
    {1000, {PACK, INT64, 3}},           {1001, {PACK, POINTER, 3}},     {1003, {PACK, POINTER, 1}},
};
size_t bytes(int type) { return type == DATA_TYPE || type == REAL || type == MODE || type == HEURISTIC ? 4 : 8; }

struct Engine {
    int64_t index;
    size_t workspace;
    std::vector<int> numerical, behaviour;
    // Whether it is named to fall back on.
    bool is_fallback = false;
};
const Engine NAMED[] = {
    {5, 0, {TENSOR_CORE, NONDETERMINISTIC}, {}}, {1, 2048, {TENSOR_CORE}, {}}, {7, 0, {TENSOR_CORE}, {0}},
    {3, 0, {TENSOR_CORE, REDUCED}, {}},          {1, 0, {TENSOR_CORE}, {}},    {12, 0, {}, {}},
    {12, 0, {}, {}, true},  {0, 0, {NONDETERMINISTIC}, {}, true}, {4, 0, {TENSOR_CORE}, {}, true}, {2, 512, {}, {}, true},
};

struct Descriptor {
    int kind;
    bool is_finished = false;
    std::map<int, std::vector<char>> values;
    const Engine *engine = nullptr;
    Descriptor *graph = nullptr;

    template <class T> T of(int name, size_t index = 0) const {
        T value;
        memcpy(&value, values.at(name).data() + index * sizeof(T), sizeof(T));
        return value;
    }
    const Descriptor &part(int name) const { return *of<Descriptor *>(name); }
    Tensor tensor() const {
        Tensor tensor;
        tensor.type = of<int>(901);
        for (int d = 0; d < 4; d++) tensor.dims[d] = (int)of<int64_t>(902, d), tensor.strides[d] = (int)of<int64_t>(903, d);
        return tensor;
    }
    Convolution convolution(int math = DEFAULT_MATH) const { return {(int)of<int64_t>(105), (int)of<int64_t>(103), math}; }
};

// The attributes of an operation's convolution, input, weights, output, alpha and beta.
struct Names {
    int conv, x, w, y, alpha, beta;
};
Names names(int kind) {
    if (kind == FORWARD) return {702, 704, 703, 705, 700, 701};
    if (kind == DATA) return {708, 710, 709, 711, 706, 707};
    return {714, 716, 715, 717, 712, 713};
}

bool is_operation(int kind) { return kind == FORWARD || kind == DATA || kind == FILTER; }

// Whether what a finished descriptor says can be done.
int check(const Descriptor &one) {
    switch (one.kind) {
    case CONVOLUTION: {
        bool is_square = true;
        for (int name : {103, 104, 105}) is_square &= one.of<int64_t>(name) == one.of<int64_t>(name, 1);
        bool is_plain = one.of<int64_t>(102) == 1 && one.of<int64_t>(102, 1) == 1 && one.of<int64_t>(106) == 2;
        if (one.of<int64_t>(104) != one.of<int64_t>(105) || one.of<int>(100) != FLOAT) return NOT_SUPPORTED;
        return is_square && is_plain && one.of<int>(101) == 1 ? OK : NOT_SUPPORTED;
    }
    case FORWARD:
    case DATA:
    case FILTER: {
        Names of = names(one.kind);
        if (one.part(of.conv).kind != CONVOLUTION) return BAD_PARAM;
        for (int name : {of.x, of.w, of.y})
            if (one.part(name).kind != TENSOR) return BAD_PARAM;
        return fits(one.part(of.x).tensor(), one.part(of.w).tensor(), one.part(of.y).tensor(),
                    one.part(of.conv).convolution())
                   ? OK
                   : BAD_PARAM;
    }
    case GRAPH: return is_operation(one.part(801).kind) ? OK : BAD_PARAM;
    case HEURISTICS: return one.part(201).kind != GRAPH ? BAD_PARAM : refuses("graph") ? NOT_SUPPORTED : OK;
    case PLAN: return !one.part(401).engine ? BAD_PARAM : one.part(401).engine->index == 12 ? NOT_SUPPORTED : OK;
    case CONFIGURATION:
    case ENGINE: return BAD_PARAM;
    default: return OK;
    }
}

template <class T> int give(const std::vector<T> &values, int64_t asked, int64_t *count, void *to) {
    *count = (int64_t)values.size();
    memcpy(to, values.data(), sizeof(T) * std::min<size_t>(values.size(), asked));
    return OK;
}

} // namespace

extern "C" {

int cudnnBackendCreateDescriptor(int kind, Descriptor **made) { return *made = new Descriptor{kind}, OK; }
int cudnnBackendDestroyDescriptor(Descriptor *one) { return delete one, OK; }

int cudnnBackendSetAttribute(Descriptor *one, int name, int type, int64_t count, const void *from) {
    auto found = ATTRIBUTES.find(name);
    if (found == ATTRIBUTES.end()) return NOT_SUPPORTED;
    Attribute attribute = found->second;
    if (one->is_finished || attribute.kind != one->kind || attribute.type != type || attribute.count != count)
        return BAD_PARAM;
    auto start = static_cast<const char *>(from);
    one->values[name] = std::vector<char>(start, start + count * bytes(type));
    return type == PART && !one->part(name).is_finished ? BAD_PARAM : OK;
}

int cudnnBackendFinalize(Descriptor *one) {
    for (auto &[name, attribute] : ATTRIBUTES)
        if (attribute.kind == one->kind && !one->values.count(name)) return BAD_PARAM;
    int status = check(*one);
    one->is_finished = status == OK;
    return status;
}

int cudnnBackendGetAttribute(Descriptor *one, int name, int type, int64_t asked, int64_t *count, void *to) {
    if (!one->is_finished) return BAD_PARAM;
    auto parts = static_cast<Descriptor **>(to);
    if (one->kind == HEURISTICS && name == 202 && type == PART) {
        *count = 0;
        for (const Engine &engine : NAMED) {
            if (engine.is_fallback != (one->of<int>(200) == FALLBACK)) continue;
            if (*count == asked) break;
            Descriptor *part = parts[(*count)++];
            if (part->kind != CONFIGURATION) return BAD_PARAM;
            part->is_finished = true, part->engine = &engine, part->graph = one->of<Descriptor *>(201);
        }
        return OK;
    }
    if (one->kind == CONFIGURATION && name == 300 && type == PART) {
        if (asked < 1 || parts[0]->kind != ENGINE) return BAD_PARAM;
        parts[0]->is_finished = true, parts[0]->engine = one->engine;
        return *count = 1, OK;
    }
    if (one->kind == ENGINE && name == 1301 && type == INT64)
        return give(std::vector<int64_t>{one->engine->index}, asked, count, to);
    if (one->kind == ENGINE && name == 1303 && type == NUMERICAL) {
        auto notes = one->engine->numerical;
        if (refuses("deterministic")) notes.push_back(NONDETERMINISTIC);
        return give(notes, asked, count, to);
    }
    if (one->kind == ENGINE && name == 1305 && type == BEHAVIOUR) return give(one->engine->behaviour, asked, count, to);
    if (one->kind == PLAN && name == 402 && type == INT64)
        return give(std::vector<int64_t>{(int64_t)one->part(401).engine->workspace}, asked, count, to);
    return BAD_PARAM;
}

int cudnnBackendExecute(Handle *handle, Descriptor *plan, Descriptor *pack) {
    if (plan->kind != PLAN || pack->kind != PACK || !plan->is_finished || !pack->is_finished) return BAD_PARAM;
    if (plan->of<Handle *>(400) != handle) return BAD_PARAM;
    const Descriptor &configuration = plan->part(401), &operation = configuration.graph->part(801);
    Names of = names(operation.kind);
    void *at[3] = {};
    Tensor tensors[3];
    int order[] = {of.x, of.w, of.y};
    for (int which = 0; which < 3; which++) {
        const Descriptor &tensor = operation.part(order[which]);
        tensors[which] = tensor.tensor();
        for (int index = 0; index < 3; index++)
            if (pack->of<int64_t>(1000, index) == tensor.of<int64_t>(906)) at[which] = pack->of<void *>(1001, index);
        if (!at[which]) return BAD_PARAM;
        if ((uintptr_t)at[which] % tensor.of<int64_t>(900)) emulated_fail("a tensor of a graph is not aligned as it says");
    }
    Tensor x = tensors[0], w = tensors[1], y = tensors[2];
    void *x_at = at[0], *w_at = at[1], *y_at = at[2];
    auto &notes = configuration.engine->numerical;
    bool rounds = std::count(notes.begin(), notes.end(), TENSOR_CORE);
    Convolution conv = operation.part(of.conv).convolution(rounds ? DEFAULT_MATH : FMA);
    float alpha = operation.of<float>(of.alpha), beta = operation.of<float>(of.beta);
    size_t asked = configuration.engine->workspace;
    return start(__func__, handle, pack->of<void *>(1003), asked, asked, [=, kind = operation.kind] {
        if (kind == FORWARD) write(y, y_at, forward(x, x_at, w, w_at, y, conv), alpha, beta);
        if (kind == DATA) write(x, x_at, backward_data(w, w_at, y, y_at, x, conv), alpha, beta);
        if (kind == FILTER) write(w, w_at, backward_filter(x, x_at, y, y_at, w, conv), alpha, beta);
    });
}

} // extern "C"

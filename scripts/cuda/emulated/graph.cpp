// The graph API of the emulated cuDNN: graphs of one convolution, or of one with a shortcut, a bias and a ReLU behind it. An
// attribute must have its own type, and be set before its descriptor is finished and read after. Its heuristics name an engine
// that is not deterministic first, and others that sum in half precision, that are compiled when they are built, and that cannot
// be built; those on tensor cores round factors to TF32.
#include <algorithm>
#include <map>

#include "convolution.h"

namespace {

enum Kind { ELEMENT, CONVOLUTION, ENGINE, CONFIGURATION, HEURISTICS, PLAN };
enum OtherKind { FORWARD = 10, FILTER, DATA, POINTWISE, GRAPH = 15, PACK, TENSOR };
enum Type { HANDLE, DATA_TYPE, BOOL, INT64, REAL, POINTER = 6, MODE, HEURISTIC };
enum OtherType { NAN_KEPT = 10, NUMERICAL, FUNCTION = 14, PART, BEHAVIOUR = 19 };
enum Function { ADD = 0, RELU = 100 };
enum Mode { FALLBACK = 2 };
enum Note { TENSOR_CORE = 0, REDUCED = 2, NONDETERMINISTIC = 4 };

// Each attribute's type, how many values it takes (0: any number), and whether it may be left out.
struct Attribute {
    int kind, type, count;
    bool is_optional = false;
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
    {801, {GRAPH, PART, 0}},            {900, {TENSOR, INT64, 1}},      {901, {TENSOR, DATA_TYPE, 1}},
    {902, {TENSOR, INT64, 4}},          {903, {TENSOR, INT64, 4}},      {906, {TENSOR, INT64, 1}},
    {1000, {PACK, INT64, 0}},           {1001, {PACK, POINTER, 0}},     {1003, {PACK, POINTER, 1}},
    {0, {ELEMENT, FUNCTION, 1}},        {1, {ELEMENT, DATA_TYPE, 1}},   {2, {ELEMENT, NAN_KEPT, 1}},
    {750, {POINTWISE, PART, 1}},        {751, {POINTWISE, PART, 1}},    {752, {POINTWISE, PART, 1, true}},
    {753, {POINTWISE, PART, 1}},        {907, {TENSOR, BOOL, 1, true}},
};
size_t bytes(int type) { return type == BOOL ? 1 : type == HANDLE || type == INT64 || type == POINTER || type == PART ? 8 : 4; }

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
    {12, 0, {}, {}, true},                       {0, 0, {NONDETERMINISTIC}, {}, true},
    {4, 0, {TENSOR_CORE}, {}, true},             {2, 512, {}, {}, true},
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
    const Descriptor &part(int name, size_t index = 0) const { return *of<Descriptor *>(name, index); }
    size_t count(int name) const { return values.count(name) ? values.at(name).size() / bytes(ATTRIBUTES.at(name).type) : 0; }
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

// Whether the operations behind a graph's convolution, if any, add its shortcut, then its bias, then cut off what is negative and
// keep a NaN, each of what the one before gives, which is in float and not in memory.
bool is_epilogue(const Descriptor &graph) {
    size_t count = graph.count(801);
    if (count == 1) return !graph.part(801).part(names(graph.part(801).kind).y).count(907);
    if (count > 4 || count < 3 || graph.part(801).kind != FORWARD) return false;
    const Descriptor *last = &graph.part(801).part(names(FORWARD).y);
    for (size_t at = 1; at < count; at++) {
        const Descriptor &one = graph.part(801, at);
        if (one.kind != POINTWISE || one.part(750).of<int>(1) != FLOAT || one.part(750).of<int>(2) != 1) return false;
        if (&one.part(751) != last || !last->count(907) || last->of<int>(901) != FLOAT) return false;
        bool is_relu = at == count - 1, is_bias = at == count - 2;
        if (one.part(750).of<int>(0) != (is_relu ? RELU : ADD) || one.count(752) != !is_relu) return false;
        Tensor to = one.part(753).tensor(), from = last->tensor();
        if (memcmp(to.dims, from.dims, sizeof to.dims)) return false;
        if (!is_relu) {
            Tensor added = one.part(752).tensor();
            if (is_bias && (added.count() != (size_t)added.dims[1] || added.dims[1] != to.dims[1])) return false;
            if (!is_bias && memcmp(added.dims, to.dims, sizeof to.dims)) return false;
        }
        last = &one.part(753);
    }
    return !last->count(907);
}

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
        Tensor x = one.part(of.x).tensor(), y = one.part(of.y).tensor();
        if (one.part(of.y).count(907)) y.type = x.type;
        return fits(x, one.part(of.w).tensor(), y, one.part(of.conv).convolution()) ? OK : BAD_PARAM;
    }
    case POINTWISE: return one.part(750).kind == ELEMENT ? OK : BAD_PARAM;
    case GRAPH: return is_operation(one.part(801).kind) && is_epilogue(one) ? OK : NOT_SUPPORTED;
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
    if (one->is_finished || attribute.kind != one->kind || attribute.type != type || count < 1 ||
        (attribute.count && attribute.count != count))
        return BAD_PARAM;
    auto start = static_cast<const char *>(from);
    one->values[name] = std::vector<char>(start, start + count * bytes(type));
    for (int64_t index = 0; type == PART && index < count; index++)
        if (!one->part(name, index).is_finished) return BAD_PARAM;
    return OK;
}

int cudnnBackendFinalize(Descriptor *one) {
    for (auto &[name, attribute] : ATTRIBUTES)
        if (attribute.kind == one->kind && !attribute.is_optional && !one->values.count(name)) return BAD_PARAM;
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
    const Descriptor &configuration = plan->part(401), &graph = *configuration.graph, &operation = graph.part(801);
    size_t found = 0;
    auto place = [&](const Descriptor &tensor) {
        for (size_t index = 0; index < pack->count(1000); index++)
            if (pack->of<int64_t>(1000, index) == tensor.of<int64_t>(906)) {
                auto at = pack->of<void *>(1001, index);
                if ((uintptr_t)at % tensor.of<int64_t>(900)) emulated_fail("a tensor of a graph is not aligned as it says");
                return found++, at;
            }
        return (void *)nullptr;
    };
    Names of = names(operation.kind);
    size_t behind = graph.count(801) - 1;
    const Descriptor &result = behind ? graph.part(801, behind).part(753) : operation.part(of.y);
    Tensor x = operation.part(of.x).tensor(), w = operation.part(of.w).tensor(), y = result.tensor();
    void *x_at = place(operation.part(of.x)), *w_at = place(operation.part(of.w)), *y_at = place(result);
    std::vector<std::pair<Tensor, void *>> added;
    for (size_t at = 1; at < behind; at++) {
        const Descriptor &tensor = graph.part(801, at).part(752);
        added.push_back({tensor.tensor(), place(tensor)});
    }
    if (found != 3 + added.size() || found != pack->count(1000) || found != pack->count(1001)) return BAD_PARAM;
    auto &notes = configuration.engine->numerical;
    bool rounds = std::count(notes.begin(), notes.end(), TENSOR_CORE);
    Convolution conv = operation.part(of.conv).convolution(rounds ? DEFAULT_MATH : FMA);
    float alpha = operation.of<float>(of.alpha), beta = operation.of<float>(of.beta);
    size_t asked = configuration.engine->workspace;
    return start(__func__, handle, pack->of<void *>(1003), asked, asked, [=, kind = operation.kind] {
        if (kind == FORWARD) {
            auto values = forward(x, x_at, w, w_at, y, conv);
            for (auto &[tensor, at] : added) {
                auto more = read(tensor, at);
                for (size_t index = 0; index < values.size(); index++) values[index] += more[index % more.size()];
            }
            for (float &value : values)
                if (behind && value < 0) value = 0;
            write(y, y_at, values, alpha, beta);
        }
        if (kind == DATA) write(x, x_at, backward_data(w, w_at, y, y_at, x, conv), alpha, beta);
        if (kind == FILTER) write(w, w_at, backward_filter(x, x_at, y, y_at, w, conv), alpha, beta);
    });
}

} // extern "C"

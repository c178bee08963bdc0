// What candle's kernels use beyond ours: after shim.h, before a module's text.
#include <algorithm>
#include <cassert>
#include <type_traits>

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// Types of 16 and 8 bits are names alone: few kernels for them are compiled, and none is to be launched.
struct __half {
    unsigned short bits;
};
struct __nv_bfloat16 {
    unsigned short bits;
};
struct __nv_fp8_e4m3 {
    unsigned char __x;
    __nv_fp8_e4m3(float) { host::fail("no arithmetic in 8 bits"); }
};
constexpr int __NV_E4M3 = 0;
static inline __half __nv_cvt_fp8_to_halfraw(unsigned char, int) { host::fail("no arithmetic in 8 bits"); }
static inline float __half2float(__half) { host::fail("no arithmetic in 16 bits"); }
static inline __half __hmax_nan(__half a, __half) { return a; }
static inline __half __hmin_nan(__half a, __half) { return a; }
static inline unsigned __half_as_ushort(__half value) { return value.bits; }
static inline __half __ushort_as_half(unsigned bits) { return {(unsigned short)bits}; }

template <class To, class From> static To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To other;
    memcpy(&other, &value, sizeof(To));
    return other;
}
static inline int __float_as_int(float value) { return bits_as<int>(value); }
static inline float __int_as_float(int value) { return bits_as<float>(value); }
static inline long long __double_as_longlong(double value) { return bits_as<long long>(value); }
static inline double __longlong_as_double(long long value) { return bits_as<double>(value); }

// Threads run one after the other.
template <class T> using Same = typename std::common_type<T>::type;
template <class T> static T atomicAdd(T *at, Same<T> value) { return std::exchange(*at, *at + value); }
template <class T> static T atomicMax(T *at, Same<T> value) { return std::exchange(*at, std::max(*at, value)); }
template <class T> static T atomicMin(T *at, Same<T> value) { return std::exchange(*at, std::min(*at, value)); }
template <class T> static T atomicCAS(T *at, Same<T> expected, Same<T> value) {
    return *at == expected ? std::exchange(*at, value) : *at;
}

static inline float normcdff(float value) { return 0.5f * erfcf(-value * 0.70710678f); }
static inline double normcdf(double value) { return 0.5 * erfc(-value * 0.70710678118654752); }
static inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
static inline double rsqrt(double value) { return 1.0 / sqrt(value); }
#define __expf expf
using std::isinf;
using std::isnan;
using std::max;
using std::min;
using std::signbit;
namespace cuda {
namespace std {
using ::std::numeric_limits;
}
} // namespace cuda

namespace host {
template <class... A> static const unsigned *sizes(void (*)(A...)) {
    static const unsigned all[] = {sizeof(A)..., 0};
    return all;
}
} // namespace host

// Bytes of each argument of a kernel, and 0 after the last.
#define EXPORT_SIZES(kernel)                                                                                           \
    extern "C" const unsigned *sizes_##kernel() { return host::sizes(kernel); }

// The vector type. One source, compiled once for each level of the processor: its width follows the
// compiler's flags, and everything sits in a namespace of the level, so that the linker can never mix
// them. Products are added where `fma` says so and nowhere else (-ffp-contract=off): what a pair gives
// must not hang on which kernel it went through.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define TA_BYTES 64
#elif defined(__AVX__)
#define TA_BYTES 32
#else
#define TA_BYTES 16  // SSE, NEON, or whatever the compiler makes of it
#endif

#define TA_UNROLL _Pragma("GCC unroll 16")

namespace tempalign::TA_LEVEL {

template <class T>
constexpr T kInfinite = T(__builtin_inf());

template <class T>
struct Lanes {
  using Int = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  static constexpr int size = TA_BYTES / int(sizeof(T));
  typedef T V __attribute__((vector_size(TA_BYTES)));
  typedef Int I __attribute__((vector_size(TA_BYTES)));
  typedef std::make_unsigned_t<Int> Word __attribute__((vector_size(TA_BYTES)));

  static V all(T value) { return V{} + value; }
  static I all_of(Int value) { return I{} + value; }
  static V load(const T* p) {  // from any address
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(T* p, V v) { __builtin_memcpy(p, &v, sizeof v); }
  static I load_of(const Int* p) {
    I v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static void store_of(Int* p, Word v) { __builtin_memcpy(p, &v, sizeof v); }
  static V select(I where, V a, V b) { return where ? a : b; }
  static I select(I where, I a, I b) { return where ? a : b; }

  // `b` where one of them is NaN: whether there is one at all is looked at before (see scan.h).
  static V minimum(V a, V b) { return a < b ? a : b; }

  // Lane l gets lane l - 1 of `v`, lane 0 the last lane of `below`.
  static V shift(V v, V below) { return shift(v, below, std::make_integer_sequence<int, size>()); }

  static V absolute(V v) { return V(I(v) & all_of(Int(~(uint64_t(1) << (8 * sizeof(T) - 1))))); }

  static V fma(V a, V b, V c) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return V(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
    else return V(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#elif defined(__FMA__)
    if constexpr (sizeof(T) == 4) return V(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
    else return V(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
#elif defined(__ARM_FEATURE_FMA)
    for (int l = 0; l < size; l++) c[l] = sizeof(T) == 4 ? T(__builtin_fmaf(a[l], b[l], c[l])) : T(__builtin_fma(a[l], b[l], c[l]));
    return c;
#else
    return a * b + c;
#endif
  }

  static V root(V v) {  // (the masked form: that without warns of the compiler's own header)
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return V(_mm512_maskz_sqrt_ps(__mmask16(-1), __m512(v)));
    else return V(_mm512_maskz_sqrt_pd(__mmask8(-1), __m512d(v)));
#elif defined(__AVX__)
    if constexpr (sizeof(T) == 4) return V(_mm256_sqrt_ps(__m256(v)));
    else return V(_mm256_sqrt_pd(__m256d(v)));
#elif defined(__SSE2__)
    if constexpr (sizeof(T) == 4) return V(_mm_sqrt_ps(__m128(v)));
    else return V(_mm_sqrt_pd(__m128d(v)));
#else
    for (int l = 0; l < size; l++) v[l] = sizeof(T) == 4 ? T(__builtin_sqrtf(v[l])) : T(__builtin_sqrt(v[l]));
    return v;
#endif
  }

 private:
  template <int... lane>
  static V shift(V v, V below, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(below, v, (size - 1 + lane)...);
  }
};

}  // namespace tempalign::TA_LEVEL

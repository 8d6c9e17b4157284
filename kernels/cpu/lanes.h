// The vector type. One source, compiled once for each level of the processor: its width follows the
// compiler's flags, and everything sits in a namespace of the level, so that the linker can never mix
// them. Products are added where `fma` says so and nowhere else (-ffp-contract=off): what a pair gives
// must not hang on which kernel it went through.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "model.h"

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

// a b + c, rounded once where the processor can; of vectors as wide as a register, or half as wide.
template <class V>
TA_INLINE V fused(V a, V b, V c) {
  using T = std::decay_t<decltype(a[0])>;
  constexpr bool single = sizeof(T) == 4;
  (void)single;
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
    if constexpr (single) return V(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
    else return V(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
  }
#endif
#if defined(__FMA__)
  if constexpr (sizeof(V) == 32) {
    if constexpr (single) return V(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
    else return V(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
  }
  if constexpr (sizeof(V) == 16) {
    if constexpr (single) return V(_mm_fmadd_ps(__m128(a), __m128(b), __m128(c)));
    else return V(_mm_fmadd_pd(__m128d(a), __m128d(b), __m128d(c)));
  }
#endif
#if defined(__ARM_FEATURE_FMA)
  for (size_t l = 0; l < sizeof(V) / sizeof(T); l++) c[l] = single ? T(__builtin_fmaf(a[l], b[l], c[l])) : T(__builtin_fma(a[l], b[l], c[l]));
  return c;
#endif
  return a * b + c;
}

template <class T, int bytes = TA_BYTES>
struct Lanes {
  using Scalar = T;
  using Int = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  static constexpr int size = bytes / int(sizeof(T));
  typedef T V __attribute__((vector_size(bytes)));
  typedef Int I __attribute__((vector_size(bytes)));
  typedef std::make_unsigned_t<Int> Word __attribute__((vector_size(bytes)));

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

  // Lane l gets lane l + 1 of `v`, the last lane the first of `above`.
  static TA_INLINE V raise(V v, V above) { return raise(v, above, std::make_integer_sequence<int, size>()); }

  static V absolute(V v) { return V(I(v) & all_of(Int(~(uint64_t(1) << (8 * sizeof(T) - 1))))); }

  static V fma(V a, V b, V c) { return fused(a, b, c); }

  static V root(V v) {  // (the masked form: that without warns of the compiler's own header)
    constexpr bool single = sizeof(T) == 4;
#if defined(__AVX512F__)
    if constexpr (bytes == 64) {
      if constexpr (single) return V(_mm512_maskz_sqrt_ps(__mmask16(-1), __m512(v)));
      else return V(_mm512_maskz_sqrt_pd(__mmask8(-1), __m512d(v)));
    }
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32) {
      if constexpr (single) return V(_mm256_sqrt_ps(__m256(v)));
      else return V(_mm256_sqrt_pd(__m256d(v)));
    }
#endif
#if defined(__SSE2__)
    if constexpr (bytes == 16) {
      if constexpr (single) return V(_mm_sqrt_ps(__m128(v)));
      else return V(_mm_sqrt_pd(__m128d(v)));
    }
#endif
    for (int l = 0; l < size; l++) v[l] = single ? T(__builtin_sqrtf(float(v[l]))) : T(__builtin_sqrt(double(v[l])));
    return v;
  }

  // Exchanges rows and columns of `size` vectors.
  static TA_INLINE void turn(V* v) { turn_from<1>(v); }

 private:
  template <int... lane>
  static V shift(V v, V below, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(below, v, (size - 1 + lane)...);
  }
  template <int... lane>
  static TA_INLINE V raise(V v, V above, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(v, above, (1 + lane)...);
  }
  // Blocks of half by half lanes off the diagonal change places.
  template <int half>
  static TA_INLINE void turn_from(V* v) {
    if constexpr (half < size) {
      TA_UNROLL
      for (int i = 0; i < size; i++)
        if (!(i & half)) exchange<half>(v[i], v[i + half], std::make_integer_sequence<int, size>());
      turn_from<2 * half>(v);
    }
  }
  template <int half, int... lane>
  static TA_INLINE void exchange(V& a, V& b, std::integer_sequence<int, lane...>) {
    const V first = __builtin_shufflevector(a, b, (lane & half ? size + lane - half : lane)...);
    b = __builtin_shufflevector(a, b, (lane & half ? size + lane : lane + half)...);
    a = first;
  }
};

}  // namespace tempalign::TA_LEVEL

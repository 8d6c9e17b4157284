// Positive numbers of any size: a mantissa in [1, 2) and an exact integer exponent, W of them side by
// side.
//
// Z = exp(-R / gamma) is held so: sums and products are relative, nothing is ever subtracted, and no
// rounding grows with R. A forbidden number keeps a mantissa like any other and has an exponent below
// `nobody`: every number that is allowed is so much greater that it counts for exactly 0 beside it,
// without a mask.
#pragma once
#include "lanes.h"

namespace tempalign::TA_LEVEL {

// What rounding cut off the product p = a b: exact (nothing here is so small or large that its halves
// overflow).
template <class V>
TA_INLINE V cut_off(V a, V b, V p) {
#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA)
  return fused(a, b, -p);
#else
  using T = std::decay_t<decltype(a[0])>;
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Whole;
  typedef Whole B __attribute__((vector_size(sizeof(V))));
  const B top = B{} + (sizeof(T) == 4 ? Whole(~0xFFF) : Whole(~((int64_t(1) << 27) - 1)));  // 12 (26) bits of mantissa
  const V ah = (V)((B)a & top), bh = (V)((B)b & top), al = a - ah, bl = b - bh;
  return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
#endif
}

// T: of the mantissa. W: lanes. E: of the exponent: int32_t or int64_t for float, int64_t for double.
template <class T, int W, class E>
struct Exponent {
  using Scalar = T;
  using Whole = E;
  static constexpr int lanes = W;
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Bits;
  typedef T V __attribute__((vector_size(W * sizeof(T))));
  typedef E I __attribute__((vector_size(W * sizeof(E))));
  typedef Bits B __attribute__((vector_size(W * sizeof(T))));
  static constexpr bool wide = sizeof(E) > sizeof(T);
  typedef std::conditional_t<wide, double, T> Exact;  // in which cost / gamma is computed
  typedef Exact D __attribute__((vector_size(W * sizeof(Exact))));

  static constexpr int digits = sizeof(T) == 4 ? 23 : 52;
  static constexpr Bits bias = sizeof(T) == 4 ? 127 : 1023;
  static constexpr Bits one_bits = bias << digits;
  static constexpr Bits fraction = (Bits(1) << digits) - 1;
  // |sum of cost / (gamma ln 2)| along any path must be below `unit`; see `fits`.
  static constexpr E unit = sizeof(E) == 4 ? E(int64_t(1) << 28) : E(int64_t(1) << 48);
  static constexpr E far = -4 * unit;      // least exponent
  static constexpr E nobody = -2 * unit;   // below: forbidden
  static constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);  // 1.5 2^digits: rounds what is small

  struct Number {
    V m;
    I e;
    Number() = default;
    TA_INLINE Number(V mantissa, I exponent) : m(mantissa), e(exponent) {}
    // By member: GCC copies a whole struct in 16 bytes, and a vector read from where two halves were written waits.
    TA_INLINE Number(const Number& o) : m(o.m), e(o.e) {}
    TA_INLINE Number& operator=(const Number& o) {
      m = o.m, e = o.e;
      return *this;
    }
  };

  static TA_INLINE V all(T v) { return V{} + v; }
  static TA_INLINE I alle(E v) { return I{} + v; }
  static TA_INLINE Number none() { return {all(1), alle(far)}; }
  static Number whole(int v) {  // a small whole number
    int e = 0;
    while ((v >> e) > 1) e++;
    return {all(T(v) / T(1 << e)), alle(e)};
  }

  // Whether costs (prices of any move) up to `most` in size fit over paths of n + m cells (and inf can be told from them).
  static bool fits(double most, double gamma, double n, double m) {
    constexpr double largest = sizeof(T) == 4 ? 3e38 : 1e308;
    return gamma * double(4 * unit) < largest && most * (1.4426950408889634 / gamma) * (n + m + 2) + 2 * (n + m + 2) < double(unit);
  }

  // log2(e) weight / gamma, negative, as a sum of two; one for each lane.
  struct Scale {
    D s1, s2;
    V cap;
    void set(int lane, double gamma, double weight) {
      const long double s = -1.44269504088896340735992468100189214L * (long double)weight / (long double)gamma;
      Exact a = Exact(s);
      if constexpr (wide) {  // so short that its product with a float is exact
        int64_t bits;
        __builtin_memcpy(&bits, &a, 8);
        bits &= ~((int64_t(1) << 24) - 1);
        __builtin_memcpy(&a, &bits, 8);
      }
      s1[lane] = a, s2[lane] = Exact(s - (long double)a);
      // What costs more is forbidden: inf, and NaN too.
      const double most = double(4 * unit - unit / 64) / __builtin_fabs(double(s));
      constexpr double largest = sizeof(T) == 4 ? 3e38 : 1e308;
      cap[lane] = T(most < largest ? most : largest);
    }
  };

  struct Factor {  // q 2^k with q about 1
    V q;
    I k;
  };

  static TA_INLINE I widened(B b) {
    if constexpr (sizeof(E) == sizeof(T)) return (I)b;
    else return __builtin_convertvector(b, I);
  }
  static TA_INLINE B narrowed(I b) {
    if constexpr (sizeof(E) == sizeof(T)) return (B)b;
    else return __builtin_convertvector(b, B);
  }
  static TA_INLINE I most(I a, I b) { return a > b ? a : b; }
  static TA_INLINE I least(I a, I b) { return a < b ? a : b; }
  static TA_INLINE V least(V a, V b) { return a < b ? a : b; }

  // Nearest whole number of a small v, which becomes the rest in [-1/2, 1/2].
  static TA_INLINE I rounded(V& v) {
    const V shifted = v + magic;
    v = v - (shifted - magic);
    return widened((B)shifted - (B)all(magic));
  }

  // exp(-cost weight / gamma) for any cost; forbidden beyond the cap (which only an inf or NaN reaches).
  static TA_INLINE Factor exponential(V cost, const Scale& s) {
    const V d = least(cost, s.cap);
    if constexpr (wide) {
      const D round = D{} + 6755399441055744.0;
      const D e = __builtin_convertvector(d, D);
      D t = e * s.s1;
      const D first = t + round;
      t = (t - (first - round)) + e * s.s2;
      const D second = t + round;
      t = t - (second - round);
      // Without a sign: the compiler adds up first, and that may pass the largest number.
      typedef std::make_unsigned_t<E> U __attribute__((vector_size(W * sizeof(E))));
      return {power(__builtin_convertvector(t, V)), (I)(((U)first - (U)round) + ((U)second - (U)round))};
    } else {
      V t = d * s.s1;
      const V low = fused(d, s.s2, cut_off(d, s.s1, t));
      I k;
      if constexpr (sizeof(T) == 4) {
        k = __builtin_convertvector(t, I);
        t = t - __builtin_convertvector(k, V);
      } else {
        k = rounded(t);
      }
      t = t + low;
      k = k + rounded(t);
      return {power(t), k};
    }
  }

  // 2^f for f in [-1/2, 1/2].
  static TA_INLINE V power(V f) {
    if constexpr (sizeof(T) == 4) {
      V q = all(1.535336188319500e-4f);
      q = fused(q, f, all(1.339887440266574e-3f));
      q = fused(q, f, all(9.618437357674640e-3f));
      q = fused(q, f, all(5.550332471162809e-2f));
      q = fused(q, f, all(2.402264791363012e-1f));
      q = fused(q, f, all(6.931472028550421e-1f));
      return fused(q, f, all(1));
    } else {
      const V x = f * T(0.69314718055994530942);
      V q = all(T(1) / 6227020800.0);
      for (double factorial : {479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0})
        q = fused(q, x, all(T(1) / T(factorial)));
      return q;
    }
  }

  // m 2^(e - top), 0 where that is below every normal number; `low` is top - bias.
  static TA_INLINE V beside(const Number& a, I low) {
    const I up = a.e - low;
    const I zero = I{};
    return a.m * (V)(narrowed(most(up, zero)) << digits);
  }

  // v 2^e with v in [2^-100, 2^100], made a number again.
  static TA_INLINE Number normal(V v, I e) {
    const B bits = (B)v;
    const I up = e + widened((bits >> digits) - bias);
    return {(V)((bits & fraction) | one_bits), most(up, alle(far))};
  }

  static TA_INLINE Number times(const Number& a, const Factor& f) { return normal(a.m * f.q, a.e + f.k); }

  // Natural logarithm of p in (0, 1], 0 for 0.
  static TA_INLINE V log(V p) {
    const B bits = (B)p;
    // p = 2^k r with r in [0.707, 1.414)
    const Bits half_root = sizeof(T) == 4 ? Bits(0x3F3504F3) : Bits(0x3FE6A09E667F3BCD);
    const B k = (bits - half_root) >> digits;
    const V r = (V)(bits - (k << digits));
    const V s = (r - 1) / (r + 1), z = s * s;
    V sum = V{};
    for (int n = sizeof(T) == 4 ? 5 : 12; n >= 0; n--) sum = fused(sum, z, all(T(1) / T(2 * n + 1)));
    const V found = fused(__builtin_convertvector(k, V), all(T(0.69314718055994530942)), V(2 * s * sum));
    return p > 0 ? found : V{};
  }
};

struct Shortage {};  // of memory

// Memory for vectors, aligned; not initialised.
template <class A>
class Buffer {
 public:
  explicit Buffer(size_t count = 0) { make(count); }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void make(size_t count) {
    std::free(data_);
    data_ = nullptr;
    if (!count) return;
    data_ = static_cast<A*>(std::aligned_alloc(64, (count * sizeof(A) + 63) / 64 * 64));
    if (!data_) throw Shortage();
  }
  A* get() const { return data_; }
  A& operator[](size_t i) const { return data_[i]; }

 private:
  A* data_ = nullptr;
};

}  // namespace tempalign::TA_LEVEL

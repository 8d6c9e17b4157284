// What a core can do at most: the arithmetic of a cell, over and over, on numbers that stay in registers
// and in the nearest cache. No borders, no hand-over between strips or threads, nothing to load but
// frames: `limits.py` compiles this, times it on all cores, and holds the rows of the benchmark beside it.
//
// Every function does `steps` steps of a strip along anti-diagonals and returns how many cells that were.
#include "../cpu/hard.h"

#define TA_EXPORT extern "C" __attribute__((visibility("default")))

namespace tempalign::TA_LEVEL {
namespace {

constexpr int kFrames = 64;  // that the sequence y consists of here; it is walked again and again

template <class T>
using V = typename Lanes<T>::V;
template <class T>
using I = typename Lanes<T>::I;

volatile double sink;  // so that nothing is left out

template <class T>
struct Frames {
  static constexpr int most = 64;  // features
  alignas(64) T x[16 * most * Lanes<T>::size], y[kFrames * most * Lanes<T>::size];
  alignas(64) T to_x[16 * most * Lanes<T>::size], to_y[kFrames * most * Lanes<T>::size];
  Frames() {
    unsigned state = 1;
    auto next = [&] { return T((state = state * 1664525u + 1013904223u) >> 8) / T(1 << 24); };
    for (T& v : x) v = next();
    for (T& v : y) v = next();
    for (T& v : to_x) v = 0;
    for (T& v : to_y) v = 0;
  }
};

// Squared distances of K vectors of cells. With one feature `difference` is what is squared later.
template <class T, int K>
inline void costs(const Frames<T>& f, const V<T> (&x0)[K], int step, int features, V<T> (&out)[K]) {
  using L = Lanes<T>;
  const T* y = f.y + size_t(step % kFrames) * features * L::size;
  if (features == 1) {
    for (int k = 0; k < K; k++) out[k] = x0[k] - L::load(y);
    return;
  }
  V<T> total[K] = {};
  for (int i = 0; i < features; i++) {
    const V<T> b = L::load(y + i * L::size);
    TA_UNROLL
    for (int k = 0; k < K; k++) {
      const V<T> d = L::all(f.x[i * K + k]) - b;
      total[k] = L::fma(d, d, total[k]);
    }
  }
  TA_UNROLL
  for (int k = 0; k < K; k++) out[k] = total[k];
}

// The hard minimum. `shifted`: lanes are the rows of one pair, which costs a shift; else they are pairs.
// `path`: moves are written down, two bits a cell.
template <class T, bool fused, bool shifted, bool path, int K>
long long hard_of(int features, int steps) {
  using L = Lanes<T>;
  static Frames<T> shared;
  Frames<T>& f = shared;
  alignas(64) static thread_local typename L::Int table[K * L::size];
  V<T> near[K], far[K], x0[K];
  typename L::Word moves[K] = {};
  for (int k = 0; k < K; k++) {
    near[k] = far[k] = L::all(T(k));
    x0[k] = L::load(f.x + k * L::size);
  }
  V<T> top = L::all(T(1));
  for (int s = 0; s < steps; s += 4) {
    TA_UNROLL
    for (int u = 0; u < 4; u++) {
      V<T> cost[K];
      costs<T, K>(f, x0, s + u, fused ? 1 : features, cost);
      TA_UNROLL
      for (int k = K - 1; k >= 0; k--) {
        const V<T> above = k ? near[k ? k - 1 : 0] : top;
        const V<T> up = shifted ? L::shift(near[k], above) : above;
        I<T> code = {};
        near[k] = Plain<T>::template next<fused, shifted>(cost[k], up, near[k], far[k], path ? &code : nullptr);
        far[k] = up;  // where the diagonal move comes from in the next step
        if constexpr (path) moves[k] = written<T>(moves[k], code);
      }
    }
    if constexpr (path)
      if (s % kMoves == 0)
        for (int k = 0; k < K; k++) L::store_of(table + k * L::size, moves[k]);
  }
  V<T> sum = {};
  for (int k = 0; k < K; k++) sum += near[k] + far[k];
  sink = double(sum[0]) + double(table[0]);
  return (long long)steps * K * L::size;
}

template <class T, bool shifted, bool path>
long long hard(int features, int steps) {
  constexpr int K = TA_BYTES == 64 ? 8 : 4;
  if (features == 1) return hard_of<T, true, shifted, path, K>(1, steps);
  return hard_of<T, false, shifted, path, K>(features, steps);
}

// The soft minimum in the linear domain: a mantissa in [1, 2) and a whole exponent, one exponential a cell
// and no logarithm. `gradient`: the shares of the moves are kept, and a second sweep brings the visits
// back and adds them to the gradients of both frames.
template <class T>
struct Soft {
  using L = Lanes<T>;
  using Int = typename L::Int;
  static constexpr int digits = sizeof(T) == 4 ? 23 : 52;
  static constexpr Int bias = sizeof(T) == 4 ? 127 : 1023, far = -(Int(1) << (sizeof(T) == 4 ? 29 : 50));
  static constexpr Int one = bias << digits, fraction = (Int(1) << digits) - 1;
  static constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);

  static I<T> most(I<T> a, I<T> b) { return a > b ? a : b; }

  static I<T> rounded(V<T>& v) {
    const V<T> shifted = v + magic;
    v = v - (shifted - magic);
    return I<T>(shifted) - I<T>(L::all(magic));
  }

  static V<T> power(V<T> f) {
    constexpr int terms = sizeof(T) == 4 ? 6 : 13;
    V<T> q = L::all(T(1e-4));
    TA_UNROLL
    for (int i = 0; i < terms; i++) q = L::fma(q, f, L::all(T(1) / T(terms - i)));
    return q;
  }

  static V<T> beside(V<T> m, I<T> e, I<T> low) { return m * V<T>(most(e - low, I<T>{}) << digits); }

  static void step(V<T> cost, V<T> up, I<T> e_up, V<T>& left, I<T>& e_left, V<T> across, I<T> e_across, V<T>* moves) {
    const V<T> s1 = L::all(T(-1.4426950408889634)), s2 = L::all(T(1e-8));
    const V<T> d = L::minimum(cost, L::all(T(1e8)));
    V<T> t = d * s1;
    const V<T> low = L::fma(d, s2, L::fma(d, s1, -t));
    I<T> k = rounded(t);
    t = t + low;
    k = k + rounded(t);
    const V<T> q = power(t);
    const I<T> top = most(most(e_up, e_across), e_left), base = top - bias;
    const V<T> a = beside(up, e_up, base), b = beside(left, e_left, base), c = beside(across, e_across, base);
    const V<T> sum = (a + c) + b;
    if (moves) {
      const V<T> share = L::all(T(1)) / sum;
      moves[0] = L::select(a == sum, L::all(T(1)), a * share);
      moves[1] = L::select(c == V<T>{}, L::all(T(2)), b * share);
    }
    const I<T> bits = I<T>(sum * q);
    left = V<T>((bits & L::all_of(fraction)) | L::all_of(one));
    e_left = most(top + k + ((bits >> digits) - bias), L::all_of(far));
  }
};

template <class T, bool gradient, int K>
long long soft_of(int features, int steps) {
  using L = Lanes<T>;
  using S = Soft<T>;
  constexpr int kBlock = 16;  // steps whose shares are kept; they lie in the nearest cache
  static thread_local Frames<T> own;
  Frames<T>& f = own;
  alignas(64) static thread_local T shares[2 * kBlock * K * L::size];
  V<T> m[K], far_m[K], x0[K], visits[K];
  I<T> e[K], far_e[K];
  for (int k = 0; k < K; k++) {
    m[k] = far_m[k] = L::all(T(1.5));
    e[k] = far_e[k] = I<T>{};
    visits[k] = L::all(T(1) / T(k + 2));
    x0[k] = L::load(f.x + k * L::size);
  }
  for (int s = 0; s < steps; s += kBlock) {
    for (int u = 0; u < kBlock; u++) {
      V<T> cost[K];
      costs<T, K>(f, x0, s + u, features, cost);
      TA_UNROLL
      for (int k = K - 1; k >= 0; k--) {
        const V<T> up = m[k ? k - 1 : K - 1];
        const I<T> e_up = e[k ? k - 1 : K - 1];
        V<T> moves[2];
        const V<T> price = features == 1 ? cost[k] * cost[k] : cost[k];
        S::step(price, up, e_up, m[k], e[k], far_m[k], far_e[k], gradient ? moves : nullptr);
        far_m[k] = up, far_e[k] = e_up;
        if constexpr (gradient)
          for (int w = 0; w < 2; w++) L::store(shares + ((u * K + k) * 2 + w) * L::size, moves[w]);
      }
    }
    if constexpr (gradient)
      for (int u = kBlock - 1; u >= 0; u--) {
        V<T> ahead = visits[0] * T(0.25);
        V<T> slope[K];
        TA_UNROLL
        for (int k = 0; k < K; k++) {
          const T* at = shares + (u * K + k) * 2 * L::size;
          const V<T> up = visits[k] * L::load(at), rest = visits[k] - up;
          const V<T> left = L::minimum(visits[k] * L::load(at + L::size), rest);
          slope[k] = visits[k];
          visits[k] = left + ahead;
          ahead = up + (rest - left);
        }
        const size_t frame = size_t((s + u) % kFrames) * features * L::size;
        for (int i = 0; i < features; i++) {
          const V<T> b = L::load(f.y + frame + i * L::size);
          V<T> of_y = L::load(f.to_y + frame + i * L::size);
          TA_UNROLL
          for (int k = 0; k < K; k++) {
            const V<T> pull = slope[k] * (L::all(f.x[i * K + k]) - b);
            T* to = f.to_x + (i * K + k) * L::size;
            L::store(to, L::load(to) + pull);
            of_y -= pull;
          }
          L::store(f.to_y + frame + i * L::size, of_y);
        }
      }
  }
  V<T> sum = {};
  for (int k = 0; k < K; k++) sum += m[k] + visits[k];
  sink = double(sum[0]) + double(e[0][0]);
  return (long long)steps * K * L::size;
}

template <class T, bool gradient>
long long soft(int features, int steps) {
  return soft_of<T, gradient, 4>(features, steps);
}

// Terms of weighted L1 costs, w |c - x|, for K rows of the centroids and a vector of frames.
template <class T>
long long weighted(int, int steps) {
  using L = Lanes<T>;
  constexpr int K = 8;
  static Frames<T> f;
  V<T> total[K] = {};
  for (int s = 0; s < steps; s++) {
    const V<T> x = L::load(f.y + size_t(s % (kFrames * 4)) * L::size);
    const T* c = f.x + (s % kFrames) * K;
    const T* w = f.to_x + (s % kFrames) * K;
    TA_UNROLL
    for (int k = 0; k < K; k++) total[k] = L::fma(L::all(w[k]), L::absolute(L::all(c[k]) - x), total[k]);
  }
  V<T> sum = {};
  for (int k = 0; k < K; k++) sum += total[k];
  sink = double(sum[0]);
  return (long long)steps * K * L::size;
}

}  // namespace

TA_EXPORT long long peak_f32(int kind, int features, int steps) {
  switch (kind) {
    case 0: return hard<float, false, false>(features, steps);
    case 1: return hard<float, true, false>(features, steps);
    case 2: return hard<float, false, true>(features, steps);
    case 3: return soft<float, false>(features, steps);
    case 4: return soft<float, true>(features, steps);
    default: return weighted<float>(features, steps);
  }
}

TA_EXPORT long long peak_f64(int kind, int features, int steps) {
  switch (kind) {
    case 0: return hard<double, false, false>(features, steps);
    case 1: return hard<double, true, false>(features, steps);
    case 2: return hard<double, false, true>(features, steps);
    case 3: return soft<double, false>(features, steps);
    case 4: return soft<double, true>(features, steps);
    default: return weighted<double>(features, steps);
  }
}

}  // namespace tempalign::TA_LEVEL

// Costs of frames for the soft minimum, and what the slopes of cells do to the frames' gradients: of pairs
// side by side (`SideFrames`) and of strips of rows of one pair (`StripFrames`). Nothing of size n m is
// made unless costs are given, or visits asked for.
//
// Gradients are summed difference by difference, a row's over falling columns, a column's over falling
// rows: in the same order whichever of the two forms a pair goes through.
#pragma once
#include "soft_long.h"

namespace tempalign::TA_LEVEL {

// Differences of larger numbers might overflow, and inf times a slope of 0 is NaN. Whatever is so far
// from everything is on no path.
template <class T>
constexpr T kLarge = sizeof(T) == 4 ? T(8e37) : T(4e307);

template <class T>
T tamed(T v) {
  return v < kLarge<T> && v > -kLarge<T> ? v : T(0);
}

// From the slope of a cell to what the terms of the cost are multiplied by: a squared difference counts
// twice, at the end; a distance is divided by.
template <class L, Cost cost>
typename L::V of_terms(typename L::V slope, typename L::V distance) {
  if constexpr (cost == Cost::euclidean) {
    const typename L::I smooth = (distance > 0) & (distance < kInfinite<typename L::Scalar>);  // as `costs.safe_sqrt`
    return smooth ? slope / distance : typename L::V{};
  }
  return slope;
}

// Adds to the gradients of a frame of x and one of y, feature by feature.
template <class L, Cost cost, bool of_y>
TA_INLINE void add_terms(typename L::V slope, typename L::V x, typename L::V y, typename L::V& to_x, typename L::V& to_y) {
  using V = typename L::V;
  if constexpr (cost == Cost::inner) {
    to_x = L::fma(-slope, y, to_x);
    if (of_y) to_y = L::fma(-slope, x, to_y);
  } else if constexpr (cost == Cost::manhattan) {
    const V signed_slope = x > y ? slope : x < y ? -slope : V{};
    to_x = to_x + signed_slope;
    if (of_y) to_y = to_y - signed_slope;
  } else {
    const V difference = x - y;
    to_x = L::fma(slope, difference, to_x);
    if (of_y) to_y = L::fma(-slope, difference, to_y);
  }
}

// Features that are worked on together. Frames of pairs side by side stand [features / 4][frame][4], the
// last of them [frame][rest]: so a tile of frames lies together in the cache.
constexpr int kFeatures = 4;

struct Group {  // of features
  int first, count;
};
inline __attribute__((always_inline)) Group group_at(int first, int features) { return {first, features - first < kFeatures ? features - first : kFeatures}; }

// Where (in vectors) a group of a frame stands.
inline __attribute__((always_inline)) size_t place(Group group, int frame, int frames) { return size_t(group.first) * frames + size_t(frame) * group.count; }

// Costs of row i of pairs side by side in columns j0 .. j1 - 1.
template <class L, Cost cost>
__attribute__((noinline)) void side_costs(const typename L::V* x, const typename L::V* y, int n, int m, int features, int i, int j0, int j1, typename L::V* out) {
  using V = typename L::V;
  for (int j = j0; j < j1; j++) out[j - j0] = V{};
  auto some = [&](auto number, Group group, int first) {
    constexpr int F = decltype(number)::value;
    const int step = F == kFeatures ? F : group.count;
    V a[F];
    for (int f = 0; f < F; f++) a[f] = x[place(group, i, n) + first + f];
    const V* b = y + place(group, j0, m) + first;
    for (int j = 0; j < j1 - j0; j++, b += step) {
      V total = out[j];
      TA_UNROLL
      for (int f = 0; f < F; f++) total = Terms<L, cost>::add(total, a[f], b[f]);
      out[j] = total;
    }
  };
  for (int f = 0; f < features; f += kFeatures) {
    const Group group = group_at(f, features);
    if (group.count == kFeatures) some(std::integral_constant<int, kFeatures>(), group, 0);
    else
      for (int u = 0; u < group.count; u++) some(std::integral_constant<int, 1>(), group, u);
  }
  if (cost == Cost::euclidean || cost == Cost::inner)
    for (int j = j0; j < j1; j++) out[j - j0] = Terms<L, cost>::done(out[j - j0]);
}

// What slopes of row i do.
template <class L, Cost cost, bool of_y>
__attribute__((noinline)) void side_pulls(const typename L::V* x, const typename L::V* y, int n, int m, int features, int i, int j0, int j1, const typename L::V* slope, typename L::V* to_x, typename L::V* to_y) {
  using V = typename L::V;
  auto some = [&](auto number, Group group, int first) {
    constexpr int F = decltype(number)::value;
    const int step = F == kFeatures ? F : group.count;
    const size_t row = place(group, i, n) + first, column = place(group, j1, m) + first;
    V a[F], sum[F];
    for (int f = 0; f < F; f++) a[f] = x[row + f], sum[f] = to_x[row + f];
    const V* b = y + column;
    V* to = to_y + (of_y ? column : 0);
    for (int j = j1 - j0 - 1; j >= 0; j--) {
      const V s = slope[j];
      b -= step;
      if (of_y) to -= step;
      TA_UNROLL
      for (int f = 0; f < F; f++) {
        V total = of_y ? to[f] : V{};
        add_terms<L, cost, of_y>(s, a[f], b[f], sum[f], total);
        if (of_y) to[f] = total;
      }
    }
    for (int f = 0; f < F; f++) to_x[row + f] = sum[f];
  };
  for (int f = 0; f < features; f += kFeatures) {
    const Group group = group_at(f, features);
    if (group.count == kFeatures) some(std::integral_constant<int, kFeatures>(), group, 0);
    else
      for (int u = 0; u < group.count; u++) some(std::integral_constant<int, 1>(), group, u);
  }
}

// Numbers of pairs side by side, [count] vectors, from (to) where each pair has its own.
template <class L, class Where>
void gather(const typename L::Scalar* const* from, size_t count, const Where& where) {
  size_t i = 0;
  for (; i + L::size <= count; i += L::size) {
    typename L::V block[L::size];
    TA_UNROLL
    for (int l = 0; l < L::size; l++) block[l] = L::load(from[l] + i);
    L::turn(block);
    TA_UNROLL
    for (int l = 0; l < L::size; l++) where() = block[l];
  }
  for (; i < count; i++) {
    typename L::V one;
    for (int l = 0; l < L::size; l++) one[l] = from[l][i];
    where() = one;
  }
}
template <class L, class Where>
void scatter(const Where& where, size_t count, typename L::Scalar* const* to, int pairs) {
  size_t i = 0;
  for (; i + L::size <= count; i += L::size) {
    typename L::V block[L::size];
    TA_UNROLL
    for (int l = 0; l < L::size; l++) block[l] = where();
    L::turn(block);
    for (int l = 0; l < pairs; l++) L::store(to[l] + i, block[l]);
  }
  for (; i < count; i++) {
    const typename L::V one = where();
    for (int l = 0; l < pairs; l++) to[l][i] = one[l];
  }
}

// The places of frames' numbers, feature after feature and frame after frame.
template <class V>
class Places {
 public:
  Places(V* base, int frames, int features) : base_(base), frames_(frames), features_(features) {}
  V& operator()() const {
    if (f_ == features_) f_ = 0, frame_++;
    const Group group = group_at(f_ - f_ % kFeatures, features_);
    return base_[place(group, frame_, frames_) + f_++ % kFeatures];
  }

 private:
  V* base_;
  int frames_, features_;
  mutable int frame_ = 0, f_ = 0;
};

// Pairs side by side.
template <class X>
class SideFrames {
  using T = typename X::Scalar;
  using V = typename X::V;
  static constexpr int W = X::lanes;
  using L = Lanes<T, W * int(sizeof(T))>;

 public:
  SideFrames(const Problem<T>& problem, const Pair<T>* pairs, int count) : problem_(problem), pairs_(pairs), count_(count) {
    given_ = problem.model.cost == Cost::given;
    for (int l = 0; l < W; l++) n_ = pairs[l].n > n_ ? pairs[l].n : n_, m_ = pairs[l].m > m_ ? pairs[l].m : m_;
    if (given_) return;
    auto pack = [&](bool y, Buffer<V>& to) {
      const int frames = y ? m_ : n_;
      const size_t size = size_t(frames) * problem.features;
      const T* from[W];
      for (int l = 0; l < W; l++) from[l] = y ? pairs[l].y : pairs[l].x;
      to.make(size);
      gather<L>(from, size, Places<V>(to.get(), frames, problem.features));
    };
    pack(false, x_), pack(true, y_);
  }

  void row(int i, int j0, int j1, V* out) const {
    if (given_) {
      const T* from[W];
      for (int l = 0; l < W; l++) from[l] = pairs_[l].x + size_t(i) * problem_.m + j0;
      gather<L>(from, j1 - j0, [&]() -> V& { return *out++; });
      out -= j1 - j0;
    } else {
      with_cost(problem_.model.cost, [&](auto cost) { costs<decltype(cost)::value>(i, j0, j1, out); });
    }
    if (pairs_[0].mask)
      for (int l = 0; l < W; l++) {
        const uint8_t* mask = pairs_[l].mask + size_t(i) * problem_.m;
        for (int j = j0; j < j1; j++)
          if (!mask[j]) out[j - j0][l] = kInfinite<T>;
      }
  }

  // To be called before the first slope comes.
  void expect() {
    const Wanted<T>& wanted = pairs_[0].wanted;
    if (given_ || wanted.cells) {
      const bool whole = problem_.model.window.is_open() && n_ == problem_.n && m_ == problem_.m;
      for (int l = 0; !whole && l < count_; l++) {
        T* to = matrix(l);
        for (size_t k = 0; to && k < size_t(problem_.n) * problem_.m; k++) to[k] = T(0);
      }
      return;
    }
    if (!wanted.x && !wanted.y) return;
    const size_t of_x = size_t(n_) * problem_.features, of_y = size_t(m_) * problem_.features;
    to_x_.make(of_x), to_y_.make(wanted.y ? of_y : 0);
    for (size_t k = 0; k < of_x; k++) to_x_[k] = V{};
    for (size_t k = 0; wanted.y && k < of_y; k++) to_y_[k] = V{};
    bool finite = true;
    for (int l = 0; l < W; l++) finite = finite && pairs_[l].finite;
    if (finite) return;
    tame_x_.make(of_x), tame_y_.make(of_y);
    for (size_t k = 0; k < of_x; k++)
      for (int l = 0; l < W; l++) tame_x_[k][l] = tamed(x_[k][l]);
    for (size_t k = 0; k < of_y; k++)
      for (int l = 0; l < W; l++) tame_y_[k][l] = tamed(y_[k][l]);
  }

  void operator()(int i, int j0, int j1, const V* slope) {
    if (given_ || pairs_[0].wanted.cells) {
      T* to[W];
      if (!matrix(0)) return;
      for (int l = 0; l < count_; l++) to[l] = matrix(l) + size_t(i) * problem_.m + j0;
      return scatter<L>([&] { return *slope++; }, j1 - j0, to, count_);
    }
    if (to_x_.get()) with_cost(problem_.model.cost, [&](auto cost) { pull<decltype(cost)::value>(i, j0, j1, slope); });
  }

  // Hands the gradients out; what lies past the true lengths has none.
  void finish() {
    if (!to_x_.get()) return;
    const Wanted<T>& wanted = pairs_[0].wanted;
    const V twice = X::all(problem_.model.cost == Cost::sqeuclidean ? T(2) : T(1));
    auto unpack = [&](bool y, Buffer<V>& from) {
      const int frames = y ? m_ : n_;
      const size_t size = size_t(frames) * problem_.features, whole = size_t(y ? problem_.m : problem_.n) * problem_.features;
      T* to[W];
      for (size_t k = 0; k < size; k++) from[k] *= twice;
      for (int l = 0; l < count_; l++) to[l] = y ? pairs_[l].wanted.y : pairs_[l].wanted.x;
      scatter<L>(Places<V>(from.get(), frames, problem_.features), size, to, count_);
      for (int l = 0; l < count_; l++)
        for (size_t k = size; k < whole; k++) to[l][k] = T(0);
    };
    if (wanted.x) unpack(false, to_x_);
    if (wanted.y) unpack(true, to_y_);
  }

 private:
  const Problem<T>& problem_;
  const Pair<T>* pairs_;  // W, the last repeated
  int count_, n_ = 0, m_ = 0;
  bool given_;
  Buffer<V> x_, y_, tame_x_, tame_y_, to_x_, to_y_;

  T* matrix(int l) const { return pairs_[l].wanted.cells ? pairs_[l].wanted.cells : pairs_[l].wanted.x; }

  template <Cost cost>
  void costs(int i, int j0, int j1, V* out) const {
    side_costs<L, cost>(x_.get(), y_.get(), n_, m_, problem_.features, i, j0, j1, out);
  }

  template <Cost cost>
  void pull(int i, int j0, int j1, const V* slope) {
    V terms[kTile];
    if constexpr (cost == Cost::euclidean) {
      costs<cost>(i, j0, j1, terms);
      for (int j = 0; j < j1 - j0; j++) terms[j] = of_terms<L, cost>(slope[j], terms[j]);
      slope = terms;
    }
    const V *x = (tame_x_.get() ? tame_x_ : x_).get(), *y = (tame_y_.get() ? tame_y_ : y_).get();
    const int features = problem_.features;
    if (to_y_.get()) side_pulls<L, cost, true>(x, y, n_, m_, features, i, j0, j1, slope, to_x_.get(), to_y_.get());
    else side_pulls<L, cost, false>(x, y, n_, m_, features, i, j0, j1, slope, to_x_.get(), nullptr);
  }
};

// What slopes of a strip do, on steps q0 .. q1 - 1, to F features: `xs` and `to_xs` are [F][K vectors],
// `ys` columns in reverse [F][stride], `to_ys` [F][m]; `handed` [F][K vectors] is what the columns that
// the strip's rows stand on have got so far.
template <class L, Cost cost, bool of_y, int K, int F>
void strip_pull(const typename L::Scalar* xs, const typename L::Scalar* ys, size_t stride, size_t origin, int m, int q0, int q1,
                const typename L::V* slope, typename L::Scalar* to_xs, typename L::Scalar* to_ys, typename L::Scalar* handed) {
  using V = typename L::V;
  constexpr int size = L::size, rows = K * size;
  V a[F][K], sum[F][K], column[F][K];
  for (int f = 0; f < F; f++)
    for (int k = 0; k < K; k++) {
      a[f][k] = L::load(xs + f * rows + k * size), sum[f][k] = L::load(to_xs + f * rows + k * size);
      if (of_y) column[f][k] = L::load(handed + f * rows + k * size);
    }
  for (int q = q1 - 1; q >= q0; q--) {
    const int below = q - (rows - 1);
    const bool comes = below >= 0 && below < m, goes = q < m;
    TA_UNROLL
    for (int f = 0; f < F; f++) {
      V under = V{};
      if (of_y && comes) under = L::all(to_ys[size_t(f) * m + below]);
      TA_UNROLL
      for (int k = 0; k < K; k++) {
        const V from = k + 1 < K ? column[f][k + 1 < K ? k + 1 : 0] : under;
        if (of_y) column[f][k] = L::raise(column[f][k], from);
        add_terms<L, cost, of_y>(slope[(q - q0) * K + k], a[f][k], L::load(ys + f * stride + origin + k * size - q), sum[f][k], column[f][k]);
      }
      if (of_y && goes) to_ys[size_t(f) * m + q] = column[f][0][0];
    }
  }
  for (int f = 0; f < F; f++)
    for (int k = 0; k < K; k++) {
      L::store(to_xs + f * rows + k * size, sum[f][k]);
      if (of_y) L::store(handed + f * rows + k * size, column[f][k]);
    }
}

// Strips of rows of one pair.
template <class X, int K>
class StripFrames {
  using T = typename X::Scalar;
  using V = typename X::V;
  static constexpr int W = X::lanes, height = K * W;
  using L = Lanes<T, W * int(sizeof(T))>;

 public:
  StripFrames(const Problem<T>& problem, const Pair<T>& pair) : problem_(problem), pair_(pair) {
    given_ = problem.model.cost == Cost::given;
    if (given_) return;
    const int features = problem.features, strips = (pair.n + height - 1) / height, pad = height + 8;
    stride_ = pair.m + 2 * pad + kTile;
    origin_ = pad + kTile + pair.m - 1;  // of row 0 on anti-diagonal 0
    x_.make(size_t(strips) * features * height);
    y_.make(features * stride_);
    lay(x_, y_, false);
  }

  void strip(int first, int q0, int q1, V* out) const {
    if (given_) {
      blocks(first, q0, q1, pair_.x, [&](int q, int k, const T* corner) {
        V block[W];
        TA_UNROLL
        for (int l = 0; l < W; l++) block[l] = L::load(corner + l * (ptrdiff_t(problem_.m) - 1));
        L::turn(block);
        TA_UNROLL
        for (int u = 0; u < W; u++) out[(q - q0 + u) * K + k] = block[u];
      }, [&](int q, int r, const T* cell) { out[(q - q0) * K + r / W][r % W] = cell ? *cell : kInfinite<T>; });
    } else {
      with_cost(problem_.model.cost, [&](auto cost) { costs<decltype(cost)::value>(first, q0, q1, out); });
    }
    if (pair_.mask)
      for (int r = 0; r < height && first + r < pair_.n; r++)
        for (int q = q0; q < q1; q++) {
          const int j = q - r;
          if (j >= 0 && j < pair_.m && !pair_.mask[size_t(first + r) * problem_.m + j]) out[(q - q0) * K + r / W][r % W] = kInfinite<T>;
        }
  }

  void expect() {
    if (given_ || pair_.wanted.cells) {
      const bool whole = problem_.model.window.is_open() && pair_.n == problem_.n && pair_.m == problem_.m;
      T* to = whole ? nullptr : matrix();
      for (size_t k = 0; to && k < size_t(problem_.n) * problem_.m; k++) to[k] = T(0);
      return;
    }
    if (!pair_.wanted.x && !pair_.wanted.y) return;
    const int features = problem_.features, strips = (pair_.n + height - 1) / height;
    const size_t of_x = size_t(strips) * features * height, of_y = size_t(features) * pair_.m;
    to_x_.make(of_x), to_y_.make(pair_.wanted.y ? of_y : 0), handed_.make(of_x);
    for (size_t k = 0; k < of_x; k++) to_x_[k] = handed_[k] = T(0);
    for (size_t k = 0; pair_.wanted.y && k < of_y; k++) to_y_[k] = T(0);
    if (pair_.finite) return;
    tame_x_.make(of_x), tame_y_.make(features * stride_);
    lay(tame_x_, tame_y_, true);
  }

  // `highest` and `lowest`: whether these are the first and the last steps of the strip.
  void operator()(int first, int q0, int q1, const V* slope, bool highest, bool lowest) {
    if (given_ || pair_.wanted.cells) {
      if (!matrix()) return;
      blocks(first, q0, q1, matrix(), [&](int q, int k, T* corner) {
        V block[W];
        TA_UNROLL
        for (int u = 0; u < W; u++) block[u] = slope[(q - q0 + u) * K + k];
        L::turn(block);
        TA_UNROLL
        for (int l = 0; l < W; l++) L::store(corner + l * (ptrdiff_t(problem_.m) - 1), block[l]);
      }, [&](int q, int r, T* cell) {
        if (cell) *cell = slope[(q - q0) * K + r / W][r % W];
      });
      return;
    }
    if (!to_x_.get()) return;
    // Columns that a window lets in midway bring what they have got, and take it out again midway.
    if (highest) pass(first, q1, true);
    with_cost(problem_.model.cost, [&](auto cost) { pull<decltype(cost)::value>(first, q0, q1, slope); });
    if (lowest) pass(first, q0, false);
  }

  void finish() {
    if (!to_x_.get()) return;
    const int features = problem_.features;
    const T twice = problem_.model.cost == Cost::sqeuclidean ? T(2) : T(1);
    for (int i = 0; pair_.wanted.x && i < problem_.n; i++)
      for (int f = 0; f < features; f++)
        pair_.wanted.x[size_t(i) * features + f] = i < pair_.n ? twice * to_x_[(size_t(i / height) * features + f) * height + i % height] : T(0);
    for (int j = 0; pair_.wanted.y && j < problem_.m; j++)
      for (int f = 0; f < features; f++) pair_.wanted.y[size_t(j) * features + f] = j < pair_.m ? twice * to_y_[size_t(f) * pair_.m + j] : T(0);
  }

 private:
  const Problem<T>& problem_;
  const Pair<T>& pair_;
  bool given_;
  size_t stride_ = 0, origin_ = 0;
  Buffer<T> x_, y_, tame_x_, tame_y_;   // [strip][F][height], and [F][stride] in reverse
  Buffer<T> to_x_, to_y_, handed_;      // [strip][F][height], [F][m], and of columns on the way

  T* matrix() const { return pair_.wanted.cells ? pair_.wanted.cells : pair_.wanted.x; }

  // The cells of a matrix [n, m] that a strip comes by on steps q0 .. q1 - 1: W steps of W rows at once,
  // `corner` being the cell of the first row on the first step, wherever all of them are cells; else one
  // by one, null where there is none.
  template <class U, class Whole, class Single>
  void blocks(int first, int q0, int q1, U* matrix, const Whole& whole, const Single& single) const {
    for (int k = 0; k < K; k++) {
      const int i = first + k * W;
      for (int q = q0; q < q1;) {
        const int j = q - k * W;  // of the first row
        if (i + W <= pair_.n && q + W <= q1 && j - (W - 1) >= 0 && j + W <= pair_.m) {
          whole(q, k, matrix + size_t(i) * problem_.m + j);
          q += W;
          continue;
        }
        for (int l = 0; l < W; l++) {
          const bool there = i + l < pair_.n && j - l >= 0 && j - l < pair_.m;
          single(q, k * W + l, there ? matrix + size_t(i + l) * problem_.m + (j - l) : nullptr);
        }
        q++;
      }
    }
  }

  void lay(const Buffer<T>& x, const Buffer<T>& y, bool tame) const {
    const int features = problem_.features, strips = (pair_.n + height - 1) / height;
    for (int i = 0; i < strips * height; i++)
      for (int f = 0; f < features; f++) {
        const T v = i < pair_.n ? pair_.x[size_t(i) * features + f] : T(0);
        x[(size_t(i / height) * features + f) * height + i % height] = tame ? tamed(v) : v;
      }
    for (int f = 0; f < features; f++) {
      T* row = y.get() + f * stride_;
      for (size_t i = 0; i < stride_; i++) row[i] = 0;
      for (int j = 0; j < pair_.m; j++) {
        const T v = pair_.y[size_t(j) * features + f];
        row[origin_ - j] = tame ? tamed(v) : v;
      }
    }
  }

  // Between what columns have got and the rows of a strip that stand on them at step q.
  void pass(int first, int q, bool in) {
    for (int r = 0; to_y_.get() && r < height; r++) {
      const int j = q - r;
      for (int f = 0; j >= 0 && j < pair_.m && f < problem_.features; f++) {
        T& here = handed_[size_t(first) * problem_.features + size_t(f) * height + r];
        T& there = to_y_[size_t(f) * pair_.m + j];
        if (in) here = there;
        else there = here;
      }
    }
  }

  template <Cost cost>
  void costs(int first, int q0, int q1, V* out) const {
    const T* xs = x_.get() + size_t(first) * problem_.features;
    strip_costs<L, cost, K>(xs, y_.get(), stride_, origin_, problem_.features, q0, (q1 - q0 + 3) / 4 * 4, reinterpret_cast<T*>(out));
  }

  template <Cost cost>
  void pull(int first, int q0, int q1, const V* slope) {
    V terms[kTile * K];
    if constexpr (cost == Cost::euclidean) {
      costs<cost>(first, q0, q1, terms);
      for (int c = 0; c < (q1 - q0) * K; c++) terms[c] = of_terms<L, cost>(slope[c], terms[c]);
      slope = terms;
    }
    if (to_y_.get()) pulls<cost, true>(first, q0, q1, slope);
    else pulls<cost, false>(first, q0, q1, slope);
  }

  template <Cost cost, bool of_y>
  __attribute__((noinline)) void pulls(int first, int q0, int q1, const V* slope) {
    const int features = problem_.features, m = pair_.m;
    const size_t at = size_t(first) * features;
    const T *xs = (tame_x_.get() ? tame_x_ : x_).get() + at, *ys = (tame_y_.get() ? tame_y_ : y_).get();
    T *to_xs = to_x_.get() + at, *to_ys = to_y_.get(), *handed = handed_.get() + at;
    auto some = [&](auto number, int f) {
      constexpr int F = decltype(number)::value;
      strip_pull<L, cost, of_y, K, F>(xs + f * height, ys + f * stride_, stride_, origin_, m, q0, q1, slope, to_xs + f * height, to_ys + size_t(f) * m, handed + f * height);
    };
    int f = 0;
    for (; f + 2 <= features; f += 2) some(std::integral_constant<int, 2>(), f);
    for (; f < features; f++) some(std::integral_constant<int, 1>(), f);
  }
};

}  // namespace tempalign::TA_LEVEL

// What a level offers of the soft minimum: which kind of exponents a pair needs, pairs side by side, and
// one long pair.
#pragma once
#include "scan.h"
#include "soft_frames.h"

namespace tempalign::TA_LEVEL {

constexpr int kSoftVectors = 2;  // of rows in a strip

// Calls body(X()) for the exponents of a kind.
template <class T, class Body>
void with_exponents(int kind, const Body& body) {
  constexpr int narrow = TA_BYTES / 4, wide = TA_BYTES / 8;  // lanes follow the wider of mantissa and exponent
  if constexpr (sizeof(T) == 4) {
    if (kind == kNarrow) return body(Exponent<float, narrow, int32_t>());
    return body(Exponent<float, wide, int64_t>());
  } else {
    (void)kind;
    (void)narrow;
    return body(Exponent<double, wide, int64_t>());
  }
}

// Of a sequence (given costs) the largest length of a frame (cost) that is finite: what bounds costs.
template <class T>
double largest(const Problem<T>& problem, const T* numbers, bool y) {
  const Cost cost = problem.model.cost;
  if (cost == Cost::given && y) return 0;
  const int count = y ? problem.m : problem.n, features = cost == Cost::given ? problem.m : problem.features;
  double most = 0;
  for (int i = 0; i < count; i++) {
    const T* frame = numbers + size_t(i) * features;
    double total = 0;
    if (cost == Cost::given) {
      // As bits, which are in the numbers' own order; what is not finite stands above all.
      using Bits = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
      constexpr Bits sign = sizeof(T) == 4 ? Bits(0x7fffffff) : Bits(0x7fffffffffffffffll);
      constexpr Bits infinite = sizeof(T) == 4 ? Bits(0x7f800000) : Bits(0x7ff0000000000000ll);
      Bits highest = 0;
      for (int f = 0; f < features; f++) {
        Bits bits;
        __builtin_memcpy(&bits, frame + f, sizeof bits);
        bits &= sign;
        bits = bits < infinite ? bits : Bits(0);
        highest = bits > highest ? bits : highest;
      }
      T here;
      __builtin_memcpy(&here, &highest, sizeof here);
      total = double(here);
    } else if (cost == Cost::manhattan) {
      for (int f = 0; f < features; f++) total += double(frame[f] < 0 ? -frame[f] : frame[f]);
    } else {
      for (int f = 0; f < features; f++) total += double(frame[f]) * double(frame[f]);
    }
    if (total < kInfinite<double> && total > most) most = total;
  }
  return cost == Cost::given || cost == Cost::manhattan ? most : __builtin_sqrt(most);
}

template <class T>
int soft_kind(const Problem<T>& problem, const Pair<T>& pair, double of_x, double of_y) {
  const Model& model = problem.model;
  const double sum = of_x + of_y;
  const double cost = model.cost == Cost::inner ? 1 + of_x * of_y : model.cost == Cost::sqeuclidean ? sum * sum : sum;
  double most = cost;
  const Move* moves[3] = {&model.row, &model.column, &model.diagonal};
  for (int k = 0; k < 3; k++) {
    const double price = (moves[k]->weighted ? double(pair.prices[k]) : 1) * cost + (moves[k]->penalised ? double(pair.prices[3]) : 0);
    most = price > most ? price : most;
  }
  int found = kVast;
  for (int kind : {kWide, kNarrow})
    with_exponents<T>(kind, [&](auto x) {
      if (decltype(x)::fits(most, double(pair.gamma), pair.n, pair.m)) found = kind;
    });
  return found;
}

// What is beside the value: of a pair without a path, or with a NaN on it, nothing.
template <class X, class T>
void hand_out(const Problem<T>& problem, const Pair<T>& pair, const Results<X>& found, int lane) {
  const T nan = T(__builtin_nan(""));
  const T value = is_poisoned(problem, pair) ? nan : found.value[lane];
  *pair.value = value;
  const Wanted<T>& wanted = pair.wanted;
  if (wanted.entropy) *wanted.entropy = found.entropy[lane];
  if (wanted.prices) {
    const Move* moves[3] = {&problem.model.row, &problem.model.column, &problem.model.diagonal};
    double penalty = 0;
    for (int k = 0; k < 3; k++) {
      wanted.prices[k] = moves[k]->weighted ? T(found.by_weight[k][lane]) : T(0);
      if (moves[k]->penalised) penalty += found.by_penalty[k][lane];
    }
    wanted.prices[3] = T(penalty);
  }
  if (wanted.cells && !(value > -kInfinite<T> && value < kInfinite<T>))
    for (int i = 0; i < pair.n; i++)
      for (int j = 0; j < pair.m; j++) wanted.cells[size_t(i) * problem.m + j] = nan;
}

template <class X, class T>
Lot<X> lot_of(const Problem<T>& problem, const Pair<T>* pairs, int count) {
  Lot<X> lot;
  lot.model = problem.model;
  for (int l = 0; l < X::lanes; l++) lot.set(l, pairs[l < count ? l : count - 1]);
  lot.entropy = pairs[0].wanted.entropy;
  lot.visits = pairs[0].wanted.cells;
  return lot;
}

// First and last columns of the rows of pairs, [n][lanes].
template <class T>
void windows_of(const Problem<T>& problem, const Pair<T>* pairs, int lanes, int n, int32_t* first, int32_t* last) {
  bool differ = false;
  for (int l = 1; l < lanes; l++) differ |= pairs[l].n != pairs[0].n || pairs[l].m != pairs[0].m;
  for (int i = 0; i < n; i++)
    for (int l = 0; l < lanes; l++) {
      const size_t at = size_t(i) * lanes + l;
      if (l && !differ) {
        first[at] = first[at - 1], last[at] = last[at - 1];
        continue;
      }
      const Range range = i < pairs[l].n ? columns_of(problem.model.window, i, pairs[l].n, pairs[l].m) : Range{0, -1};
      first[at] = range.first, last[at] = range.last;
    }
}

template <class X, class T, class Algorithm, class Frames>
void run_soft(const Problem<T>& problem, const Pair<T>* pairs, int count, Algorithm& algorithm, Frames& frames) {
  Results<X> found;
  if (pairs[0].wanted.any()) {
    frames.expect();
    algorithm.gradient(frames, frames, found);
    frames.finish();
  } else {
    algorithm.value(frames, found);
  }
  for (int l = 0; l < count; l++) hand_out<X>(problem, pairs[l], found, l);
}

template <class T>
void soft_side(const Problem<T>& problem, const Pair<T>* given, int count, int kind) {
  with_exponents<T>(kind, [&](auto x) {
    using X = decltype(x);
    Pair<T> pairs[X::lanes];
    for (int l = 0; l < X::lanes; l++) pairs[l] = given[l < count ? l : count - 1];
    Lot<X> lot = lot_of<X>(problem, pairs, X::lanes);
    const bool windowed = !problem.model.window.is_open();
    Buffer<int32_t> first(windowed ? size_t(lot.n) * X::lanes : 0), last(windowed ? size_t(lot.n) * X::lanes : 0);
    if (windowed) windows_of(problem, pairs, X::lanes, lot.n, first.get(), last.get());
    lot.first = first.get(), lot.last = last.get();
    SideFrames<X> frames(problem, pairs, count);
    Soft<X> soft(lot);
    run_soft<X>(problem, pairs, count, soft, frames);
  });
}

template <class T>
void soft_one(const Problem<T>& problem, const Pair<T>& pair, int kind, const Sharing& sharing) {
  with_exponents<T>(kind, [&](auto x) {
    using X = decltype(x);
    Lot<X> lot = lot_of<X>(problem, &pair, 1);
    const bool windowed = !problem.model.window.is_open();
    Buffer<int32_t> first(windowed ? lot.n : 0), last(windowed ? lot.n : 0);
    if (windowed) windows_of(problem, &pair, 1, lot.n, first.get(), last.get());
    lot.first = first.get(), lot.last = last.get();
    StripFrames<X, kSoftVectors> frames(problem, pair);
    Long<X, kSoftVectors> soft(lot, sharing);
    run_soft<X>(problem, &pair, 1, soft, frames);
  });
}

}  // namespace tempalign::TA_LEVEL

// DejaVid's distance: rows are steps of a centroid, columns frames of a sample, and a cell costs
//
//     sum_f weight[i, f] |centroid[i, f] - x[j, f]|.
//
// Frames have hundreds or thousands of features here, so lanes are features: a tile of cells is
// summed up in registers, and no sequence is laid out anew. The recurrence over the few cells of a
// pair costs nothing beside that, and is written plainly.
#pragma once
#include "hard.h"
#include "problem.h"

namespace tempalign::TA_LEVEL {

constexpr int kTileRows = 2, kTileFrames = 4;  // cells that are summed up together
constexpr int kStripRows = 8;                  // steps that meet the frames together
constexpr int kChunk = 1024;                   // bytes of a frame that stay in the first cache meanwhile

// Adds up features [begin, end) of R steps by K frames, lane by lane; a cell is the same sum in every
// tile. `total` are vectors [R][stride].
template <class T, int R, int K>
void weighted_tile(const T* const* centroid, const T* const* weight, const T* const* x, int begin, int end, T* total, size_t stride) {
  using L = Lanes<T>;
  using V = typename L::V;
  V sum[R][K];
  for (int r = 0; r < R; r++)
    for (int k = 0; k < K; k++) sum[r][k] = L::load(total + (r * stride + k) * L::size);
  for (int f = begin; f < end; f += L::size) {
    V frame[K];
    TA_UNROLL
    for (int k = 0; k < K; k++) frame[k] = L::load(x[k] + f);
    TA_UNROLL
    for (int r = 0; r < R; r++) {
      const V c = L::load(centroid[r] + f), w = L::load(weight[r] + f);
      TA_UNROLL
      for (int k = 0; k < K; k++) sum[r][k] = L::fma(w, L::absolute(c - frame[k]), sum[r][k]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int k = 0; k < K; k++) L::store(total + (r * stride + k) * L::size, sum[r][k]);
}

// What is left of the features behind the last whole vector, and the sum over the lanes.
template <class T>
T weighted_rest(const T* centroid, const T* weight, const T* x, int features, const T* total) {
  T sum = 0;
  for (int f = features / Lanes<T>::size * Lanes<T>::size; f < features; f++) {
    const T d = centroid[f] - x[f];
    sum += weight[f] * (d < 0 ? -d : d);
  }
  for (int l = 0; l < Lanes<T>::size; l++) sum += total[l];
  return sum;
}

// Costs of steps first .. first + count - 1 with all frames: out [count][m]. `total` is scratch memory,
// vectors [count][m].
template <class T>
void weighted_strip(const Weighted<T>& pair, int first, int count, T* total, T* out) {
  constexpr int lanes = Lanes<T>::size, chunk = kChunk / int(sizeof(T));
  const size_t features = pair.features;
  const int m = pair.m, whole = pair.features / lanes * lanes;
  for (size_t k = 0; k < size_t(count) * m * lanes; k++) total[k] = 0;
  auto tile = [&](auto high, auto wide, int r, int j, int begin, int end) {
    constexpr int R = decltype(high)::value, K = decltype(wide)::value;
    const T *centroid[R], *weight[R], *x[K];
    for (int k = 0; k < R; k++) {
      centroid[k] = pair.centroid + (first + r + k) * features;
      weight[k] = pair.weight + (first + r + k) * features;
    }
    for (int k = 0; k < K; k++) x[k] = pair.x + (j + k) * features;
    weighted_tile<T, R, K>(centroid, weight, x, begin, end, total + (size_t(r) * m + j) * lanes, m);
  };
  using One = std::integral_constant<int, 1>;
  auto row_of_tiles = [&](auto high, int r, int begin, int end) {
    int j = 0;
    for (; j + kTileFrames <= m; j += kTileFrames) tile(high, std::integral_constant<int, kTileFrames>(), r, j, begin, end);
    for (; j < m; j++) tile(high, One(), r, j, begin, end);
  };
  for (int begin = 0; begin < whole; begin += chunk) {
    const int end = whole - begin < chunk ? whole : begin + chunk;
    int r = 0;
    for (; r + kTileRows <= count; r += kTileRows) row_of_tiles(std::integral_constant<int, kTileRows>(), r, begin, end);
    for (; r < count; r++) row_of_tiles(One(), r, begin, end);
  }
  for (int r = 0; r < count; r++)
    for (int j = 0; j < m; j++) {
      const size_t step = (first + r) * features, cell = size_t(r) * m + j;
      out[cell] = weighted_rest(pair.centroid + step, pair.weight + step, pair.x + j * features, pair.features, total + cell * lanes);
    }
}

// Scratch memory of a pair: a strip's sums and costs, states, and where the path is wanted a byte for
// each cell.
template <class T>
size_t weighted_bytes(int n, int m, bool path) {
  return (size_t(kStripRows) * (Lanes<T>::size + 1) + 1) * m * sizeof(T) + (path ? size_t(n) * m : 0) + 64;
}

// The distance, and the path as rows [diagonals], -1 where it has no cell, unless that is null.
template <class T>
T weighted_distance(const Weighted<T>& pair, int diagonals, void* scratch, int32_t* rows) {
  const int n = pair.n, m = pair.m;
  T* total = static_cast<T*>(scratch);
  T* cost = total + size_t(kStripRows) * Lanes<T>::size * m;
  T* state = cost + size_t(kStripRows) * m;
  auto* moves = reinterpret_cast<uint8_t*>(state + m);
  const T across = pair.diagonal ? T(0) : kInfinite<T>;
  for (int first = 0; first < n;) {
    const int count = n - first < kStripRows ? n - first : kStripRows;
    weighted_strip(pair, first, count, total, cost);
    for (int r = 0; r < count; r++) {
      const int i = first + r;
      const T* here = cost + size_t(r) * m;
      uint8_t* move = moves + size_t(i) * m;
      T left = kInfinite<T>, before = kInfinite<T>;
      for (int j = 0; j < m; j++) {
        const T up = i ? state[j] : kInfinite<T>;
        const T straight = up < left ? up : left;
        const T diagonal = before + across;
        T best = straight < diagonal ? straight : diagonal;
        int code = straight < diagonal ? (up < left ? kRow : kColumn) : kDiagonal;
        if (i == 0 || j == 0) {  // there is one way, also where costs are infinite
          best = i ? up : j ? left : T(0);
          code = i ? kRow : kColumn;
        } else if (!pair.diagonal && code == kDiagonal) {
          code = kColumn;
        }
        if (rows) move[j] = uint8_t(code);
        before = up;
        left = state[j] = best + here[j];
      }
    }
    first += count;
  }
  if (rows) {
    for (int p = 0; p < diagonals; p++) rows[p] = -1;
    for (int i = n - 1, j = m - 1;;) {
      rows[i + j] = i;
      if (i == 0 && j == 0) break;
      const int code = moves[size_t(i) * m + j];
      if (code != kColumn) i--;
      if (code != kRow) j--;
    }
  }
  return state[m - 1];
}

// Calls visit(step, frame) for the cells of a path; what does not lie in the arrays is left out.
template <class T, class Visit>
void along_weighted(const Weighted<T>& pair, const int32_t* rows, int diagonals, const Visit& visit) {
  for (int p = 0; p < diagonals; p++) {
    const int i = rows[p], j = p - i;
    if (i >= 0 && i < pair.n && j >= 0 && j < pair.m) visit(i, j);
  }
}

// The sum of costs along a path.
template <class T>
T weighted_along(const Weighted<T>& pair, const int32_t* rows, int diagonals) {
  T total = 0;
  along_weighted(pair, rows, diagonals, [&](int i, int j) {
    const size_t features = pair.features;
    const T *c = pair.centroid + i * features, *w = pair.weight + i * features, *x = pair.x + j * features;
    T sums[Lanes<T>::size] = {};
    weighted_tile<T, 1, 1>(&c, &w, &x, 0, pair.features / Lanes<T>::size * Lanes<T>::size, sums, 1);
    total += weighted_rest(c, w, x, pair.features, sums);
  });
  return total;
}

// d (w |c - x|) for tangents that may be null; |.| at 0 does not change.
template <class T>
T weighted_push(const Weighted<T>& pair, const int32_t* rows, int diagonals, const T* dx, const T* d_centroid, const T* d_weight) {
  const size_t features = pair.features;
  T total = 0;
  along_weighted(pair, rows, diagonals, [&](int i, int j) {
    const T *c = pair.centroid + i * features, *w = pair.weight + i * features, *x = pair.x + j * features;
    T here = 0;
    for (size_t f = 0; f < features; f++) {
      const T d = c[f] - x[f];
      const T moved = (d_centroid ? d_centroid[i * features + f] : T(0)) - (dx ? dx[j * features + f] : T(0));
      here += w[f] * (d > 0 ? moved : d < 0 ? -moved : T(0));
      if (d_weight) here += d_weight[i * features + f] * (d < 0 ? -d : d);
    }
    total += here;
  });
  return total;
}

// Adds the gradients in centroid (yet to be multiplied by the weight) and weight.
template <class T>
void weighted_pull_class(const Weighted<T>& pair, const int32_t* rows, int diagonals, T scale, T* to_centroid, T* to_weight) {
  using L = Lanes<T>;
  using V = typename L::V;
  const size_t features = pair.features;
  along_weighted(pair, rows, diagonals, [&](int i, int j) {
    const T *c = pair.centroid + i * features, *x = pair.x + j * features;
    T *dc = to_centroid + i * features, *dw = to_weight + i * features;
    const V plus = L::all(scale), zero = V{};
    size_t f = 0;
    for (; f + L::size <= features; f += L::size) {
      const V d = L::load(c + f) - L::load(x + f);
      L::store(dc + f, L::load(dc + f) + L::select(d > zero, plus, L::select(d < zero, -plus, zero)));
      L::store(dw + f, L::fma(plus, L::absolute(d), L::load(dw + f)));
    }
    for (; f < features; f++) {
      const T d = c[f] - x[f];
      dc[f] += d > 0 ? scale : d < 0 ? -scale : T(0);
      dw[f] += scale * (d < 0 ? -d : d);
    }
  });
}

// Adds the gradient in x.
template <class T>
void weighted_pull_x(const Weighted<T>& pair, const int32_t* rows, int diagonals, T scale, T* to_x) {
  using L = Lanes<T>;
  using V = typename L::V;
  const size_t features = pair.features;
  along_weighted(pair, rows, diagonals, [&](int i, int j) {
    const T *c = pair.centroid + i * features, *w = pair.weight + i * features, *x = pair.x + j * features;
    T* dx = to_x + j * features;
    const V by = L::all(scale), zero = V{};
    size_t f = 0;
    for (; f + L::size <= features; f += L::size) {
      const V d = L::load(c + f) - L::load(x + f), slope = by * L::load(w + f);
      L::store(dx + f, L::load(dx + f) + L::select(d > zero, -slope, L::select(d < zero, slope, zero)));
    }
    for (; f < features; f++) {
      const T d = c[f] - x[f], slope = scale * w[f];
      dx[f] += d > 0 ? -slope : d < 0 ? slope : T(0);
    }
  });
}

}  // namespace tempalign::TA_LEVEL

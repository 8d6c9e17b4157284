// Many pairs, side by side: a lane is a pair. Several rows go down each column together, so that a row
// of states is read and written once for all of them.
//
// Pairs of different lengths may stand side by side. What lies past a pair's last cell is computed for
// nothing, and cannot reach it.
#pragma once
#include "hard.h"
#include "scan.h"

namespace tempalign::TA_LEVEL {

constexpr int kColumns = kMoves;  // whose costs are computed, and moves stored, together
constexpr int kHeight = 4;    // rows that go down together

template <class T>
struct Side {  // what the strips of a block share
  const Problem<T>* problem;
  const Pair<T>* pairs;  // `lanes` of them, the last repeated
  const T *shared_x, *packed_x, *packed_y;
  int n, m;          // the longest
  bool fused, plain, windowed, masked, ranges_differ;
  T* row;            // [m] vectors, R of the row above
  T* last_column;    // [n] vectors
  T* last_row;       // [m] vectors
  uint8_t* ends;     // [m], whether a pair has its last column there
  typename Lanes<T>::Int* table;  // moves, two bits each: [n][m / 16] vectors
  size_t table_row;
};

// Sequences of pairs side by side, [frame][feature] vectors, whole: lengths are of pairs.
template <class T>
void block_pack(const Problem<T>& problem, const Pair<T>* pairs, int count, bool y, T* packed) {
  constexpr int lanes = Lanes<T>::size;
  const int features = problem.features;
  const size_t size = size_t(y ? problem.m : problem.n) * features;
  for (int l = 0; l < lanes; l++) {
    const Pair<T>& pair = pairs[l < count ? l : count - 1];
    const T* from = y ? pair.y : pair.x;
    for (size_t i = 0; i < size; i++) packed[i * lanes + l] = from[i];
  }
}

template <class T>
size_t block_bytes(const Problem<T>& problem) {
  const size_t lanes = Lanes<T>::size, n = problem.n, m = problem.m;
  size_t bytes = (m + 2) * lanes * sizeof(T) + m + 256;
  if (problem.model.end.is_open()) bytes += (n + m) * lanes * sizeof(T);
  if (problem.path) bytes += n * ((m + kMoves - 1) / kMoves) * lanes * sizeof(T);
  return bytes + 1024;
}

template <class T, bool fused, bool plain, bool path, int H>
void run_rows(const Side<T>& side, int first) {
  using L = Lanes<T>;
  using V = typename L::V;
  using I = typename L::I;
  constexpr int lanes = L::size;
  const Problem<T>& problem = *side.problem;
  const Model& model = problem.model;
  const int features = problem.features, m = side.m;
  const General<T> general(model, side.pairs, 1);

  I low[H] = {}, high[H] = {};
  int begin = 0, end = m;
  if (side.windowed) {
    begin = m, end = 0;
    for (int r = 0; r < H; r++)
      for (int l = 0; l < lanes; l++) {
        const Pair<T>& pair = side.pairs[l];
        if (l && !side.ranges_differ) {
          low[r][l] = low[r][0];
          high[r][l] = high[r][0];
          continue;
        }
        const Range range = first + r < pair.n ? columns_of(model.window, first + r, pair.n, pair.m) : Range{m, -1};
        low[r][l] = range.first;
        high[r][l] = range.last;
        if (range.first <= range.last) {
          begin = range.first < begin ? range.first : begin;
          end = range.last >= end ? range.last + 1 : end;
        }
      }
    begin = begin / kMoves * kMoves;
    // Nothing of these rows can be reached outside.
    for (int j = end > begin ? end : 0; j < m; j++) L::store(side.row + size_t(j) * lanes, L::all(kInfinite<T>));
    if (end <= begin) begin = end = 0;
  }

  V left[H];
  for (int r = 0; r < H; r++) left[r] = L::all(kInfinite<T>);
  V before = L::all(kInfinite<T>);
  if (begin > 0) before = L::load(side.row + size_t(begin - 1) * lanes);
  else if (plain && first == 0) before = V{};
  for (int j = 0; j < begin; j++) L::store(side.row + size_t(j) * lanes, L::all(kInfinite<T>));

  const T* x = side.shared_x ? side.shared_x + size_t(first) * features : side.packed_x ? side.packed_x + size_t(first) * features * lanes : nullptr;
  alignas(64) T costs[fused ? 1 : kColumns * H * lanes];
  V x0[H] = {};
  if constexpr (fused)
    for (int r = 0; r < H; r++) x0[r] = side.shared_x ? L::all(x[r]) : L::load(x + size_t(r) * lanes);

  constexpr int most = fused && !path ? 1 << 30 : kColumns;  // nothing is prepared or written for each few columns
  const uint8_t* ends = side.last_column ? side.ends : nullptr;
  T* const row = side.row;
  for (int j = begin; j < end;) {
    const int count = end - j < most ? end - j : most;
    if constexpr (!fused) {
      if (model.cost == Cost::given) {
        for (int l = 0; l < lanes; l++) {
          const Pair<T>& pair = side.pairs[l];
          for (int r = 0; r < H; r++) {
            const int inside = first + r < pair.n ? (pair.m - j < count ? pair.m - j : count) : 0;
            const T* from = pair.x + size_t(first + r) * problem.m + j;
            for (int c = 0; c < count; c++) costs[(c * H + r) * lanes + l] = c < inside ? from[c] : T(0);
          }
        }
      } else {
        with_cost(model.cost, [&](auto cost) {
          constexpr Cost kind = decltype(cost)::value;
          if (side.shared_x) rows_costs<T, kind, H, true>(x, side.packed_y, features, j, count, costs);
          else rows_costs<T, kind, H, false>(x, side.packed_y, features, j, count, costs);
        });
      }
      if (side.masked)
        for (int l = 0; l < lanes; l++) {
          const Pair<T>& pair = side.pairs[l];
          for (int r = 0; r < H && first + r < pair.n; r++)
            for (int c = 0; c < count && j + c < pair.m; c++)
              if (!pair.mask[size_t(first + r) * problem.m + j + c]) costs[(c * H + r) * lanes + l] = kInfinite<T>;
        }
    }
    typename L::Word moves[H] = {};
    for (int c = 0; c < count; c++) {
      const int column = j + c;
      T* state = row + size_t(column) * lanes;
      V up = L::load(state), diagonal = before;
      before = up;
      V y = {};
      if constexpr (fused) y = L::load(side.packed_y + size_t(column) * lanes);
      const I in_first = L::all_of(column == 0 ? -1 : 0);
      TA_UNROLL
      for (int r = 0; r < H; r++) {
        I code = {};
        V here;
        if constexpr (fused) {
          const V difference = y - x0[r];
          here = Plain<T>::template next<true, false>(difference, up, left[r], diagonal, path ? &code : nullptr);
        } else {
          V cost = L::load(costs + (c * H + r) * lanes);
          if (side.windowed) cost = L::select((low[r] <= column) & (high[r] >= column), cost, L::all(kInfinite<T>));
          if constexpr (plain) {
            here = Plain<T>::template next<false, false>(cost, up, left[r], diagonal, path ? &code : nullptr);
          } else {
            const int i = first + r;
            const bool begins = (i == 0 && column == 0) || (column == 0 && model.begin.x && Opening::within(i, model.begin.x)) ||
                                (i == 0 && model.begin.y && Opening::within(column, model.begin.y));
            here = general.next(cost, up, left[r], diagonal, in_first, L::all_of(begins ? -1 : 0), path ? &code : nullptr);
          }
        }
        if constexpr (path) moves[r] = written<T>(moves[r], code);
        diagonal = left[r];
        up = left[r] = here;
      }
      L::store(state, up);
      if (ends && ends[column])
        for (int r = 0; r < H; r++) {
          T states[lanes];
          L::store(states, left[r]);
          for (int l = 0; l < lanes; l++)
            if (side.pairs[l].m - 1 == column && first + r < side.pairs[l].n) side.last_column[size_t(first + r) * lanes + l] = states[l];
        }
    }
    if constexpr (path)
      for (int r = 0; r < H; r++) L::store_of(side.table + (first + r) * side.table_row + size_t(j) / kMoves * lanes, flushed<T>(moves[r], count));
    j += count;
  }
}

template <class T, bool path, int H>
void run_any_rows(const Side<T>& side, int first) {
  if (side.fused) return run_rows<T, true, true, path, H>(side, first);
  if (side.plain) return run_rows<T, false, true, path, H>(side, first);
  return run_rows<T, false, false, path, H>(side, first);
}

template <class T>
void block_run(const Problem<T>& problem, const Pair<T>* given, int count, const T* shared_x, const T* packed_x, const T* packed_y, void* scratch) {
  using L = Lanes<T>;
  constexpr int lanes = L::size;
  const Model& model = problem.model;
  Pair<T> pairs[lanes];
  Side<T> side = {};
  for (int l = 0; l < lanes; l++) {
    pairs[l] = given[l < count ? l : count - 1];
    side.n = pairs[l].n > side.n ? pairs[l].n : side.n;
    side.m = pairs[l].m > side.m ? pairs[l].m : side.m;
    side.ranges_differ |= pairs[l].n != pairs[0].n || pairs[l].m != pairs[0].m;
  }
  const int n = side.n, m = side.m;
  side.problem = &problem;
  side.pairs = pairs;
  side.shared_x = shared_x;
  side.packed_x = packed_x;
  side.packed_y = packed_y;
  side.windowed = !model.window.is_open();
  side.masked = pairs[0].mask != nullptr;
  side.plain = model.plain();
  side.fused = side.plain && model.cost == Cost::sqeuclidean && problem.features == 1 && !side.windowed && !side.masked;

  char* free = static_cast<char*>(scratch);
  free += (64 - reinterpret_cast<uintptr_t>(free) % 64) % 64;
  auto take = [&](size_t bytes) {
    char* found = free;
    free += (bytes + 63) / 64 * 64;
    return found;
  };
  side.row = reinterpret_cast<T*>(take(size_t(m) * lanes * sizeof(T)));
  side.ends = reinterpret_cast<uint8_t*>(take(m));
  if (model.end.is_open()) {
    side.last_column = reinterpret_cast<T*>(take(size_t(n) * lanes * sizeof(T)));
    side.last_row = reinterpret_cast<T*>(take(size_t(m) * lanes * sizeof(T)));
    for (size_t i = 0; i < size_t(n) * lanes; i++) side.last_column[i] = kInfinite<T>;
  }
  side.table_row = size_t(m + kMoves - 1) / kMoves * lanes;
  if (problem.path) side.table = reinterpret_cast<typename L::Int*>(take(n * side.table_row * sizeof(T)));
  for (int j = 0; j < m; j++) side.ends[j] = 0;
  for (int l = 0; l < lanes; l++) side.ends[pairs[l].m - 1] = 1;
  for (int j = 0; j < m; j++) L::store(side.row + size_t(j) * lanes, L::all(kInfinite<T>));

  T corner[lanes];
  for (int first = 0; first < n;) {
    // The last row of a pair must be the last of those that go down together.
    int height = kHeight;
    for (int l = 0; l < lanes; l++)
      if (pairs[l].n > first && pairs[l].n - first < height) height = 1;
    if (height == kHeight) {
      if (problem.path) run_any_rows<T, true, kHeight>(side, first);
      else run_any_rows<T, false, kHeight>(side, first);
    } else {
      if (problem.path) run_any_rows<T, true, 1>(side, first);
      else run_any_rows<T, false, 1>(side, first);
    }
    first += height;
    for (int l = 0; l < lanes; l++) {
      if (pairs[l].n != first) continue;
      corner[l] = side.row[size_t(pairs[l].m - 1) * lanes + l];
      if (side.last_row)
        for (int j = 0; j < pairs[l].m; j++) side.last_row[size_t(j) * lanes + l] = side.row[size_t(j) * lanes + l];
    }
  }

  for (int l = 0; l < count; l++) {
    const Pair<T>& pair = pairs[l];
    End<T> end = choose_end<T>(
        model, pair.n, pair.m, [&](int i) { return side.last_column[size_t(i) * lanes + l]; },
        [&](int j) { return j == pair.m - 1 ? corner[l] : side.last_row[size_t(j) * lanes + l]; });
    if (is_poisoned(problem, pair)) end.value = T(__builtin_nan(""));
    *pair.value = end.value;
    if (!problem.path) continue;
    for (int p = 0; p < problem.n + problem.m - 1; p++) pair.rows[p] = -1;
    if (!(end.value > -kInfinite<T> && end.value < kInfinite<T>)) continue;
    int i, j;
    walk_back(end.i, end.j, 0, [&](int a, int b) { return int(side.table[a * side.table_row + size_t(b) / kMoves * lanes + l] >> (2 * (b % kMoves))) & 3; }, pair.rows, &i, &j);
  }
}

}  // namespace tempalign::TA_LEVEL

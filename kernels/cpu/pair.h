// One pair. Strips of rows stand in registers and walk along the anti-diagonals: a step shifts by one
// lane, takes two minima and adds the cost, for several vectors that do not wait for each other. A
// strip hands its last row to the next; several threads follow each other as a wavefront.
//
// Nothing hangs on how rows are divided into strips, nor on who computes them: each cell is the same
// few operations on the same numbers.
#pragma once
#include <sched.h>

#include "hard.h"
#include "scan.h"

namespace tempalign::TA_LEVEL {

constexpr int kSteps = kMoves;  // anti-diagonals whose costs are computed, and moves stored, together
constexpr int kTall = 8;  // vectors of a strip, where costs are fused
constexpr int kUsual = 4;
constexpr int kAhead = 16 * kSteps;  // columns that the strip above has in hand: asking for each is slow
constexpr int kApart = 16;  // words between what strips tell each other, so that each is in a cache line of its own

// A table of moves that takes more than this is not kept whole, see `wave_end`.
constexpr size_t kMostTable = size_t(1) << 28;

struct Strip {
  int first;     // row of its first lane
  int vectors;   // of rows
  int last;      // its last row that there is, counted from `first`
  int begin, end;  // anti-diagonals counted from its first row: cell (r, c) is on r + c; multiples of 4
  size_t table;  // where its moves stand
};

template <class T>
struct Wave {
  using Int = typename Lanes<T>::Int;
  Problem<T> problem;
  Pair<T> pair;
  bool plain, fused;
  int strips;
  size_t stride, origin;
  Strip* strip;
  int* progress;        // columns of a strip's last row that are done, `kApart` for each strip
  T* ys;                // [F][stride], reversed
  T* top;               // [m], the row above the strip that is worked on
  T* last_column;       // [n], null if paths end in the last row
  T* kept;              // the rows above each part [m + 1], null where the table is kept whole
  Int* table;           // moves of a part, two bits each: [anti-diagonal / 16][row of the strip]
  int part;             // strips of a part
};

template <class T>
struct Layout {  // of the scratch memory; the same walk sizes and places
  char* base;
  size_t used = 0;
  template <class U>
  U* take(size_t count) {
    used = (used + 63) / 64 * 64;
    U* found = base ? reinterpret_cast<U*>(base + used) : nullptr;
    used += count * sizeof(U);
    return found;
  }
};

template <class T>
int most_strips(int n) {
  return n / Lanes<T>::size + 2;
}

// Divides the rows into strips; returns how many words the whole table of moves has.
template <class T>
size_t divide(const Wave<T>& wave, Strip* strip, int* count) {
  const Pair<T>& pair = wave.pair;
  const Window& window = wave.problem.model.window;
  const int lanes = Lanes<T>::size;
  size_t table = 0;
  int s = 0;
  for (int first = 0; first < pair.n; s++) {
    const int left = pair.n - first;
    const int vectors = wave.fused && left >= kTall * lanes ? kTall : left > lanes ? kUsual : 1;
    const Range begin = columns_of(window, first, pair.n, pair.m);
    const int rows = vectors * lanes, last = (left < rows ? left : rows) - 1;
    const Range end = columns_of(window, first + last, pair.n, pair.m);
    const int from = begin.first < pair.m ? begin.first : pair.m - 1;
    const int to = end.last > from ? end.last : from;
    strip[s] = {first, vectors, last, from / 4 * 4, (to + last + 1 + 3) / 4 * 4, table};
    table += size_t(strip[s].end - strip[s].begin + kMoves - 1) / kMoves * rows;
    first += rows;
  }
  *count = s;
  return table;
}

// Places everything in `base`; if that is null, only finds out how large it must be.
template <class T>
size_t lay_out(Wave<T>* wave, char* base) {
  const Problem<T>& problem = wave->problem;
  const Pair<T>& pair = wave->pair;
  Layout<T> layout{base};
  layout.template take<Wave<T>>(1);
  wave->strip = layout.template take<Strip>(most_strips<T>(pair.n));
  wave->progress = layout.template take<int>(size_t(most_strips<T>(pair.n)) * kApart);
  const size_t rows = size_t(kTall > kUsual ? kTall : kUsual) * Lanes<T>::size, pad = rows + kSteps + 16;
  wave->stride = pair.m + pad + rows;
  wave->origin = pad + pair.m - 1;
  wave->ys = problem.model.cost == Cost::given ? nullptr : layout.template take<T>(wave->stride * problem.features);
  wave->top = layout.template take<T>(pair.m + 32);
  if (base) wave->top += 16;
  wave->last_column = problem.model.end.x ? layout.template take<T>(pair.n) : nullptr;
  Strip* strip = base ? wave->strip : static_cast<Strip*>(__builtin_malloc(most_strips<T>(pair.n) * sizeof(Strip)));
  const size_t table = divide(*wave, strip, &wave->strips);
  wave->part = wave->strips;
  wave->kept = nullptr;
  size_t most = table;
  if (problem.path && table * sizeof(T) > kMostTable) {
    // Rows are kept every `part` strips; the table of a part is made when the path comes there.
    wave->part = 1;
    while (size_t(wave->part) * wave->part < size_t(wave->strips)) wave->part++;
    const int parts = (wave->strips + wave->part - 1) / wave->part;
    wave->kept = layout.template take<T>(size_t(parts) * (pair.m + 1));
    most = 0;
    for (int s = 0; s < wave->strips; s += wave->part) {
      const int next = s + wave->part;
      const size_t words = (next < wave->strips ? strip[next].table : table) - strip[s].table;
      most = words > most ? words : most;
    }
  }
  wave->table = problem.path ? layout.template take<typename Lanes<T>::Int>(most) : nullptr;
  if (!base) __builtin_free(strip);
  return layout.used + 64;
}

template <class T>
Wave<T> describe(const Problem<T>& problem, const Pair<T>& pair) {
  Wave<T> wave = {};
  wave.problem = problem;
  wave.pair = pair;
  wave.plain = problem.model.plain();
  wave.fused = wave.plain && problem.model.cost == Cost::sqeuclidean && problem.features == 1 &&
               problem.model.window.is_open() && !pair.mask;
  return wave;
}

template <class T>
size_t wave_bytes(const Problem<T>& problem, const Pair<T>& pair) {
  Wave<T> wave = describe(problem, pair);
  return lay_out(&wave, nullptr);
}

template <class T>
int wave_begin(const Problem<T>& problem, const Pair<T>& pair, void* scratch) {
  Wave<T>& wave = *static_cast<Wave<T>*>(scratch);
  wave = describe(problem, pair);
  lay_out(&wave, static_cast<char*>(scratch));
  for (int s = 0; s < wave.strips; s++) wave.progress[size_t(s) * kApart] = 0;
  for (int j = -1; j < pair.m; j++) wave.top[j] = kInfinite<T>;
  if (wave.last_column)
    for (int i = 0; i < pair.n; i++) wave.last_column[i] = kInfinite<T>;
  if (wave.ys) {
    const int features = problem.features;
    for (int f = 0; f < features; f++) {
      T* row = wave.ys + f * wave.stride;
      for (size_t i = 0; i < wave.stride; i++) row[i] = 0;
      for (int j = 0; j < pair.m; j++) row[wave.origin - j] = pair.y[size_t(j) * features + f];
    }
  }
  return wave.strips;
}

// Waits until the strip above has so many columns, and returns how many it has; only for strips that
// somebody works on.
inline __attribute__((always_inline)) int wait_for(const int* progress, int columns) {
  int found;
  for (int spins = 0; (found = __atomic_load_n(progress, __ATOMIC_ACQUIRE)) < columns; spins++) {
    if (spins < 4096) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    } else {
      sched_yield();
    }
  }
  return found;
}

template <class T, bool fused, bool plain, bool path, int K>
void run_strip(Wave<T>& wave, const Strip& strip, const int* above_done, int* done, typename Lanes<T>::Int* table, int stop) {
  using L = Lanes<T>;
  using V = typename L::V;
  using I = typename L::I;
  constexpr int rows = K * L::size;
  const Problem<T>& problem = wave.problem;
  const Pair<T>& pair = wave.pair;
  const Model& model = problem.model;
  const int m = pair.m, last = strip.last, features = problem.features, first = strip.first;
  const int end = strip.end < stop ? strip.end : stop;
  const bool full = last == rows - 1;
  T* top = wave.top;

  // The rows of the strip, a feature after the other.
  alignas(64) T few[fused ? rows : 64 * rows];
  T* xs = few;
  if (!fused && features > 64) xs = static_cast<T*>(__builtin_malloc(sizeof(T) * features * rows));
  V x0[K] = {};
  if (model.cost != Cost::given) {
    for (int r = 0; r < rows; r++)
      for (int f = 0; f < features; f++) xs[size_t(f) * rows + r] = r <= last ? pair.x[size_t(first + r) * features + f] : T(0);
    if constexpr (fused)
      for (int k = 0; k < K; k++) x0[k] = L::load(xs + k * L::size);
  }

  // Which columns its rows may visit, and where paths may begin in the first.
  const bool windowed = !model.window.is_open();
  I low[K] = {}, high[K] = {}, enters[K] = {};
  if (windowed || !plain) {
    typename L::Int lows[rows], highs[rows], entered[rows];
    for (int r = 0; r < rows; r++) {
      const Range range = r <= last ? columns_of(model.window, first + r, pair.n, m) : Range{0, -1};
      lows[r] = range.first;
      highs[r] = range.last;
      entered[r] = -typename L::Int(first + r == 0 || (model.begin.x && Opening::within(first + r, model.begin.x)));
    }
    for (int k = 0; k < K; k++) {
      low[k] = L::load_of(lows + k * L::size);
      high[k] = L::load_of(highs + k * L::size);
      enters[k] = L::load_of(entered + k * L::size);
    }
  }
  const General<T> general(model, &pair, 0);

  V near[K], far[K];
  for (int k = 0; k < K; k++) near[k] = far[k] = L::all(kInfinite<T>);
  I column[K];
  for (int k = 0; k < K; k++)
    for (int l = 0; l < L::size; l++) column[k][l] = strip.begin - (k * L::size + l);
  I head = {};
  head[0] = first == 0 ? -1 : 0;  // where row 0 stands

  alignas(64) T costs[fused ? 1 : kSteps * rows];
  alignas(64) T lane[rows];
  T above[kSteps];
  int seen = 0;  // columns that the strip above is known to have

  for (int p = strip.begin; p < end; p += kSteps) {
    const int steps = end - p < kSteps ? end - p : kSteps;
    if (above_done && seen < m && seen < p + steps) {
      const int wanted = p + steps + kAhead;
      seen = wait_for(above_done, wanted < m ? wanted : m);
    }
    if (p == strip.begin) {
      far[0][0] = first == 0 && p == 0 && plain ? T(0) : top[p - 1];
      top[p - 1] = kInfinite<T>;  // what the strip above has there is out of this strip's reach, and the next's
    }
    for (int s = 0; s < steps; s++) above[s] = p + s < m ? top[p + s] : kInfinite<T>;

    if constexpr (!fused) {
      if (model.cost == Cost::given) {
        for (int s = 0; s < steps; s++)
          for (int r = 0; r < rows; r++) {
            const int j = p + s - r;
            costs[s * rows + r] = r <= last && j >= 0 && j < m ? pair.x[size_t(first + r) * problem.m + j] : kInfinite<T>;
          }
      } else {
        with_cost(model.cost, [&](auto cost) {
          strip_costs<L, decltype(cost)::value, K>(xs, wave.ys, wave.stride, wave.origin, features, p, steps, costs);
        });
      }
      if (pair.mask)
        for (int s = 0; s < steps; s++)
          for (int r = 0; r <= last; r++) {
            const int j = p + s - r;
            if (j >= 0 && j < m && !pair.mask[size_t(first + r) * problem.m + j]) costs[s * rows + r] = kInfinite<T>;
          }
    }

    typename L::Word moves[K] = {};
    for (int q = 0; q < steps; q += 4) {
      auto step = [&](int u) __attribute__((always_inline)) {
        const int s = q + u;
        V next[K];
        I begins = {};
        if constexpr (!plain) begins = first == 0 && (p + s == 0 || (model.begin.y && Opening::within(p + s, model.begin.y))) ? head : I{};
        TA_UNROLL
        for (int k = K - 1; k >= 0; k--) {
          const V up = L::shift(near[k], k ? near[k ? k - 1 : 0] : L::all(above[s]));
          const V diagonal = far[k];
          far[k] = up;
          I code = {};
          if constexpr (fused) {
            const V difference = x0[k] - L::load(wave.ys + wave.origin + k * L::size - (p + s));
            next[k] = Plain<T>::template next<true, true>(difference, up, near[k], diagonal, path ? &code : nullptr);
          } else {
            V cost = L::load(costs + s * rows + k * L::size);
            if (windowed) cost = L::select((column[k] >= low[k]) & (column[k] <= high[k]), cost, L::all(kInfinite<T>));
            if constexpr (plain) {
              next[k] = Plain<T>::template next<false, true>(cost, up, near[k], diagonal, path ? &code : nullptr);
            } else {
              const I in_first = column[k] == 0;
              const I here = (in_first & enters[k]) | (k ? I{} : begins);
              next[k] = general.next(cost, up, near[k], diagonal, in_first, here, path ? &code : nullptr);
            }
          }
          if constexpr (path) moves[k] = written<T>(moves[k], code);
          if constexpr (!fused) column[k] += 1;
        }
        TA_UNROLL
        for (int k = 0; k < K; k++) near[k] = next[k];
        const int j = p + s - last;
        if (j >= 0 && j < m) {
          if (full) {
            top[j] = near[K - 1][L::size - 1];
          } else {
            TA_UNROLL
            for (int k = 0; k < K; k++) L::store(lane + k * L::size, near[k]);
            top[j] = lane[last];
          }
        }
        if (wave.last_column && p + s >= m - 1 && p + s - (m - 1) <= last) {
          TA_UNROLL
          for (int k = 0; k < K; k++) L::store(lane + k * L::size, near[k]);
          wave.last_column[first + p + s - (m - 1)] = lane[p + s - (m - 1)];
        }
      };
      if constexpr (plain) {
        step(0), step(1), step(2), step(3);
      } else {
        for (int u = 0; u < 4; u++) step(u);  // as fast, and sooner compiled
      }
    }
    if constexpr (path) {
      auto* to = table + size_t(p - strip.begin) / kMoves * rows;
      for (int k = 0; k < K; k++) L::store_of(to + k * L::size, flushed<T>(moves[k], steps));
    }
    if (done && p + steps > last) __atomic_store_n(done, p + steps - last, __ATOMIC_RELEASE);
  }
  if (done) __atomic_store_n(done, 1 << 30, __ATOMIC_RELEASE);
  if (xs != few) __builtin_free(xs);
}

template <class T, bool path, int K>
void run_any_strip(Wave<T>& wave, const Strip& strip, const int* above, int* done, typename Lanes<T>::Int* table, int stop) {
  if (wave.fused) return run_strip<T, true, true, path, K>(wave, strip, above, done, table, stop);
  if constexpr (K <= kUsual) {
    if (wave.plain) return run_strip<T, false, true, path, K>(wave, strip, above, done, table, stop);
    return run_strip<T, false, false, path, K>(wave, strip, above, done, table, stop);
  }
}

template <class T, bool path>
void run_with_height(Wave<T>& wave, const Strip& strip, const int* above, int* done, typename Lanes<T>::Int* table, int stop) {
  if (strip.vectors == 1) return run_any_strip<T, path, 1>(wave, strip, above, done, table, stop);
  if (strip.vectors == kUsual) return run_any_strip<T, path, kUsual>(wave, strip, above, done, table, stop);
  return run_any_strip<T, path, kTall>(wave, strip, above, done, table, stop);
}

template <class T>
void wave_strip(void* scratch, int s) {
  Wave<T>& wave = *static_cast<Wave<T>*>(scratch);
  const Strip& strip = wave.strip[s];
  int* done = wave.progress + size_t(s) * kApart;
  const int* above = s ? done - kApart : nullptr;
  if (wave.kept && s % wave.part == 0) {
    // The whole row above is wanted: that of a part is kept for when it is worked on again.
    if (above) wait_for(above, 1 << 30);
    T* kept = wave.kept + size_t(s / wave.part) * (wave.pair.m + 1);
    for (int j = -1; j < wave.pair.m; j++) kept[j + 1] = wave.top[j];
  }
  if (wave.table && !wave.kept) return run_with_height<T, true>(wave, strip, above, done, wave.table + strip.table, 1 << 30);
  run_with_height<T, false>(wave, strip, above, done, nullptr, 1 << 30);
}

// The move by which the path came to a cell of a strip.
template <class T>
int code_at(const Strip& strip, const typename Lanes<T>::Int* table, int i, int j) {
  const int r = i - strip.first, p = r + j - strip.begin;
  return int(table[size_t(p) / kMoves * strip.vectors * Lanes<T>::size + r] >> (2 * (p % kMoves))) & 3;
}

template <class T>
void wave_end(void* scratch) {
  Wave<T>& wave = *static_cast<Wave<T>*>(scratch);
  const Pair<T>& pair = wave.pair;
  const Model& model = wave.problem.model;
  const Strip& lowest = wave.strip[wave.strips - 1];
  for (int j = 0; j < lowest.begin; j++) wave.top[j] = kInfinite<T>;
  End<T> end = choose_end<T>(model, pair.n, pair.m, [&](int i) { return wave.last_column[i]; }, [&](int j) { return wave.top[j]; });
  if (is_poisoned(wave.problem, pair)) end.value = T(__builtin_nan(""));
  *pair.value = end.value;
  if (!wave.problem.path) return;
  for (int p = 0; p < wave.problem.n + wave.problem.m - 1; p++) pair.rows[p] = -1;
  if (!(end.value > -kInfinite<T> && end.value < kInfinite<T>)) return;
  int i = end.i, j = end.j, s = wave.strips - 1, part = -1;
  while (i >= 0 && j >= 0) {
    while (wave.strip[s].first > i) s--;
    const Strip& strip = wave.strip[s];
    const int begin = s / wave.part * wave.part;
    auto* const table = wave.table - wave.strip[begin].table;
    if (wave.kept && part != begin) {
      // The part that the path comes to, as far to the right as matters.
      part = begin;
      const T* kept = wave.kept + size_t(begin / wave.part) * (pair.m + 1);
      for (int c = -1; c < pair.m; c++) wave.top[c] = kept[c + 1];
      for (int t = begin; t <= s; t++) {
        const Strip& again = wave.strip[t];
        run_with_height<T, true>(wave, again, nullptr, nullptr, table + again.table, (j + again.last + 1 + 3) / 4 * 4);
      }
    }
    walk_back(i, j, strip.first, [&](int a, int b) { return code_at<T>(strip, table + strip.table, a, b); }, pair.rows, &i, &j);
  }
}

}  // namespace tempalign::TA_LEVEL

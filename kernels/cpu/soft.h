// The soft minimum over paths and its derivatives, in the linear domain (exponent.h).
//
//     Z(i, j) = sum_k exp(-price_k(i, j) / gamma) Z(predecessor k),    value = -gamma log Z(end)
//
// `Soft<Exponent<float, 16, int32_t>>` works on W pairs side by side (lanes are pairs), `Long<...>`
// (soft_long.h) on one pair, lanes being rows.
//
// costs.row(i, j0, j1, V* out): writes the costs of cells (i, j0 .. j1-1), one vector a cell; `out` has
//   room for `kTile` of them. j0 rises within a row, and the rows of a block of up to 4 come in turn.
//   Beyond the true lengths anything may stand there, NaN too; inf and NaN forbid. Called a second time
//   for the same cells where `gradient` works by strips.
// pull(i, j0, j1, const V* slope): d value / d cost of cells (i, j0 .. j1-1): rows fall, and columns
//   within a row. Each cell within the ranges once. Exactly 0 where the cell is forbidden, lies past the
//   true lengths, or nothing gets there. Where a lane's value is not finite its slopes are all 0.
//
// Every sum is made in an order that depends on nothing but the pair: equal bits for any division of the
// work, any strips, and from Soft and Long alike where the exponents are of one kind. (The two kinds
// round differently in the last place, so that a pair's kind must hang on that pair alone.)
#pragma once
#include "costs.h"
#include "exponent.h"

namespace tempalign::TA_LEVEL {

constexpr int kTile = 64;
constexpr size_t kSoftTable = size_t(1) << 22;  // bytes of move probabilities held at once; more: strips, computed again

// What stands side by side: of `Soft` a pair in each lane, of `Long` one pair, in lane 0.
template <class X>
struct Lot {
  using T = typename X::Scalar;
  static constexpr int W = X::lanes;
  Model model;
  int n = 0, m = 0;                  // the longest
  bool entropy = false;              // whether that is wanted, with `gradient`
  bool visits = false;               // whether `pull` is given expected visits, not slopes
  bool priced = false;               // whether moves cost something else than their cell
  double gamma[W], weights[W][3], penalty[W][3];
  int rows[W], columns[W];           // true lengths
  const int32_t* first = nullptr;    // first and last allowed column of each row [n][W] (Long: [n]), or null: all
  const int32_t* last = nullptr;
  size_t table = kSoftTable;

  void set(int lane, const Pair<T>& pair) {
    gamma[lane] = double(pair.gamma);
    rows[lane] = pair.n, columns[lane] = pair.m;
    n = pair.n > n ? pair.n : n, m = pair.m > m ? pair.m : m;
    priced = !model.uniform();
    const Move* moves[3] = {&model.row, &model.column, &model.diagonal};
    for (int k = 0; k < 3; k++) {
      weights[lane][k] = moves[k]->weighted ? double(pair.prices[k]) : 1;
      penalty[lane][k] = moves[k]->penalised ? double(pair.prices[3]) : 0;
    }
  }
};

template <class X>
struct Results {
  using T = typename X::Scalar;
  T value[X::lanes], entropy[X::lanes];
  double by_weight[3][X::lanes];   // d value / d weights[k]
  double by_penalty[3][X::lanes];  // expected number of moves
};

// What both forms share: the cell, and what stands at the borders.
template <class X>
struct Cells {
  using T = typename X::Scalar;
  using E = typename X::Whole;
  using V = typename X::V;
  using I = typename X::I;
  using Number = typename X::Number;
  using Factor = typename X::Factor;
  using Scale = typename X::Scale;
  static constexpr int W = X::lanes;

  const Lot<X>& p;
  Scale scale[3], plain;
  Factor toll[3];  // exp(-penalty / gamma)
  V weight[3];

  explicit Cells(const Lot<X>& lot) : p(lot) {
    for (int l = 0; l < W; l++) plain.set(l, p.gamma[l], 1);
    for (int k = 0; p.priced && k < 3; k++)
      for (int l = 0; l < W; l++) {
        scale[k].set(l, p.gamma[l], p.weights[l][k]);
        weight[k][l] = T(p.weights[l][k]);
        const long double t = -1.44269504088896340735992468100189214L * (long double)p.penalty[l][k] / (long double)p.gamma[l];
        const long double whole = __builtin_floorl(t + 0.5L), most = (long double)X::unit;
        toll[k].q[l] = T(__builtin_exp2(double(t - whole)));
        toll[k].k[l] = whole < -most ? -X::unit : whole > most ? X::unit : E(whole);
      }
  }

  bool falls() const { return p.model.row.allowed == Allowed::everywhere; }  // whether rows may be stepped anywhere
  bool never_falls() const { return p.model.row.allowed == Allowed::never; }
  bool steps() const { return p.model.column.allowed != Allowed::never; }
  bool crosses() const { return p.model.diagonal.allowed != Allowed::never; }

  // As how many paths one counts that begins at (i, j); 0: none does.
  int begins(int i, int j) const {
    const Opening& begin = p.model.begin;
    if (i == 0 && j == 0) return 1;
    if (j == 0 && begin.x != 0 && Opening::within(i, begin.x)) return begin.multiplicity;
    if (i == 0 && begin.y != 0 && Opening::within(j, begin.y)) return begin.multiplicity;
    return 0;
  }
  int ends(int i, int j, int last_row, int last_column) const {
    const Opening& end = p.model.end;
    if (i == last_row && j == last_column) return 1;
    if (j == last_column && end.x != 0 && i < last_row && Opening::within(last_row - i, end.x)) return end.multiplicity;
    if (i == last_row && end.y != 0 && j < last_column && Opening::within(last_column - j, end.y)) return end.multiplicity;
    return 0;
  }
  Number entry(int i, int j) const {
    const int many = begins(i, j);
    return many ? X::whole(many) : X::none();
  }

  // A cell (`border`: paths begin here, not come along the diagonal), and with Record how the ways to it
  // share: `up` of all, and `left` of all, made 2 where nothing is left for the diagonal (and up 1 where
  // nothing is left for both): backward, what remains then goes where it can, exactly.
  template <bool Record, bool Priced>
  TA_INLINE Number cell(const Number& up, const Number& left, const Number& across, V cost, typename X::B border, V* moves) const {
    const E shift = E(X::bias);
    Number a = up, b = left, c = across;
    Factor f;
    if constexpr (Priced) {
      auto paid = [&](const Number& x, int k) {
        Factor g = X::exponential(cost, scale[k]);
        return Number{(x.m * g.q) * toll[k].q, X::most(x.e + g.k, X::alle(X::far)) + toll[k].k};
      };
      a = paid(up, 0), b = paid(left, 1);
      const Factor g = X::exponential(cost, plain);  // to begin costs just that
      c = paid(across, 2);
      c.m = border ? across.m * g.q : c.m;
      c.e = X::widened(border) ? across.e + g.k : c.e;
      // Far below may have sunk twice.
      a.e = X::most(a.e, X::alle(X::far)), b.e = X::most(b.e, X::alle(X::far)), c.e = X::most(c.e, X::alle(X::far));
    } else {
      f = X::exponential(cost, plain);
    }
    const I top = X::most(X::most(a.e, c.e), b.e), low = top - shift;
    const V pa = X::beside(a, low), pb = X::beside(b, low), pc = X::beside(c, low);
    const V sum = (pa + pc) + pb;
    if constexpr (Record) {
      const V share = X::all(1) / sum;
      moves[0] = pa == sum ? X::all(1) : pa * share;
      moves[1] = pc == V{} ? X::all(2) : pb * share;
    }
    if constexpr (Priced) {
      Number z = X::normal(sum, top);
      const V inf = X::all(kInfinite<T>);
      const auto open = X::widened((typename X::B)(cost < inf));
      z.e = open ? z.e : X::alle(X::far);
      return z;
    } else {
      return X::normal(sum * f.q, top + f.k);
    }
  }

  // What arrives at a cell, by the moves it came by.
  static TA_INLINE void parted(V visits, const V* moves, V& up, V& left, V& across) {
    up = visits * moves[0];
    const V rest = visits - up;
    left = X::least(visits * moves[1], rest);
    across = rest - left;
  }

  // Of the choice between the ways to a cell.
  static V choice(const V* moves) {
    const V up = moves[0], rest = 1 - up, left = X::least(moves[1], rest), across = rest - left;
    return -((up * X::log(up) + left * X::log(left)) + across * X::log(across));
  }
};

// The ends of a pair: `each(f)` calls f(many, m, e, &share) for the places where paths may end, as how
// many one counts, and Z there. Returns the value; gives shares, and the entropy of the choice (with
// what multiplicities add) to `chosen`, where `arrive`.
template <class X, class Each>
double leave(double gamma, bool arrive, double* chosen, const Each& each) {
  using T = typename X::Scalar;
  using E = typename X::Whole;
  E top = X::far;
  each([&](int, T, E e, T*) { top = e > top ? e : top; });
  if (top <= X::nobody) return __builtin_inf();
  auto weight = [&](int many, T m, E e) {
    return e <= X::nobody || e - top < -1000 ? 0 : __builtin_ldexp(double(m) * many, int(e - top));
  };
  double total = 0;
  each([&](int many, T m, E e, T*) { total += weight(many, m, e); });
  if (arrive)
    each([&](int many, T m, E e, T* share) {
      const double part = weight(many, m, e) / total;
      *share = T(part);
      if (part > 0) *chosen -= part * __builtin_log(part / many);
    });
  // gamma ln 2 e is exact to the last place of double; the mantissa adds what is below.
  return -gamma * (double(top) * 0.69314718055994530942 + __builtin_log(total));
}

// f(0), .., f(R - 1) with constants; down: from R - 1. What f keeps in arrays can then live in registers.
template <class F, int... I>
TA_INLINE void unrolled(F&& f, std::integer_sequence<int, I...>) {
  (f(std::integral_constant<int, I>()), ...);
}
template <int R, class F>
TA_INLINE void upwards(F&& f) {
  unrolled(f, std::make_integer_sequence<int, R>());
}
template <int R, class F>
TA_INLINE void downwards(F&& f) {
  upwards<R>([&](auto k) __attribute__((always_inline)) { f(std::integral_constant<int, R - 1 - decltype(k)::value>()); });
}

// W pairs side by side.
template <class X>
class Soft : Cells<X> {
  using Base = Cells<X>;
  using typename Base::E;
  using typename Base::Factor;
  using typename Base::I;
  using typename Base::Number;
  using typename Base::T;
  using typename Base::V;
  using Base::p;
  using Base::W;
  using B = typename X::B;

 public:
  explicit Soft(const Lot<X>& lot) : Base(lot), low_(p.n), high_(p.n) {
    for (int l = 0; l < W; l++) {
      last_row_[l] = p.rows[l] - 1, last_column_[l] = p.columns[l] - 1;
      if (last_row_[l] != p.n - 1 || last_column_[l] != p.m - 1) ragged_ = true;
    }
    for (int i = 0; i < p.n; i++) {
      low_[i] = 0, high_[i] = p.m;
      if (!p.first) continue;
      const int32_t *first = p.first + size_t(i) * W, *last = p.last + size_t(i) * W;
      int low = p.m, high = 0;
      for (int l = 0; l < W; l++) {
        if (first[l] <= last[l]) low = first[l] < low ? first[l] : low, high = last[l] + 1 > high ? last[l] + 1 : high;
        if (first[l] != first[0] || last[l] != last[0]) uneven_ = true;
      }
      if (low >= high) low = high = 0;
      low_[i] = low, high_[i] = high;
    }
  }

  template <class Costs>
  void value(Costs& costs, Results<X>& results) {
    start();
    forward<false>(costs, 0, p.n, nullptr, nullptr, true);
    close(results, false);
  }

  template <class Costs, class Pull>
  void gradient(Costs& costs, Pull& pull, Results<X>& results) {
    start();
    // Strips of rows whose probabilities fit the table.
    Buffer<int> strips(p.n + 1);
    strips[0] = 0;
    int count = 1;
    size_t held = 0, most = 0;
    for (int i = 0; i < p.n; i++) {
      const size_t more = size_t(high_[i] - low_[i]) * 2;
      if (i - strips[count - 1] >= 4 && (held + more) * sizeof(V) > p.table) strips[count++] = i, held = 0;
      held += more;
      most = held > most ? held : most;
    }
    strips[count] = p.n;
    Buffer<V> table(most);
    const size_t row = size_t(p.m) * sizeof(Number);
    Buffer<Number> saved(size_t(count - 1) * p.m);
    for (int s = 0; s + 1 < count; s++) {
      forward<false>(costs, strips[s], strips[s + 1], nullptr, nullptr, true);
      __builtin_memcpy((void*)&saved[size_t(s) * p.m], (void*)row_.get(), row);
    }
    Buffer<size_t> at(p.n + 1);
    forward<true>(costs, strips[count - 1], p.n, table.get(), at.get(), true);
    close(results, true);
    ahead_.make(p.m + 1);
    for (int j = 0; j <= p.m; j++) ahead_[j] = V{};
    for (int l = 0; l < W; l++) entropy_[l] = 0;
    for (int k = 0; k < 3; k++)
      for (int l = 0; l < W; l++) results.by_weight[k][l] = results.by_penalty[k][l] = 0;
    for (int s = count - 1; s >= 0; s--) {
      if (s + 1 < count) {
        if (s) __builtin_memcpy((void*)row_.get(), (void*)&saved[size_t(s - 1) * p.m], row);
        else clear();
        forward<true>(costs, strips[s], strips[s + 1], table.get(), at.get(), false);
      }
      backward(costs, pull, strips[s], strips[s + 1], table.get(), at.get(), results);
    }
    for (int l = 0; l < W; l++) results.entropy[l] = T(entropy_[l] + chosen_[l]);
  }

 private:
  Buffer<int> low_, high_;  // columns of each row that some lane allows: [low, high)
  int last_row_[W], last_column_[W];
  bool ragged_ = false, uneven_ = false;
  const I nowhere = X::alle(X::far), anywhere = X::alle(-X::far);
  Buffer<Number> row_;  // the last row that is done
  Buffer<V> ahead_;     // visits that the row above has got so far
  double entropy_[W] = {}, chosen_[W] = {};
  // Z where paths end, and what share of them does: in the last column of each lane, and in its last row
  // (its corner alone, as the first entry, where paths end nowhere else in it).
  Buffer<Number> column_, corner_;
  Buffer<V> column_share_, corner_share_;

  void clear() {
    for (int j = 0; j < p.m; j++) row_[j] = X::none();
  }
  void start() {
    row_.make(p.m + 1);
    clear();
    const int in_column = p.model.end.x ? p.n : 0, in_row = p.model.end.y ? p.m : 1;
    column_.make(in_column), column_share_.make(in_column);
    corner_.make(in_row), corner_share_.make(in_row);
    for (int i = 0; i < in_column; i++) column_[i] = X::none(), column_share_[i] = V{};
    for (int j = 0; j < in_row; j++) corner_[j] = X::none(), corner_share_[j] = V{};
  }
  int corner_of(int j) const { return p.model.end.y ? j : 0; }

  // Whether paths of some lane may end in this row.
  bool ends_here(int i) const {
    for (int l = 0; l < W; l++)
      if (i == last_row_[l] || (p.model.end.x && i < last_row_[l] && Opening::within(last_row_[l] - i, p.model.end.x))) return true;
    return false;
  }
  // Whether all lanes end in the last column and row, so that rows can be worked on together.
  bool even() const { return !ragged_ && !p.first; }

  void leave_row(int i) {  // it stands in row_
    for (int l = 0; l < W; l++) {
      const int last_column = last_column_[l];
      if (i > last_row_[l]) continue;
      if (i < last_row_[l]) {
        if (p.model.end.x) column_[i].m[l] = row_[last_column].m[l], column_[i].e[l] = row_[last_column].e[l];
        continue;
      }
      for (int j = p.model.end.y ? 0 : last_column; j <= last_column; j++)
        corner_[corner_of(j)].m[l] = row_[j].m[l], corner_[corner_of(j)].e[l] = row_[j].e[l];
    }
  }

  void close(Results<X>& results, bool arrive) {
    for (int l = 0; l < W; l++) {
      const int last_row = last_row_[l], last_column = last_column_[l];
      T unused;
      results.value[l] = T(leave<X>(p.gamma[l], arrive, &chosen_[l], [&](const auto& place) {
        auto look = [&](int many, const Number& z, V* share) {
          T found = T(0);
          if (!many) return;
          place(many, z.m[l], z.e[l], arrive ? &found : &unused);
          if (found != 0) (*share)[l] = found;
        };
        for (int i = 0; p.model.end.x && i < last_row; i++) look(Base::ends(i, last_column, last_row, last_column), column_[i], &column_share_[i]);
        for (int j = p.model.end.y ? 0 : last_column; j <= last_column; j++)
          look(Base::ends(last_row, j, last_row, last_column), corner_[corner_of(j)], &corner_share_[corner_of(j)]);
      }));
    }
  }

  // Paths that end in this row begin to be walked back.
  void arrive(int i) {
    if (p.model.end.x)
      for (int l = 0; l < W; l++)
        if (i < last_row_[l]) ahead_[last_column_[l]][l] += column_share_[i][l];
    for (int l = 0; l < W; l++)
      for (int j = p.model.end.y ? 0 : last_column_[l]; i == last_row_[l] && j <= last_column_[l]; j++) ahead_[j][l] += corner_share_[corner_of(j)][l];
  }

  static int least(int a, int b) { return a < b ? a : b; }
  static int most(int a, int b) { return a > b ? a : b; }

  template <bool Record, class Costs>
  void forward(Costs& costs, int first, int end, V* table, size_t* at, bool ends) {
    size_t here = 0;
    if (Record)
      for (int i = first; i < end; i++) at[i] = here, here += size_t(high_[i] - low_[i]) * 2;
    const bool free = Base::falls() && Base::steps() && Base::crosses();
    for (int i = first; i < end;) {
      // Rows together: without a window, and where nobody leaves from rows between.
      int height = 1;
      if (rows_together > 1 && !p.first && !p.priced && i > 0) {
        height = least(rows_together, end - i);
        if (!even())
          for (int r = 0; r + 1 < height; r++)
            if (ends_here(i + r)) height = r + 1;
        if (height < rows_together) height = 1;
      }
      if (height == 1) {
        if (p.priced) row<Record, true, true>(costs, i, table, at);
        else if (free && i > 0) row<Record, false, false>(costs, i, table, at);
        else row<Record, true, false>(costs, i, table, at);
      } else {
        if constexpr (rows_together > 1) free ? rows<rows_together, Record, false>(costs, i, table, at, ends) : rows<rows_together, Record, true>(costs, i, table, at, ends);
      }
      if (p.first && i > 0)  // what this row does not hold is none of its values
        for (int j = low_[i - 1]; j < high_[i - 1]; j++)
          if (j < low_[i] || j >= high_[i]) row_[j] = X::none();
      i += height;
      if (ends && ends_here(i - 1)) leave_row(i - 1);
    }
  }
  // (The wide exponents are for small temperatures: slower, but sooner compiled.)
  static constexpr int rows_together = X::wide ? 1 : 4;

  // One row. Limited: some moves are not allowed everywhere (in row 0 none comes from above).
  template <bool Record, bool Limited, bool Priced, class Costs>
  void row(Costs& costs, int i, V* table, const size_t* at) {
    V scratch[kTile];
    const int low = low_[i], high = high_[i];
    Number left = X::none(), across = low == 0 ? Base::entry(i, 0) : row_[low - 1];
    V* out = Record ? table + at[i] : nullptr;
    I up_limit = anywhere, later = anywhere, across_limit = anywhere, left_limit = anywhere;
    if constexpr (Limited) {
      if (i == 0 || Base::never_falls()) up_limit = later = nowhere;
      if (p.model.row.allowed == Allowed::first_column) later = nowhere;
      if (low > 0) {
        up_limit = later;
        if (i == 0) across = Base::entry(0, low);
        else if (!Base::crosses()) across = X::none();
      }
      if (!Base::crosses() && i != 0) across_limit = nowhere;
      if (!Base::steps()) left_limit = nowhere;
    }
    for (int j0 = low; j0 < high; j0 += kTile) {
      const int j1 = least(high, j0 + kTile);
      costs.row(i, j0, j1, scratch);
      if (uneven_) forbid(i, j0, j1, scratch);
      for (int j = j0; j < j1; j++) {
        Number up = row_[j], from = up;
        if constexpr (Limited) {
          if (i == 0) up = j + 1 < p.m ? Base::entry(0, j + 1) : X::none();  // of the next cell, across
          from.e = X::least(from.e, up_limit), left.e = X::least(left.e, left_limit);
          up_limit = later;
        }
        left = Base::template cell<Record, Priced>(from, left, across, scratch[j - j0], B{} - (i == 0 || j == 0), out);
        if constexpr (Record) out += 2;
        across = up;
        if constexpr (Limited) across.e = X::least(across.e, across_limit);
        row_[j] = left;
      }
    }
  }

  // Rows together, not the first, each one column behind the row above: cells that do not wait for each other.
  template <int R, bool Record, bool Limited, class Costs>
  void rows(Costs& costs, int i, V* table, const size_t* at, bool look) {
    V scratch[R][kTile];
    const int m = p.m;
    Number last[R], across[R];
    V* out[R];
    I up_limit[R], across_limit = anywhere, left_limit = anywhere, later = anywhere;
    for (int r = 0; r < R; r++) {
      last[r] = X::none(), across[r] = Base::entry(i + r, 0);
      out[r] = Record ? table + at[i + r] : nullptr;
      up_limit[r] = Base::never_falls() ? nowhere : anywhere;
    }
    if constexpr (Limited) {
      if (!Base::falls()) later = nowhere;
      if (!Base::crosses()) across_limit = nowhere;
      if (!Base::steps()) left_limit = nowhere;
    }
    const V* cost[R];  // of column 0, where that would stand
    auto step = [&](auto full, int t) __attribute__((always_inline)) {
      downwards<R>([&](auto lag) __attribute__((always_inline)) {
        constexpr int r = decltype(lag)::value;
        const int j = t - r;
        if constexpr (!decltype(full)::value)
          if (j < 0 || j >= m) return;
        const Number up = r ? last[r ? r - 1 : 0] : row_[j];
        Number from = up, left = last[r];
        if constexpr (Limited) {
          from.e = X::least(from.e, up_limit[r]), left.e = X::least(left.e, left_limit);
          up_limit[r] = later;
        }
        last[r] = Base::template cell<Record, false>(from, left, across[r], cost[r][j], B{}, out[r]);
        if constexpr (Record) out[r] += 2;
        across[r] = up;
        if constexpr (Limited) across[r].e = X::least(across[r].e, across_limit);
        if (r == R - 1) row_[j] = last[r];
      });
    };
    for (int t0 = 0; t0 < m + R - 1; t0 += kTile) {
      const int t1 = least(m + R - 1, t0 + kTile);
      for (int r = 0; r < R; r++) {
        const int j0 = most(0, t0 - r), j1 = least(m, t1 - r);
        if (j0 >= j1) continue;
        costs.row(i + r, j0, j1, scratch[r]);
        cost[r] = scratch[r] - j0;
      }
      int t = t0;
      for (; t < t1; t++) {
        for (; t < t1 && t >= R - 1 && t < m; t++) step(std::true_type(), t);
        if (t < t1) step(std::false_type(), t);
      }
    }
    if (look && even() && p.model.end.x)
      for (int r = 0; r + 1 < R; r++) column_[i + r] = last[r];
  }

  // Where lanes have windows of their own.
  void forbid(int i, int j0, int j1, V* cost) const {
    typedef int32_t L __attribute__((vector_size(W * 4)));
    L first, last;
    __builtin_memcpy(&first, p.first + size_t(i) * W, sizeof first);
    __builtin_memcpy(&last, p.last + size_t(i) * W, sizeof last);
    for (int j = j0; j < j1; j++) {
      const L here = (first <= j) & (last >= j);
      cost[j - j0] = __builtin_convertvector(here, B) ? cost[j - j0] : X::all(kInfinite<T>);
    }
  }

  template <class Costs, class Pull>
  void backward(Costs& costs, Pull& pull, int first, int end, const V* table, const size_t* at, Results<X>& results) {
    for (int i = end; i > first;) {
      int height = 1;
      if (rows_together > 1 && !p.first && !p.priced && !p.entropy) {
        height = least(rows_together, i - first);
        if (!even())
          for (int r = 1; r < height; r++)  // arrivals stand in the lowest row
            if (ends_here(i - 1 - r)) height = r;
        if (height < rows_together) height = 1;
      }
      i -= height;
      if (ends_here(i + height - 1)) arrive(i + height - 1);
      if constexpr (rows_together > 1)
        if (height > 1) {
          backs<rows_together>(pull, i, table, at);
          continue;
        }
      if (p.priced || p.entropy) back<true>(costs, pull, i, table, at, results);
      else back<false>(costs, pull, i, table, at, results);
    }
  }

  template <bool More, class Costs, class Pull>
  void back(Costs& costs, Pull& pull, int i, const V* table, const size_t* at, Results<X>& results) {
    V scratch[kTile], given[More ? kTile : 1];
    const int low = low_[i], high = high_[i];
    V right = V{}, across = V{}, totals[3] = {}, weighed[3] = {}, entropy = V{};
    const V* in = table + at[i] + size_t(high - low) * 2;
    for (int j1 = high; j1 > low;) {
      const int j0 = most(low, j1 - kTile);
      if constexpr (More) {
        if (p.priced) costs.row(i, j0, j1, given);
        if (p.priced && uneven_) forbid(i, j0, j1, given);
      }
      for (int j = j1 - 1; j >= j0; j--) {
        in -= 2;
        const V visits = ahead_[j] + right;
        V up, left, diagonal;
        Base::parted(visits, in, up, left, diagonal);
        V slope = visits;
        if constexpr (More) {
          if (p.entropy) entropy += visits * choice_at(in, i, j, diagonal, visits);
          if (p.priced) {
            const V paid = given[j - j0] < X::all(kInfinite<T>) ? given[j - j0] : V{};
            const bool border = i == 0 || j == 0;
            const V by[3] = {up, left, border ? V{} : diagonal};
            slope = border ? diagonal : V{};
            for (int k = 0; k < 3; k++) {
              totals[k] += by[k];
              weighed[k] += by[k] * paid;
              slope = slope + by[k] * Base::weight[k];
            }
            if (p.visits) slope = visits;
          }
        }
        scratch[j - j0] = slope;
        right = left;
        ahead_[j] = up + across;
        across = diagonal;
      }
      pull(i, j0, j1, (const V*)scratch);
      j1 = j0;
    }
    // From the first column the diagonal leads on only where a window begins later.
    if (low > 0 && high > low) ahead_[low - 1] += across;
    if constexpr (More) {
      for (int l = 0; l < W; l++) entropy_[l] += double(entropy[l]);
      if (p.priced)
        for (int k = 0; k < 3; k++)
          for (int l = 0; l < W; l++) {
            results.by_penalty[k][l] += double(totals[k][l]);
            results.by_weight[k][l] += double(weighed[k][l]);
          }
    }
  }

  // Rows together, each one column behind the row below.
  template <int R, class Pull>
  void backs(Pull& pull, int i, const V* table, const size_t* at) {
    V scratch[R][kTile];
    const int m = p.m;
    V right[R], across[R], above[R];
    const V* in[R];
    for (int r = 0; r < R; r++) {
      right[r] = across[r] = above[r] = V{};
      in[r] = table + at[i + r] + size_t(m) * 2;
      if (even() && p.model.end.x && r + 1 < R) right[r] += column_share_[i + r];
    }
    V* visits_of[R];
    auto step = [&](auto full, int t) __attribute__((always_inline)) {  // t falls
      upwards<R>([&](auto lag) __attribute__((always_inline)) {
        constexpr int r = decltype(lag)::value;
        const int j = t + (R - 1 - r);
        if constexpr (!decltype(full)::value)
          if (j < 0 || j >= m) return;
        in[r] -= 2;
        const V visits = (r == R - 1 ? ahead_[j] : above[r + 1 < R ? r + 1 : 0]) + right[r];
        V up, diagonal;
        Base::parted(visits, in[r], up, right[r], diagonal);
        visits_of[r][j] = visits;
        above[r] = up + across[r];
        if (r == 0) ahead_[j] = above[r];
        across[r] = diagonal;
      });
    };
    for (int t1 = m; t1 > 1 - R;) {
      const int t0 = most(1 - R, t1 - kTile);
      for (int r = 0; r < R; r++) visits_of[r] = scratch[r] - (t0 + (R - 1 - r));
      int t = t1 - 1;
      for (; t >= t0; t--) {
        for (; t >= t0 && t <= m - R && t >= 0; t--) step(std::true_type(), t);
        if (t >= t0) step(std::false_type(), t);
      }
      for (int r = R - 1; r >= 0; r--) {
        const int j0 = most(0, t0 + (R - 1 - r)), j1 = least(m, t1 + (R - 1 - r));
        if (j0 < j1) pull(i + r, j0, j1, (const V*)(visits_of[r] + j0));
      }
      t1 = t0;
    }
  }

  // The choice at a cell; to begin here counts for several.
  V choice_at(const V* moves, int i, int j, V diagonal, V visits) const {
    V found = Base::choice(moves);
    const int many = (i == 0 || j == 0) ? Base::begins(i, j) : 0;
    if (many > 1) {
      const V share = visits > 0 ? diagonal / visits : V{};
      found = found + share * T(__builtin_log(double(many)));
    }
    return found;
  }
};

}  // namespace tempalign::TA_LEVEL

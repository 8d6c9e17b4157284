// The soft minimum of one long pair: lanes are rows. A strip of H = K W rows walks along the
// anti-diagonals in registers and hands its last row to the next strip; several threads follow each
// other as a wavefront. See soft.h.
//
// costs.strip(first, p0, p1, V* out): writes out[(p - p0) K + k], steps p0 .. p1-1: lane l of it is the
//   cost of row i = first + k W + l, column p - (i - first). Where there is no such cell anything may
//   stand. p1 - p0 <= kTile; `out` has room for kTile steps.
// pull(first, p0, p1, const V* slope, highest, lowest): the slopes, laid out alike, 0 where there is no
//   such cell. Steps fall within a strip, from its highest to its lowest. What a strip pulls may follow what the strip below it did.
// share(count, body): calls body(t) for t = 0 .. count-1, begun in ascending order: body(t) may wait for
//   what body(s), s < t, does. `costs` and `pull` are called from all threads at once: for rows of
//   different strips.
#pragma once
#include "pair.h"
#include "soft.h"

namespace tempalign::TA_LEVEL {

// Calls body(t) for t = 0 .. count-1 on the threads of the caller.
template <class T, class Body>
void shared(const Sharing& sharing, int count, const Body& body) {
  if (!sharing.share) {
    for (int t = 0; t < count; t++) body(t);
    return;
  }
  sharing.share(sharing.pool, sharing.threads, count, [](const void* body, int64_t t) { (*static_cast<const Body*>(body))(int(t)); }, &body);
}

template <class X, int K>
class Long : Cells<X> {
  using Base = Cells<X>;
  using typename Base::E;
  using typename Base::I;
  using typename Base::Number;
  using typename Base::T;
  using typename Base::V;
  using Base::p;
  static constexpr int W = X::lanes;
  using B = typename X::B;

 public:
  static constexpr int height = K * W;

  Long(const Lot<X>& lot, const Sharing& sharing)
      : Base(lot), sharing_(sharing), n_(p.rows[0]), m_(p.columns[0]), count_((n_ + height - 1) / height), done_(count_), steps_(count_) {
    free_ = Base::falls() && Base::steps() && Base::crosses() && !p.priced && !p.first;
    for (int s = 0; s < count_; s++) {
      int low = 0, high = m_ + rows_of(s) - 1;
      if (p.first) {
        low = high, high = 0;
        for (int r = 0; r < rows_of(s); r++) {
          const int i = s * height + r, first = p.first[i], last = p.last[i];
          if (first <= last) low = least(low, first + r), high = most(high, last + r + 1);
        }
        if (low >= high) low = high = 0;
      }
      steps_[s] = {low, high};
    }
  }

  template <class Costs>
  void value(Costs& costs, Results<X>& results) {
    start();
    waves(0, count_, [&](int s) { strip<false>(costs, s, nullptr, true); });
    close(results, false);
  }

  template <class Costs, class Pull>
  void gradient(Costs& costs, Pull& pull, Results<X>& results) {
    start();
    for (int k = 0; k < 3; k++) results.by_weight[k][0] = results.by_penalty[k][0] = 0;
    // Groups of strips whose probabilities are held at once; of the others what stands above their first
    // is saved. At least so many that saved rows are no more than one group.
    const size_t a_strip = size_t(m_ + height) * K * 2 * sizeof(V);
    int group = p.table / a_strip < size_t(count_) ? most(1, int(p.table / a_strip)) : count_;
    while (size_t(group + 1) * group * height * 2 < size_t(count_)) group++;
    group = least(group, count_);
    const int groups = (count_ + group - 1) / group;
    Buffer<size_t> at(count_);
    size_t most_held = 0;
    for (int g = 0; g < groups; g++) {
      size_t here = 0;
      for (int s = g * group; s < least(count_, (g + 1) * group); s++) at[s] = here, here += size_t(steps_[s].high - steps_[s].low) * K * 2;
      most_held = here > most_held ? here : most_held;
    }
    Buffer<V> table(most_held);
    Buffer<T> saved_m(size_t(groups - 1) * m_);
    Buffer<E> saved_e(size_t(groups - 1) * m_);
    for (int g = 0; g < groups; g++) {
      const int first = g * group, end = least(count_, first + group);
      if (g) {
        __builtin_memcpy(&saved_m[size_t(g - 1) * m_], top_m_.get(), m_ * sizeof(T));
        __builtin_memcpy(&saved_e[size_t(g - 1) * m_], top_e_.get(), m_ * sizeof(E));
      }
      if (g + 1 < groups) waves(first, end, [&](int s) { strip<false>(costs, s, nullptr, true); });
      else waves(first, end, [&](int s) { strip<true>(costs, s, table.get() + at[s], true); });
    }
    close(results, true);
    if (p.entropy || p.priced) of_row_.make(size_t(n_) * kSums);
    visits_.make(m_ + 1);
    for (int j = 0; j <= m_; j++) visits_[j] = T(0);
    for (int g = groups - 1; g >= 0; g--) {
      const int first = g * group, end = least(count_, first + group);
      if (g + 1 < groups) {
        if (g) {
          __builtin_memcpy(top_m_.get(), &saved_m[size_t(g - 1) * m_], m_ * sizeof(T));
          __builtin_memcpy(top_e_.get(), &saved_e[size_t(g - 1) * m_], m_ * sizeof(E));
        } else {
          clear();
        }
        waves(first, end, [&](int s) { strip<true>(costs, s, table.get() + at[s], false); });
      }
      for (int s = first; s < end; s++) done_[s] = 0;
      shared<T>(sharing_, end - first, [&](int t) {
        const int s = end - 1 - t;
        back(costs, pull, s, table.get() + at[s], s + 1 < end);
      });
    }
    double entropy = 0;
    for (int i = n_ - 1; i >= 0 && (p.entropy || p.priced); i--) {
      const T* row = &of_row_[size_t(i) * kSums];
      entropy += double(row[0]);
      for (int k = 0; k < 3; k++) results.by_penalty[k][0] += double(row[1 + k]), results.by_weight[k][0] += double(row[4 + k]);
    }
    results.entropy[0] = T(entropy + chosen_);
  }

 private:
  struct Steps {
    int low, high;
  };

  const Sharing& sharing_;
  int n_, m_, count_;
  bool free_;
  Buffer<int> done_;  // steps that a strip has done
  Buffer<Steps> steps_;
  // The row above the strip that is worked on, and what it has got of visits. Strips follow each other
  // over the same numbers: what one has read it leaves to the next.
  Buffer<T> top_m_, visits_;
  Buffer<E> top_e_;
  static constexpr int kSums = 7;
  Buffer<T> of_row_;  // entropy, and moves and what they paid by kind, of each row
  // Z in the last column and the last row (which has the corner), where paths end there, and shares.
  Buffer<T> column_m_, column_share_, row_m_, row_share_;
  Buffer<E> column_e_, row_e_;
  double chosen_ = 0;
  int from_ = 0;  // the first strip of this wave: nothing to wait for

  static int least(int a, int b) { return a < b ? a : b; }
  static int most(int a, int b) { return a > b ? a : b; }
  int rows_of(int s) const { return least(height, n_ - s * height); }

  void clear() {
    for (int j = 0; j < m_; j++) top_m_[j] = T(1), top_e_[j] = X::far;
  }
  void start() {
    top_m_.make(m_), top_e_.make(m_);
    clear();
    chosen_ = 0;
    column_m_.make(n_), column_e_.make(n_), column_share_.make(n_);
    row_m_.make(m_), row_e_.make(m_), row_share_.make(m_);
    for (int i = 0; i < n_; i++) column_m_[i] = T(1), column_e_[i] = X::far, column_share_[i] = T(0);
    for (int j = 0; j < m_; j++) row_m_[j] = T(1), row_e_[j] = X::far, row_share_[j] = T(0);
  }

  template <class One>
  void waves(int first, int end, const One& one) {
    for (int s = first; s < end; s++) done_[s] = 0;
    from_ = first;
    shared<T>(sharing_, end - first, [&](int t) { one(first + t); });
  }
  void wait(int s, int steps) const { wait_for(&done_[s], steps); }
  void report(int s, int steps) { __atomic_store_n(&done_[s], steps, __ATOMIC_RELEASE); }

  void close(Results<X>& results, bool arrive) {
    results.value[0] = T(leave<X>(p.gamma[0], arrive, &chosen_, [&](const auto& place) {
      auto look = [&](int many, T m, E e, T* share) {
        if (many) place(many, m, e, share);
      };
      for (int i = 0; p.model.end.x && i + 1 < n_; i++) look(Base::ends(i, m_ - 1, n_ - 1, m_ - 1), column_m_[i], column_e_[i], &column_share_[i]);
      for (int j = p.model.end.y ? 0 : m_ - 1; j < m_; j++) look(Base::ends(n_ - 1, j, n_ - 1, m_ - 1), row_m_[j], row_e_[j], &row_share_[j]);
    }));
    results.entropy[0] = T(0);
  }

  template <class A>
  static TA_INLINE A down(A v, A above) {  // lane l gets lane l - 1, lane 0 the last of `above`
    return down(v, above, std::make_integer_sequence<int, W>());
  }
  template <class A, int... L>
  static TA_INLINE A down(A v, A above, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(above, v, (W - 1 + L)...);
  }
  static TA_INLINE V up(V v, V below) {  // lane l gets lane l + 1, the last lane the first of `below`
    return up(v, below, std::make_integer_sequence<int, W>());
  }
  template <int... L>
  static TA_INLINE V up(V v, V below, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(v, below, (1 + L)...);
  }

  // Which cells of a step there are.
  struct Rows {
    B row[K], first[K], last[K];
  };
  Rows rows_at(int s) const {
    Rows a;
    for (int k = 0; k < K; k++)
      for (int l = 0; l < W; l++) {
        const int r = k * W + l, i = s * height + r;
        a.row[k][l] = r;
        a.first[k][l] = i < n_ ? (p.first ? p.first[i] : 0) : 1;
        a.last[k][l] = i < n_ ? (p.first ? p.last[i] : m_ - 1) : 0;
      }
    return a;
  }

  template <bool Record, class Costs>
  void strip(Costs& costs, int s, V* table, bool look) {
    const Lot<X>& p = this->p;  // GCC 12 does not find it in a lambda of a lambda
    const int first = s * height, rows = rows_of(s);
    T* const top_m = top_m_.get();
    E* const top_e = top_e_.get();
    const Rows at = rows_at(s);
    Number last[K], across[K], entry[K];
    for (int k = 0; k < K; k++) {
      last[k] = across[k] = entry[k] = X::none();
      for (int l = 0; l < W; l++) {
        const Number one = Base::entry(first + k * W + l, 0);
        entry[k].m[l] = one.m[0], entry[k].e[l] = one.e[0];
      }
    }
    V cost[kTile * K];
    const I nowhere = X::alle(X::far);
    const V inf = X::all(kInfinite<T>);
    const bool to_end = look && (p.model.end.x != 0 || s == count_ - 1);

    auto step = [&](auto general, auto priced, int q, const V* given) __attribute__((always_inline)) {
      constexpr bool General = decltype(general)::value, Priced = decltype(priced)::value;
      Number over(X::all(1), nowhere);
      if (!General || q < m_) over = Number(X::all(top_m[q]), X::alle(top_e[q]));
      downwards<K>([&](auto number) __attribute__((always_inline)) {
        constexpr int k = decltype(number)::value;
        const Number higher = k ? last[k ? k - 1 : 0] : over;
        Number from(down(last[k].m, higher.m), down(last[k].e, higher.e));
        const Number come = from;
        Number left = last[k], diagonal = across[k];
        V price = given[k];
        B border = B{};
        if constexpr (General) {
          const B j = q - at.row[k];
          const B valid = (j >= at.first[k]) & (j <= at.last[k]);
          price = valid ? price : inf;
          const B begin = (B)(j == 0);
          border = begin;
          if (!Base::falls()) from.e = Base::never_falls() ? nowhere : X::widened(begin) ? from.e : nowhere;
          if (!Base::steps()) left.e = nowhere;
          if (!Base::crosses()) diagonal.e = nowhere;
          diagonal.m = begin ? entry[k].m : diagonal.m;
          diagonal.e = X::widened(begin) ? entry[k].e : diagonal.e;
          if (k == 0 && s == 0) {
            from.e[0] = X::far;
            border[0] = -1;
            const Number one = q < m_ ? Base::entry(0, q) : X::none();
            diagonal.m[0] = one.m[0], diagonal.e[0] = one.e[0];
          }
        }
        last[k] = Base::template cell<Record, Priced>(from, left, diagonal, price, border, table + k * 2);
        across[k] = come;
      });
      if constexpr (Record) table += K * 2;
      if constexpr (General) {
        if (to_end) {
          const int r = q - (m_ - 1);  // of the row that is at the last column
          if (r >= 0 && r < rows) column_m_[first + r] = last[r / W].m[r % W], column_e_[first + r] = last[r / W].e[r % W];
          const int j = q - (rows - 1);
          if (s == count_ - 1 && j >= 0 && j < m_) {
            const int r = rows - 1;
            row_m_[j] = last[r / W].m[r % W], row_e_[j] = last[r / W].e[r % W];
          }
        }
        const int j = q - (height - 1);
        if (j >= 0 && j < m_) top_m[j] = last[K - 1].m[W - 1], top_e[j] = last[K - 1].e[W - 1];
      } else {
        const int j = q - (height - 1);
        top_m[j] = last[K - 1].m[W - 1], top_e[j] = last[K - 1].e[W - 1];
      }
    };

    const Steps steps = steps_[s];
    const bool general = !free_ || s == 0 || s == count_ - 1;
    for (int q0 = steps.low; q0 < steps.high;) {
      const int q1 = least(steps.high, q0 + kTile);
      if (s > from_) wait(s - 1, least(q1 + height, total_steps));
      if (q0 == steps.low && q0 > 0 && q0 <= m_) across[0].m[0] = top_m[q0 - 1], across[0].e[0] = top_e[q0 - 1];
      costs.strip(first, q0, q1, cost);
      int q = q0;
      const V* given = cost;
      if (p.priced) {
        for (; q < q1; q++, given += K) step(std::true_type(), std::true_type(), q, given);
      } else {
        for (; q < q1; q++, given += K) {
          for (; q < q1 && !general && q >= height && q < m_ - 1; q++, given += K) step(std::false_type(), std::false_type(), q, given);
          if (q < q1) step(std::true_type(), std::false_type(), q, given);
        }
      }
      q0 = q1;
      report(s, q1);
    }
    if (steps.low >= steps.high) {  // nothing of these rows can be visited, so nothing below
      if (s > from_) wait(s - 1, total_steps);
      clear();
    }
    report(s, total_steps);
  }
  static constexpr int total_steps = 2147483647;

  template <class Costs, class Pull>
  void back(Costs& costs, Pull& pull, int s, const V* table, bool follow) {
    const Lot<X>& p = this->p;
    const int first = s * height;
    const Steps steps = steps_[s];
    const Rows at = rows_at(s);
    T* const visits_between = visits_.get();
    V right[K] = {}, across[K] = {}, handed[K] = {}, sums[K][kSums] = {};
    V slope[kTile * K], cost[kTile * K];
    const bool more = p.priced || p.entropy;
    const V* in = table + size_t(steps.high - steps.low) * K * 2;
    auto step = [&](auto general, int q, V* out, const V* given) __attribute__((always_inline)) {
      constexpr bool General = decltype(general)::value;
      in -= K * 2;
      const int j_below = q - (height - 1);
      V under = V{};
      if (!General || (j_below >= 0 && j_below < m_)) under = X::all(visits_between[j_below]), visits_between[j_below] = T(0);
      upwards<K>([&](auto number) __attribute__((always_inline)) {
        constexpr int k = decltype(number)::value;
        V visits = up(handed[k], k + 1 < K ? handed[k + 1 < K ? k + 1 : 0] : under);
        const V* moves = in + k * 2;
        B j = B{}, border = B{};
        if constexpr (General) {
          j = q - at.row[k];
          const B valid = (j >= at.first[k]) & (j <= at.last[k]);
          const int r = q - (m_ - 1), b = n_ - 1 - first, jb = q - b;
          if (r >= 0 && r / W == k && r < height && first + r < n_ - 1) visits[r % W] += column_share_[first + r];
          if (b < height && b / W == k && jb >= 0 && jb < m_) visits[b % W] += row_share_[jb];
          visits = visits + right[k];
          visits = valid ? visits : V{};
          border = (B)(j == 0);
          if (k == 0 && s == 0) border[0] = -1;
        } else {
          visits = visits + right[k];
        }
        V by_up, diagonal;
        Base::parted(visits, moves, by_up, right[k], diagonal);
        V found = visits;
        if (General && more) {
          if (p.entropy) {
            V local = Base::choice(moves);
            if (p.model.begin.multiplicity > 1)
              for (int l = 0; l < W; l++) {
                const int many = border[l] && visits[l] > 0 ? Base::begins(first + k * W + l, q - (k * W + l)) : 0;
                if (many > 1) local[l] += diagonal[l] / visits[l] * T(__builtin_log(double(many)));
              }
            sums[k][0] += visits > 0 ? visits * local : V{};
          }
          if (p.priced) {
            const V inf = X::all(kInfinite<T>);
            const V paid = (given[k] < inf) & (B)(visits > 0) ? given[k] : V{};
            const V by[3] = {by_up, right[k], border ? V{} : diagonal};
            found = border ? diagonal : V{};
            for (int c = 0; c < 3; c++) {
              sums[k][1 + c] += by[c];
              sums[k][4 + c] += by[c] * paid;
              found = found + by[c] * Base::weight[c];
            }
            if (p.visits) found = visits;
          }
        }
        out[k] = found;
        handed[k] = by_up + across[k];
        across[k] = diagonal;
      });
      if (!General || (q >= 0 && q < m_)) visits_between[q] = handed[0][0];
    };
    const bool general = more || p.first || s == count_ - 1;
    for (int q1 = steps.high; q1 > steps.low;) {
      const int q0 = most(steps.low, q1 - kTile);
      // The strip below works towards smaller columns; what it hands up of column j it has at step j.
      if (follow) wait(s + 1, total_steps - most(0, q0 - (height - 1)));
      if (p.priced) costs.strip(first, q0, q1, cost);
      for (int q = q1 - 1; q >= q0; q--) {
        V* out = slope + (q - q0) * K;
        if (general || q < height || q >= m_ - 1) step(std::true_type(), q, out, cost + (q - q0) * K);
        else step(std::false_type(), q, out, nullptr);
      }
      pull(first, q0, q1, (const V*)slope, q1 == steps.high, q0 == steps.low);
      q1 = q0;
      report(s, total_steps - q1);
    }
    for (int r = 0; more && r < rows_of(s); r++)
      for (int c = 0; c < kSums; c++) of_row_[size_t(first + r) * kSums + c] = sums[r / W][c][r % W];
    // The diagonal from the first column that a window allows.
    if (steps.low > 0 && steps.high > steps.low && steps.low - 1 < m_) visits_between[steps.low - 1] += across[0][0];
    report(s, total_steps);
  }
};

}  // namespace tempalign::TA_LEVEL

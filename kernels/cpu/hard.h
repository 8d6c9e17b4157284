// The hard minimum as a policy: how a cell follows from its three neighbours, and what is written down
// of it so that the path can be found: two bits a cell, the move that the path came by.
//
// Ties: the diagonal move unless another is strictly smaller, then the step in rows only if strictly
// smaller than the step in columns; a path begins where it may unless coming from somewhere is
// strictly smaller.
#pragma once
#include "costs.h"

namespace tempalign::TA_LEVEL {

constexpr int kMoves = 16;  // that are written into a word, whatever its size
constexpr int kColumn = 0, kRow = 1, kDiagonal = 2, kNowhere = 3;

// Three moves at one price, from (0, 0): nearly every call.
template <class T>
struct Plain {
  using L = Lanes<T>;
  using V = typename L::V;
  using I = typename L::I;

  // Squared differences of one feature are added in the same step (`squared`: the difference).
  // `row_last`: of the neighbours, that in the row above is known last, else that in the column before:
  // what follows from it must not wait for more than it has to.
  template <bool squared, bool row_last>
  static V next(V cost, V row, V column, V diagonal, I* code) {
    V best;
    if (code) {
      const V straight = L::minimum(column, row);
      best = L::minimum(diagonal, straight);
      const I step = (row < column) & kRow;
      *code = L::select(straight < diagonal, step, L::all_of(kDiagonal));
    } else {
      best = row_last ? L::minimum(row, L::minimum(column, diagonal)) : L::minimum(column, L::minimum(row, diagonal));
    }
    if constexpr (squared) return L::fma(cost, cost, best);
    return best + cost;
  }
};

// Any model: each move has a price of its own, `weight cost + penalty` (infinite where it is never
// allowed), and a path may begin in the midst.
template <class T>
struct General {
  using L = Lanes<T>;
  using V = typename L::V;
  using I = typename L::I;

  V weight[3], penalty[3];
  bool first_column;  // whether the step in rows is allowed in the first column alone

  // `pairs`: of each lane, or with `step` 0 one for all. (Under `vmap` each may have prices of its own.)
  General(const Model& model, const Pair<T>* pairs, int step) {
    const Move* moves[3] = {&model.row, &model.column, &model.diagonal};
    for (int k = 0; k < 3; k++)
      for (int l = 0; l < L::size; l++) {
        const T* prices = pairs[l * step].prices;
        const bool never = moves[k]->allowed == Allowed::never;
        weight[k][l] = moves[k]->weighted ? prices[k] : T(1);
        penalty[k][l] = never ? kInfinite<T> : moves[k]->penalised ? prices[3] : T(0);
      }
    first_column = model.row.allowed == Allowed::first_column;
  }

  // `in_first`: where the column is 0; `begins`: where a path may begin.
  V next(V cost, V row, V column, V diagonal, I in_first, I begins, I* code) const {
    const V infinite = L::all(kInfinite<T>);
    const I allowed = cost < infinite;
    auto price = [&](int k) { return L::select(allowed, L::fma(weight[k], cost, penalty[k]), infinite); };
    V best = row + price(0);
    if (first_column) best = L::select(in_first, best, infinite);
    const V by_column = column + price(1), by_diagonal = diagonal + price(2);
    const V begun = L::select(begins, cost, infinite);
    I move = L::select(by_column <= best, L::all_of(kColumn), L::all_of(kRow));
    best = L::minimum(by_column, best);
    move = L::select(by_diagonal <= best, L::all_of(kDiagonal), move);
    best = L::minimum(by_diagonal, best);
    if (code) *code = L::select(begun <= best, L::all_of(kNowhere), move);
    return L::minimum(begun, best);
  }
};

// Writes down one more move; what was written `kMoves` moves ago must be stored by then.
template <class T>
typename Lanes<T>::Word written(typename Lanes<T>::Word moves, typename Lanes<T>::I code) {
  return (moves >> 2) | (typename Lanes<T>::Word(code) << (2 * kMoves - 2));
}

// The moves as they stand in the table, where only `count` were written.
template <class T>
typename Lanes<T>::Word flushed(typename Lanes<T>::Word moves, int count) {
  return moves >> (2 * (kMoves - count));
}

// Where the best path ends.
template <class T>
struct End {
  T value;
  int i, j;
};

// Of equally good ends that on the first anti-diagonal counts, of two there that in the last column.
// `last_column(i)` and `last_row(j)` are R of the cells where paths may end.
template <class T, class Column, class Row>
End<T> choose_end(const Model& model, int n, int m, const Column& last_column, const Row& last_row) {
  End<T> best{last_row(m - 1), n - 1, m - 1};
  if (!model.end.is_open()) return best;
  best.value = kInfinite<T>;
  const int most = n > m ? n : m;
  for (int skipped = most - 1; skipped >= 0; skipped--) {
    const int i = n - 1 - skipped, j = m - 1 - skipped;
    if (i >= 0 && (skipped == 0 || (model.end.x && Opening::within(skipped, model.end.x)))) {
      const T value = skipped ? last_column(i) : last_row(m - 1);
      if (value < best.value) best = {value, i, m - 1};
    }
    if (j >= 0 && skipped && model.end.y && Opening::within(skipped, model.end.y)) {
      const T value = last_row(j);
      if (value < best.value) best = {value, n - 1, j};
    }
  }
  return best;
}

// Goes back from an end by the moves that were written down; rows [count] holds the path's row on each
// anti-diagonal, -1 where it has none. Returns where it stopped: before rows of the table begin.
template <class Code>
void walk_back(int i, int j, int first_row, const Code& code, int32_t* rows, int* at_i, int* at_j) {
  while (i >= first_row && j >= 0) {
    rows[i + j] = i;
    if (i == 0 && j == 0) {
      i = j = -1;
      break;
    }
    const int move = code(i, j);
    if (move == kNowhere) i = j = -1;
    else if (move == kColumn) j--;
    else if (move == kRow) i--;
    else i--, j--;
  }
  *at_i = i;
  *at_j = j;
}

}  // namespace tempalign::TA_LEVEL

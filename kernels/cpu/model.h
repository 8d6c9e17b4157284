// The description of a problem, as tempalign/_engine/model.py has it: which paths there are and what
// they cost. Plain tags; each is an attribute of the call.
#pragma once
#include <cstdint>

// Compiled in every level, and so never to become a function of its own: the linker would keep that
// of one level for all.
#define TA_INLINE inline __attribute__((always_inline))

namespace tempalign {

// Local costs. `inner` is 1 - <x, y>, the cosine cost of vectors of length 1; `given` a matrix.
enum class Cost { sqeuclidean, euclidean, manhattan, inner, given };

enum class Allowed { everywhere, first_column, never };

struct Move {
  Allowed allowed = Allowed::everywhere;
  bool weighted = false;
  bool penalised = false;

  TA_INLINE bool plain() const { return allowed == Allowed::everywhere && !weighted && !penalised; }
};

struct Opening {  // how many frames may be skipped; any number if negative
  int x = 0;
  int y = 0;
  int multiplicity = 1;  // as how many paths one counts that skips some; only a soft minimum notices

  static TA_INLINE bool within(int skipped, int limit) { return limit < 0 || skipped <= limit; }
  TA_INLINE bool is_open() const { return x || y; }
};

struct Window {
  int band = -1;           // none if negative
  int slope_up = 0;        // the largest slope is slope_up / slope_by; none if 0
  int slope_by = 0;

  TA_INLINE bool is_open() const { return band < 0 && !slope_up; }
};

struct Model {
  Move row, column, diagonal;  // from (i-1, j), (i, j-1) and (i-1, j-1)
  Opening begin, end;
  Window window;
  Cost cost = Cost::sqeuclidean;

  // Whether one recurrence serves that knows nothing but three moves at one price from (0, 0).
  TA_INLINE bool plain() const {
    return row.plain() && column.plain() && diagonal.plain() && !begin.is_open();
  }
  // Whether all moves to a cell cost the same, so that the cost can be added once.
  TA_INLINE bool uniform() const {
    return !(row.weighted || row.penalised || column.weighted || column.penalised || diagonal.weighted || diagonal.penalised);
  }
};

template <class Call>
Model model_of(Call& call) {
  auto move = [&](const char* allowed, const char* weighted, const char* penalised) {
    return Move{Allowed(call.attribute(allowed)), call.attribute(weighted) != 0, call.attribute(penalised) != 0};
  };
  Model model;
  model.row = move("row_allowed", "row_weighted", "row_penalised");
  model.column = move("column_allowed", "column_weighted", "column_penalised");
  model.diagonal = move("diagonal_allowed", "diagonal_weighted", "diagonal_penalised");
  model.begin = {call.attribute("begin_x"), call.attribute("begin_y"), call.attribute("begin_paths")};
  model.end = {call.attribute("end_x"), call.attribute("end_y"), call.attribute("end_paths")};
  model.window = {call.attribute("band"), call.attribute("slope_up"), call.attribute("slope_by")};
  model.cost = Cost(call.attribute("cost"));
  return model;
}

// First and last column that a row may visit, both inclusive; `windows.ranges` in 64 (128) bits.
struct Range {
  int first, last;
};

template <class Wide>
TA_INLINE Wide floor_of(Wide a, Wide b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

template <class Wide>
TA_INLINE Wide ceil_of(Wide a, Wide b) {
  return -floor_of<Wide>(-a, b);
}

static inline Range columns_of(const Window& window, int i, int n, int m) {
  Range found{0, m - 1};
  if (window.is_open() || n == 1 || m == 1) return found;
  auto narrow = [&](auto first, auto last) {
    if (first > found.first) found.first = int(first > m ? m : first);
    if (last < found.last) found.last = int(last < -1 ? -1 : last);
  };
  if (window.band >= 0) {
    const int64_t down = n - 1, right = m - 1, at = i * right;
    if (down == right) {
      narrow(int64_t(i) - window.band, int64_t(i) + window.band);
    } else {
      const int64_t radius = window.band * (down < right ? down : right);
      narrow(ceil_of(at - radius, down), floor_of(at + radius, down));
    }
  }
  if (window.slope_up) {
    using Wide = __int128;
    const Wide down = n - 1, right = m - 1;
    const Wide up = window.slope_up, by = window.slope_by, here = Wide(i) * right, left = (down - i) * right;
    narrow(ceil_of<Wide>(here * by, down * up), floor_of<Wide>(here * up, down * by));
    narrow(right - floor_of<Wide>(left * up, down * by), right - ceil_of<Wide>(left * by, down * up));
  }
  return found;
}

// About how many cells paths may visit, by some of the rows.
static inline double cells_in(const Window& window, int n, int m) {
  if (window.is_open()) return double(n) * m;
  const int looks = n < 16 ? n : 16;
  double found = 0;
  for (int k = 0; k < looks; k++) {
    const Range range = columns_of(window, int((2 * int64_t(k) + 1) * n / (2 * looks)), n, m);
    if (range.last >= range.first) found += range.last - range.first + 1;
  }
  return found / looks * n;
}

}  // namespace tempalign

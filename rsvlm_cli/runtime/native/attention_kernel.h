// Attention of some queries to some keys, in vectors of any width: online softmax over blocks of keys, so that every
// key and value is read from memory once for all queries that are asked together. Source of the method: Dao et al.,
// "FlashAttention", 2022.
//
// Both products are one tile: n rows of numbers, each spread over a vector, times columns that lie side by side. Keys
// are turned for it in registers, a block at a time; values lie right as they are. Included by each kernel_*.cpp with
// its width and with as many rows a tile as its registers hold.
#pragma once
#include <limits>
#include <utility>

#include "kernel.h"

namespace {

template <int kWidth>
struct Lanes {
  typedef float Floats __attribute__((vector_size(4 * kWidth)));
  typedef int32_t Integers __attribute__((vector_size(4 * kWidth)));
};
template <int kWidth>
using Floats = typename Lanes<kWidth>::Floats;
template <int kWidth>
using Integers = typename Lanes<kWidth>::Integers;

template <int kWidth>
inline Floats<kWidth> load(const float* from) {
  Floats<kWidth> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

template <int kWidth>
inline void store(float* to, Floats<kWidth> v) {
  std::memcpy(to, &v, sizeof(v));
}

// The lanes kIndex of a and b, those of b counted from kWidth on.
template <int kWidth, int... kIndex>
inline Floats<kWidth> pick(Floats<kWidth> a, Floats<kWidth> b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, kIndex...);
#else
  return __builtin_shuffle(a, b, Integers<kWidth>{kIndex...});
#endif
}

// Lanes kStart, kStart + 1, ... of a and b in turns.
template <int kWidth, int kStart, int... kLane>
inline Floats<kWidth> interleave(Floats<kWidth> a, Floats<kWidth> b, std::integer_sequence<int, kLane...>) {
  return pick<kWidth, (kStart + kLane / 2 + kLane % 2 * kWidth)...>(a, b);
}

template <int kWidth, int kDistance, int... kLane>
inline Floats<kWidth> cross(Floats<kWidth> v, std::integer_sequence<int, kLane...>) {
  return pick<kWidth, (kLane ^ kDistance)...>(v, v);
}

// The greatest lane, in all of them.
template <int kWidth, int kDistance = kWidth / 2>
inline Floats<kWidth> greatest_lane(Floats<kWidth> v) {
  if constexpr (kDistance == 0) {
    return v;
  } else {
    const Floats<kWidth> other = cross<kWidth, kDistance>(v, std::make_integer_sequence<int, kWidth>{});
    return greatest_lane<kWidth, kDistance / 2>(v > other ? v : other);
  }
}

// kWidth rows of kWidth lanes become as many columns: each of log2(kWidth) shuffles halves the distance of neighbours.
template <int kWidth, int kDistance = kWidth / 2>
inline void turn(Floats<kWidth>* v) {
  if constexpr (kDistance > 0) {
    constexpr std::make_integer_sequence<int, kWidth> kAll{};
    Floats<kWidth> to[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth / 2; i++) {
      to[2 * i] = interleave<kWidth, 0>(v[i], v[i + kWidth / 2], kAll);
      to[2 * i + 1] = interleave<kWidth, kWidth / 2>(v[i], v[i + kWidth / 2], kAll);
    }
    turn<kWidth, kDistance / 2>(to);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; i++) v[i] = to[i];
  }
}

// Keys (n, head) to panels of 2 kWidth keys, (head, 2 kWidth) each; what is missing of the last one is zeros.
template <int kWidth>
inline void turn_keys(const float* keys, int n, int head, float* panels) {
  constexpr int kPanel = 2 * kWidth;
  alignas(64) float padded[kWidth * kQueryStep];
  for (int start = 0; start < n; start += kWidth) {
    const float* rows = keys + int64_t{start} * head;
    if (n - start < kWidth) {
      std::memset(padded, 0, sizeof(float) * kWidth * head);
      std::memcpy(padded, rows, sizeof(float) * (n - start) * head);
      rows = padded;
    }
    float* panel = panels + int64_t{start / kPanel} * kPanel * head + start % kPanel;
    for (int d = 0; d < head; d += kWidth) {
      Floats<kWidth> v[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; i++) v[i] = load<kWidth>(rows + i * head + d);
      turn<kWidth>(v);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; i++) store<kWidth>(panel + (d + i) * kPanel, v[i]);
    }
  }
  const int filled = (n + kWidth - 1) / kWidth * kWidth;
  if (filled % kPanel == 0) return;
  float* panel = panels + int64_t{filled / kPanel} * kPanel * head + kWidth;
  for (int d = 0; d < head; d++) store<kWidth>(panel + d * kPanel, Floats<kWidth>{});
}

// Columns that lie side by side, `step` apart from one depth to the next; `ahead` is asked for at the same pace.
struct Columns {
  const float* at;
  const float* ahead;
  int64_t step;
};

// out (kRowsOfTile, kVectors * kWidth) = rows (kRowsOfTile, depth) * columns (depth, ...), or += of it.
template <int kWidth, int kVectors, int kRowStep, bool kAdd, int kRowsOfTile>
inline void tile_times(const float* rows, Columns columns, int depth, float* out, int64_t out_step) {
  Floats<kWidth> sums[kRowsOfTile][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRowsOfTile; r++) {
    for (int v = 0; v < kVectors; v++) {
      sums[r][v] = kAdd ? load<kWidth>(out + r * out_step + v * kWidth) : Floats<kWidth>{};
    }
  }
  for (int k = 0; k < depth; k++, rows++, columns.at += columns.step, columns.ahead += columns.step) {
    Floats<kWidth> column[kVectors];
    for (int v = 0; v < kVectors; v++) column[v] = load<kWidth>(columns.at + v * kWidth);
    for (int v = 0; v < kVectors; v++) __builtin_prefetch(columns.ahead + v * kWidth, 0, 2);
#pragma GCC unroll 12
    for (int r = 0; r < kRowsOfTile; r++) {
      for (int v = 0; v < kVectors; v++) sums[r][v] += rows[r * kRowStep] * column[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRowsOfTile; r++) {
    for (int v = 0; v < kVectors; v++) store<kWidth>(out + r * out_step + v * kWidth, sums[r][v]);
  }
}

// The same for n rows, n from 1 to kMost.
template <int kWidth, int kVectors, int kRowStep, bool kAdd, int kMost>
inline void rows_times(int n, const float* rows, const Columns& columns, int depth, float* out, int64_t out_step) {
  if constexpr (kMost > 1) {
    if (n < kMost) {
      return rows_times<kWidth, kVectors, kRowStep, kAdd, kMost - 1>(n, rows, columns, depth, out, out_step);
    }
  }
  tile_times<kWidth, kVectors, kRowStep, kAdd, kMost>(rows, columns, depth, out, out_step);
}

// exp of x <= 0 within 2 units in the last place; below -87 it is exp(-87). As exp_fast in kernel.h.
template <int kWidth>
inline Floats<kWidth> exp_below_zero(Floats<kWidth> x) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
  const Floats<kWidth> least = Floats<kWidth>{} - 87.0f;
  x = x > least ? x : least;
  const Floats<kWidth> shifted = x * 1.44269504f + kShift, n = shifted - kShift;
  const Floats<kWidth> r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats<kWidth> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Integers<kWidth> exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent - (0x4b400000 - 127)) << 23;  // 0x4b400000 are the bits of kShift
  Floats<kWidth> power;
  std::memcpy(&power, &exponent, sizeof(power));
  return p * power;
}

// Scores of one query become weights exp(score - greatest so far), zeros where it does not look, and what was summed
// before is brought to the same greatest score. n_seen: of n scores, in whole vectors, how many count; at least 1.
template <int kWidth>
inline void weigh(float* scores, int n_seen, int n, float* greatest, float* total, float* sums, int head) {
  const int whole = (n_seen + kWidth - 1) / kWidth * kWidth;
  for (int j = n_seen; j < whole; j++) scores[j] = -std::numeric_limits<float>::max();
  Floats<kWidth> top = load<kWidth>(scores);
  for (int j = kWidth; j < whole; j += kWidth) {
    const Floats<kWidth> v = load<kWidth>(scores + j);
    top = v > top ? v : top;
  }
  top = greatest_lane<kWidth>(top);
  Floats<kWidth> weights = load<kWidth>(total);
  if (top[0] > *greatest) {
    const Floats<kWidth> factor = exp_below_zero<kWidth>(*greatest - top);
    weights *= factor;
    for (int d = 0; d < head; d += kWidth) store<kWidth>(sums + d, load<kWidth>(sums + d) * factor);
    *greatest = top[0];
  } else {
    top = Floats<kWidth>{} + *greatest;
  }
  for (int j = 0; j < whole; j += kWidth) {
    const Floats<kWidth> weight = exp_below_zero<kWidth>(load<kWidth>(scores + j) - top);
    weights += weight;
    store<kWidth>(scores + j, weight);
  }
  store<kWidth>(total, weights);
  for (int j = n_seen; j < n; j++) scores[j] = 0.0f;
}

template <int kWidth, int kTile>
void attend(const AttentionBlock& block) {
  constexpr int kPanel = 2 * kWidth;
  const int head = block.head;
  alignas(64) float scores[kTile * kKeys];
  float* totals = block.totals;  // (n_rows, kWidth), added up at the end
  for (int r = 0; r < block.n_rows; r++) block.greatest[r] = -std::numeric_limits<float>::max();
  std::memset(totals, 0, sizeof(float) * block.n_rows * kWidth);
  std::memset(block.sums, 0, sizeof(float) * block.n_rows * head);
  for (int start = 0; start < block.n_keys; start += kKeys) {
    const int n = block.n_keys - start < kKeys ? block.n_keys - start : kKeys;
    const float* keys = block.keys + int64_t{start} * head;
    const float* values = block.values + int64_t{start} * head;
    turn_keys<kWidth>(keys, n, head, block.panels);
    const int first_row = block.first_row_that_sees(start);
    for (int first = first_row; first < block.n_rows; first += kTile) {
      // While the first rows are multiplied, the next block comes from memory: with few queries that is the limit.
      const float* next_keys = first == first_row ? keys + kKeys * head : block.panels;
      const float* next_values = first == first_row ? values + kKeys * head : values;
      const int n_rows = block.n_rows - first < kTile ? block.n_rows - first : kTile;
      const float* queries = block.queries + int64_t{first} * kQueryStep;
      for (int j = 0; j < n; j += kPanel) {
        const Columns columns{block.panels + j * head, next_keys + j * head, kPanel};
        rows_times<kWidth, 2, kQueryStep, false, kTile>(n_rows, queries, columns, head, scores + j, kKeys);
      }
      float* sums = block.sums + int64_t{first} * head;
      for (int r = 0; r < n_rows; r++) {
        const int64_t seen = block.n_seen(first + r) - start;
        weigh<kWidth>(scores + r * kKeys, seen < n ? static_cast<int>(seen) : n, n, block.greatest + first + r,
                      totals + (first + r) * kWidth, sums + r * head, head);
      }
      int d = 0;
      for (; d + kPanel <= head; d += kPanel) {
        const Columns columns{values + d, next_values + d, head};
        rows_times<kWidth, 2, kKeys, true, kTile>(n_rows, scores, columns, n, sums + d, head);
      }
      const Columns columns{values + d, next_values + d, head};
      if (d < head) rows_times<kWidth, 1, kKeys, true, kTile>(n_rows, scores, columns, n, sums + d, head);
    }
  }
  for (int r = 0; r < block.n_rows; r++) {
    float total = 0;
    for (int i = 0; i < kWidth; i++) total += totals[r * kWidth + i];
    totals[r] = total;
  }
}

}  // namespace

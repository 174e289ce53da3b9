// Kernels for AVX-512 with VNNI.
//
// Few tokens (decoding): rows are read as they lie, 64 packed bytes at a time, and the sums of 16 rows are added up
// together at the end; the memory is the limit. Many tokens (a prompt): 16 rows are first turned so that a register
// holds the same 4 columns of all of them, and are then multiplied by 12 tokens at a time; VNNI is the limit. The turn
// costs as much as 3 or 4 tokens do.
#include <immintrin.h>

#include "attention_kernel.h"
#include "kernel_avx512.h"

namespace {

constexpr int kTile = 12;       // tokens of a tile: 24 sums and what they are made of fill the 32 registers
constexpr int kAhead = 4096;    // bytes that are asked for before they are needed, into the second-level cache

// The scales of the 16 lanes of a chunk; `present` of them exist.
template <int kBits, int kBlock>
inline __m512 load_scales(const float* scales, int chunk, int present) {
  constexpr int kLanesOfBlock = kBlock * kBits / 32;
  if constexpr (kLanesOfBlock >= kLanes) {
    return _mm512_set1_ps(scales[chunk * kLanes / kLanesOfBlock]);
  } else {
    constexpr int kCount = kLanes / kLanesOfBlock;
    const int left = present / kLanesOfBlock;
    const __mmask16 mask = static_cast<__mmask16>((1u << (left < kCount ? left : kCount)) - 1);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i index = _mm512_srli_epi32(lane, __builtin_ctz(kLanesOfBlock));
    return _mm512_permutexvar_ps(index, _mm512_maskz_loadu_ps(mask, scales + chunk * kCount));
  }
}

// Adds up the 16 lanes of each of 16 registers: lane i of the result is the sum of v[i].
inline __m512 sum_rows(const __m512* v) {
  __m512 pairs[8], quads[4];
  for (int i = 0; i < 8; i++) {
    const __m512 a = v[2 * i], b = v[2 * i + 1];
    pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  for (int i = 0; i < 4; i++) {
    const __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
    quads[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const auto fold = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  };
  return fold(fold(quads[0], quads[1]), fold(quads[2], quads[3]));
}

// kTogether rows as they lie against kCount tokens from m on; sums[t][r] gets the unsummed lanes.
template <int kBits, int kBlock, int kTogether, int kCount>
inline void rows_times(const Matrix& weight, const int64_t* rows, const Activations& a, int m, __m512 (*sums)[kRows]) {
  const int chunks = weight.chunks(), bytes = weight.row_bytes();
  const uint8_t* packed[kTogether];
  const float* scales[kTogether];
  __m512 f[kTogether][kCount];
  for (int r = 0; r < kTogether; r++) {
    packed[r] = weight.packed + rows[r] * bytes;
    scales[r] = weight.scales + rows[r] * weight.n_blocks;
    for (int t = 0; t < kCount; t++) f[r][t] = _mm512_setzero_ps();
  }
  const auto chunk_times = [&](int c, __mmask64 mask, int present) __attribute__((always_inline)) {
    for (int r = 0; r < kTogether; r++) {
      const __m512i w = _mm512_maskz_loadu_epi8(mask, packed[r] + 64 * c);
      _mm_prefetch(reinterpret_cast<const char*>(packed[r] + 64 * c + kAhead), _MM_HINT_T1);
      const __m512i low = low_part<kBits>(w), high = high_part(w);
      const __m512 scale = load_scales<kBits, kBlock>(scales[r], c, present);
      for (int t = 0; t < kCount; t++) {
        const int64_t place = static_cast<int64_t>(m + t) * chunks + c;
        const int8_t* values = a.values + place * (64 * 8 / kBits);
        __m512i sum = _mm512_loadu_si512(a.lane_corrections + place * kLanes);
        sum = _mm512_dpbusd_epi32(sum, low, _mm512_loadu_si512(values));
        if constexpr (kBits == 4) sum = _mm512_dpbusd_epi32(sum, high, _mm512_loadu_si512(values + 64));
        const __m512 factor = _mm512_mul_ps(scale, _mm512_loadu_ps(a.lane_scales + place * kLanes));
        f[r][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, f[r][t]);
      }
    }
  };
  const int full = bytes / 64;
  for (int c = 0; c < full; c++) chunk_times(c, ~__mmask64{0}, kLanes);
  if (full < chunks) chunk_times(full, (__mmask64{1} << (bytes - 64 * full)) - 1, weight.lanes() - full * kLanes);
  for (int r = 0; r < kTogether; r++) {
    for (int t = 0; t < kCount; t++) sums[t][r] = f[r][t];
  }
}

template <int kBits, int kBlock, int kCount>
inline void few_tokens(const Matrix& weight, const int64_t* rows, const Activations& a, int m, float* out) {
  constexpr int kTogether = kCount == 1 ? 1 : 2;
  __m512 sums[kCount][kRows];
  for (int r = 0; r < kRows; r += kTogether) {
    __m512 part[kCount][kRows];
    rows_times<kBits, kBlock, kTogether, kCount>(weight, rows + r, a, m, part);
    for (int t = 0; t < kCount; t++) {
      for (int i = 0; i < kTogether; i++) sums[t][r + i] = part[t][i];
    }
  }
  for (int t = 0; t < kCount; t++) _mm512_storeu_ps(out + (m + t) * kRows, sum_rows(sums[t]));
}

// Turned rows against kCount tokens from m on.
template <int kBits, int kBlock, int kCount>
inline void turned_times(const Matrix& weight, const Turned& turned, const Activations& a, int m, float* out) {
  constexpr int kColumns = 64 * 8 / kBits, kLanesOfBlock = kBlock * kBits / 32, kPart = 32 / kBits / 4;
  const int blocks = weight.n_blocks;
  const int64_t width = static_cast<int64_t>(weight.chunks()) * kColumns;
  const uint8_t* w = turned.values;
  __m512 f[kCount];
  for (int t = 0; t < kCount; t++) f[t] = _mm512_setzero_ps();
  for (int b = 0; b < blocks; b++) {
    const int lane = b * kLanesOfBlock;
    const int8_t* values = a.values + m * width + lane / kLanes * kColumns + lane % kLanes * 4;
    __m512i sums[kCount];
    for (int t = 0; t < kCount; t++) sums[t] = _mm512_set1_epi32(a.corrections[(m + t) * blocks + b]);
    for (int l = 0; l < kLanesOfBlock; l++, w += 64 * kPart, values += 4) {
      const __m512i low = _mm512_load_si512(w);
      const __m512i high = _mm512_load_si512(w + 64 * (kPart - 1));
#pragma GCC unroll 12
      for (int t = 0; t < kCount; t++) {
        int32_t even, odd;
        std::memcpy(&even, values + t * width, 4);
        sums[t] = _mm512_dpbusd_epi32(sums[t], low, _mm512_set1_epi32(even));
        if constexpr (kBits == 4) {
          std::memcpy(&odd, values + t * width + 64, 4);
          sums[t] = _mm512_dpbusd_epi32(sums[t], high, _mm512_set1_epi32(odd));
        }
      }
    }
    const __m512 scale = _mm512_load_ps(turned.scales + b * kRows);
#pragma GCC unroll 12
    for (int t = 0; t < kCount; t++) {
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(a.scales[(m + t) * blocks + b]));
      f[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t]), factor, f[t]);
    }
  }
  for (int t = 0; t < kCount; t++) _mm512_storeu_ps(out + (m + t) * kRows, f[t]);
}

template <int kBits, int kBlock>
struct Multiply {
  static void run(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, uint8_t* room,
                  float* out) {
    int64_t rows[kRows];
    list_rows(first, step, n_rows, rows);
    switch (a.n_tokens) {
      case 1: return few_tokens<kBits, kBlock, 1>(weight, rows, a, 0, out);
      case 2: return few_tokens<kBits, kBlock, 2>(weight, rows, a, 0, out);
      case 3: return few_tokens<kBits, kBlock, 3>(weight, rows, a, 0, out);
      case kFew: return few_tokens<kBits, kBlock, kFew>(weight, rows, a, 0, out);
    }
    const Turned turned = turn<kBits, 0>(weight, rows, room);
    int m = 0;
    for (; m + kTile <= a.n_tokens; m += kTile) turned_times<kBits, kBlock, kTile>(weight, turned, a, m, out);
    for (; m + 4 <= a.n_tokens; m += 4) turned_times<kBits, kBlock, 4>(weight, turned, a, m, out);
    for (; m < a.n_tokens; m++) turned_times<kBits, kBlock, 1>(weight, turned, a, m, out);
  }
};

void multiply(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, uint8_t* room,
              float* out) {
  with_scheme<Multiply>(weight, first, step, n_rows, a, room, out);
}

}  // namespace

extern const Kernels kAvx512Kernels = {"avx512-vnni", quantise_few_or_many, multiply, silu_times, attend<16, 12>, 480 << 10};

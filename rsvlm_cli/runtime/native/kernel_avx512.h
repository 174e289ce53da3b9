// What the kernels for AVX-512 and for AMX share: rounding of activations, and sixteen rows of a weight, turned so that a
// register, or a row of a tile, holds the same 4 columns of all of them, which is what many tokens are multiplied by.
#pragma once
#include <immintrin.h>

#include "kernel.h"

namespace {

template <int kBits>
inline __m512i low_part(__m512i packed) {
  return kBits == 8 ? packed : _mm512_and_si512(packed, _mm512_set1_epi8(15));
}
inline __m512i high_part(__m512i packed) {
  return _mm512_and_si512(_mm512_srli_epi16(packed, 4), _mm512_set1_epi8(15));
}

// Sixteen rows of 16 lanes become 16 lanes of 16 rows.
inline void transpose(__m512i* v) {
  __m512i a[16], b[16];
  for (int i = 0; i < 8; i++) {
    a[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {  // b[4 q + i], 128-bit part p: lane 4 p + i of rows 4 q ... 4 q + 3
    const __m512i x = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88), y = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
    const __m512i z = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd), w = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
    v[i] = _mm512_shuffle_i32x4(x, y, 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(x, y, 0xdd);
    v[i + 4] = _mm512_shuffle_i32x4(z, w, 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(z, w, 0xdd);
  }
}

// Sixteen turned rows: for each lane a register of low parts and, with 4 bits, one of high parts; scales block by block.
struct Turned {
  const uint8_t* values;
  const float* scales;
};

// The rows that a kernel multiplies: where one is missing, the last one stands in for it.
inline void list_rows(int64_t first, int64_t step, int n_rows, int64_t* rows) {
  for (int r = 0; r < kRows; r++) rows[r] = first + (r < n_rows ? r : n_rows - 1) * step;
}

// Turns rows into room; kZeroPoint is taken off the weights, so that with their own they come out signed.
template <int kBits, int kZeroPoint>
inline Turned turn(const Matrix& weight, const int64_t* rows, uint8_t* room) {
  const int bytes = weight.row_bytes();
  const __m512i zero_point = _mm512_set1_epi8(static_cast<char>(kZeroPoint));
  uint8_t* to = room;
  for (int c = 0; c < weight.chunks(); c++) {
    const int left = bytes - 64 * c;
    const __mmask64 mask = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    __m512i v[16];
    for (int r = 0; r < kRows; r++) v[r] = _mm512_maskz_loadu_epi8(mask, weight.packed + rows[r] * bytes + 64 * c);
    transpose(v);
    for (int lane = 0; lane < kLanes; lane++, to += 64 * 8 / kBits) {
      _mm512_store_si512(to, _mm512_sub_epi8(low_part<kBits>(v[lane]), zero_point));
      if constexpr (kBits == 4) _mm512_store_si512(to + 64, _mm512_sub_epi8(high_part(v[lane]), zero_point));
    }
  }
  float* turned_scales = reinterpret_cast<float*>(to);
  for (int r = 0; r < kRows; r++) {
    const float* scales = weight.scales + rows[r] * weight.n_blocks;
    for (int b = 0; b < weight.n_blocks; b++) turned_scales[b * kRows + r] = scales[b];
  }
  return {room, turned_scales};
}

// quantise_token for more than kFew tokens, whose kernels look at blocks and never at lanes.
template <int kBits, int kBlock>
inline void quantise_blocks(const Matrix& weight, const float* x, const Activations& a, int token) {
  constexpr int kColumns = 64 * 8 / kBits, kVectors = kBlock / 16, kZeroPoint = 1 << (kBits - 1);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i even = _mm512_slli_epi32(lane, 1), odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
  const int chunks = weight.chunks(), n_blocks = weight.n_blocks;
  int8_t* values = a.values + static_cast<int64_t>(token) * chunks * kColumns;
  float* scales = a.scales + static_cast<int64_t>(token) * n_blocks;
  int32_t* corrections = a.corrections + static_cast<int64_t>(token) * n_blocks;
  std::memset(values + (chunks - 1) * kColumns, 0, kColumns);  // what is left of the last chunk counts for nothing
  for (int b = 0; b < n_blocks; b++) {
    const int start = b * kBlock;
    __m512 v[kVectors], top = _mm512_setzero_ps();
    for (int i = 0; i < kVectors; i++) {
      const int present = a.columns - start - 16 * i;
      const __mmask16 mask = present >= 16 ? 0xffff : present > 0 ? (1u << present) - 1 : 0;
      v[i] = _mm512_maskz_loadu_ps(mask, x + start + 16 * i);
      top = _mm512_max_ps(top, _mm512_abs_ps(v[i]));
    }
    const float largest = _mm512_reduce_max_ps(top);
    const __m512 inverse = _mm512_set1_ps(largest > 1e-30f ? 127.0f / largest : 0.0f);
    __m512i integers[kVectors], sum = _mm512_setzero_si512();
    for (int i = 0; i < kVectors; i++) {
      integers[i] = _mm512_cvtps_epi32(_mm512_mul_ps(v[i], inverse));
      sum = _mm512_add_epi32(sum, integers[i]);
    }
    scales[b] = largest / 127.0f;
    corrections[b] = -kZeroPoint * _mm512_reduce_add_epi32(sum);
    const auto put = [](int8_t* to, __m512i v) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(v));
    };
    if constexpr (kBits == 8) {
      for (int i = 0; i < kVectors; i++) put(values + start + 16 * i, integers[i]);
    } else {
      int8_t* to = values + start / kColumns * kColumns + start % kColumns / 2;
      for (int i = 0; i + 1 < kVectors; i += 2, to += 16) {
        put(to, _mm512_permutex2var_epi32(integers[i], even, integers[i + 1]));
        put(to + 64, _mm512_permutex2var_epi32(integers[i], odd, integers[i + 1]));
      }
      if constexpr (kVectors == 1) {
        _mm_storeu_si64(to, _mm512_cvtepi32_epi8(_mm512_permutexvar_epi32(even, integers[0])));
        _mm_storeu_si64(to + 64, _mm512_cvtepi32_epi8(_mm512_permutexvar_epi32(odd, integers[0])));
      }
    }
  }
}

template <int kBits, int kBlock>
struct QuantiseBlocks {
  static void run(const Matrix& weight, const float* x, const Activations& activations, int token) {
    quantise_blocks<kBits, kBlock>(weight, x, activations, token);
  }
};

void quantise_few_or_many(const Matrix& weight, const float* x, const Activations& activations, int token) {
  if (activations.n_tokens <= kFew) return quantise(weight, x, activations, token);
  with_scheme<QuantiseBlocks>(weight, x, activations, token);
}

}  // namespace

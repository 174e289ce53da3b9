// Kernels for AVX2 and FMA: 32 packed bytes of a row at a time, against a few tokens.
#include <immintrin.h>

#include "attention_kernel.h"
#include "kernel.h"

namespace {

constexpr int kStep = 8;  // lanes at a time

// The scales of 8 lanes from `lane` on; every block of a row is there, so nothing beyond the row is read.
template <int kBits, int kBlock>
inline __m256 load_scales(const float* scales, int lane, int n_blocks) {
  constexpr int kLanesOfBlock = kBlock * kBits / 32;
  const int b = lane / kLanesOfBlock;
  if constexpr (kLanesOfBlock >= kStep) {
    return _mm256_set1_ps(scales[b]);
  } else {
    float near[kStep];
    for (int i = 0; i < kStep; i++) {
      const int block = b + i / kLanesOfBlock;
      near[i] = block < n_blocks ? scales[block] : 0.0f;
    }
    return _mm256_loadu_ps(near);
  }
}

// Sums of the products of 4 weights each, in 8 lanes.
template <int kBits>
inline __m256i dot(__m256i packed, const int8_t* values) {
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (kBits == 8) {
    // As signed weights: a product of unsigned ones would not fit into 16 bits. |w| <= 128 and |x| <= 127.
    const __m256i w = _mm256_xor_si256(packed, _mm256_set1_epi8(-128));
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)), ones);
  } else {
    const __m256i mask = _mm256_set1_epi8(15);
    const __m256i even = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
    const __m256i odd = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + 64));
    const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(packed, mask), even);
    const __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(packed, 4), mask), odd);
    return _mm256_madd_epi16(_mm256_add_epi16(low, high), ones);
  }
}

inline float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// One row against kCount tokens from m on.
template <int kBits, int kBlock, int kCount>
inline void row_times(const Matrix& weight, int64_t row, const Activations& a, int m, float* out) {
  constexpr int kColumns = 64 * 8 / kBits;
  const int lanes = weight.chunks() * kLanes, bytes = weight.row_bytes();
  const uint8_t* packed = weight.packed + row * bytes;
  const float* scales = weight.scales + row * weight.n_blocks;
  __m256 sums[kCount];
  for (int t = 0; t < kCount; t++) sums[t] = _mm256_setzero_ps();
  for (int lane = 0; 4 * lane < bytes; lane += kStep) {
    __m256i w;
    if (4 * lane + 32 <= bytes) {
      w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + 4 * lane));
    } else {
      uint8_t last[32] = {};
      std::memcpy(last, packed + 4 * lane, bytes - 4 * lane);
      w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(last));
    }
    const __m256 scale = load_scales<kBits, kBlock>(scales, lane, weight.n_blocks);
    const int place = lane / kLanes * kColumns + lane % kLanes * 4;
    for (int t = 0; t < kCount; t++) {
      const int64_t token = m + t;
      __m256i sum = dot<kBits>(w, a.values + token * weight.chunks() * kColumns + place);
      if constexpr (kBits == 4) {
        const int32_t* correction = a.lane_corrections + token * lanes + lane;
        sum = _mm256_add_epi32(sum, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(correction)));
      }
      const __m256 factor = _mm256_mul_ps(scale, _mm256_loadu_ps(a.lane_scales + token * lanes + lane));
      sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, sums[t]);
    }
  }
  for (int t = 0; t < kCount; t++) out[(m + t) * kRows] = sum_lanes(sums[t]);
}

template <int kBits, int kBlock>
struct Multiply {
  static void run(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, float* out) {
    int m = 0;
    for (; m + 4 <= a.n_tokens; m += 4) {
      for (int r = 0; r < n_rows; r++) row_times<kBits, kBlock, 4>(weight, first + r * step, a, m, out + r);
    }
    for (; m < a.n_tokens; m++) {
      for (int r = 0; r < n_rows; r++) row_times<kBits, kBlock, 1>(weight, first + r * step, a, m, out + r);
    }
  }
};

void multiply(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, uint8_t*,
              float* out) {
  with_scheme<Multiply>(weight, first, step, n_rows, a, out);
}

}  // namespace

extern const Kernels kAvx2Kernels = {"avx2", quantise, multiply, silu_times, attend<8, 6>, 480 << 10};

// Kernels for AMX: of many tokens, 16 at a time are multiplied by 16 turned rows in the matrix unit. Its sums are integers,
// a tile of them for each block, and leave it to be scaled: that, not the products, is the limit. Few tokens and all
// else are the AVX-512 kernels'.
#include "attention_kernel.h"
#include "kernel_avx512.h"

#if defined(__AMX_INT8__)

namespace {

constexpr int kTile = 16;  // tokens of a tile

// A block's products are kParts tiles of kDepth bytes a token: with 4 bits its even columns and its odd ones.
template <int kBits, int kBlock>
struct Shape {
  static constexpr int kDepth = kBits == 4 ? kBlock / 2 : kBlock < 64 ? kBlock : 64;
  static constexpr int kParts = kBlock / kDepth;
  static constexpr int kStep = kBits == 4 ? 128 : 64;  // bytes from a lane of turned rows to the next
};

// Tile 0 and 1 hold sums, 2 and 3 tokens, 4 and 5 rows.
template <int kDepth>
inline void configure() {
  alignas(64) uint8_t config[64] = {1};
  for (int tile = 0; tile < 6; tile++) {
    config[16 + 2 * tile] = tile < 2 || tile > 3 ? 64 : kDepth;  // bytes of a row
    config[48 + tile] = tile < 4 ? kTile : kDepth / 4;           // rows
  }
  asm volatile("" : : "r"(config) : "memory");  // GCC 12 believes that only its first bytes are read
  _tile_loadconfig(config);
}

// Sums (kTile, kRows) of the products within a block.
template <int kBits, int kBlock>
inline void multiply_block(const int8_t* tokens, int64_t width, const uint8_t* rows, int32_t* sums) {
  using S = Shape<kBits, kBlock>;
  _tile_zero(0);
  _tile_loadd(2, tokens, width);
  _tile_loadd(4, rows, S::kStep);
  _tile_dpbssd(0, 2, 4);
  if constexpr (S::kParts == 2) {
    _tile_loadd(3, tokens + 64, width);
    _tile_loadd(5, rows + (kBits == 4 ? 64 : 1024), S::kStep);
    _tile_dpbssd(0, 3, 5);
  }
  _tile_stored(0, sums, 64);
}

// Turned rows against the kTile tokens from m on.
template <int kBits, int kBlock>
inline void tile_times(const Matrix& weight, const Turned& turned, const Activations& a, int m, float* out) {
  using S = Shape<kBits, kBlock>;
  constexpr int kChunk = 64 * 8 / kBits, kLanesOfBlock = kBlock * kBits / 32;
  const int blocks = weight.n_blocks;
  const int64_t width = static_cast<int64_t>(weight.chunks()) * kChunk;
  const int8_t* values = a.values + m * width;
  const float* scales = a.scales + static_cast<int64_t>(m) * blocks;
  alignas(64) int32_t sums[2][kTile * kRows];  // of the block that is being multiplied, and of the one before
  const auto multiply = [&](int b) __attribute__((always_inline)) {
    const int lane = b * kLanesOfBlock;
    const int8_t* tokens = values + lane / kLanes * kChunk + lane % kLanes * 4;
    multiply_block<kBits, kBlock>(tokens, width, turned.values + int64_t{lane} * S::kStep, sums[b % 2]);
  };
  __m512 f[kTile];
  for (int t = 0; t < kTile; t++) f[t] = _mm512_setzero_ps();
  multiply(0);
  for (int b = 0; b < blocks; b++) {
    if (b + 1 < blocks) multiply(b + 1);
    const __m512 scale = _mm512_load_ps(turned.scales + b * kRows);
#pragma GCC unroll 16
    for (int t = 0; t < kTile; t++) {
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(scales[t * blocks + b]));
      f[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[b % 2] + t * kRows)), factor, f[t]);
    }
  }
  for (int t = 0; t < kTile; t++) _mm512_store_ps(out + (m + t) * kRows, f[t]);
}

template <int kBits, int kBlock>
struct Multiply {
  static void run(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, uint8_t* room,
                  float* out) {
    int64_t rows[kRows];
    list_rows(first, step, n_rows, rows);
    const Turned turned = turn<kBits, 1 << (kBits - 1)>(weight, rows, room);
    configure<Shape<kBits, kBlock>::kDepth>();
    // The last tile begins earlier rather than that it were smaller.
    for (int m = 0; m < a.n_tokens; m += kTile) {
      tile_times<kBits, kBlock>(weight, turned, a, m + kTile < a.n_tokens ? m : a.n_tokens - kTile, out);
    }
    _tile_release();
  }
};

void multiply(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, uint8_t* room,
              float* out) {
  if (a.n_tokens < kTile) return kAvx512Kernels.multiply(weight, first, step, n_rows, a, room, out);
  with_scheme<Multiply>(weight, first, step, n_rows, a, room, out);
}

}  // namespace

extern const Kernels kAmxKernels = {"amx-int8", quantise_few_or_many, multiply, silu_times, attend<16, 12>, 1280 << 10};

#else

extern const Kernels kAmxKernels = {"amx-int8", nullptr, nullptr, nullptr, nullptr, 0};

#endif

// What every instruction set's kernels share: the shapes of their data, rounding of activations, SiLU; how attention is
// computed is in attention_kernel.h.
//
// Each kernel_*.cpp is compiled with the flags of its instruction set and includes this file, so everything here has
// internal linkage: a function compiled for AVX-512 must never be the one that the plain kernels call.
//
// Law of the bytes: rsvlm_cli/runtime/int4.py. Law of the numbers: docs/expert-dispatch.md, docs/attention.md. A "lane"
// is 4 packed bytes of a weight's row: 8 weights of 4 bits or 4 of 8 bits.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

constexpr int kRows = 16;      // rows of a weight that a kernel multiplies at once
constexpr int kFew = 4;        // tokens up to which rows are best read in the order in which they lie
constexpr int kLanes = 16;     // lanes of a chunk: 64 packed bytes

constexpr int kKeys = 64;         // keys of a block of attention: with their values they stay in the first-level cache
constexpr int kQueryStep = 256;   // from one query to the next; heads are no wider
constexpr int kWidest = 16;       // floats of the widest vector; a head is a whole number of them

// A packed weight (rows, columns): n_blocks blocks of `block` columns a row, the last one padded with zeros.
struct Matrix {
  const uint8_t* packed;
  const float* scales;
  int64_t rows;
  int bits, block, n_blocks;

  int row_bytes() const { return n_blocks * block * bits / 8; }
  int lanes() const { return row_bytes() / 4; }
  int chunks() const { return (lanes() + kLanes - 1) / kLanes; }
};

// Tokens rounded to int8 by block. A token's values stand in chunks, as long as 64 packed bytes of a row: with 8 bits in
// order, with 4 bits the 64 even columns of the chunk and then its 64 odd ones, as the low and high nibbles hold them.
// Corrections are -zero_point * sum(values): weights are multiplied as unsigned integers.
struct Activations {
  int8_t* values;             // (tokens, chunks * chunk)
  float* scales;              // (tokens, n_blocks)
  int32_t* corrections;       // (tokens, n_blocks)
  float* lane_scales;         // (tokens, chunks * kLanes): the scale of the block that a lane lies in
  int32_t* lane_corrections;  // (tokens, chunks * kLanes)
  int n_tokens, columns;
};

// Queries of one key-value head against some of its keys. Row r is query head r % group of token r / group, and sees the
// first `seen + r / group` of the keys, all of them at the most.
struct AttentionBlock {
  const float* queries;  // (n_rows, kQueryStep), turned and scaled
  const float* keys;     // (n_keys, head)
  const float* values;   // (n_keys, head)
  int n_rows, n_keys, head, group;
  int64_t seen;
  float* panels;    // room: (kKeys, head)
  float* sums;      // out: (n_rows, head), weighted values; a weight is exp(score - greatest)
  float* greatest;  // out: (n_rows,), the greatest score
  float* totals;    // out: (n_rows,), the weights' sum; room for (n_rows, kWidest)

  int64_t n_seen(int row) const { return seen + row / group; }
  int first_row_that_sees(int key) const { return seen > key ? 0 : static_cast<int>((key + 1 - seen) * group); }
};

struct Kernels {
  const char* name;
  // Rounds the row x of weight.n_blocks blocks, of which the first `columns` columns are there, into token's place.
  void (*quantise)(const Matrix& weight, const float* x, const Activations& activations, int token);
  // out (n_tokens, kRows) = activations * rows first, first + step, ...; of kRows rows the first n_rows are there.
  // room: room_bytes(weight) bytes of the calling thread's own, aligned to 64.
  void (*multiply)(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& activations,
                   uint8_t* room, float* out);
  // out[i] = silu(gate[i]) * up[i] for kRows values.
  void (*silu_times)(const float* gate, const float* up, float* out);
  // Softmax of the rows' scores over the keys, and the values it weighs, not yet divided by the weights' sum.
  void (*attend)(const AttentionBlock& block);
  // Bytes of activations that stay in the second-level cache while rows are multiplied by them.
  int64_t cached;
};

extern const Kernels kPlainKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAmxKernels;  // without functions where the compiler knows no AMX

namespace {

inline int chunk_columns(int bits) { return 64 * 8 / bits; }

// kRows unpacked rows and their scales.
inline size_t room_bytes(const Matrix& weight) {
  return kRows * (size_t{1} * weight.chunks() * chunk_columns(weight.bits) + sizeof(float) * weight.n_blocks);
}

// Rounds one block to integers in [-127, 127] and returns its scale: value = integer * scale.
template <int kBlock>
inline float round_block(const float* x, int8_t* integers) {
  int32_t bits[kBlock], largest = 0;  // magnitudes of floats compare as integers, which vectorises
  std::memcpy(bits, x, sizeof(bits));
  for (int i = 0; i < kBlock; i++) {
    const int32_t magnitude = bits[i] & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  float top;
  std::memcpy(&top, &largest, sizeof(top));
  const float inverse = top > 1e-30f ? 127.0f / top : 0.0f;  // below, 127 / top would overflow
  for (int i = 0; i < kBlock; i++) integers[i] = static_cast<int8_t>(static_cast<int32_t>(rintf(x[i] * inverse)));
  return top / 127.0f;
}

template <int kBits, int kBlock>
void quantise_token(const Matrix& weight, const float* x, const Activations& a, int token) {
  constexpr int kColumns = 64 * 8 / kBits, kLane = 32 / kBits, kLanesOfBlock = kBlock / kLane;
  constexpr int32_t kZeroPoint = 1 << (kBits - 1);
  const int chunks = weight.chunks(), lanes = chunks * kLanes;
  int8_t* values = a.values + static_cast<int64_t>(token) * chunks * kColumns;
  float* lane_scales = a.lane_scales + static_cast<int64_t>(token) * lanes;
  int32_t* lane_corrections = a.lane_corrections + static_cast<int64_t>(token) * lanes;
  for (int b = 0; b < weight.n_blocks; b++) {
    float padded[kBlock];
    const float* block = x + static_cast<int64_t>(b) * kBlock;
    const int present = a.columns - b * kBlock;
    if (present < kBlock) {
      for (int i = 0; i < kBlock; i++) padded[i] = i < present ? block[i] : 0.0f;
      block = padded;
    }
    int8_t integers[kBlock];
    const float scale = round_block<kBlock>(block, integers);
    const int start = b * kBlock, lane = b * kLanesOfBlock;
    if (kBits == 8) {
      std::memcpy(values + start, integers, kBlock);
    } else {
      int8_t* even = values + start / kColumns * kColumns + start % kColumns / 2;
      for (int i = 0; i < kBlock / 2; i++) {
        even[i] = integers[2 * i];
        even[i + 64] = integers[2 * i + 1];
      }
    }
    int32_t total = 0;
    for (int l = 0; l < kLanesOfBlock; l++) {
      int32_t sum = 0;
      for (int i = 0; i < kLane; i++) sum += integers[l * kLane + i];
      lane_scales[lane + l] = scale;
      lane_corrections[lane + l] = -kZeroPoint * sum;
      total += sum;
    }
    a.scales[static_cast<int64_t>(token) * weight.n_blocks + b] = scale;
    a.corrections[static_cast<int64_t>(token) * weight.n_blocks + b] = -kZeroPoint * total;
  }
  const int used = weight.n_blocks * kBlock, rest = chunks * kColumns - used;
  if (rest == 0) return;  // what is left of the last chunk counts for nothing
  if (kBits == 8) {
    std::memset(values + used, 0, rest);
  } else {
    int8_t* last = values + (chunks - 1) * kColumns;
    std::memset(last + 64 - rest / 2, 0, rest / 2);
    std::memset(last + 128 - rest / 2, 0, rest / 2);
  }
  for (int l = weight.lanes(); l < lanes; l++) {
    lane_scales[l] = 0.0f;
    lane_corrections[l] = 0;
  }
}

// Calls body<bits, block>() for the weight's own; the operators admit no others.
template <template <int, int> class Body, class... Arguments>
inline void with_scheme(const Matrix& weight, Arguments&&... arguments) {
  switch (weight.bits * 1000 + weight.block) {
    case 4016: return Body<4, 16>::run(weight, arguments...);
    case 4032: return Body<4, 32>::run(weight, arguments...);
    case 4064: return Body<4, 64>::run(weight, arguments...);
    case 4128: return Body<4, 128>::run(weight, arguments...);
    case 8016: return Body<8, 16>::run(weight, arguments...);
    case 8032: return Body<8, 32>::run(weight, arguments...);
    case 8064: return Body<8, 64>::run(weight, arguments...);
    case 8128: return Body<8, 128>::run(weight, arguments...);
  }
}

template <int kBits, int kBlock>
struct Quantise {
  static void run(const Matrix& weight, const float* x, const Activations& activations, int token) {
    quantise_token<kBits, kBlock>(weight, x, activations, token);
  }
};

[[maybe_unused]] void quantise(const Matrix& weight, const float* x, const Activations& activations, int token) {
  with_scheme<Quantise>(weight, x, activations, token);
}

// exp of x <= 88 within 2 units in the last place; below -87 it is exp(-87). Branch-free, so that loops vectorise.
// The polynomial is that of the Cephes library's expf.
inline float exp_fast(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float n = rintf(x * 1.44269504f);
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &exponent, sizeof(power));
  return p * power;
}

[[maybe_unused]] void silu_times(const float* gate, const float* up, float* out) {
  for (int i = 0; i < kRows; i++) out[i] = gate[i] * up[i] / (1.0f + exp_fast(-gate[i]));
}

}  // namespace

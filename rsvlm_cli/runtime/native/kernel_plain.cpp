// Kernels without intrinsics: for any CPU, and the form in which the others can be read.
#include "attention_kernel.h"
#include "kernel.h"

namespace {

template <int kBits, int kBlock>
struct Multiply {
  static void run(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, float* out) {
    constexpr int kColumns = 64 * 8 / kBits, kBytes = kBlock * kBits / 8;
    const int blocks = weight.n_blocks, width = weight.chunks() * kColumns;
    for (int r = 0; r < n_rows; r++) {
      const int64_t row = first + r * step;
      for (int m = 0; m < a.n_tokens; m++) {
        const uint8_t* packed = weight.packed + row * weight.row_bytes();
        const int8_t* token = a.values + static_cast<int64_t>(m) * width;
        float sum = 0;
        for (int b = 0; b < blocks; b++, packed += kBytes) {
          const int start = b * kBlock;
          int32_t dot = a.corrections[m * blocks + b];
          if (kBits == 8) {
            for (int i = 0; i < kBytes; i++) dot += packed[i] * token[start + i];
          } else {
            const int8_t* even = token + start / kColumns * kColumns + start % kColumns / 2;
            for (int i = 0; i < kBytes; i++) dot += (packed[i] & 15) * even[i] + (packed[i] >> 4) * even[i + 64];
          }
          sum += dot * (weight.scales[row * blocks + b] * a.scales[m * blocks + b]);
        }
        out[m * kRows + r] = sum;
      }
    }
  }
};

void multiply(const Matrix& weight, int64_t first, int64_t step, int n_rows, const Activations& a, uint8_t*,
              float* out) {
  with_scheme<Multiply>(weight, first, step, n_rows, a, out);
}

}  // namespace

extern const Kernels kPlainKernels = {"plain", quantise, multiply, silu_times, attend<4, 4>, 480 << 10};

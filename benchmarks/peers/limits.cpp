// What this machine's cores can do at most: bytes read a second from memory, and operations a second in registers.
//
// Compiled for the machine it runs on (-march=native); prints JSON, in bytes and in operations a second. A product and
// a sum are two operations. Vector units and, where there are any, matrix units (AMX) are told apart.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__AMX_INT8__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 64;  // bytes of a register
#elif defined(__AVX__)
constexpr int kWidth = 32;
#else
constexpr int kWidth = 16;
#endif
constexpr int kSums = 12;  // independent sums: more than a unit's latency times the units, fewer than the registers
constexpr int kTurns = 1 << 20;
constexpr size_t kBytes = size_t{1} << 30;

typedef float Floats __attribute__((vector_size(kWidth)));
typedef int64_t Words __attribute__((vector_size(kWidth)));

// Runs `work` on every thread at once, 20 times, and returns the least seconds.
double least_seconds(int threads, const std::function<void(int)>& work) {
  double least = 1e9;
  for (int turn = 0; turn < 20; ++turn) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> pool;
    for (int t = 1; t < threads; ++t) pool.emplace_back(work, t);
    work(0);
    for (auto& thread : pool) thread.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (seconds.count() < least) least = seconds.count();
  }
  return least;
}

// An empty statement that the compiler must believe to change every sum.
template <typename T>
inline void keep(T& value) {
#if defined(__x86_64__)
  asm volatile("" : "+v"(value));
#else
  asm volatile("" : "+w"(value));
#endif
}

double read_rate(int threads) {
  auto* memory = static_cast<char*>(std::aligned_alloc(4096, kBytes));
  const size_t share = kBytes / threads / (8 * kWidth) * (8 * kWidth);
  const auto each = [&](int t, auto&& body) {
    auto* words = reinterpret_cast<Words*>(memory + t * share);
    for (size_t i = 0; i < share / kWidth; i += 8) body(words + i);
  };
  const double seconds = [&] {
    least_seconds(threads, [&](int t) {
      each(t, [](Words* w) { for (int k = 0; k < 8; ++k) w[k] = Words{} + 1; });
    });
    return least_seconds(threads, [&](int t) {
      Words sums[8] = {};
      each(t, [&](const Words* w) {
        __builtin_prefetch(reinterpret_cast<const char*>(w) + 4096);
        for (int k = 0; k < 8; ++k) sums[k] += w[k];
      });
      for (auto& sum : sums) keep(sum);
    });
  }();
  std::free(memory);
  return static_cast<double>(share) * threads / seconds;
}

// Operations a second of `step`, which is given one of `kSums` sums and does `operations`.
template <typename Sum, typename Step>
double rate(int threads, double operations, Step step) {
  const double seconds = least_seconds(threads, [&](int) {
    Sum sums[kSums] = {};
    for (int turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 16  // else they lie in memory, whose latency is measured then
      for (int i = 0; i < kSums; ++i) step(sums[i]);
    }
    for (auto& sum : sums) keep(sum);
  });
  return threads * operations * kSums * kTurns / seconds;
}

double fp32_rate(int threads) {
  Floats factor = Floats{} + 0.999f;
  keep(factor);
  return rate<Floats>(threads, kWidth / 2.0, [=](Floats& sum) { sum = sum * factor + factor; });
}

#if defined(__AVX512VNNI__)
double int8_rate(int threads) {
  __m512i value = _mm512_set1_epi8(1);
  keep(value);
  return rate<__m512i>(threads, 128, [=](__m512i& sum) { sum = _mm512_dpbusd_epi32(sum, value, value); });
}
#elif defined(__AVX2__)
double int8_rate(int threads) {
  __m256i value = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  keep(value);
  keep(ones);
  return rate<__m256i>(threads, 64, [=](__m256i& sum) {
    __m256i pairs = _mm256_maddubs_epi16(value, value);
    keep(pairs);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  });
}
#else
double int8_rate(int threads) { return fp32_rate(threads); }
#endif

#if defined(__AVX512BF16__)
double bf16_rate(int threads) {
  __m512bh value = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1), _mm512_set1_ps(1));
  keep(value);
  return rate<__m512>(threads, 64, [=](__m512& sum) { sum = _mm512_dpbf16_ps(sum, value, value); });
}
#else
double bf16_rate(int threads) { return fp32_rate(threads); }
#endif

#if defined(__AMX_INT8__) && defined(__linux__)
// Tiles of 16 rows of 64 bytes: four sums from two and two of them, as a matrix product would.
template <bool kInt8>
double matrix_rate(int threads) {
  constexpr int kArchReqXcompPerm = 0x1023, kTileData = 18;
  if (syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData)) return 0;
  const double operations = kInt8 ? 32768 : 16384;
  const double seconds = least_seconds(threads, [&](int) {
    alignas(64) uint8_t config[64] = {1};
    for (int tile = 0; tile < 8; ++tile) {
      config[16 + 2 * tile] = 64;
      config[48 + tile] = 16;
    }
    asm volatile("" : : "r"(config) : "memory");  // GCC 12 believes that only its first bytes are read
    _tile_loadconfig(config);
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    _tile_zero(4); _tile_zero(5); _tile_zero(6); _tile_zero(7);
    for (int turn = 0; turn < kTurns; ++turn) {
      if constexpr (kInt8) {
        _tile_dpbssd(0, 4, 6); _tile_dpbssd(1, 4, 7); _tile_dpbssd(2, 5, 6); _tile_dpbssd(3, 5, 7);
      } else {
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_release();
  });
  return threads * operations * 4 * kTurns / seconds;
}
#else
template <bool kInt8>
double matrix_rate(int) { return 0; }
#endif

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const double fp32 = fp32_rate(threads), bf16 = bf16_rate(threads), int8 = int8_rate(threads);
  const double bf16_matrix = matrix_rate<false>(threads), int8_matrix = matrix_rate<true>(threads);
  std::printf("{\"read\": %.4g, \"fp32\": %.4g, \"bf16\": %.4g, \"int8\": %.4g, ", read_rate(threads), fp32, bf16, int8);
  std::printf("\"bf16_matrix\": %.4g, \"int8_matrix\": %.4g}\n", bf16_matrix, int8_matrix);
}

// The library: which kernels this CPU runs, and what ONNX Runtime calls to have the operators of domain rsvlm.
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "operator.h"

const OrtApi* api = nullptr;
const Kernels* kernels = nullptr;

namespace {

#if defined(__x86_64__)
// Whether the CPU has matrix units for int8, and the system lets this process use them: Linux asks to be asked, since
// their state makes every thread's larger.
bool has_amx() {
#if defined(__linux__)
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;  // of the extended features' third register
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kTile) && (d & kInt8) &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

bool supports(const Kernels& candidate) {
#if defined(__x86_64__)
  if (&candidate == &kAmxKernels) return candidate.multiply && supports(kAvx512Kernels) && has_amx();
  if (&candidate == &kAvx512Kernels) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
  }
  if (&candidate == &kAvx2Kernels) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return &candidate == &kPlainKernels;
}

#if defined(__x86_64__)
const Kernels* const kCandidates[] = {&kAmxKernels, &kAvx512Kernels, &kAvx2Kernels, &kPlainKernels};
#else
const Kernels* const kCandidates[] = {&kPlainKernels};
#endif

const Kernels* best_kernels() {
  for (const Kernels* candidate : kCandidates) {
    if (supports(*candidate)) return candidate;
  }
  return &kPlainKernels;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

// What ONNX Runtime calls when the library is registered with a session's options.
EXPORTED OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  api = base->GetApi(kApiVersion);  // null in a release before 1.22, which rsvlm's dependencies exclude
  if (!kernels) kernels = best_kernels();
  OrtCustomOpDomain* domain = nullptr;
  if (auto* status = api->CreateCustomOpDomain("rsvlm", &domain)) return status;
  for (const OrtCustomOp* op : {kExpertMLP, kBlockLinear, kQKVLinear, kGroupQueryAttention, kMultiHeadAttention}) {
    if (auto* status = api->CustomOpDomain_Add(domain, op)) return status;
  }
  return api->AddCustomOpDomain(options, domain);
}

// The kernels in use: the best that this CPU has, unless others were chosen.
EXPORTED const char* rsvlm_kernels() { return (kernels ? kernels : best_kernels())->name; }

// Chooses kernels by name for the whole process, for tests and comparisons; 0 where this CPU does not have them.
EXPORTED int rsvlm_choose_kernels(const char* name) {
  for (const Kernels* candidate : kCandidates) {
    if (std::strcmp(candidate->name, name) == 0 && supports(*candidate)) {
      kernels = candidate;
      return 1;
    }
  }
  return 0;
}

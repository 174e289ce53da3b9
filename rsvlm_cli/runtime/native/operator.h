// What every native operator needs: its face towards ONNX Runtime, tensors, memory, threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "kernel.h"
#include "ort_api.h"

constexpr int kMostThreads = 64;
constexpr int kPiecesOfThread = 4;            // of a phase, at least: few and large ones are read fastest
constexpr int64_t kPieceProducts = 1 << 24;   // of a piece, at most: a late thread holds up no more than that
constexpr int kPatience = 500;                // pauses before a waiting thread lets others run: some 20 us
constexpr int64_t kInlineProducts = 1 << 19;  // below, waking another thread costs more than it saves

extern const OrtApi* api;       // of the ONNX Runtime that registered the library
extern const Kernels* kernels;  // in use

extern const OrtCustomOp* const kExpertMLP;
extern const OrtCustomOp* const kBlockLinear;
extern const OrtCustomOp* const kQKVLinear;
extern const OrtCustomOp* const kGroupQueryAttention;
extern const OrtCustomOp* const kMultiHeadAttention;

inline OrtStatus* refuse(const char* op, const char* why) {
  char text[160];
  std::snprintf(text, sizeof(text), "%s: %s", op, why);
  return api->CreateStatus(kInvalidArgument, text);
}

// Memory that grows and is kept for the next call of the same thread; aligned to cache lines.
class Buffer {
 public:
  ~Buffer() { std::free(data_); }
  template <class T>
  T* take(size_t count) {
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    if (bytes > size_) {
      std::free(data_);
      data_ = std::aligned_alloc(64, bytes);
      if (!data_) std::abort();
      size_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

template <class Body>
void call_body(void* body, size_t index) {
  (*static_cast<const Body*>(body))(static_cast<int64_t>(index));
}

// Work that can be done in any order: body(0 ... total - 1).
template <class Body>
struct Phase {
  int64_t total;
  const Body& body;
};
template <class Body>
Phase(int64_t, const Body&) -> Phase<Body>;

struct alignas(64) Progress {
  std::atomic<int64_t> claimed{0}, done{0};
};

// Takes pieces of a phase while there are any, and waits until those of the other threads are done. Only pieces that
// somebody works on are waited for: a thread that comes late holds nobody up.
template <class Body>
void join_phase(Progress& progress, const Phase<Body>& phase, int64_t pieces) {
  const int64_t piece = (phase.total + pieces - 1) / pieces;
  for (int64_t start; (start = progress.claimed.fetch_add(piece, std::memory_order_relaxed)) < phase.total;) {
    const int64_t end = std::min(start + piece, phase.total);
    for (int64_t i = start; i < end; i++) phase.body(i);
    progress.done.fetch_add(end - start, std::memory_order_release);
  }
  for (int waited = 0; progress.done.load(std::memory_order_acquire) < phase.total; waited++) {
    if (waited > kPatience) std::this_thread::yield();  // whoever holds the last piece may want this very core
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

// One phase after the other, on the session's threads where the work is worth it. They are woken once for all phases:
// asleep, a thread takes about as long to come as a phase of a single token does.
template <class... Bodies>
OrtStatus* in_phases(OrtKernelContext* context, int64_t products, const Phase<Bodies>&... phases) {
  static const int64_t fewest = kPiecesOfThread * std::max(1u, std::thread::hardware_concurrency());
  const int64_t pieces = std::max(fewest, products / kPieceProducts);
  Progress progress[sizeof...(Bodies)];
  std::atomic<bool> over{false};
  const auto work = [&](int64_t) {
    if (over.load(std::memory_order_acquire)) return;  // of more calls than there are threads, the rest
    Progress* next = progress;
    (join_phase(*next++, phases, pieces), ...);
    over.store(true, std::memory_order_release);
  };
  if (products < kInlineProducts) {
    work(0);
    return nullptr;
  }
  return api->KernelContext_ParallelFor(context, call_body<decltype(work)>, kMostThreads, kMostThreads,
                                        const_cast<void*>(static_cast<const void*>(&work)));
}

struct Tensor {
  std::vector<int64_t> dims;
  void* data = nullptr;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t dim(size_t i) const { return i < dims.size() ? dims[i] : 1; }
  int64_t count(size_t from, size_t to) const {
    int64_t n = 1;
    for (size_t i = from; i < to && i < dims.size(); i++) n *= dims[i];
    return n;
  }
};

inline OrtStatus* read_inputs(OrtKernelContext* context, Tensor* tensors, size_t n_inputs) {
  for (size_t i = 0; i < n_inputs; i++) {
    const OrtValue* value = nullptr;
    if (auto* status = api->KernelContext_GetInput(context, i, &value)) return status;
    OrtTensorTypeAndShapeInfo* info = nullptr;
    if (auto* status = api->GetTensorTypeAndShape(value, &info)) return status;
    size_t rank = 0;
    OrtStatus* status = api->GetDimensionsCount(info, &rank);
    tensors[i].dims.resize(rank);
    if (!status) status = api->GetDimensions(info, tensors[i].dims.data(), rank);
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (!status) status = api->GetTensorMutableData(const_cast<OrtValue*>(value), &tensors[i].data);
    if (status) return status;
  }
  return nullptr;
}

inline OrtStatus* make_output(OrtKernelContext* context, size_t index, const std::vector<int64_t>& dims, float** data) {
  OrtValue* value = nullptr;
  if (auto* status = api->KernelContext_GetOutput(context, index, dims.data(), dims.size(), &value)) return status;
  return api->GetTensorMutableData(value, reinterpret_cast<void**>(data));
}

// An operator's face towards ONNX Runtime.
template <class Op>
struct Face : OrtCustomOp {
  Face() : OrtCustomOp{} {
    version = 16;
    GetName = [](const OrtCustomOp*) { return Op::kName; };
    GetExecutionProviderType = [](const OrtCustomOp*) { return "CPUExecutionProvider"; };
    GetInputTypeCount = [](const OrtCustomOp*) { return Op::kInputs; };
    GetInputType = [](const OrtCustomOp*, size_t i) { return Op::input_type(i); };
    GetOutputTypeCount = [](const OrtCustomOp*) { return Op::kOutputs; };
    GetOutputType = [](const OrtCustomOp*, size_t) { return int{kFloat}; };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t i) {
      return int{i + Op::kOptionalInputs >= Op::kInputs ? kOptional : kRequired};
    };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return int{kRequired}; };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* given, const OrtKernelInfo* info, void** kernel) {
      Op op;
      OrtStatus* status = op.configure(*given, info);
      if (!status) *kernel = new Op(op);
      return status;
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      Tensor inputs[Op::kInputs];
      size_t n_inputs = 0;
      OrtStatus* status = api->KernelContext_GetInputCount(context, &n_inputs);
      if (!status) status = read_inputs(context, inputs, n_inputs);
      return status ? status : static_cast<Op*>(kernel)->compute(context, inputs, n_inputs);
    };
    KernelDestroy = [](void* kernel) { delete static_cast<Op*>(kernel); };
  }
};


// What every native operator needs: its face towards ONNX Runtime, tensors, memory, threads.
#pragma once
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernel.h"
#include "ort_api.h"

constexpr int kBatches = 32;                  // a node's work is offered to the threads in so many pieces
constexpr int64_t kInlineProducts = 1 << 20;  // below, waking another thread costs more than it saves

extern const OrtApi* api;       // of the ONNX Runtime that registered the library
extern const Kernels* kernels;  // in use

extern const OrtCustomOp* const kExpertMLP;
extern const OrtCustomOp* const kBlockLinear;
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

// body(0 ... total - 1), on the session's threads where the work is worth it.
template <class Body>
OrtStatus* parallel_for(OrtKernelContext* context, int64_t total, int64_t products, const Body& body) {
  if (products < kInlineProducts || total == 1) {
    for (int64_t i = 0; i < total; i++) body(i);
    return nullptr;
  }
  const size_t batches = static_cast<size_t>(std::min<int64_t>(total, kBatches));
  return api->KernelContext_ParallelFor(context, call_body<Body>, static_cast<size_t>(total), batches,
                                        const_cast<Body*>(&body));
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


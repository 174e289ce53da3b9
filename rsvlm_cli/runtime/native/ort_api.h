// What an operator needs of ONNX Runtime's C API, declared by hand.
//
// The API is a table of function pointers to which each release only appends (its documentation promises that), so a
// function is known by its position. No header of ONNX Runtime is needed to compile, and the library works with every
// release from 1.22 on. Statuses are null where all is well.
#pragma once
#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtValue;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtCustomOp;

constexpr uint32_t kApiVersion = 22;
constexpr int kInvalidArgument = 2;  // OrtErrorCode
enum ElementType { kFloat = 1, kUint8 = 2, kInt32 = 6, kInt64 = 7 };  // ONNXTensorElementDataType
enum Characteristic { kRequired = 0, kOptional = 1 };     // OrtCustomOpInputOutputCharacteristic

// The table itself: slots by number.
struct OrtApi {
  void* slots[275];

  template <int kSlot, class Function>
  Function get() const {
    static_assert(kSlot < 275, "beyond the table of kApiVersion");
    return reinterpret_cast<Function>(slots[kSlot]);
  }
  OrtStatus* CreateStatus(int code, const char* text) const {
    return get<0, OrtStatus* (*)(int, const char*)>()(code, text);
  }
  OrtStatus* CreateCustomOpDomain(const char* name, OrtCustomOpDomain** domain) const {
    return get<26, OrtStatus* (*)(const char*, OrtCustomOpDomain**)>()(name, domain);
  }
  OrtStatus* CustomOpDomain_Add(OrtCustomOpDomain* domain, const OrtCustomOp* op) const {
    return get<27, OrtStatus* (*)(OrtCustomOpDomain*, const OrtCustomOp*)>()(domain, op);
  }
  OrtStatus* AddCustomOpDomain(OrtSessionOptions* options, OrtCustomOpDomain* domain) const {
    return get<28, OrtStatus* (*)(OrtSessionOptions*, OrtCustomOpDomain*)>()(options, domain);
  }
  OrtStatus* GetTensorMutableData(OrtValue* value, void** data) const {
    return get<51, OrtStatus* (*)(OrtValue*, void**)>()(value, data);
  }
  OrtStatus* GetDimensionsCount(const OrtTensorTypeAndShapeInfo* info, size_t* count) const {
    return get<61, OrtStatus* (*)(const OrtTensorTypeAndShapeInfo*, size_t*)>()(info, count);
  }
  OrtStatus* GetDimensions(const OrtTensorTypeAndShapeInfo* info, int64_t* dims, size_t count) const {
    return get<62, OrtStatus* (*)(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)>()(info, dims, count);
  }
  OrtStatus* GetTensorTypeAndShape(const OrtValue* value, OrtTensorTypeAndShapeInfo** info) const {
    return get<65, OrtStatus* (*)(const OrtValue*, OrtTensorTypeAndShapeInfo**)>()(value, info);
  }
  OrtStatus* KernelInfoGetAttribute_float(const OrtKernelInfo* info, const char* name, float* value) const {
    return get<85, OrtStatus* (*)(const OrtKernelInfo*, const char*, float*)>()(info, name, value);
  }
  OrtStatus* KernelInfoGetAttribute_int64(const OrtKernelInfo* info, const char* name, int64_t* value) const {
    return get<86, OrtStatus* (*)(const OrtKernelInfo*, const char*, int64_t*)>()(info, name, value);
  }
  OrtStatus* KernelContext_GetInputCount(const OrtKernelContext* context, size_t* count) const {
    return get<88, OrtStatus* (*)(const OrtKernelContext*, size_t*)>()(context, count);
  }
  OrtStatus* KernelContext_GetInput(const OrtKernelContext* context, size_t index, const OrtValue** value) const {
    return get<90, OrtStatus* (*)(const OrtKernelContext*, size_t, const OrtValue**)>()(context, index, value);
  }
  OrtStatus* KernelContext_GetOutput(OrtKernelContext* context, size_t index, const int64_t* dims, size_t n_dims,
                                     OrtValue** value) const {
    using Function = OrtStatus* (*)(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**);
    return get<91, Function>()(context, index, dims, n_dims, value);
  }
  void ReleaseTensorTypeAndShapeInfo(OrtTensorTypeAndShapeInfo* info) const {
    get<99, void (*)(OrtTensorTypeAndShapeInfo*)>()(info);
  }
  // Runs task(user, 0 ... total - 1), in n_batches contiguous batches, on the session's threads.
  OrtStatus* KernelContext_ParallelFor(const OrtKernelContext* context, void (*task)(void*, size_t), size_t total,
                                       size_t n_batches, void* user) const {
    using Function = OrtStatus* (*)(const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*);
    return get<274, Function>()(context, task, total, n_batches, user);
  }
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// How an operator presents itself, as of version 16 of the structure.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
};

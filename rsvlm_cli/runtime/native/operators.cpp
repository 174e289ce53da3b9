// The operators ExpertMLP and BlockLinear of domain rsvlm, version 1 (docs/expert-dispatch.md), for ONNX Runtime's CPU.
//
// Weights are read where ONNX Runtime mapped them: nothing is packed at load, and an expert that no token goes to is
// never touched, so it stays on disk.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernel.h"
#include "ort_api.h"

namespace {

constexpr int kBatches = 32;             // a node's work is offered to the threads in so many pieces
constexpr int64_t kInlineProducts = 1 << 20;  // below, waking another thread costs more than it saves

const OrtApi* api = nullptr;
const Kernels* kernels = nullptr;

bool supports(const Kernels& candidate) {
#if defined(__x86_64__)
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
const Kernels* const kCandidates[] = {&kAvx512Kernels, &kAvx2Kernels, &kPlainKernels};
#else
const Kernels* const kCandidates[] = {&kPlainKernels};
#endif

const Kernels* best_kernels() {
  for (const Kernels* candidate : kCandidates) {
    if (supports(*candidate)) return candidate;
  }
  return &kPlainKernels;
}

OrtStatus* refuse(const char* op, const char* why) {
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

// Room for one weight's activations, owned by the thread that runs the session.
struct ActivationRoom {
  Buffer values, scales, corrections, lane_scales, lane_corrections;

  Activations take(const Matrix& weight, int columns, int n_tokens) {
    const size_t blocks = size_t(n_tokens) * weight.n_blocks, chunks = size_t(n_tokens) * weight.chunks();
    return {values.take<int8_t>(chunks * chunk_columns(weight.bits)),
            scales.take<float>(blocks),
            corrections.take<int32_t>(blocks),
            lane_scales.take<float>(chunks * kLanes),
            lane_corrections.take<int32_t>(chunks * kLanes),
            n_tokens,
            columns};
  }
};

struct SessionRoom {
  ActivationRoom x, hidden;
  Buffer hidden_values;
};
thread_local SessionRoom session_room;

// Room of a worker thread: turned rows, and two tiles of results.
struct WorkerRoom {
  Buffer turned, tiles;
};
thread_local WorkerRoom worker_room;

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

// One thread's call of the kernels for kRows rows of a weight: results (n_tokens, kRows) of this thread.
float* multiply(const Matrix& weight, int64_t first, int64_t step, const Activations& a, int tile) {
  const int n_rows = static_cast<int>(std::min<int64_t>(kRows, (weight.rows - first + step - 1) / step));
  float* out = worker_room.tiles.take<float>(2 * kTokens * kRows) + tile * kTokens * kRows;
  kernels->multiply(weight, first, step, n_rows, a, worker_room.turned.take<uint8_t>(room_bytes(weight)), out);
  return out;
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

OrtStatus* read_inputs(OrtKernelContext* context, Tensor* tensors, size_t n_inputs) {
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

OrtStatus* make_output(OrtKernelContext* context, const std::vector<int64_t>& dims, float** data) {
  OrtValue* value = nullptr;
  if (auto* status = api->KernelContext_GetOutput(context, 0, dims.data(), dims.size(), &value)) return status;
  return api->GetTensorMutableData(value, reinterpret_cast<void**>(data));
}

struct Scheme {
  int64_t bits = 4, block = 32;

  bool known() const {
    return (bits == 4 || bits == 8) && (block == 16 || block == 32 || block == 64 || block == 128);
  }
  // The matrix `index` of a stack (E, rows, ...), or of rows alone.
  Matrix matrix(const Tensor& packed, const Tensor& scales, int64_t rows, int64_t columns, int64_t index) const {
    const int64_t blocks = (columns + block - 1) / block;
    return {packed.as<uint8_t>() + index * rows * blocks * block * bits / 8, scales.as<float>() + index * rows * blocks,
            rows, static_cast<int>(bits), static_cast<int>(block), static_cast<int>(blocks)};
  }
  bool holds(const Tensor& packed, const Tensor& scales, int64_t rows, int64_t columns) const {
    const int64_t blocks = (columns + block - 1) / block;
    return packed.count(0, packed.dims.size()) == rows * blocks * block * bits / 8 &&
           scales.count(0, scales.dims.size()) == rows * blocks;
  }
};

// Some tokens of x through one expert; rows says which rows of x and y they are.
struct Mlp {
  Matrix gate_up, down;
  const float* x;
  float* y;
  int64_t hidden, width;

  OrtStatus* run(OrtKernelContext* context, const int64_t* rows, int n) const {
    const Activations a = session_room.x.take(gate_up, static_cast<int>(hidden), n);
    const Activations h = session_room.hidden.take(down, static_cast<int>(width), n);
    float* inner = session_room.hidden_values.take<float>(size_t(n) * width);
    const int64_t products = n * hidden * width;
    const auto round_x = [&](int64_t m) { kernels->quantise(gate_up, x + rows[m] * hidden, a, static_cast<int>(m)); };
    const auto round_inner = [&](int64_t m) { kernels->quantise(down, inner + m * width, h, static_cast<int>(m)); };
    // Gate and up rows alternate. Many tokens take them apart; few read them in order, for the memory's sake.
    const auto first_half = [&](int64_t g) {
      const bool apart = n > kFew;
      const float* one = multiply(gate_up, 2 * kRows * g, apart ? 2 : 1, a, 0);
      const float* other = multiply(gate_up, 2 * kRows * g + (apart ? 1 : kRows), apart ? 2 : 1, a, 1);
      for (int m = 0; m < n; m++, one += kRows, other += kRows) {
        float gate[kRows], up[kRows];
        for (int i = 0; i < kRows && !apart; i++) {
          const float* pair = (i < kRows / 2 ? one : other) + 2 * i % kRows;
          gate[i] = pair[0];
          up[i] = pair[1];
        }
        kernels->silu_times(apart ? one : gate, apart ? other : up, inner + m * width + g * kRows);
      }
    };
    const auto second_half = [&](int64_t g) {
      const float* tile = multiply(down, kRows * g, 1, h, 0);
      for (int m = 0; m < n; m++) std::memcpy(y + rows[m] * hidden + g * kRows, tile + m * kRows, kRows * sizeof(float));
    };
    if (auto* status = parallel_for(context, n, n > 1 ? products : 0, round_x)) return status;
    if (auto* status = parallel_for(context, width / kRows, 2 * products, first_half)) return status;
    if (auto* status = parallel_for(context, n, n > 1 ? products : 0, round_inner)) return status;
    return parallel_for(context, hidden / kRows, products, second_half);
  }
};

// x (B, ..., D), expert (B,), gate_up (E, 2 F, D) packed and scales, down (E, D, F) packed and scales -> (B, ..., D).
struct ExpertMLP {
  static constexpr const char* kName = "ExpertMLP";
  static constexpr size_t kInputs = 6, kOptionalInputs = 0;
  static int input_type(size_t i) { return i == 1 ? kInt64 : i == 2 || i == 4 ? kUint8 : kFloat; }

  Scheme scheme;

  OrtStatus* compute(OrtKernelContext* context, const Tensor* in, size_t) const {
    const Tensor &x = in[0], &expert = in[1];
    if (x.dims.size() < 2 || in[2].dims.size() != 3 || in[4].dims.size() != 3) {
      return refuse(kName, "wanted x of rank 2 or more, weights of rank 3");
    }
    const int64_t batch = x.dims[0], hidden = x.dims.back(), per_sequence = x.count(1, x.dims.size() - 1);
    const int64_t experts = in[2].dims[0], width = in[2].dims[1] / 2;
    if (hidden % scheme.block || width % scheme.block || in[2].dims[1] != 2 * width ||
        !scheme.holds(in[2], in[3], experts * 2 * width, hidden) ||
        !scheme.holds(in[4], in[5], experts * hidden, width) || in[4].dims[0] != experts) {
      return refuse(kName, "weights do not fit x, or are not in whole blocks");
    }
    if (expert.count(0, expert.dims.size()) != batch) return refuse(kName, "wanted one expert for each sequence");
    const int64_t* chosen = expert.as<int64_t>();
    for (int64_t b = 0; b < batch; b++) {
      if (chosen[b] < 0 || chosen[b] >= experts) return refuse(kName, "expert index out of range");
    }
    Mlp mlp{{}, {}, x.as<float>(), nullptr, hidden, width};
    if (auto* status = make_output(context, x.dims, &mlp.y)) return status;
    std::vector<int64_t> rows;
    for (int64_t e = 0; e < experts; e++) {
      rows.clear();
      for (int64_t b = 0; b < batch; b++) {
        if (chosen[b] != e) continue;
        for (int64_t t = 0; t < per_sequence; t++) rows.push_back(b * per_sequence + t);
      }
      mlp.gate_up = scheme.matrix(in[2], in[3], 2 * width, hidden, e);
      mlp.down = scheme.matrix(in[4], in[5], hidden, width, e);
      for (size_t start = 0; start < rows.size(); start += kTokens) {
        const int n = static_cast<int>(std::min<size_t>(kTokens, rows.size() - start));
        if (auto* status = mlp.run(context, rows.data() + start, n)) return status;
      }
    }
    return nullptr;
  }
};

// x (..., K), weight (N, K) packed and scales, optional bias (N,) -> (..., N).
struct BlockLinear {
  static constexpr const char* kName = "BlockLinear";
  static constexpr size_t kInputs = 4, kOptionalInputs = 1;
  static int input_type(size_t i) { return i == 1 ? kUint8 : kFloat; }

  Scheme scheme;

  OrtStatus* compute(OrtKernelContext* context, const Tensor* in, size_t n_inputs) const {
    const Tensor& x = in[0];
    if (x.dims.empty() || in[1].dims.empty()) return refuse(kName, "wanted x of rank 1 or more");
    const int64_t columns = x.dims.back(), n_rows = in[1].dims[0], n_tokens = x.count(0, x.dims.size() - 1);
    if (!scheme.holds(in[1], in[2], n_rows, columns)) return refuse(kName, "the weight does not fit x");
    const float* bias = n_inputs > 3 ? in[3].as<float>() : nullptr;
    if (bias && in[3].count(0, in[3].dims.size()) != n_rows) return refuse(kName, "the bias does not fit the weight");
    std::vector<int64_t> dims = x.dims;
    dims.back() = n_rows;
    float* y = nullptr;
    if (auto* status = make_output(context, dims, &y)) return status;
    const Matrix weight = scheme.matrix(in[1], in[2], n_rows, columns, 0);
    for (int64_t start = 0; start < n_tokens; start += kTokens) {
      const int n = static_cast<int>(std::min<int64_t>(kTokens, n_tokens - start));
      const Activations a = session_room.x.take(weight, static_cast<int>(columns), n);
      const auto round_x = [&](int64_t m) {
        kernels->quantise(weight, x.as<float>() + (start + m) * columns, a, static_cast<int>(m));
      };
      const auto rows_times = [&](int64_t g) {
        const float* tile = multiply(weight, kRows * g, 1, a, 0);
        const int64_t present = std::min<int64_t>(kRows, n_rows - kRows * g);
        for (int m = 0; m < n; m++) {
          float* to = y + (start + m) * n_rows + kRows * g;
          for (int64_t r = 0; r < present; r++) to[r] = tile[m * kRows + r] + (bias ? bias[kRows * g + r] : 0.0f);
        }
      };
      const int64_t products = n * n_rows * columns;
      if (auto* status = parallel_for(context, n, n > 1 ? products : 0, round_x)) return status;
      if (auto* status = parallel_for(context, (n_rows + kRows - 1) / kRows, products, rows_times)) return status;
    }
    return nullptr;
  }
};

// An operator's face towards ONNX Runtime.
template <class Op>
struct Face : OrtCustomOp {
  Face() : OrtCustomOp{} {
    version = 16;
    GetName = [](const OrtCustomOp*) { return Op::kName; };
    GetExecutionProviderType = [](const OrtCustomOp*) { return "CPUExecutionProvider"; };
    GetInputTypeCount = [](const OrtCustomOp*) { return Op::kInputs; };
    GetInputType = [](const OrtCustomOp*, size_t i) { return Op::input_type(i); };
    GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
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
      OrtStatus* status = given->KernelInfoGetAttribute_int64(info, "bits", &op.scheme.bits);
      if (!status) status = given->KernelInfoGetAttribute_int64(info, "block_size", &op.scheme.block);
      if (!status && !op.scheme.known()) status = refuse(Op::kName, "wanted 4 or 8 bits, a block of 16, 32, 64 or 128");
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

const Face<ExpertMLP> expert_mlp;
const Face<BlockLinear> block_linear;

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

// What ONNX Runtime calls when the library is registered with a session's options.
EXPORTED OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  api = base->GetApi(kApiVersion);  // null in a release before 1.22, which rsvlm's dependencies exclude
  if (!kernels) kernels = best_kernels();
  OrtCustomOpDomain* domain = nullptr;
  if (auto* status = api->CreateCustomOpDomain("rsvlm", &domain)) return status;
  if (auto* status = api->CustomOpDomain_Add(domain, &expert_mlp)) return status;
  if (auto* status = api->CustomOpDomain_Add(domain, &block_linear)) return status;
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

// The operators ExpertMLP, BlockLinear and QKVLinear of domain rsvlm (docs/expert-dispatch.md), for ONNX Runtime's CPU.
//
// Weights are read where ONNX Runtime mapped them: nothing is packed at load, and an expert that no token goes to is
// never touched, so it stays on disk.
#include "operator.h"

namespace {

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

// Room of a worker thread: turned rows, and some tiles of results.
struct WorkerRoom {
  Buffer turned, tiles;
};
thread_local WorkerRoom worker_room;

constexpr int kMostTokens = 1024;  // so that their results stay in the cache, too

// Of n tokens so many at once that their activations stay in the cache, in pieces of about one size.
int64_t tokens_at_once(const Matrix& weight, int64_t n) {
  const int64_t width = int64_t{weight.chunks()} * chunk_columns(weight.bits);
  const int64_t most = std::clamp<int64_t>(kernels->cached / width, kRows, kMostTokens);
  const int64_t pieces = std::max<int64_t>(1, (n + most - 1) / most);
  return ((n + pieces - 1) / pieces + kRows - 1) / kRows * kRows;
}

// One thread's call of the kernels for kRows rows of a weight: results (n_tokens, kRows), in one of its kTiles tiles.
constexpr int kTiles = 4;
float* multiply(const Matrix& weight, int64_t first, int64_t step, const Activations& a, int tile) {
  const int n_rows = static_cast<int>(std::min<int64_t>(kRows, (weight.rows - first + step - 1) / step));
  const size_t size = size_t(a.n_tokens) * kRows;
  float* out = worker_room.tiles.take<float>(kTiles * size) + tile * size;
  kernels->multiply(weight, first, step, n_rows, a, worker_room.turned.take<uint8_t>(room_bytes(weight)), out);
  return out;
}

// Rows of a weight that are multiplied before they are kept: with many tokens kTiles tiles of them, so that longer pieces
// of each token's results are written together.
int64_t rows_together(int n_tokens) { return kRows * (n_tokens > kFew ? kTiles : 1); }

int64_t count_pieces(const Matrix& weight, int n_tokens) {
  return (weight.rows + rows_together(n_tokens) - 1) / rows_together(n_tokens);
}

// Multiplies a piece of the rows of a weight, and has put(token, row, values, n) keep what comes of n neighbouring ones.
template <class Put>
struct Rows {
  const Matrix& weight;
  const Activations& a;
  const Put& put;

  void operator()(int64_t piece) const {
    const int64_t together = rows_together(a.n_tokens), first = piece * together;
    const int64_t present = std::min(together, weight.rows - first);
    const float* tiles[kTiles];
    for (int64_t t = 0; t * kRows < present; t++) {
      tiles[t] = multiply(weight, first + t * kRows, 1, a, static_cast<int>(t));
    }
    for (int m = 0; m < a.n_tokens; m++) {
      for (int64_t r = 0; r < present; r += kRows) {
        put(m, first + r, tiles[r / kRows] + m * kRows, std::min<int64_t>(kRows, present - r));
      }
    }
  }
};
template <class Put>
Rows(const Matrix&, const Activations&, const Put&) -> Rows<Put>;

struct Scheme {
  int64_t bits = 4, block = 32;

  OrtStatus* read(const OrtApi& given, const OrtKernelInfo* info, const char* op) {
    if (auto* status = given.KernelInfoGetAttribute_int64(info, "bits", &bits)) return status;
    if (auto* status = given.KernelInfoGetAttribute_int64(info, "block_size", &block)) return status;
    const bool known = (bits == 4 || bits == 8) && (block == 16 || block == 32 || block == 64 || block == 128);
    return known ? nullptr : refuse(op, "wanted 4 or 8 bits, a block of 16, 32, 64 or 128");
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
    const auto put = [&](int m, int64_t row, const float* values, int64_t) {
      std::memcpy(y + rows[m] * hidden + row, values, kRows * sizeof(float));
    };
    const Rows last_half{down, h, put};
    return in_phases(context, 3 * n * hidden * width, Phase{n, round_x}, Phase{width / kRows, first_half},
                     Phase{n, round_inner}, Phase{count_pieces(down, n), last_half});
  }
};

// x (B, ..., D), expert (B,), gate_up (E, 2 F, D) packed and scales, down (E, D, F) packed and scales -> (B, ..., D).
struct ExpertMLP {
  static constexpr const char* kName = "ExpertMLP";
  static constexpr size_t kInputs = 6, kOptionalInputs = 0, kOutputs = 1;
  static int input_type(size_t i) { return i == 1 ? kInt64 : i == 2 || i == 4 ? kUint8 : kFloat; }

  Scheme scheme;

  OrtStatus* configure(const OrtApi& given, const OrtKernelInfo* info) { return scheme.read(given, info, kName); }

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
    if (auto* status = make_output(context, 0, x.dims, &mlp.y)) return status;
    std::vector<int64_t> rows;
    for (int64_t e = 0; e < experts; e++) {
      rows.clear();
      for (int64_t b = 0; b < batch; b++) {
        if (chosen[b] != e) continue;
        for (int64_t t = 0; t < per_sequence; t++) rows.push_back(b * per_sequence + t);
      }
      mlp.gate_up = scheme.matrix(in[2], in[3], 2 * width, hidden, e);
      mlp.down = scheme.matrix(in[4], in[5], hidden, width, e);
      const size_t most = static_cast<size_t>(tokens_at_once(mlp.down, static_cast<int64_t>(rows.size())));
      for (size_t start = 0; start < rows.size(); start += most) {
        const int n = static_cast<int>(std::min(most, rows.size() - start));
        if (auto* status = mlp.run(context, rows.data() + start, n)) return status;
      }
    }
    return nullptr;
  }
};

// Linear layers over one x (..., K): for each weight (N, K) packed, scales and bias (N,) -> (..., N).
template <int kLayers>
OrtStatus* run_linear(const char* op, OrtKernelContext* context, const Scheme& scheme, const Tensor* in, bool biased) {
  const Tensor& x = in[0];
  if (x.dims.empty()) return refuse(op, "wanted x of rank 1 or more");
  const int64_t columns = x.dims.back(), n_tokens = x.count(0, x.dims.size() - 1);
  Matrix weights[kLayers];
  const float* biases[kLayers];
  float* outputs[kLayers];
  int64_t all_rows = 0;
  for (int i = 0; i < kLayers; i++) {
    const Tensor* layer = in + 1 + 3 * i;
    if (layer[0].dims.empty() || !scheme.holds(layer[0], layer[1], layer[0].dims[0], columns)) {
      return refuse(op, "the weight does not fit x");
    }
    const int64_t n_rows = layer[0].dims[0];
    biases[i] = biased ? layer[2].as<float>() : nullptr;
    if (biased && layer[2].count(0, layer[2].dims.size()) != n_rows) {
      return refuse(op, "the bias does not fit the weight");
    }
    std::vector<int64_t> dims = x.dims;
    dims.back() = n_rows;
    if (auto* status = make_output(context, i, dims, &outputs[i])) return status;
    weights[i] = scheme.matrix(layer[0], layer[1], n_rows, columns, 0);
    all_rows += n_rows;
  }
  const int64_t most = tokens_at_once(weights[0], n_tokens);
  for (int64_t start = 0; start < n_tokens; start += most) {
    const int n = static_cast<int>(std::min(most, n_tokens - start));
    const Activations a = session_room.x.take(weights[0], static_cast<int>(columns), n);
    const auto round_x = [&](int64_t m) {
      kernels->quantise(weights[0], x.as<float>() + (start + m) * columns, a, static_cast<int>(m));
    };
    int64_t pieces = 0;
    for (const Matrix& weight : weights) pieces += count_pieces(weight, n);
    const auto multiply_rows = [&](int64_t piece) {
      for (int i = 0; i < kLayers; i++) {
        const Matrix& weight = weights[i];
        const float* bias = biases[i];
        const auto put = [&](int m, int64_t row, const float* values, int64_t present) {
          float* to = outputs[i] + (start + m) * weight.rows + row;
          for (int64_t r = 0; r < present; r++) to[r] = values[r] + (bias ? bias[row + r] : 0.0f);
        };
        const int64_t of_this = count_pieces(weight, n);
        if (piece < of_this) return Rows{weight, a, put}(piece);
        piece -= of_this;
      }
    };
    auto* status = in_phases(context, n * all_rows * columns, Phase{n, round_x}, Phase{pieces, multiply_rows});
    if (status) return status;
  }
  return nullptr;
}

// x (..., K), weight (N, K) packed and scales, optional bias (N,) -> (..., N).
struct BlockLinear {
  static constexpr const char* kName = "BlockLinear";
  static constexpr size_t kInputs = 4, kOptionalInputs = 1, kOutputs = 1;
  static int input_type(size_t i) { return i == 1 ? kUint8 : kFloat; }

  Scheme scheme;

  OrtStatus* configure(const OrtApi& given, const OrtKernelInfo* info) { return scheme.read(given, info, kName); }

  OrtStatus* compute(OrtKernelContext* context, const Tensor* in, size_t n_inputs) const {
    return run_linear<1>(kName, context, scheme, in, n_inputs > 3);
  }
};

// x (..., K), and of query, key and value each weight (N, K) packed, scales and bias (N,) -> (..., N) of each.
struct QKVLinear {
  static constexpr const char* kName = "QKVLinear";
  static constexpr size_t kInputs = 10, kOptionalInputs = 0, kOutputs = 3;
  static int input_type(size_t i) { return i % 3 == 1 ? kUint8 : kFloat; }

  Scheme scheme;

  OrtStatus* configure(const OrtApi& given, const OrtKernelInfo* info) { return scheme.read(given, info, kName); }

  OrtStatus* compute(OrtKernelContext* context, const Tensor* in, size_t) const {
    return run_linear<3>(kName, context, scheme, in, true);
  }
};

const Face<ExpertMLP> expert_mlp;
const Face<BlockLinear> block_linear;
const Face<QKVLinear> qkv_linear;

}  // namespace

extern const OrtCustomOp* const kExpertMLP = &expert_mlp;
extern const OrtCustomOp* const kBlockLinear = &block_linear;
extern const OrtCustomOp* const kQKVLinear = &qkv_linear;

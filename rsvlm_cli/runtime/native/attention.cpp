// The operators GroupQueryAttention and MultiHeadAttention of domain rsvlm (docs/attention.md), for ONNX Runtime's CPU.
//
// Of the first, work is cut by key-value head and by tokens; where that leaves too few pieces, as for a single token, by keys too. A
// piece holds every query head of its key-value head, so that a key is read once for all of them.
#include "operator.h"

namespace {

constexpr int kQueries = 192;       // rows of a piece: so many that turning the keys costs little beside them
constexpr int64_t kFewPieces = 16;  // below, keys are cut too
constexpr int64_t kKeysOfPiece = 192;

struct PieceRoom {
  Buffer queries, keys, panels, sums, greatest, totals;
};
thread_local PieceRoom piece_room;

struct PartialRoom {
  Buffer sums, greatest, totals;
};
thread_local PartialRoom partial_room;

// out = x turned by the angles of one position, times factor: x[i] with x[i + half].
void turn_head(const float* x, const float* cosine, const float* sine, int64_t half, float factor, float* out) {
  for (int64_t i = 0; i < half; i++) {
    const float c = cosine[i] * factor, s = sine[i] * factor;
    out[i] = x[i] * c - x[i + half] * s;
    out[i + half] = x[i + half] * c + x[i] * s;
  }
}

// One call: queries (B, T, heads, head), keys and values (B, T, kv_heads, head), and a cache (B, kv_heads, slots, head)
// that they go behind.
struct Call {
  const float *query, *key, *value, *cosine, *sine;
  const int32_t* last;  // seqlens_k: of each sequence, its length less one
  float *out, *keys, *values;
  int64_t batch, tokens, kv_heads, group, head, slots;
  float scale;
  bool first;  // whether the cache was empty

  int64_t past(int64_t b) const { return first ? 0 : last[b] + 1 - tokens; }
  float* cached(float* cache, int64_t b, int64_t g) const { return cache + (b * kv_heads + g) * slots * head; }

  // Token t of sequence b into the cache, one key-value head.
  void append(int64_t b, int64_t t, int64_t g) const {
    const int64_t position = past(b) + t, from = ((b * tokens + t) * kv_heads + g) * head, half = head / 2;
    float* to = cached(keys, b, g) + position * head;
    turn_head(key + from, cosine + position * half, sine + position * half, half, 1.0f, to);
    std::memcpy(cached(values, b, g) + position * head, value + from, sizeof(float) * head);
  }

  const float* query_of(int64_t b, int64_t t, int64_t g) const {
    return query + ((b * tokens + t) * kv_heads + g) * group * head;
  }
  float* out_of(int64_t b, int64_t t, int64_t g) const { return out + (query_of(b, t, g) - query); }
};

// How a call is cut into pieces.
struct Plan {
  int64_t tokens_of_piece, token_pieces, keys_of_piece, key_pieces, rows;

  Plan(const Call& call, int64_t longest) {
    tokens_of_piece = std::max<int64_t>(1, std::min(call.tokens, kQueries / call.group));
    token_pieces = (call.tokens + tokens_of_piece - 1) / tokens_of_piece;
    const bool few = call.batch * call.kv_heads * token_pieces < kFewPieces;
    keys_of_piece = few ? kKeysOfPiece : longest;
    key_pieces = (longest + keys_of_piece - 1) / keys_of_piece;
    rows = tokens_of_piece * call.group;
  }
};

class Attention {
 public:
  Attention(const Call& call, int64_t longest)
      : call_(call), plan_(call, longest), n_outer_(call.batch * call.kv_heads * plan_.token_pieces) {
    if (plan_.key_pieces == 1) return;
    const size_t n_rows = size_t(n_outer_ * plan_.key_pieces * plan_.rows);
    sums_ = partial_room.sums.take<float>(n_rows * call.head);
    greatest_ = partial_room.greatest.take<float>(n_rows);
    totals_ = partial_room.totals.take<float>(n_rows);
  }

  template <class Append>
  OrtStatus* run(OrtKernelContext* context, int64_t products, const Phase<Append>& append) const {
    const auto attend = [&](int64_t i) { run_piece(i); };
    const auto join_pieces = [&](int64_t i) { join(i); };
    const Phase pieces{n_outer_ * plan_.key_pieces, attend};
    const Phase joins{plan_.key_pieces > 1 ? n_outer_ : 0, join_pieces};
    return in_phases(context, products, append, pieces, joins);
  }

 private:
  struct Place {
    int64_t b, g, token, n_tokens, n_keys;  // keys that the last of the tokens sees
  };

  // The longest ones come first: the last tokens see the most keys.
  Place place(int64_t outer) const {
    const int64_t of_head = call_.batch * call_.kv_heads, bg = outer % of_head;
    const int64_t token = (plan_.token_pieces - 1 - outer / of_head) * plan_.tokens_of_piece;
    const int64_t n = std::min(plan_.tokens_of_piece, call_.tokens - token);
    return {bg / call_.kv_heads, bg % call_.kv_heads, token, n, call_.past(bg / call_.kv_heads) + token + n};
  }

  void run_piece(int64_t index) const {
    const Place at = place(index / plan_.key_pieces);
    const int64_t head = call_.head, half = head / 2, start = index % plan_.key_pieces * plan_.keys_of_piece;
    const int64_t past = at.n_keys - at.n_tokens, n_rows = at.n_tokens * call_.group;
    AttentionBlock block{};
    float* queries = piece_room.queries.take<float>(n_rows * kQueryStep);
    for (int64_t r = 0; r < n_rows; r++) {
      const int64_t t = r / call_.group, angles = (past + t) * half;
      turn_head(call_.query_of(at.b, at.token + t, at.g) + r % call_.group * head, call_.cosine + angles,
                call_.sine + angles, half, call_.scale, queries + r * kQueryStep);
    }
    block.queries = queries;
    block.keys = call_.cached(call_.keys, at.b, at.g) + start * head;
    block.values = call_.cached(call_.values, at.b, at.g) + start * head;
    block.n_rows = static_cast<int>(n_rows);
    block.n_keys = static_cast<int>(std::clamp<int64_t>(at.n_keys - start, 0, plan_.keys_of_piece));
    block.head = static_cast<int>(head);
    block.group = static_cast<int>(call_.group);
    block.seen = past + 1 - start;
    block.panels = piece_room.panels.take<float>(kKeys * head);
    block.sums = piece_room.sums.take<float>(n_rows * head);
    block.greatest = piece_room.greatest.take<float>(n_rows);
    block.totals = piece_room.totals.take<float>(n_rows * kWidest);
    kernels->attend(block);
    if (plan_.key_pieces == 1) {
      for (int64_t r = 0; r < n_rows; r++) {
        float* out = call_.out_of(at.b, at.token + r / call_.group, at.g) + r % call_.group * head;
        for (int64_t d = 0; d < head; d++) out[d] = block.sums[r * head + d] / block.totals[r];
      }
    } else {
      std::copy_n(block.sums, n_rows * head, sums_ + index * plan_.rows * head);
      std::copy_n(block.greatest, n_rows, greatest_ + index * plan_.rows);
      std::copy_n(block.totals, n_rows, totals_ + index * plan_.rows);
    }
  }

  // What the pieces of the same queries found, brought to the same greatest score.
  void join(int64_t outer) const {
    const Place at = place(outer);
    const int64_t head = call_.head, from = outer * plan_.key_pieces * plan_.rows;
    for (int64_t r = 0; r < at.n_tokens * call_.group; r++) {
      float top = greatest_[from + r], total = 0;
      for (int64_t p = 1; p < plan_.key_pieces; p++) top = std::max(top, greatest_[from + p * plan_.rows + r]);
      float* out = call_.out_of(at.b, at.token + r / call_.group, at.g) + r % call_.group * head;
      std::fill_n(out, head, 0.0f);
      for (int64_t p = 0; p < plan_.key_pieces; p++) {
        const int64_t row = from + p * plan_.rows + r;
        if (totals_[row] == 0) continue;  // saw none of this piece's keys
        const float factor = std::exp(greatest_[row] - top);
        total += totals_[row] * factor;
        for (int64_t d = 0; d < head; d++) out[d] += sums_[row * head + d] * factor;
      }
      for (int64_t d = 0; d < head; d++) out[d] /= total;
    }
  }

  const Call& call_;
  const Plan plan_;
  const int64_t n_outer_;
  float *sums_ = nullptr, *greatest_ = nullptr, *totals_ = nullptr;
};

// What was in a cache, if the new one lies elsewhere; slots behind it are zeros.
void carry_over(const Tensor& past, float* present, int64_t heads, int64_t slots, int64_t head) {
  if (past.data == present) return;
  const int64_t held = past.dims[2];
  for (int64_t h = 0; h < heads; h++) {
    float* to = present + h * slots * head;
    std::copy_n(past.as<float>() + h * held * head, held * head, to);
    std::fill_n(to + held * head, (slots - held) * head, 0.0f);
  }
}

// query (B, T, H K), key and value (B, T, G K), past_key and past_value (B, G, S, K), seqlens_k (B,), total (), cosine
// and sine (positions, K / 2) -> (B, T, H K), present_key and present_value.
struct GroupQueryAttention {
  static constexpr const char* kName = "GroupQueryAttention";
  static constexpr size_t kInputs = 9, kOptionalInputs = 0, kOutputs = 3;
  static int input_type(size_t i) { return i == 5 || i == 6 ? kInt32 : kFloat; }

  int64_t heads = 0, kv_heads = 0;
  float scale = 0;

  OrtStatus* configure(const OrtApi& given, const OrtKernelInfo* info) {
    if (auto* status = given.KernelInfoGetAttribute_int64(info, "num_heads", &heads)) return status;
    if (auto* status = given.KernelInfoGetAttribute_int64(info, "kv_num_heads", &kv_heads)) return status;
    if (auto* status = given.KernelInfoGetAttribute_float(info, "scale", &scale)) return status;
    if (kv_heads > 0 && heads > 0 && heads % kv_heads == 0) return nullptr;
    return refuse(kName, "wanted num_heads a multiple of kv_num_heads");
  }

  OrtStatus* compute(OrtKernelContext* context, const Tensor* in, size_t) const {
    const Tensor &query = in[0], &past = in[3], &cosine = in[7];
    if (query.dims.size() != 3 || past.dims.size() != 4) return refuse(kName, "wanted a query of rank 3, a cache of 4");
    const int64_t batch = query.dims[0], tokens = query.dims[1], head = past.dims[3], total = *in[6].as<int32_t>();
    const std::vector<int64_t> fresh{batch, tokens, kv_heads * head}, angles{cosine.dim(0), head / 2};
    if (head % kWidest || head > kQueryStep) return refuse(kName, "wanted heads of whole multiples of 16, up to 256");
    if (query.dims[2] != heads * head || in[1].dims != fresh || in[2].dims != fresh || in[4].dims != past.dims ||
        past.dims[0] != batch || past.dims[1] != kv_heads || in[5].count(0, in[5].dims.size()) != batch ||
        cosine.dims != angles || in[8].dims != angles) {
      return refuse(kName, "inputs do not fit each other");
    }
    const std::vector<int64_t> cache{batch, kv_heads, std::max<int64_t>(past.dims[2], total), head};
    Call call{query.as<float>(), in[1].as<float>(), in[2].as<float>(), cosine.as<float>(), in[8].as<float>(),
              in[5].as<int32_t>(), nullptr, nullptr, nullptr,
              batch, tokens, kv_heads, heads / kv_heads, head, cache[2], scale, tokens == total};
    int64_t longest = 0;
    for (int64_t b = 0; b < batch; b++) {
      const int64_t held = call.past(b), length = held + tokens;
      if (held < 0 || held > past.dims[2] || length > std::min(total, cosine.dims[0]) || call.last[b] >= total ||
          call.last[b] < 0) {
        return refuse(kName, "a length is out of range");
      }
      longest = std::max(longest, length);
    }
    if (auto* status = make_output(context, 0, query.dims, &call.out)) return status;
    if (auto* status = make_output(context, 1, cache, &call.keys)) return status;
    if (auto* status = make_output(context, 2, cache, &call.values)) return status;
    carry_over(past, call.keys, batch * kv_heads, call.slots, head);
    carry_over(in[4], call.values, batch * kv_heads, call.slots, head);
    if (query.count(0, 3) == 0) return nullptr;
    const int64_t products = 2 * tokens * heads * head * longest;
    const auto append = [&](int64_t i) {
      for (int64_t g = 0; g < kv_heads; g++) call.append(i / tokens, i % tokens, g);
    };
    return Attention(call, longest).run(context, products, Phase{batch * tokens, append});
  }
};

// query, key and value (B, T, H K) -> (B, T, H K): every token attends to all. A piece of work is a head of a sequence,
// its keys and values copied to where they lie densely, widened by zeros to whole vectors.
struct MultiHeadAttention {
  static constexpr const char* kName = "MultiHeadAttention";
  static constexpr size_t kInputs = 3, kOptionalInputs = 0, kOutputs = 1;
  static int input_type(size_t) { return kFloat; }

  int64_t heads = 0;

  OrtStatus* configure(const OrtApi& given, const OrtKernelInfo* info) {
    if (auto* status = given.KernelInfoGetAttribute_int64(info, "num_heads", &heads)) return status;
    return heads > 0 ? nullptr : refuse(kName, "wanted num_heads of 1 or more");
  }

  OrtStatus* compute(OrtKernelContext* context, const Tensor* in, size_t) const {
    const std::vector<int64_t>& dims = in[0].dims;
    if (dims.size() != 3 || dims[2] % heads || in[1].dims != dims || in[2].dims != dims) {
      return refuse(kName, "wanted query, key and value of one shape of rank 3, of whole heads");
    }
    if (dims[2] > heads * kQueryStep) return refuse(kName, "wanted heads of up to 256");
    float* y = nullptr;
    if (auto* status = make_output(context, 0, dims, &y)) return status;
    if (in[0].count(0, 3) == 0) return nullptr;
    const int64_t tokens = dims[1], width = dims[2], head = width / heads;
    const int64_t wide = (head + kWidest - 1) / kWidest * kWidest;
    const float scale = 1 / std::sqrt(static_cast<float>(head));
    const auto copy = [&](const float* from, int64_t n, float factor, float* to, int64_t step) {
      for (int64_t t = 0; t < n; t++, from += width, to += step) {
        for (int64_t d = 0; d < head; d++) to[d] = from[d] * factor;
        std::fill(to + head, to + wide, 0.0f);
      }
    };
    const auto attend = [&](int64_t i) {
      const int64_t from = i / heads * tokens * width + i % heads * head;
      float* queries = piece_room.queries.take<float>(kQueries * kQueryStep);
      float* keys = piece_room.keys.take<float>(2 * tokens * wide);
      float* values = keys + tokens * wide;
      copy(in[1].as<float>() + from, tokens, 1.0f, keys, wide);
      copy(in[2].as<float>() + from, tokens, 1.0f, values, wide);
      for (int64_t start = 0; start < tokens; start += kQueries) {
        const int64_t n = std::min<int64_t>(kQueries, tokens - start), first = from + start * width;
        copy(in[0].as<float>() + first, n, scale, queries, kQueryStep);
        const AttentionBlock block{queries, keys, values, static_cast<int>(n), static_cast<int>(tokens),
                                   static_cast<int>(wide), 1, tokens,
                                   piece_room.panels.take<float>(kKeys * wide), piece_room.sums.take<float>(n * wide),
                                   piece_room.greatest.take<float>(n), piece_room.totals.take<float>(n * kWidest)};
        kernels->attend(block);
        for (int64_t t = 0; t < n; t++) {
          float* out = y + first + t * width;
          for (int64_t d = 0; d < head; d++) out[d] = block.sums[t * wide + d] / block.totals[t];
        }
      }
    };
    return in_phases(context, 2 * dims[0] * tokens * tokens * width, Phase{dims[0] * heads, attend});
  }
};

const Face<GroupQueryAttention> group_query_attention;
const Face<MultiHeadAttention> multi_head_attention;

}  // namespace

extern const OrtCustomOp* const kGroupQueryAttention = &group_query_attention;
extern const OrtCustomOp* const kMultiHeadAttention = &multi_head_attention;

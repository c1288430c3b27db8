// The last part of a format's generated unit: turns the struct's constants into the Format that the program sees.
#pragma once

#if HWY_TARGETS & HWY_AVX3
#define VIVA_CODE_AVX3 N_AVX3::format_code
#else
#define VIVA_CODE_AVX3 nullptr
#endif
#if HWY_TARGETS & HWY_AVX2
#define VIVA_CODE_AVX2 N_AVX2::format_code
#else
#define VIVA_CODE_AVX2 nullptr
#endif
#if HWY_TARGETS & HWY_SSE4
#define VIVA_CODE_SSE4 N_SSE4::format_code
#else
#define VIVA_CODE_SSE4 nullptr
#endif

namespace viva {

template <class Fmt, class Codec>
std::vector<Piece> pieces_of(size_t cols, const Coding& coding) {
  if constexpr (requires { Fmt::pieces(cols, coding); }) {
    return Fmt::pieces(cols, coding);
  } else {
    const typename Codec::Sizes s(cols, coding);
    if (Fmt::kInterleaved) return {{Role::kBlock, DType::kU8, s.row_bytes, 0, s.row_bytes}};
    DType type = DType::kU8;
    if constexpr (requires { Fmt::kCodesType; }) type = Fmt::kCodesType;
    std::vector<Piece> list = {{Role::kCodes, type, s.codes_bytes / bytes(type), 0, s.codes_bytes}};
    const auto fields = Fmt::fields(coding);
    for (size_t f = 0; f < s.fields; ++f) {
      list.push_back({fields[f].role, fields[f].dtype, s.groups, s.field_at[f], s.groups * s.field_bytes[f]});
    }
    return list;
  }
}

template <class Fmt, class Codec>
Format describe(std::array<const FormatCode*, kTargets> code) {
  Format f{};
  f.name = Fmt::kName;
  f.summary = Fmt::kSummary;
  f.group = Fmt::kGroup;
  if constexpr (requires { Fmt::kGroups; }) f.groups = Fmt::kGroups;
  f.gguf_type = -1;
  if constexpr (requires { Fmt::kGgufType; }) f.gguf_type = Fmt::kGgufType;
  f.row_panel = 1;
  if constexpr (requires { Fmt::kRowPanel; }) f.row_panel = Fmt::kRowPanel;
  if constexpr (requires { Fmt::kGroupInName; }) f.group_in_name = Fmt::kGroupInName;
  if constexpr (requires { Fmt::kSignedScale; }) f.signed_scale = Fmt::kSignedScale;
  if constexpr (requires { &Fmt::share; }) f.share = &Fmt::share;
  f.pieces = &pieces_of<Fmt, Codec>;
  f.code = code;
  return f;
}

}  // namespace viva

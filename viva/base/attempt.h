#pragma once

#include <exception>
#include <new>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

#include "viva/base/error.h"

namespace viva {

template <class T>
using Result = tl::expected<T, Error>;

// Runs `f` and turns what it throws into a value: for callers who do not want exceptions.
template <class F>
auto attempt(F&& f) -> Result<std::invoke_result_t<F>> {
  using T = std::invoke_result_t<F>;
  try {
    if constexpr (std::is_void_v<T>) {
      std::forward<F>(f)();
      return {};
    } else {
      return std::forward<F>(f)();
    }
  } catch (const Error& e) {
    return tl::unexpected(e);
  } catch (const std::bad_alloc&) {
    return tl::unexpected(Error(Code::kResource, "", "out of memory"));
  } catch (const std::exception& e) {
    return tl::unexpected(Error(Code::kInternal, "", e.what()));
  }
}

}  // namespace viva

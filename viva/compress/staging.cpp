#include "viva/compress/staging.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "viva/io/file.h"

namespace viva {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

fs::path sibling(const fs::path& destination, std::string_view suffix) {
  return destination.parent_path() / fmt::format(".{}.{}", destination.filename().string(), suffix);
}

[[noreturn]] void fail(const fs::path& path, int error) {
  throw Error(Code::kResource, "compress", fmt::format("{}: {}", path.string(), std::strerror(error)),
              error == EACCES || error == EROFS || error == EPERM ? "choose a destination that you may write to"
              : error == ENOSPC || error == EDQUOT ? "free some disk space and run the same command again; finished work is kept"
                                                   : "");
}

// A lock that ends with its scope.
struct Held {
  int fd;
  ~Held() {
    if (fd >= 0) ::close(fd);
  }
};

std::string describe(const Finished& f) {
  const kernels::ErrorSums& s = f.sums;
  return json{{"key", f.key},
              {"identity", f.identity},
              {"source", f.hashes.source},
              {"checksum", f.hashes.checksum},
              {"shared", {f.shared.scale, f.shared.offset}},
              {"sums", {s.signal, s.noise, s.absolute, s.max_error, s.max_value, s.product, s.power}},
              {"count", s.count}}
      .dump();
}

// A line that a kill cut short, or that somebody edited, is not there.
std::optional<Finished> parse(const std::string& line) {
  const json j = json::parse(line, nullptr, false);
  if (!j.is_object() || !j.contains("key") || !j.contains("sums")) return std::nullopt;
  try {
    Finished f;
    f.key = j.at("key").get<std::string>();
    f.identity = j.at("identity").get<std::string>();
    f.hashes = {j.at("source").get<std::string>(), j.at("checksum").get<std::string>()};
    f.shared = {j.at("shared").at(0).get<float>(), j.at("shared").at(1).get<float>()};
    const json& s = j.at("sums");
    f.sums = {s.at(0), s.at(1), s.at(2), s.at(3), s.at(4), s.at(5), s.at(6), j.at("count").get<uint64_t>()};
    return f;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

Staging::Staging(const fs::path& destination, const std::string& fingerprint, bool fresh)
    : destination_(destination),
      part_(sibling(destination, "part")),
      journal_(sibling(destination, "journal")),
      previous_(sibling(destination, "previous")) {
  // Readers know a file's kind by the end of its name.
  if (destination.extension() == ".gguf" || destination.extension() == ".safetensors") previous_ += destination.extension();
  lock();
  try {
    { const Held free{lock_part()}; }
    if (fresh) {
      fs::remove_all(part_);
      fs::remove_all(previous_);
      if (::ftruncate(fd_, 0) != 0) fail(journal_, errno);
    }
    load(fingerprint);
    append(json{{"pid", ::getpid()}, {"plan", fingerprint}}.dump());
  } catch (...) {
    std::error_code ignored;
    if (!fs::exists(part_, ignored) && !fs::exists(previous_, ignored)) fs::remove(journal_, ignored);
    ::close(std::exchange(fd_, -1));
    throw;
  }
}

// What was done stays for the next run, unless nothing was.
Staging::~Staging() {
  if (fd_ < 0) return;
  std::error_code ignored;
  if (!fs::exists(part_, ignored) && !fs::exists(previous_, ignored)) fs::remove(journal_, ignored);
  ::close(fd_);
}

void Staging::lock() {
  while (true) {
    fd_ = ::open(journal_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd_ < 0) fail(journal_, errno);
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      ::close(std::exchange(fd_, -1));
      refuse();
    }
    // The run before may have removed the file between our open and our lock.
    struct stat held {}, named {};
    if (::fstat(fd_, &held) == 0 && ::stat(journal_.c_str(), &named) == 0 && held.st_ino == named.st_ino) return;
    ::close(fd_);
  }
}

int Staging::lock_part() const {
  const int fd = ::open(part_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  ::close(fd);
  refuse();
}

void Staging::refuse() const {
  // The owner writes its pid right after it took the lock: give it a moment.
  std::string pid = "unknown";
  for (int tries = 0; tries < 20; ++tries) {
    std::error_code ignored;
    std::istringstream text(fs::exists(journal_, ignored) ? io::read_text(journal_, 1 << 30) : "");
    std::string line;
    while (std::getline(text, line)) {
      const json j = json::parse(line, nullptr, false);
      if (j.is_object() && j.contains("pid") && j["pid"].is_number_integer()) pid = j["pid"].dump();
    }
    if (pid != "unknown" && ::kill(std::stoi(pid), 0) == 0) break;
    ::usleep(10'000);
  }
  throw Error(Code::kResource, "compress", fmt::format("{} is being written by process {}", destination_.string(), pid),
              "wait for it, or choose another destination");
}

void Staging::load(const std::string& fingerprint) {
  std::istringstream text(io::read_text(journal_, 1 << 30));
  std::string line, plan;
  while (std::getline(text, line)) {
    const json j = json::parse(line, nullptr, false);
    if (j.is_object() && j.contains("plan") && j["plan"].is_string()) plan = j["plan"].get<std::string>();
    if (auto f = parse(line)) finished_[f->key] = std::move(*f);
  }
  if (fs::exists(part_) && plan == fingerprint) {
    if (!text.str().empty() && text.str().back() != '\n') append("");  // a line that was cut short ends here
    return;
  }
  // Another plan: its files serve as a source of finished tensors, nothing more. Where it finished none, what it had itself
  // as such a source stays.
  const bool own = std::any_of(finished_.begin(), finished_.end(), [](const auto& f) { return !f.second.identity.empty(); });
  if (fs::exists(part_) && (own || plan.empty())) {
    fs::remove_all(previous_);
    fs::rename(part_, previous_);
    std::erase_if(finished_, [](const auto& f) { return f.second.identity.empty(); });
    for (auto& [key, f] : finished_) f.identity.clear();
  } else {
    fs::remove_all(part_);
    std::erase_if(finished_, [](const auto& f) { return !f.second.identity.empty(); });
    if (!fs::exists(previous_)) finished_.clear();
  }
  if (::ftruncate(fd_, 0) != 0) fail(journal_, errno);
  for (auto& [key, f] : finished_) append(describe(f));
}

void Staging::append(const std::string& line) {
  const std::string text = line + "\n";
  errno = 0;
  const ssize_t n = ::write(fd_, text.data(), text.size());
  // A part of a line is what a full disk leaves; whoever reads it passes over it.
  if (n != static_cast<ssize_t>(text.size())) fail(journal_, n < 0 ? errno : ENOSPC);
}

void Staging::record(const Finished& finished) { append(describe(finished)); }

void Staging::discard() noexcept {
  std::error_code ignored;
  fs::remove_all(part_, ignored);
  fs::remove_all(previous_, ignored);
}

void Staging::publish(bool replace) {
  std::error_code ignored;
  const auto appeared = [&] {
    return Error(Code::kResource, "compress", fmt::format("{} appeared while it was written", destination_.string()), "--force replaces it");
  };
  if (!replace && fs::exists(destination_)) throw appeared();
  fs::remove_all(previous_, ignored);
  // From here on a kill leaves either the whole part, found again by its manifest, or the destination. Without the journal
  // the part itself is the lock.
  const Held part{lock_part()};
  fs::remove(journal_);
  if (replace && fs::exists(destination_)) {
    if (::syscall(SYS_renameat2, AT_FDCWD, part_.c_str(), AT_FDCWD, destination_.c_str(), 2 /* RENAME_EXCHANGE */) != 0) {
      // A file system without exchange: the old result steps aside first.
      fs::rename(destination_, previous_);
      fs::rename(part_, destination_);
      fs::remove_all(previous_);
    } else {
      fs::remove_all(part_);
    }
  } else {
    // Where something appeared meanwhile, it is not overwritten.
    if (::syscall(SYS_renameat2, AT_FDCWD, part_.c_str(), AT_FDCWD, destination_.c_str(), 1 /* RENAME_NOREPLACE */) != 0) {
      if (errno == EEXIST) throw appeared();
      fs::rename(part_, destination_);
    }
  }
  io::sync_directory(destination_.has_parent_path() ? destination_.parent_path() : fs::path("."));
  ::close(std::exchange(fd_, -1));
}

}  // namespace viva

// compress SOURCE DESTINATION FORMAT: compresses a model and says how much smaller it became.
#include <viva/compress/compress.h>

#include <cstdio>

int main(int argc, char** argv) try {
  if (argc != 4) return 2;
  viva::Machine machine;
  viva::CompressOptions options;
  options.format = argv[3];
  options.watcher.progress = [](const viva::Progress& p) { std::fprintf(stderr, "\r%3.0f %%", 100.0 * p.done / p.total); };
  const viva::CompressReport report = viva::compress(machine, argv[1], argv[2], options);
  std::printf("%.2f times smaller\n", report.ratio_file);
} catch (const viva::Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}

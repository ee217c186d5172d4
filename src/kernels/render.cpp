#include "render.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>

#if defined(POSESPLAT_X86)
#include <cpuid.h>
#endif

#include "pool.h"

namespace posesplat {

#if defined(POSESPLAT_X86)
namespace {

struct CpuRegisters {
  unsigned a, b, c, d;
};

CpuRegisters cpuid(unsigned leaf) {
  CpuRegisters r{0, 0, 0, 0};
  __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// The registers that the operating system saves at a task switch; only called where the processor says it can.
unsigned saved_registers() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Asked for by hand: __builtin_cpu_supports needs a run-time library that clang-cl does not link.
bool has_all(unsigned reg, std::initializer_list<int> bits) {
  return std::all_of(bits.begin(), bits.end(), [reg](int bit) { return reg >> bit & 1; });
}

constexpr unsigned kYmmSaved = 0x06, kZmmSaved = 0xe6;

}  // namespace
#endif

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> found{&kernels_baseline()};
#if defined(POSESPLAT_X86)
  const CpuRegisters basic = cpuid(1), extended = cpuid(7), more = cpuid(0x80000001);
  // x86-64-v3: FMA, MOVBE, F16C, OSXSAVE, AVX; BMI1, AVX2, BMI2; LZCNT.
  const bool v3 = has_all(basic.c, {12, 22, 27, 28, 29}) && has_all(extended.b, {3, 5, 8}) && has_all(more.c, {5}) &&
                  (saved_registers() & kYmmSaved) == kYmmSaved;
  if (v3) found.push_back(&kernels_v3());
  // x86-64-v4: AVX-512 F, DQ, CD, BW, VL.
  if (v3 && has_all(extended.b, {16, 17, 28, 30, 31}) && (saved_registers() & kZmmSaved) == kZmmSaved)
    found.push_back(&kernels_v4());
#endif
  return found;
}

namespace {
std::atomic<const Kernels*> selected{nullptr};
}

const Kernels& active_kernels() {
  const Kernels* kernels = selected.load();
  if (!kernels) {
    kernels = available_kernels().back();
    selected.store(kernels);
  }
  return *kernels;
}

void select_kernels(const char* name) {
  std::string names;
  for (const Kernels* kernels : available_kernels()) {
    if (std::strcmp(kernels->name, name) == 0) {
      selected.store(kernels);
      return;
    }
    names += std::string(" ") + kernels->name;
  }
  throw std::invalid_argument(std::string("instruction set must be one of") + names + "; got " + name + ".");
}

Scene::Scene(int64_t count, int channels, const float* means, const float* quats_wxyz, const float* scales,
             const float* opacities, const float* normals, const float* values)
    : count_(count),
      channels_(channels),
      means_(means, means + 3 * count),
      quats_(quats_wxyz, quats_wxyz + 4 * count),
      scales_(scales, scales + 3 * count),
      covariances_(6 * count),
      opacities_(opacities, opacities + count),
      normals_(normals, normals + 3 * count),
      values_(values, values + channels * count) {
  for (int64_t i = 0; i < count; ++i) {
    const float* q = quats_wxyz + 4 * i;
    const double norm = std::sqrt(double(q[0]) * q[0] + double(q[1]) * q[1] + double(q[2]) * q[2] + double(q[3]) * q[3]);
    const double w = q[0] / norm, x = q[1] / norm, y = q[2] / norm, z = q[3] / norm;
    const double r[9] = {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
                         2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                         2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
    const float* s = scales + 3 * i;
    int k = 0;
    for (int a = 0; a < 3; ++a)
      for (int b = a; b < 3; ++b, ++k) {
        double sum = 0;
        for (int c = 0; c < 3; ++c) sum += r[3 * a + c] * r[3 * b + c] * double(s[c]) * s[c];
        covariances_[6 * i + k] = static_cast<float>(sum);
      }
  }
  splats_.reset(new Splat[std::max<int64_t>(count, 1)]);
}

RenderJob Scene::job_of(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near,
                        float layer) const {
  RenderJob job{};
  job.scene = {count_, channels_, means_.data(), covariances_.data(), opacities_.data(), normals_.data(), values_.data()};
  job.camera = camera, job.pose = pose, job.flags = flags, job.near = near, job.layer = layer;
  job.splats = splats_.get();
  job.tiles_x = (camera.width + kTileWidth - 1) / kTileWidth;
  job.tiles_y = (camera.height + kTileHeight - 1) / kTileHeight;
  return job;
}

int64_t Scene::list_splats(RenderJob& job, std::vector<int64_t>& start, int threads) {
  const Kernels& kernels = active_kernels();
  const int tiles = job.tiles_x * job.tiles_y;
  const int64_t chunks = (count_ + kProjectChunk - 1) / kProjectChunk;
  const auto chunk_end = [&](int64_t chunk) { return std::min(count_, (chunk + 1) * kProjectChunk); };

  std::vector<int32_t> counts(chunks * tiles);
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    kernels.project(job, chunk * kProjectChunk, chunk_end(chunk));
    kernels.count_tiles(job, chunk * kProjectChunk, chunk_end(chunk), &counts[chunk * tiles]);
  });

  // Tile by tile, and chunk by chunk within it: the lists do not depend on who wrote them.
  std::vector<int64_t> cursors(chunks * tiles);
  start.resize(tiles + 1);
  int64_t total = 0, longest = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    start[tile] = total;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      cursors[chunk * tiles + tile] = total;
      total += counts[chunk * tiles + tile];
    }
    longest = std::max(longest, total - start[tile]);
  }
  start[tiles] = total;
  if (static_cast<int64_t>(entries_.size()) < total) entries_.resize(total + total / 8);
  job.entries = entries_.data();
  job.tile_start = start.data();
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    kernels.scatter(job, chunk * kProjectChunk, chunk_end(chunk), &cursors[chunk * tiles]);
  });
  return longest;
}

template <class Finish>
void Scene::for_each_tile(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near,
                          float layer, int threads, const Finish& finish) {
  std::lock_guard lock(mutex_);
  const Kernels& kernels = active_kernels();
  RenderJob job = job_of(camera, pose, flags, near, layer);
  std::vector<int64_t> start;
  const int64_t longest = list_splats(job, start, threads);

  const int planes = kernels.tile_planes(flags, channels_);
  std::vector<std::vector<float>> buffers(std::max(threads, 1));
  std::vector<std::vector<Entry>> scratches(std::max(threads, 1));
  parallel_for(job.tiles_x * job.tiles_y, threads, [&](int64_t tile, int worker) {
    if (buffers[worker].empty()) buffers[worker].resize(static_cast<size_t>(planes) * kRowStride * kTileHeight);
    if (scratches[worker].empty()) scratches[worker].resize(std::max<int64_t>(2 * longest, 1));
    kernels.composite_tile(job, static_cast<int>(tile), scratches[worker].data(), buffers[worker].data());
    finish(kernels, job, static_cast<int>(tile), buffers[worker].data());
  });
}

void Scene::render(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near, float layer,
                   int threads, const RenderOutputs& outputs) {
  for_each_tile(camera, pose, flags, near, layer, threads,
                [&](const Kernels& kernels, const RenderJob& job, int tile, const float* buffer) {
                  kernels.write_tile(job, tile, buffer, outputs);
                });
}

namespace {

template <int Dof>
void add(Sums<Dof>& total, const Sums<Dof>& part) {
  for (int k = 0; k < Dof * (Dof + 1) / 2; ++k) total.h[k] += part.h[k];
  for (int k = 0; k < Dof; ++k) total.g[k] += part.g[k];
  total.cost += part.cost;
  total.observed += part.observed;
  total.covered += part.covered;
  total.inliers += part.inliers;
  total.weights += part.weights;
  total.curvatures += part.curvatures;
}

}  // namespace

PixelSums Scene::normal_equations(const CameraParams& camera, const PoseParams& pose, float near, float layer,
                                  int threads, const Observations& observations) {
  const int tiles = ((camera.width + kTileWidth - 1) / kTileWidth) * ((camera.height + kTileHeight - 1) / kTileHeight);
  std::vector<PixelSums> parts(tiles);
  const uint32_t flags = kPlanes | (observations.channels ? kChannels | kChannelGradients : 0u);
  for_each_tile(camera, pose, flags, near, layer, threads,
                [&](const Kernels& kernels, const RenderJob& job, int tile, const float* buffer) {
                  kernels.accumulate_tile(job, tile, buffer, observations, &parts[tile]);
                });
  PixelSums total{};
  for (const PixelSums& part : parts) {
    add(total.depth, part.depth);
    add(total.channels, part.channels);
  }
  return total;
}

}  // namespace posesplat

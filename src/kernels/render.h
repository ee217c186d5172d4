// A scene and the passes over it: project, list per tile, composite, and then either images or normal equations.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "types.h"

namespace posesplat {

const Kernels& active_kernels();
std::vector<const Kernels*> available_kernels();
void select_kernels(const char* name);

class Scene {
 public:
  Scene(int64_t count, int channels, const float* means, const float* quats_wxyz, const float* scales,
        const float* opacities, const float* normals, const float* values);

  int64_t count() const { return count_; }
  int channels() const { return channels_; }

  void render(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near, float layer,
              int threads, const RenderOutputs& outputs);
  PixelSums normal_equations(const CameraParams& camera, const PoseParams& pose, float near, float layer,
                             int threads, const Observations& observations);

 private:
  template <class Finish>
  void for_each_tile(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near, float layer,
                     int threads, const Finish& finish);

  int64_t count_;
  int channels_;
  std::vector<float> means_, covariances_, opacities_, normals_, values_;
  std::mutex mutex_;  // guards the work space below
  std::unique_ptr<Splat[]> splats_;
  std::vector<Entry> entries_;
};

}  // namespace posesplat

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

struct ImageGradients {  // by_*: derivatives of the loss, null without
  const float *channels, *alpha, *depth;           // the image that was rendered, channels composited on black
  const float *by_channels, *by_alpha, *by_depth;
};

struct SceneGradients {  // a pose alone is wanted when `means` is null; then all but pose are
  float* means;       // n x 3
  float* quats_wxyz;  // n x 4
  float* scales;      // n x 3
  float* opacities;   // n
  float* values;      // n x c
  float* screen;      // n x 2, derivative for the splat's centre on the screen, per pixel
  float* visible;     // n, 1 where the splat reaches the image
  double* pose;       // 6, left perturbation (rotation, translation)
};

class Scene {
 public:
  Scene(int64_t count, int channels, const float* means, const float* quats_wxyz, const float* scales,
        const float* opacities, const float* normals, const float* values);

  int64_t count() const { return count_; }
  int channels() const { return channels_; }

  void render(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near, float layer,
              int threads, const RenderOutputs& outputs);
  // A rendered image and a loss's derivatives for it in, derivatives for the scene and the pose out.
  void backward(const CameraParams& camera, const PoseParams& pose, float near, int threads, const ImageGradients& in,
                const SceneGradients& out);
  PixelSums normal_equations(const CameraParams& camera, const PoseParams& pose, float near, float layer,
                             int threads, const Observations& observations);

 private:
  // Projects and lists splats by tile, chunk by chunk within it; returns the length of the longest list.
  int64_t list_splats(RenderJob& job, std::vector<int64_t>& start, int threads);
  RenderJob job_of(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near, float layer) const;
  template <class Finish>
  void for_each_tile(const CameraParams& camera, const PoseParams& pose, uint32_t flags, float near, float layer,
                     int threads, const Finish& finish);

  int64_t count_;
  int channels_;
  std::vector<float> means_, quats_, scales_, covariances_, opacities_, normals_, values_;
  std::mutex mutex_;  // guards the work space below
  std::unique_ptr<Splat[]> splats_;
  std::vector<Entry> entries_;
  std::vector<float> records_;
};

}  // namespace posesplat

// From the records of the tiles to derivatives for the scene and the pose: the chain rule of one Gaussian at a time,
// in double. Same formulas as project.h, backwards.

#include <algorithm>
#include <cmath>

#include "pool.h"
#include "render.h"

namespace posesplat {

namespace {

struct Matrix3 {
  double m[3][3];
};

Matrix3 product(const Matrix3& a, const Matrix3& b) {
  Matrix3 c{};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) c.m[i][j] += a.m[i][k] * b.m[k][j];
  return c;
}

Matrix3 transposed(const Matrix3& a) {
  Matrix3 t;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) t.m[i][j] = a.m[j][i];
  return t;
}

Matrix3 symmetric(const float* c) {
  return {{{c[0], c[1], c[2]}, {c[1], c[3], c[4]}, {c[2], c[4], c[5]}}};
}

// Derivatives for a splat as it lies on the screen.
struct ScreenGradient {
  double u = 0, v = 0, z = 0;
  double conic[3] = {0, 0, 0};  // a, b, c of alpha = opacity exp(-(a dx^2 + 2 b dx dy + c dy^2) / 2)
};

// Derivatives for a Gaussian in the camera: its centre and its covariance (symmetric, full matrix).
struct CameraGradient {
  double centre[3];
  Matrix3 covariance;
};

CameraGradient through_projection(const CameraParams& cam, const double* x, const Matrix3& cov, const Splat& s,
                                  const ScreenGradient& g) {
  const double fx = cam.fx, fy = cam.fy, iz = 1 / x[2];
  const double margin_x = 0.15 * cam.width / fx, margin_y = 0.15 * cam.height / fy;
  const double rx = x[0] * iz, ry = x[1] * iz;
  const double cx = std::clamp(rx, -cam.cx / fx - margin_x, (cam.width - cam.cx) / fx + margin_x);
  const double cy = std::clamp(ry, -cam.cy / fy - margin_y, (cam.height - cam.cy) / fy + margin_y);
  const double j[2][3] = {{fx * iz, 0, -fx * cx * iz}, {0, fy * iz, -fy * cy * iz}};

  // A = S^-1, so dS = -A^-1 dA A^-1 and the derivative for S is -A G A.
  const double a[2][2] = {{s.a, s.b}, {s.b, s.c}};
  const double by_a[2][2] = {{g.conic[0], g.conic[1] / 2}, {g.conic[1] / 2, g.conic[2]}};
  double by_s[2][2];
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 2; ++k) {
      by_s[i][k] = 0;
      for (int p = 0; p < 2; ++p)
        for (int q = 0; q < 2; ++q) by_s[i][k] -= a[i][p] * by_a[p][q] * a[q][k];
    }

  // S = J C J^T + blur.
  CameraGradient out;
  double by_j[2][3], sj[2][3];
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 3; ++k) sj[i][k] = by_s[i][0] * j[0][k] + by_s[i][1] * j[1][k];
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 3; ++k)
      by_j[i][k] = 2 * (sj[i][0] * cov.m[0][k] + sj[i][1] * cov.m[1][k] + sj[i][2] * cov.m[2][k]);
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k) out.covariance.m[i][k] = j[0][i] * sj[0][k] + j[1][i] * sj[1][k];

  // J has fx / z and -fx c / z, where c is x / z unless it is clamped.
  const bool free_x = cx == rx, free_y = cy == ry;
  out.centre[0] = g.u * fx * iz - (free_x ? by_j[0][2] * fx * iz * iz : 0);
  out.centre[1] = g.v * fy * iz - (free_y ? by_j[1][2] * fy * iz * iz : 0);
  out.centre[2] = g.z - (g.u * fx * rx + g.v * fy * ry) * iz - (by_j[0][0] * fx + by_j[1][1] * fy) * iz * iz +
                  (by_j[0][2] * fx * cx * (free_x ? 2 : 1) + by_j[1][2] * fy * cy * (free_y ? 2 : 1)) * iz * iz;
  return out;
}

// exp(xi) moves the centre by omega x X + v, and turns the covariance.
void add_pose(const double* x, const Matrix3& cov, const CameraGradient& g, double* pose) {
  const double* c = g.centre;
  const Matrix3 m = product(cov, g.covariance);
  pose[0] += x[1] * c[2] - x[2] * c[1] + 2 * (m.m[1][2] - m.m[2][1]);
  pose[1] += x[2] * c[0] - x[0] * c[2] + 2 * (m.m[2][0] - m.m[0][2]);
  pose[2] += x[0] * c[1] - x[1] * c[0] + 2 * (m.m[0][1] - m.m[1][0]);
  for (int k = 0; k < 3; ++k) pose[3 + k] += c[k];
}

// The covariance is R diag(s)^2 R^T with R of the normalised quaternion.
void through_shape(const float* quat, const float* scales, const Matrix3& by_cov, float* by_quat, float* by_scales) {
  const double norm = std::sqrt(double(quat[0]) * quat[0] + double(quat[1]) * quat[1] + double(quat[2]) * quat[2] +
                                double(quat[3]) * quat[3]);
  const double w = quat[0] / norm, x = quat[1] / norm, y = quat[2] / norm, z = quat[3] / norm;
  const Matrix3 r{{{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                   {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                   {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}}};
  const Matrix3 gr = product(by_cov, r);
  double g[3][3];  // for R
  for (int k = 0; k < 3; ++k) {
    const double s = scales[k];
    double along = 0;
    for (int i = 0; i < 3; ++i) {
      along += r.m[i][k] * gr.m[i][k];
      g[i][k] = 2 * s * s * gr.m[i][k];
    }
    by_scales[k] = static_cast<float>(2 * s * along);
  }
  const double unit[4] = {
      2 * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1])),
      2 * (y * (g[0][1] + g[1][0]) + z * (g[0][2] + g[2][0]) + w * (g[2][1] - g[1][2]) - 2 * x * (g[1][1] + g[2][2])),
      2 * (x * (g[0][1] + g[1][0]) + z * (g[1][2] + g[2][1]) + w * (g[0][2] - g[2][0]) - 2 * y * (g[0][0] + g[2][2])),
      2 * (x * (g[0][2] + g[2][0]) + y * (g[1][2] + g[2][1]) + w * (g[1][0] - g[0][1]) - 2 * z * (g[0][0] + g[1][1]))};
  const double q[4] = {w, x, y, z};
  const double radial = unit[0] * w + unit[1] * x + unit[2] * y + unit[3] * z;
  for (int k = 0; k < 4; ++k) by_quat[k] = static_cast<float>((unit[k] - radial * q[k]) / norm);
}

}  // namespace

void Scene::backward(const CameraParams& camera, const PoseParams& pose, float near, int threads,
                     const ImageGradients& in, const SceneGradients& out) {
  std::lock_guard lock(mutex_);
  const Kernels& kernels = active_kernels();
  const bool gaussians = out.means != nullptr;
  BackwardJob job{};
  job.render = job_of(camera, pose, kExpectedDepth | kChannels, near, 0.0f);
  job.channels = in.channels, job.alpha = in.alpha, job.depth = in.depth;
  job.by_channels = in.by_channels, job.by_alpha = in.by_alpha, job.by_depth = in.by_depth;
  job.values = gaussians;
  std::vector<int64_t> start;
  const int64_t longest = list_splats(job.render, start, threads);

  // Each splat has its records side by side, one a tile: tiles write them in any order, sums are always the same.
  const int channels = in.by_channels ? channels_ : 0;
  job.record_size = kRecordFields + (gaussians ? channels : 0);
  std::vector<int64_t> first(count_ + 1);
  int64_t total = 0;
  for (int64_t i = 0; i < count_; ++i) {
    const Splat& s = splats_[i];
    first[i] = total;
    if (s.x_hi >= s.x_lo)
      total += int64_t(s.x_hi / kTileWidth - s.x_lo / kTileWidth + 1) * (s.y_hi / kTileHeight - s.y_lo / kTileHeight + 1);
  }
  first[count_] = total;
  if (static_cast<int64_t>(records_.size()) < total * job.record_size) records_.resize(total * job.record_size);
  job.first_record = first.data();
  job.records = records_.data();

  const size_t pixels = static_cast<size_t>(kernels.backward_planes(channels)) * kRowStride * kTileHeight;
  std::vector<std::vector<float>> buffers(std::max(threads, 1));
  std::vector<std::vector<Entry>> scratches(std::max(threads, 1));
  parallel_for(job.render.tiles_x * job.render.tiles_y, threads, [&](int64_t tile, int worker) {
    if (buffers[worker].empty()) buffers[worker].resize(pixels + kLanes * channels);
    if (scratches[worker].empty()) scratches[worker].resize(std::max<int64_t>(longest, 1));
    kernels.backward_tile(job, static_cast<int>(tile), scratches[worker].data(), buffers[worker].data());
  });

  Matrix3 rotation;
  for (int k = 0; k < 9; ++k) rotation.m[k / 3][k % 3] = pose.rotation[k];
  const Matrix3 back = transposed(rotation);
  const int64_t chunks = (count_ + kProjectChunk - 1) / kProjectChunk;
  std::vector<double> poses(chunks * kPoseDof);
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    std::vector<double> sums(job.record_size);
    for (int64_t i = chunk * kProjectChunk; i < std::min(count_, (chunk + 1) * kProjectChunk); ++i) {
      if (first[i + 1] == first[i]) continue;
      std::fill(sums.begin(), sums.end(), 0.0);
      for (int64_t r = first[i]; r < first[i + 1]; ++r)
        for (int k = 0; k < job.record_size; ++k) sums[k] += job.records[r * job.record_size + k];

      const Splat& s = splats_[i];
      ScreenGradient screen;
      screen.u = s.a * sums[kByPowerX] + s.b * sums[kByPowerY];
      screen.v = s.b * sums[kByPowerX] + s.c * sums[kByPowerY];
      screen.z = sums[kByDepth];
      screen.conic[0] = -0.5 * sums[kByPowerXX], screen.conic[1] = -sums[kByPowerXY];
      screen.conic[2] = -0.5 * sums[kByPowerYY];

      const float* mean = &means_[3 * i];
      double x[3] = {0, 0, 0};
      for (int a = 0; a < 3; ++a)
        for (int b = 0; b < 3; ++b) x[a] += rotation.m[a][b] * (mean[b] - pose.centre[b]);
      const Matrix3 cov = product(product(rotation, symmetric(&covariances_[6 * i])), back);
      const CameraGradient g = through_projection(camera, x, cov, s, screen);
      add_pose(x, cov, g, &poses[chunk * kPoseDof]);
      if (!gaussians) continue;

      for (int a = 0; a < 3; ++a)
        out.means[3 * i + a] = static_cast<float>(back.m[a][0] * g.centre[0] + back.m[a][1] * g.centre[1] + back.m[a][2] * g.centre[2]);
      through_shape(&quats_[4 * i], &scales_[3 * i], product(product(back, g.covariance), rotation),
                    out.quats_wxyz + 4 * i, out.scales + 3 * i);
      out.opacities[i] = static_cast<float>(sums[kByPower] / s.opacity);
      for (int c = 0; c < channels; ++c) out.values[int64_t(channels_) * i + c] = static_cast<float>(sums[kRecordFields + c]);
      out.screen[2 * i] = static_cast<float>(screen.u), out.screen[2 * i + 1] = static_cast<float>(screen.v);
      out.visible[i] = 1.0f;
    }
  });
  std::fill(out.pose, out.pose + kPoseDof, 0.0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk)
    for (int k = 0; k < kPoseDof; ++k) out.pose[k] += poses[chunk * kPoseDof + k];
}

}  // namespace posesplat

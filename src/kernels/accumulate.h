// From a composited tile to images, or to the normal equations of a pose.
#pragma once

// Lane-wise sums of one image row, flushed to double.
template <int Dof>
struct RowSums {
  Vec h[Dof * (Dof + 1) / 2], g[Dof], cost, observed, covered, inliers, weights, curvatures;

  void clear() { __builtin_memset((void*)this, 0, sizeof(*this)); }

  // One robust residual r with Jacobian j, both divided by the scale s (so that |r| = 1 is the scale itself).
  inline __attribute__((always_inline)) void add_residual(Mask valid, Vec r, const Vec* j) {
    const Vec squared = r * r, shrink = splat(1.0f) / (splat(1.0f) + squared);
    const Vec weight = keep(valid, shrink * shrink);
    cost += keep(valid, splat(0.5f) * squared * shrink);
    inliers += keep(valid & (squared < splat(1.0f)), splat(1.0f));
    covered += keep(valid, splat(1.0f));
    weights += weight;
    curvatures += keep(valid, weight * shrink * (splat(1.0f) - splat(3.0f) * squared));
    int k = 0;
    for (int a = 0; a < Dof; ++a) {
      const Vec wj = weight * j[a];
      g[a] += keep(valid, wj * r);
      for (int b = a; b < Dof; ++b, ++k) h[k] += keep(valid, wj * j[b]);
    }
  }

  // A pixel without a clean counterpart pays what a gross outlier pays, so that leaving the map never looks good.
  inline __attribute__((always_inline)) void add_missing(Mask missing) {
    cost += keep(missing, splat(0.5f));
  }

  void flush(Sums<Dof>& out) const {
    for (int k = 0; k < Dof * (Dof + 1) / 2; ++k) out.h[k] += sum(h[k]);
    for (int k = 0; k < Dof; ++k) out.g[k] += sum(g[k]);
    out.cost += sum(cost);
    out.observed += sum(observed);
    out.covered += sum(covered);
    out.inliers += sum(inliers);
    out.weights += sum(weights);
    out.curvatures += sum(curvatures);
  }
};

// d(u, v)/d(pose) for a point at X = depth * (rx, ry, 1): rows of the projection's Jacobian, left perturbation.
static inline __attribute__((always_inline)) void image_motion(const CameraParams& cam, Vec rx, Vec ry, Vec inverse_depth, Vec* du, Vec* dv) {
  const Vec fx = splat(cam.fx), fy = splat(cam.fy), one = splat(1.0f), zero = splat(0.0f);
  du[0] = -fx * rx * ry, du[1] = fx * (one + rx * rx), du[2] = -fx * ry;
  du[3] = fx * inverse_depth, du[4] = zero, du[5] = -fx * rx * inverse_depth;
  dv[0] = -fy * (one + ry * ry), dv[1] = fy * rx * ry, dv[2] = fy * rx;
  dv[3] = zero, dv[4] = fy * inverse_depth, dv[5] = -fy * ry * inverse_depth;
}

// Signed distance of an observed point to a rendered plane, and its Jacobian (docs/localize.md).
// The scale depends on the rendered depth: were it the noisy observed one, points measured too far would weigh less.
static inline __attribute__((always_inline)) void plane_residual(const Vec* m, Vec rx, Vec ry, Vec kappa, Vec observed, const RobustTerm& term, Vec* r, Vec* j) {
  const Vec norm = square_root(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]);
  const Vec z = splat(1.0f) / kappa, x = rx * z, y = ry * z;
  const Vec scale = splat(term.scale) * (splat(1.0f) + splat(term.scale_growth) * z * z);
  const Vec unit = splat(1.0f) / (norm * scale);
  *r = (splat(1.0f) - kappa * observed) * unit;
  j[0] = (y * m[2] - z * m[1]) * unit;
  j[1] = (z * m[0] - x * m[2]) * unit;
  j[2] = (x * m[1] - y * m[0]) * unit;
  j[3] = m[0] * unit, j[4] = m[1] * unit, j[5] = m[2] * unit;
}

static inline void load_row(float* padded, const float* image_row, int width, int stride) {
  for (int x = 0; x < width; ++x) padded[x] = image_row[(int64_t)x * stride];
  for (int x = width; x < kRowStride; ++x) padded[x] = 0;
}

struct TileBounds {
  int x0, y0, width, height;
};

static inline TileBounds bounds_of(const RenderJob& job, int tile) {
  const int x0 = (tile % job.tiles_x) * kTileWidth, y0 = (tile / job.tiles_x) * kTileHeight;
  const int width = job.camera.width - x0, height = job.camera.height - y0;
  return {x0, y0, width < kTileWidth ? width : kTileWidth, height < kTileHeight ? height : kTileHeight};
}

static void accumulate_tile(const RenderJob& job, int tile, const float* buffer, const Observations& obs, PixelSums* sums) {
  const Layout l = layout_of(job.flags, job.scene.channels);
  const CameraParams& cam = job.camera;
  const TileBounds tb = bounds_of(job, tile);
  const int channels = (obs.channels && l.channel_gradient >= 0) ? job.scene.channels : 0;
  float depth_row[kRowStride], channel_row[kRowStride];
  RowSums<kPoseDof> depth_sums;
  RowSums<kColourDof> channel_sums;

  for (int row = 0; row < tb.height; ++row) {
    const float* planes = buffer + row * l.count * kRowStride;
    const int y = tb.y0 + row;
    const int64_t first = (int64_t)y * cam.width + tb.x0;
    const Vec ry = splat((y + 0.5f - cam.cy) / cam.fy);
    const auto plane_at = [&](int index, int x) { return load(planes + index * kRowStride + x); };
    const auto geometry = [&](int x, Vec* rx, Vec* m, Vec* kappa, Vec* variance) {
      const Vec weight = plane_at(l.weight, x), inverse = splat(1.0f) / max(weight, splat(1e-6f));
      *rx = (lanes() + splat(tb.x0 + x + 0.5f - cam.cx)) * splat(1.0f / cam.fx);
      for (int k = 0; k < 3; ++k) m[k] = plane_at(l.plane + k, x) * inverse;
      *kappa = m[0] * *rx + m[1] * ry + m[2];
      *variance = plane_at(l.variance, x) * inverse / (*kappa * *kappa) - splat(1.0f);
      return (weight >= splat(obs.min_alpha)) & (*kappa > splat(1e-6f));
    };

    if (obs.depth) {
      load_row(depth_row, obs.depth + first, tb.width, 1);
      depth_sums.clear();
      for (int x = 0; x < tb.width; x += kLanes) {
        const Vec z = load(depth_row + x);
        const Mask observed = (z > splat(0.0f)) & (z < splat(kFarthest));
        if (!any(observed)) continue;
        Vec rx, m[3], kappa, variance, r, j[kPoseDof];
        const Mask surface = geometry(x, &rx, m, &kappa, &variance);
        const Mask valid = observed & surface & (variance <= splat(obs.depth_term.gate));
        plane_residual(m, rx, ry, kappa, z, obs.depth_term, &r, j);
        depth_sums.observed += keep(observed, splat(1.0f));
        depth_sums.add_residual(valid, r, j);
        depth_sums.add_missing(observed & ~valid);
      }
      depth_sums.flush(sums->depth);
    }

    for (int c = 0; c < channels; ++c) {
      load_row(channel_row, obs.channels + first * channels + c, tb.width, channels);
      channel_sums.clear();
      const Vec unit = splat(1.0f / obs.channel_term.scale), gain = splat(obs.gain);
      for (int x = 0; x < tb.width; x += kLanes) {
        Vec rx, m[3], kappa, variance, j[kColourDof], du[kPoseDof], dv[kPoseDof];
        const Mask observed = lanes() < splat((float)(tb.width - x));
        const Mask valid = observed & geometry(x, &rx, m, &kappa, &variance) & (variance <= splat(obs.channel_term.gate));
        const Vec inverse = splat(1.0f) / max(plane_at(l.weight, x), splat(1e-6f));
        const Vec value = plane_at(l.channel + c, x) * inverse;
        // d(N/W) = (dN - value dW) / W.
        const Vec shift_u = (plane_at(l.channel_gradient + 2 * c, x) - value * plane_at(l.weight_shift, x)) * inverse;
        const Vec shift_v = (plane_at(l.channel_gradient + 2 * c + 1, x) - value * plane_at(l.weight_shift + 1, x)) * inverse;
        image_motion(cam, rx, ry, kappa, du, dv);
        for (int k = 0; k < kPoseDof; ++k) j[k] = gain * unit * (shift_u * du[k] + shift_v * dv[k]);
        j[6] = value * unit, j[7] = unit;
        const Vec r = (gain * value + splat(obs.bias) - load(channel_row + x)) * unit;
        channel_sums.observed += keep(observed, splat(1.0f));
        channel_sums.add_residual(valid, r, j);
        channel_sums.add_missing(observed & ~valid);
      }
      channel_sums.flush(sums->channels);
    }
  }
}

static void write_tile(const RenderJob& job, int tile, const float* buffer, const RenderOutputs& out) {
  const int channels = job.scene.channels;
  const Layout l = layout_of(job.flags, channels);
  const CameraParams& cam = job.camera;
  const TileBounds tb = bounds_of(job, tile);
  for (int row = 0; row < tb.height; ++row) {
    const float* planes = buffer + row * l.count * kRowStride;
    const auto at = [&](int index, int x) { return planes[index * kRowStride + x]; };
    const int64_t first = (int64_t)(tb.y0 + row) * cam.width + tb.x0;
    const float ry = (tb.y0 + row + 0.5f - cam.cy) / cam.fy;
    for (int x = 0; x < tb.width; ++x) {
      const int64_t i = first + x;
      const float weight = at(l.weight, x), inverse = weight > 0 ? 1.0f / weight : 0.0f;
      if (out.alpha) out.alpha[i] = weight < 1.0f ? weight : 1.0f;
      if (out.depth) out.depth[i] = at(l.depth, x) * inverse;
      if (out.planes) {
        const float rx = (tb.x0 + x + 0.5f - cam.cx) / cam.fx;
        float m[3];
        for (int k = 0; k < 3; ++k) out.planes[3 * i + k] = m[k] = at(l.plane + k, x) * inverse;
        const float kappa = m[0] * rx + m[1] * ry + m[2];
        if (out.variance) {
          const float relative = at(l.variance, x) * inverse / (kappa * kappa) - 1.0f;
          out.variance[i] = weight > 0 && kappa > 0 ? (relative > 0 ? relative : 0.0f) : 1.0f;
        }
      }
      if (out.channels)
        for (int c = 0; c < channels; ++c) out.channels[i * channels + c] = at(l.channel + c, x) * inverse;
      if (out.gradients)
        for (int c = 0; c < channels; ++c)
          for (int axis = 0; axis < 2; ++axis)
            out.gradients[(i * channels + c) * 2 + axis] =
                (at(l.channel_gradient + 2 * c + axis, x) - at(l.channel + c, x) * inverse * at(l.weight_shift + axis, x)) * inverse;
      if (out.jacobian) {
        const float mean = at(l.depth, x) * inverse;
        for (int k = 0; k < kPoseDof; ++k)
          out.jacobian[kPoseDof * i + k] = (at(l.depth_pose + k, x) + mean * at(l.pose + k, x)) * inverse;
      }
    }
  }
}

// Front-to-back compositing of one tile into a small buffer of accumulators.
#pragma once

// Accumulators a pixel, in the order in which a buffer row holds them: [row][plane][kRowStride].
struct Layout {
  int transmittance = 0, weight = 1, depth = -1, plane = -1, variance = -1, channel = -1;
  int shift = -1;             // derivative of transmittance for a shift of the splats in x and y
  int weight_shift = -1;      // derivative of the weight for the same
  int channel_gradient = -1;  // two a channel
  int pose = -1;              // derivative of transmittance for the six pose parameters
  int depth_pose = -1;        // derivative of the weighted depth sum for the same
  int count = 2;
};

static inline Layout layout_of(uint32_t flags, int channels) {
  Layout l;
  const auto take = [&](int n) {
    const int first = l.count;
    l.count += n;
    return first;
  };
  if (flags & kExpectedDepth) l.depth = take(1);
  if (flags & kPlanes) l.plane = take(3), l.variance = take(1);
  if (flags & kChannels) l.channel = take(channels);
  if (flags & kChannelGradients) l.shift = take(2), l.weight_shift = take(2), l.channel_gradient = take(2 * channels);
  if (flags & kDepthJacobian) l.pose = take(kPoseDof), l.depth_pose = take(kPoseDof);
  return l;
}

static int tile_planes(uint32_t flags, int channels) { return layout_of(flags, channels).count; }

// Derivatives of a splat's screen centre, depth and screen covariance for a left perturbation of the pose.
struct SplatMotion {
  float u[kPoseDof], v[kPoseDof], z[kPoseDof];
  float s_xx[kPoseDof], s_xy[kPoseDof], s_yy[kPoseDof];
};

static void splat_motion(const RenderJob& job, const float* rotation, int64_t id, SplatMotion& motion) {
  const CameraParams& cam = job.camera;
  Projection p{};
  project_centre(job, rotation, id, p);
  project_covariance(job, rotation, id, p);
  const float iz = 1.0f / p.z;
  const float j00 = cam.fx * iz, j02 = -cam.fx * p.tx * iz * iz, j11 = cam.fy * iz, j12 = -cam.fy * p.ty * iz * iz;
  const float full[9] = {p.cov[0], p.cov[1], p.cov[2], p.cov[1], p.cov[3], p.cov[4], p.cov[2], p.cov[4], p.cov[5]};
  for (int k = 0; k < kPoseDof; ++k) {
    float w[3] = {0, 0, 0}, d[3] = {0, 0, 0};
    if (k < 3) {
      w[k] = 1;
      d[0] = w[1] * p.z - w[2] * p.y, d[1] = w[2] * p.x - w[0] * p.z, d[2] = w[0] * p.y - w[1] * p.x;
    } else {
      d[k - 3] = 1;
    }
    motion.z[k] = d[2];
    motion.u[k] = cam.fx * iz * (d[0] - p.x * iz * d[2]);
    motion.v[k] = cam.fy * iz * (d[1] - p.y * iz * d[2]);
    const float dtx = p.clamped_x ? p.tx * iz * d[2] : d[0], dty = p.clamped_y ? p.ty * iz * d[2] : d[1];
    // S = J C J^T with J = [j00 0 j02; 0 j11 j12]; its derivative has a part through J and a part through C.
    const float dj00 = -j00 * iz * d[2], dj11 = -j11 * iz * d[2];
    const float dj02 = -cam.fx * iz * iz * dtx - 2 * j02 * iz * d[2];
    const float dj12 = -cam.fy * iz * iz * dty - 2 * j12 * iz * d[2];
    const float cx[3] = {full[0] * j00 + full[2] * j02, full[3] * j00 + full[5] * j02, full[6] * j00 + full[8] * j02};
    const float cy[3] = {full[1] * j11 + full[2] * j12, full[4] * j11 + full[5] * j12, full[7] * j11 + full[8] * j12};
    // w x (C J^T) for the rotating covariance, column by column.
    const float rx[3] = {w[1] * cx[2] - w[2] * cx[1], w[2] * cx[0] - w[0] * cx[2], w[0] * cx[1] - w[1] * cx[0]};
    const float ry[3] = {w[1] * cy[2] - w[2] * cy[1], w[2] * cy[0] - w[0] * cy[2], w[0] * cy[1] - w[1] * cy[0]};
    motion.s_xx[k] = 2 * (dj00 * cx[0] + dj02 * cx[2] + j00 * rx[0] + j02 * rx[2]);
    motion.s_yy[k] = 2 * (dj11 * cy[1] + dj12 * cy[2] + j11 * ry[1] + j12 * ry[2]);
    motion.s_xy[k] = dj00 * cy[0] + dj02 * cy[2] + dj11 * cx[1] + dj12 * cx[2] + j00 * ry[0] + j02 * ry[2] +
                     j11 * rx[1] + j12 * rx[2];
  }
}

// The part of a splat that lies in a tile, and its alpha eight pixels at a time.
struct Footprint {
  const Splat& s;
  int tile_x, tile_y, x_lo, x_hi, y_lo, y_hi;
  Vec quad, opacity, dx_first;

  inline __attribute__((always_inline)) Footprint(const Splat& splat_, int x0, int y0) : s(splat_), tile_x(x0), tile_y(y0) {
    const int x_last = x0 + kTileWidth - 1, y_last = y0 + kTileHeight - 1;
    x_lo = s.x_lo > x0 ? s.x_lo : x0, x_hi = s.x_hi < x_last ? s.x_hi : x_last;
    y_lo = s.y_lo > y0 ? s.y_lo : y0, y_hi = s.y_hi < y_last ? s.y_hi : y_last;
    quad = splat(-0.5f * s.a), opacity = splat(s.opacity);
    dx_first = lanes() + splat(x_lo + 0.5f - s.u);
  }

  // Calls visit(row pointer, x, y, dx, dy, transmittance, raw alpha, alpha) for each span that any lane still sees.
  template <class Visit>
  inline __attribute__((always_inline)) void for_each_span(float* buffer, int row_size, int transmittance, const Visit& visit) const {
    for (int y = y_lo; y <= y_hi; ++y) {
      float* row = buffer + (y - tile_y) * row_size + (x_lo - tile_x);
      const float dy = y + 0.5f - s.v;
      const Vec linear = splat(-s.b * dy), constant = splat(-0.5f * s.c * dy * dy);
      Vec dx = dx_first;
      for (int x = x_lo; x <= x_hi; x += kLanes, row += kLanes, dx += splat((float)kLanes)) {
        const Vec before = load(row + transmittance * kRowStride);
        const Vec power = (quad * dx + linear) * dx + constant;
        const Mask seen = greater(power, splat(-5.6f)) & greater(before, splat(0.0f));
        if (!any(seen)) continue;
        const Vec raw = opacity * exp_negative(max(power, splat(-5.6f)));
        visit(row, x, y, dx, dy, before, raw, keep(seen & at_least(raw, splat(kAlphaMin)), min(raw, splat(kAlphaMax))));
      }
    }
  }
};

// With kLayered, a splat is weighed by the transmittance left by the splats whose layers end in front of it: a second
// cursor, over the same splats in the order in which their layers end, spends the transmittance.
template <uint32_t kFlags, bool kLayered>
static void composite(const RenderJob& job, int tile, const Entry* entries, const Entry* ends, int64_t count, float* buffer) {
  const int channels = (kFlags & kChannels) ? job.scene.channels : 0;
  const Layout l = layout_of(kFlags, channels);
  const int tile_x = (tile % job.tiles_x) * kTileWidth, tile_y = (tile / job.tiles_x) * kTileHeight;
  const int row_size = l.count * kRowStride;
  const CameraParams& cam = job.camera;
  const float ifx = 1.0f / cam.fx, ify = 1.0f / cam.fy;
  float rotation[9];
  for (int k = 0; k < 9; ++k) rotation[k] = (float)job.pose.rotation[k];
  SplatMotion motion;
  int64_t spent_until = 0;

  for (int64_t n = 0; n < count; ++n) {
    if (n + 4 < count) __builtin_prefetch(&job.splats[entries[n + 4].id]);
    const uint32_t id = entries[n].id;
    const Splat& s = job.splats[id];

    if constexpr (kLayered) {
      const uint32_t here = entries[n].key;
      for (; ends[spent_until].key < here; ++spent_until) {
        const Splat& front = job.splats[ends[spent_until].id];
        Footprint(front, tile_x, tile_y).for_each_span(buffer, row_size, l.transmittance,
            [&](float* row, int, int, Vec dx, float dy, Vec before, Vec raw, Vec alpha) __attribute__((always_inline)) {
          const Vec after = before - alpha * before;
          const Mask alive = greater(after, splat(kTransmittanceMin));
          store(row + l.transmittance * kRowStride, keep(alive, after));
          if constexpr (kFlags & kChannelGradients) {
            const Vec e_x = splat(front.a) * dx + splat(front.b * dy), e_y = splat(front.b) * dx + splat(front.c * dy);
            const Vec moving = keep(greater(splat(kAlphaMax), raw), alpha);
            for (int axis = 0; axis < 2; ++axis) {
              float* shift = row + (l.shift + axis) * kRowStride;
              const Vec t = load(shift);
              store(shift, keep(alive, t - t * alpha - before * (moving * (axis ? e_y : e_x))));
            }
          }
        });
      }
    }

    const float* values = channels ? job.scene.values + (int64_t)channels * id : nullptr;
    if constexpr (kFlags & kDepthJacobian) splat_motion(job, rotation, id, motion);
    // Inverse depth of the splat's plane is affine in the pixel.
    const float kappa_x = (kFlags & kPlanes) ? s.plane[0] * ifx : 0.0f;
    const float kappa_y = (kFlags & kPlanes) ? s.plane[1] * ify : 0.0f;
    Footprint(s, tile_x, tile_y).for_each_span(buffer, row_size, l.transmittance,
        [&](float* row, int x, int y, Vec dx, float dy, Vec before, Vec raw, Vec alpha) __attribute__((always_inline)) {
      const Vec spent = alpha * before, after = before - spent;
      const Mask alive = kLayered ? greater(before, splat(0.0f)) : greater(after, splat(kTransmittanceMin));
      const Vec weight = keep(alive, spent);
      if constexpr (!kLayered) store(row + l.transmittance * kRowStride, keep(alive, after));
      add(row + l.weight * kRowStride, weight);
      if constexpr (kFlags & kExpectedDepth) add(row + l.depth * kRowStride, weight * splat(s.z));
      if constexpr (kFlags & kPlanes) {
        const Vec kappa = splat(s.plane[2] + (x + 0.5f - cam.cx) * kappa_x + (y + 0.5f - cam.cy) * kappa_y) +
                          lanes() * splat(kappa_x);
        for (int k = 0; k < 3; ++k) add(row + (l.plane + k) * kRowStride, weight * splat(s.plane[k]));
        add(row + l.variance * kRowStride, weight * kappa * kappa);
      }
      if constexpr (kFlags & kChannels)
        for (int c = 0; c < channels; ++c) add(row + (l.channel + c) * kRowStride, weight * splat(values[c]));
      if constexpr ((kFlags & kChannelGradients) || (kFlags & kDepthJacobian)) {
        // alpha' = alpha e . mu' (+ alpha e^T S' e / 2), e = S^-1 d; a clamped alpha does not move.
        const Vec e_x = splat(s.a) * dx + splat(s.b * dy), e_y = splat(s.b) * dx + splat(s.c * dy);
        const Vec moving = keep(alive & greater(splat(kAlphaMax), raw), alpha);
        if constexpr (kFlags & kChannelGradients) {
          for (int axis = 0; axis < 2; ++axis) {
            float* shift = row + (l.shift + axis) * kRowStride;
            const Vec t = load(shift);
            const Vec change = keep(alive, t * alpha + before * (moving * (axis ? e_y : e_x)));
            if constexpr (!kLayered) store(shift, t - change);
            add(row + (l.weight_shift + axis) * kRowStride, change);
            for (int c = 0; c < channels; ++c)
              add(row + (l.channel_gradient + 2 * c + axis) * kRowStride, change * splat(values[c]));
          }
        }
        if constexpr (kFlags & kDepthJacobian) {
          for (int k = 0; k < kPoseDof; ++k) {
            float* pose = row + (l.pose + k) * kRowStride;
            const Vec t = load(pose);
            const Vec growth = e_x * splat(motion.u[k]) + e_y * splat(motion.v[k]) +
                               splat(0.5f) * (e_x * e_x * splat(motion.s_xx[k]) + e_y * e_y * splat(motion.s_yy[k])) +
                               e_x * e_y * splat(motion.s_xy[k]);
            const Vec change = keep(alive, t * alpha + before * (moving * growth));
            store(pose, t - change);
            add(row + (l.depth_pose + k) * kRowStride, change * splat(s.z) + weight * splat(motion.z[k]));
          }
        }
      }
    });
  }
}

static void composite_tile(const RenderJob& job, int tile, Entry* scratch, float* buffer) {
  const int planes = layout_of(job.flags, job.scene.channels).count;
  for (int row = 0; row < kTileHeight; ++row) {
    float* first = buffer + row * planes * kRowStride;
    for (int x = 0; x < kRowStride; ++x) first[x] = 1.0f;
    __builtin_memset(first + kRowStride, 0, sizeof(float) * (planes - 1) * kRowStride);
  }
  Entry* entries = job.entries + job.tile_start[tile];
  const int64_t count = job.tile_start[tile + 1] - job.tile_start[tile];
  if (count == 0) return;
  sort_entries(entries, scratch, count);
  Entry* ends = nullptr;
  if (job.layer > 0) {
    ends = scratch + count;
    for (int64_t n = 0; n < count; ++n) ends[n] = {sort_key(job.splats[entries[n].id].behind), entries[n].id};
    sort_entries(ends, scratch, count);
  }
  switch (job.flags) {
#define POSESPLAT_MODE(flags) \
  case (flags): return composite<(flags), false>(job, tile, entries, nullptr, count, buffer);
#define POSESPLAT_LAYERED_MODE(flags) \
  case (flags): return ends ? composite<(flags), true>(job, tile, entries, ends, count, buffer) \
                            : composite<(flags), false>(job, tile, entries, nullptr, count, buffer);
    POSESPLAT_MODE(kExpectedDepth)
    POSESPLAT_MODE(kExpectedDepth | kChannels)
    POSESPLAT_MODE(kExpectedDepth | kDepthJacobian)
    POSESPLAT_LAYERED_MODE(kPlanes)
    POSESPLAT_LAYERED_MODE(kPlanes | kChannels)
    POSESPLAT_LAYERED_MODE(kPlanes | kChannels | kChannelGradients)
#undef POSESPLAT_LAYERED_MODE
#undef POSESPLAT_MODE
  }
}

// World Gaussians to screen splats, and the lists of splats that touch each tile.
// Projection and clamping follow gsplat's classic mode (Zwicker et al., EWA splatting, 2001).
#pragma once

struct Projection {
  float x, y, z;       // centre in the camera
  float tx, ty;        // centre clamped to the widened field of view, for the covariance only
  bool clamped_x, clamped_y;
  float cov[6];        // camera-frame covariance: xx xy xz yy yz zz
  float s_xx, s_xy, s_yy;  // screen covariance with blur
};

static inline void rotate_covariance(const float* r, const float* c, float* out) {
  float m[9];
  for (int i = 0; i < 3; ++i) {
    const float a = r[3 * i], b = r[3 * i + 1], d = r[3 * i + 2];
    m[3 * i + 0] = a * c[0] + b * c[1] + d * c[2];
    m[3 * i + 1] = a * c[1] + b * c[3] + d * c[4];
    m[3 * i + 2] = a * c[2] + b * c[4] + d * c[5];
  }
  const auto dot = [&](int i, int j) { return m[3 * i] * r[3 * j] + m[3 * i + 1] * r[3 * j + 1] + m[3 * i + 2] * r[3 * j + 2]; };
  out[0] = dot(0, 0), out[1] = dot(0, 1), out[2] = dot(0, 2);
  out[3] = dot(1, 1), out[4] = dot(1, 2), out[5] = dot(2, 2);
}

// False when the centre lies before the near plane.
static inline bool project_centre(const RenderJob& job, const float* rotation, int64_t i, Projection& p) {
  const float* m = job.scene.means + 3 * i;
  const float dx = (float)(m[0] - job.pose.centre[0]);
  const float dy = (float)(m[1] - job.pose.centre[1]);
  const float dz = (float)(m[2] - job.pose.centre[2]);
  p.z = rotation[6] * dx + rotation[7] * dy + rotation[8] * dz;
  if (!(p.z > job.near)) return false;
  p.x = rotation[0] * dx + rotation[1] * dy + rotation[2] * dz;
  p.y = rotation[3] * dx + rotation[4] * dy + rotation[5] * dz;
  return true;
}

static inline void project_covariance(const RenderJob& job, const float* rotation, int64_t i, Projection& p) {
  const CameraParams& cam = job.camera;
  const float margin_x = 0.3f * 0.5f * cam.width / cam.fx, margin_y = 0.3f * 0.5f * cam.height / cam.fy;
  const float high_x = (cam.width - cam.cx) / cam.fx + margin_x, low_x = -cam.cx / cam.fx - margin_x;
  const float high_y = (cam.height - cam.cy) / cam.fy + margin_y, low_y = -cam.cy / cam.fy - margin_y;
  const float iz = 1.0f / p.z, rx = p.x * iz, ry = p.y * iz;
  const float cx = rx < low_x ? low_x : rx > high_x ? high_x : rx;
  const float cy = ry < low_y ? low_y : ry > high_y ? high_y : ry;
  p.clamped_x = cx != rx, p.clamped_y = cy != ry;
  p.tx = p.z * cx, p.ty = p.z * cy;
  rotate_covariance(rotation, job.scene.covariances + 6 * i, p.cov);
  const float j00 = cam.fx * iz, j02 = -cam.fx * cx * iz, j11 = cam.fy * iz, j12 = -cam.fy * cy * iz;
  const float* c = p.cov;
  p.s_xx = j00 * j00 * c[0] + 2 * j00 * j02 * c[2] + j02 * j02 * c[5] + kScreenBlur;
  p.s_xy = j00 * j11 * c[1] + j00 * j12 * c[2] + j02 * j11 * c[4] + j02 * j12 * c[5];
  p.s_yy = j11 * j11 * c[3] + 2 * j11 * j12 * c[4] + j12 * j12 * c[5] + kScreenBlur;
}

// The plane through the centre as an inverse-depth vector. Seen at a grazing angle the plane would reach far beyond
// its splat, so there it is replaced by the plane that faces the camera.
static inline void project_plane(const float* rotation, const float* normal, Projection& p, float* plane) {
  constexpr float kGrazing = 0.05f;
  float n[3];
  for (int k = 0; k < 3; ++k) n[k] = rotation[3 * k] * normal[0] + rotation[3 * k + 1] * normal[1] + rotation[3 * k + 2] * normal[2];
  const float squared = p.x * p.x + p.y * p.y + p.z * p.z;
  const float distance = n[0] * p.x + n[1] * p.y + n[2] * p.z;
  if (distance * distance >= kGrazing * kGrazing * squared) {
    const float inverse = 1.0f / distance;
    plane[0] = n[0] * inverse, plane[1] = n[1] * inverse, plane[2] = n[2] * inverse;
  } else {
    plane[0] = p.x / squared, plane[1] = p.y / squared, plane[2] = p.z / squared;
  }
}

static inline int32_t clipped(float pixel, int32_t low, int32_t high) {
  return pixel < low ? low : pixel > high ? high : (int32_t)pixel;
}

static void project(const RenderJob& job, int64_t begin, int64_t end) {
  float rotation[9];
  for (int k = 0; k < 9; ++k) rotation[k] = (float)job.pose.rotation[k];
  const CameraParams& cam = job.camera;
  for (int64_t i = begin; i < end; ++i) {
    Splat& s = job.splats[i];
    s.x_lo = s.y_lo = 0, s.x_hi = s.y_hi = -1;
    const float opacity = job.scene.opacities[i];
    Projection p{};
    if (opacity < kAlphaMin || !project_centre(job, rotation, i, p)) continue;
    project_covariance(job, rotation, i, p);
    const float det = p.s_xx * p.s_yy - p.s_xy * p.s_xy;
    if (!(det > 0)) continue;
    s.u = cam.fx * p.x / p.z + cam.cx;
    s.v = cam.fy * p.y / p.z + cam.cy;
    // The tight box of the level set alpha = 1/255; pixel i is inside when its centre i + 0.5 is.
    const float level = 2.0f * __builtin_logf(255.0f * opacity);
    const float radius_x = __builtin_sqrtf(level * p.s_xx), radius_y = __builtin_sqrtf(level * p.s_yy);
    const float left = s.u - radius_x - 0.5f, right = s.u + radius_x - 0.5f;
    const float top = s.v - radius_y - 0.5f, bottom = s.v + radius_y - 0.5f;
    if (!(right >= 0 && bottom >= 0 && left <= cam.width - 1 && top <= cam.height - 1)) continue;
    const int32_t x_lo = left <= 0 ? 0 : clipped(left, 0, cam.width - 1) + (left > (float)clipped(left, 0, cam.width - 1));
    const int32_t y_lo = top <= 0 ? 0 : clipped(top, 0, cam.height - 1) + (top > (float)clipped(top, 0, cam.height - 1));
    s.x_lo = x_lo, s.x_hi = clipped(right, -1, cam.width - 1);
    s.y_lo = y_lo, s.y_hi = clipped(bottom, -1, cam.height - 1);
    if (s.x_hi < s.x_lo || s.y_hi < s.y_lo) {
      s.x_hi = s.x_lo - 1;
      continue;
    }
    const float inverse = 1.0f / det;
    s.a = p.s_yy * inverse, s.b = -p.s_xy * inverse, s.c = p.s_xx * inverse;
    s.opacity = opacity, s.z = p.z;
    const float extent = kLayerSigmas * __builtin_sqrtf(p.cov[5] > 0 ? p.cov[5] : 0);
    const float thickest = kThickestLayer * p.z, thinnest = job.layer * p.z;
    const float limited = extent < thickest ? extent : thickest;
    s.behind = p.z + (limited > thinnest ? limited : thinnest);
    if (job.flags & kPlanes) project_plane(rotation, job.scene.normals + 3 * i, p, s.plane);
  }
}

struct TileRange {
  int x_lo, x_hi, y_lo, y_hi;
};

static inline TileRange tiles_of(const Splat& s) {
  return {s.x_lo / kTileWidth, s.x_hi / kTileWidth, s.y_lo / kTileHeight, s.y_hi / kTileHeight};
}

static void count_tiles(const RenderJob& job, int64_t begin, int64_t end, int32_t* counts) {
  for (int64_t i = begin; i < end; ++i) {
    const Splat& s = job.splats[i];
    if (s.x_hi < s.x_lo) continue;
    const TileRange t = tiles_of(s);
    for (int y = t.y_lo; y <= t.y_hi; ++y)
      for (int x = t.x_lo; x <= t.x_hi; ++x) ++counts[y * job.tiles_x + x];
  }
}

static inline uint32_t sort_key(float positive) {  // positive floats sort as their bits
  uint32_t bits;
  __builtin_memcpy(&bits, &positive, sizeof(bits));
  return bits;
}

static void scatter(const RenderJob& job, int64_t begin, int64_t end, int64_t* cursors) {
  for (int64_t i = begin; i < end; ++i) {
    const Splat& s = job.splats[i];
    if (s.x_hi < s.x_lo) continue;
    const TileRange t = tiles_of(s);
    const Entry entry{sort_key(s.z), (uint32_t)i};
    for (int y = t.y_lo; y <= t.y_hi; ++y)
      for (int x = t.x_lo; x <= t.x_hi; ++x) job.entries[cursors[y * job.tiles_x + x]++] = entry;
  }
}

// Stable radix sort of one tile's entries by depth key; equal keys keep the order of the Gaussians.
static void sort_entries(Entry* entries, Entry* scratch, int64_t count) {
  constexpr int kBits = 8, kBuckets = 1 << kBits;
  Entry *from = entries, *to = scratch;
  for (int shift = 0; shift < 32; shift += kBits) {
    int64_t offsets[kBuckets] = {0};
    for (int64_t i = 0; i < count; ++i) ++offsets[(from[i].key >> shift) & (kBuckets - 1)];
    if (offsets[(from[0].key >> shift) & (kBuckets - 1)] == count) continue;  // one bucket: nothing to move
    int64_t total = 0;
    for (int b = 0; b < kBuckets; ++b) {
      const int64_t n = offsets[b];
      offsets[b] = total;
      total += n;
    }
    for (int64_t i = 0; i < count; ++i) to[offsets[(from[i].key >> shift) & (kBuckets - 1)]++] = from[i];
    Entry* swap = from;
    from = to, to = swap;
  }
  if (from != entries) __builtin_memcpy(entries, from, count * sizeof(Entry));
}

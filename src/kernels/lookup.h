// Normal equations against a view that was rendered once: the query moves, the rendered planes and colours stay.
#pragma once

// view_from_query or query_from_view as 12 floats [R | t], composed in double.
static inline void relative_pose(const PoseParams& to, const PoseParams& from, float* rotation, float* translation) {
  double r[9], t[3];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      r[3 * i + j] = 0;
      for (int k = 0; k < 3; ++k) r[3 * i + j] += to.rotation[3 * i + k] * from.rotation[3 * j + k];
    }
  for (int i = 0; i < 3; ++i) {
    t[i] = 0;
    for (int k = 0; k < 3; ++k) t[i] += to.rotation[3 * i + k] * (from.centre[k] - to.centre[k]);
  }
  for (int i = 0; i < 9; ++i) rotation[i] = (float)r[i];
  for (int i = 0; i < 3; ++i) translation[i] = (float)t[i];
}

struct Lanes {  // up to eight gathered samples
  float rx[kLanes], ry[kLanes], z[kLanes], m[3][kLanes], valid[kLanes];
};

// Bilinear weights at pixel position (u, v); false when the four neighbours are not all inside the image.
struct Bilinear {
  int64_t index;
  float w00, w10, w01, w11;
};

static inline bool bilinear_at(float u, float v, int width, int height, Bilinear& b) {
  const float x = u - 0.5f, y = v - 0.5f;
  if (!(x >= 0 && y >= 0 && x < width - 1 && y < height - 1)) return false;
  const int ix = (int)x, iy = (int)y;
  const float ax = x - ix, ay = y - iy;
  b.index = (int64_t)iy * width + ix;
  b.w00 = (1 - ax) * (1 - ay), b.w10 = ax * (1 - ay), b.w01 = (1 - ax) * ay, b.w11 = ax * ay;
  return true;
}

static inline float sample(const float* image, const Bilinear& b, int64_t stride, int offset, int width) {
  const float* p = image + b.index * stride + offset;
  const float* q = p + (int64_t)width * stride;
  return b.w00 * p[0] + b.w10 * p[stride] + b.w01 * q[0] + b.w11 * q[stride];
}

static inline bool one_surface(const View& view, const Bilinear& b, float min_alpha, float gate) {
  const int64_t i = b.index, j = i + view.camera.width;
  return view.alpha[i] >= min_alpha && view.alpha[i + 1] >= min_alpha && view.alpha[j] >= min_alpha &&
         view.alpha[j + 1] >= min_alpha && view.variance[i] <= gate && view.variance[i + 1] <= gate &&
         view.variance[j] <= gate && view.variance[j + 1] <= gate;
}

// One row of blocks of the query's depth image, each against the rendered planes.
static void lookup_depth_row(const View& view, const Query& query, int block_row, Sums<kPoseDof>* blocks) {
  const CameraParams &vc = view.camera, &qc = query.camera;
  float r[9], t[3];
  relative_pose(view.pose, query.pose, r, t);
  const int y_end = (block_row + 1) * kLookupBlock < qc.height ? (block_row + 1) * kLookupBlock : qc.height;
  const int block_count = (qc.width + kLookupBlock - 1) / kLookupBlock;
  for (int block = 0; block < block_count; ++block) {
    const int x_end = (block + 1) * kLookupBlock < qc.width ? (block + 1) * kLookupBlock : qc.width;
    RowSums<kPoseDof> sums;
    sums.clear();
    Lanes lane;
    int filled = 0;
    const auto flush = [&]() {
      for (int i = filled; i < kLanes; ++i) {
        lane.rx[i] = lane.ry[i] = lane.valid[i] = 0, lane.z[i] = 1;
        lane.m[0][i] = lane.m[1][i] = 0, lane.m[2][i] = 1;
      }
      const Vec z = load(lane.z), rx = load(lane.rx), ry = load(lane.ry);
      const Vec m[3] = {load(lane.m[0]), load(lane.m[1]), load(lane.m[2])};
      Vec residual, j[kPoseDof];
      plane_residual(m, rx, ry, m[0] * rx + m[1] * ry + m[2], z, query.depth_term, &residual, j);
      sums.add_residual(load(lane.valid) > splat(0.0f), residual, j);
      filled = 0;
    };
    double observed = 0, missing = 0;
    for (int y = block_row * kLookupBlock + query.step / 2; y < y_end; y += query.step) {
      const float ry = (y + 0.5f - qc.cy) / qc.fy;
      for (int x = block * kLookupBlock + query.step / 2; x < x_end; x += query.step) {
        const float z = query.depth[(int64_t)y * qc.width + x];
        if (!(z > 0 && z < kFarthest)) continue;
        observed += 1;
        const float rx = (x + 0.5f - qc.cx) / qc.fx;
        const float px = z * rx, py = z * ry;
        const float vx = r[0] * px + r[1] * py + r[2] * z + t[0];
        const float vy = r[3] * px + r[4] * py + r[5] * z + t[1];
        const float vz = r[6] * px + r[7] * py + r[8] * z + t[2];
        Bilinear b;
        if (!(vz > 0) || !bilinear_at(vc.fx * vx / vz + vc.cx, vc.fy * vy / vz + vc.cy, vc.width, vc.height, b) ||
            !one_surface(view, b, query.min_alpha, query.depth_term.gate)) {
          missing += 1;
          continue;
        }
        float m[3];
        for (int k = 0; k < 3; ++k) m[k] = sample(view.planes, b, 3, k, vc.width);
        // The plane m . X = 1 of the view, expressed in the query's frame.
        const float offset = 1.0f / (1.0f - (m[0] * t[0] + m[1] * t[1] + m[2] * t[2]));
        float q[3];
        for (int k = 0; k < 3; ++k) q[k] = (r[k] * m[0] + r[3 + k] * m[1] + r[6 + k] * m[2]) * offset;
        const float kappa = q[0] * rx + q[1] * ry + q[2];
        if (!(kappa > 1e-6f && kappa < 1e6f)) {  // infinite where the query's centre lies in the plane
          missing += 1;
          continue;
        }
        lane.rx[filled] = rx, lane.ry[filled] = ry, lane.z[filled] = z, lane.valid[filled] = 1;
        for (int k = 0; k < 3; ++k) lane.m[k][filled] = q[k];
        if (++filled == kLanes) flush();
      }
    }
    if (filled) flush();
    Sums<kPoseDof>& out = blocks[block];
    sums.flush(out);
    out.observed += observed;
    out.cost += 0.5 * missing;
  }
}

// One row of blocks of the view's pixels, each against the query's image channels.
static void lookup_channel_row(const View& view, const Query& query, int block_row, Sums<kColourDof>* blocks) {
  const CameraParams &vc = view.camera, &qc = query.camera;
  const int channels = view.channel_count;
  float r[9], t[3];
  relative_pose(query.pose, view.pose, r, t);
  const int y_end = (block_row + 1) * kLookupBlock < vc.height ? (block_row + 1) * kLookupBlock : vc.height;
  const int block_count = (vc.width + kLookupBlock - 1) / kLookupBlock;
  const float unit = 1.0f / query.channel_term.scale;
  for (int block = 0; block < block_count; ++block) {
    const int x_end = (block + 1) * kLookupBlock < vc.width ? (block + 1) * kLookupBlock : vc.width;
    RowSums<kColourDof> sums;
    sums.clear();
    float residual[kLanes], gradient_u[kLanes], gradient_v[kLanes], value[kLanes], rx[kLanes], ry[kLanes], inverse[kLanes];
    int filled = 0;
    const auto flush = [&]() {
      Vec j[kColourDof], du[kPoseDof], dv[kPoseDof];
      for (int i = filled; i < kLanes; ++i) residual[i] = gradient_u[i] = gradient_v[i] = value[i] = rx[i] = ry[i] = 0, inverse[i] = 1;
      image_motion(qc, load(rx), load(ry), load(inverse), du, dv);
      for (int k = 0; k < kPoseDof; ++k) j[k] = -(load(gradient_u) * du[k] + load(gradient_v) * dv[k]) * splat(unit);
      j[6] = load(value) * splat(unit), j[7] = splat(unit);
      sums.add_residual(lanes() < splat((float)filled), load(residual), j);
      filled = 0;
    };
    double observed = 0, missing = 0;
    for (int y = block_row * kLookupBlock + query.step / 2; y < y_end; y += query.step) {
      const float vy = (y + 0.5f - vc.cy) / vc.fy;
      for (int x = block * kLookupBlock + query.step / 2; x < x_end; x += query.step) {
        const int64_t i = (int64_t)y * vc.width + x;
        const float vx = (x + 0.5f - vc.cx) / vc.fx;
        const float* m = view.planes + 3 * i;
        const float kappa = m[0] * vx + m[1] * vy + m[2];
        observed += channels;
        if (view.alpha[i] < query.min_alpha || view.variance[i] > query.channel_term.gate || !(kappa > 1e-6f)) {
          missing += channels;
          continue;
        }
        const float z = 1.0f / kappa, px = z * vx, py = z * vy;
        const float qx = r[0] * px + r[1] * py + r[2] * z + t[0];
        const float qy = r[3] * px + r[4] * py + r[5] * z + t[1];
        const float qz = r[6] * px + r[7] * py + r[8] * z + t[2];
        Bilinear b;
        if (!(qz > 0) || !bilinear_at(qc.fx * qx / qz + qc.cx, qc.fy * qy / qz + qc.cy, qc.width, qc.height, b)) {
          missing += channels;
          continue;
        }
        if (query.depth && query.occlusion > 0) {
          const int64_t nearest = b.index + (b.w10 + b.w11 > 0.5f) + (int64_t)(b.w01 + b.w11 > 0.5f) * qc.width;
          const float seen = query.depth[nearest];
          if (seen > 0 && seen < kFarthest && (seen - qz > query.occlusion * qz || qz - seen > query.occlusion * qz)) {
            missing += channels;
            continue;
          }
        }
        for (int c = 0; c < channels; ++c) {
          value[filled] = view.channels[i * channels + c];
          residual[filled] = (query.gain * value[filled] + query.bias - sample(query.channels, b, channels, c, qc.width)) * unit;
          gradient_u[filled] = sample(query.gradients, b, 2 * channels, 2 * c, qc.width);
          gradient_v[filled] = sample(query.gradients, b, 2 * channels, 2 * c + 1, qc.width);
          rx[filled] = qx / qz, ry[filled] = qy / qz, inverse[filled] = 1.0f / qz;
          if (++filled == kLanes) flush();
        }
      }
    }
    if (filled) flush();
    Sums<kColourDof>& out = blocks[block];
    sums.flush(out);
    out.observed += observed;
    out.cost += 0.5 * missing;
  }
}

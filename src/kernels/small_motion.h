// Small-motion bundle adjustment: residual lengths, and the sums of a Gauss-Newton step, in double precision.
// Unknowns: rotation (3) and translation (3) of each frame, inverse depth of each point, and on request the lens: the
// logarithm of the focal length and one radial term, common to all frames.
#pragma once

typedef double Wide __attribute__((vector_size(32)));
constexpr int kWide = 4;

static inline __attribute__((always_inline)) Wide wide(double x) { return Wide{x, x, x, x}; }
static inline __attribute__((always_inline)) Wide load_wide(const double* p, int64_t used) {
  Wide v = wide(0.0);
  if (used >= kWide)
    __builtin_memcpy(&v, p, sizeof(v));
  else
    for (int64_t k = 0; k < used; ++k) v[k] = p[k];
  return v;
}
static inline __attribute__((always_inline)) void store_wide(double* p, Wide v, int64_t used) {
  if (used >= kWide)
    __builtin_memcpy(p, &v, sizeof(v));
  else
    for (int64_t k = 0; k < used; ++k) p[k] = v[k];
}
static inline __attribute__((always_inline)) double sum_wide(Wide v) { return (v[0] + v[1]) + (v[2] + v[3]); }

// Four points in one frame.
struct SeenPoints {
  Wide turned[3];    // R x
  Wide inverse_z;    // of R x + w t
  Wide predicted[2]; // pixels from the principal point
  Wide residual[2];
};

static inline __attribute__((always_inline)) SeenPoints predict(const SmallMotionJob& job, int frame, int64_t at,
                                                                int64_t used) {
  const double *r = job.rotations + 9 * frame, *t = job.translations + 3 * frame;
  const Wide x = load_wide(job.rays + at, used), y = load_wide(job.rays + job.points + at, used);
  const Wide w = load_wide(job.inverse_depths + at, used);
  SeenPoints s;
  for (int i = 0; i < 3; ++i) s.turned[i] = wide(r[3 * i]) * x + wide(r[3 * i + 1]) * y + wide(r[3 * i + 2]);
  Wide z = s.turned[2] + wide(t[2]) * w;
  for (int k = 0; k < kWide; ++k) z[k] = z[k] > 1e-3 ? z[k] : 1e-3;
  s.inverse_z = wide(1.0) / z;
  for (int i = 0; i < 2; ++i) {
    const double* offsets = job.offsets + (2 * (int64_t)frame + i) * job.points;
    s.predicted[i] = wide(job.focal[i]) * (s.turned[i] + wide(t[i]) * w) * s.inverse_z;
    s.residual[i] = s.predicted[i] - load_wide(offsets + at, used);
  }
  return s;
}

static void small_motion_lengths(const SmallMotionJob& job, double* lengths) {
  for (int frame = 0; frame < job.frames; ++frame) {
    const int64_t row = (int64_t)frame * job.points;
    for (int64_t at = 0; at < job.points; at += kWide) {
      const int64_t used = job.points - at;
      const SeenPoints s = predict(job, frame, at, used);
      Wide length = s.residual[0] * s.residual[0] + s.residual[1] * s.residual[1];
      for (int k = 0; k < kWide; ++k) length[k] = __builtin_sqrt(length[k]);
      for (int64_t k = 0; k < kWide && k < used; ++k)
        lengths[row + at + k] = job.seen[row + at + k] ? length[k] / job.deviations[at + k] : 0.0;
    }
  }
}

template <bool Lens>
static void small_motion_frame(const SmallMotionJob& job, const SmallMotionSums& out, int frame) {
  constexpr int kDof = Lens ? 8 : 6;
  constexpr int kPairs = kDof * (kDof + 1) / 2;
  const double *r = job.rotations + 9 * frame, *t = job.translations + 3 * frame;
  Wide hessian[kPairs], gradient[kDof];
  for (Wide& h : hessian) h = wide(0.0);
  for (Wide& g : gradient) g = wide(0.0);
  for (int64_t at = 0; at < job.points; at += kWide) {
    const int64_t used = job.points - at;
    const SeenPoints s = predict(job, frame, at, used);
    const Wide weight = load_wide(job.weights + (int64_t)frame * job.points + at, used);
    const Wide w = load_wide(job.inverse_depths + at, used);
    const Wide zero = wide(0.0);
    // Derivatives of both residuals: (along, ahead) is the row of the projection's derivative.
    Wide j[2][kDof], depth[2];
    for (int axis = 0; axis < 2; ++axis) {
      const Wide along = wide(job.focal[axis]) * s.inverse_z, ahead = -s.predicted[axis] * s.inverse_z;
      const Wide sign = wide(axis == 0 ? 1.0 : -1.0);
      j[axis][axis] = ahead * s.turned[1 - axis] * sign;
      j[axis][1 - axis] = sign * (along * s.turned[2] - ahead * s.turned[axis]);
      j[axis][2] = -sign * along * s.turned[1 - axis];
      j[axis][3 + axis] = along * w;
      j[axis][4 - axis] = zero;
      j[axis][5] = ahead * w;
      depth[axis] = along * wide(t[axis]) + ahead * wide(t[2]);
      if (Lens) {
        // The focal length scales the prediction and shortens the reference's rays; the radial term moves the rays
        // and what was seen.
        const Wide x = load_wide(job.rays + at, used), y = load_wide(job.rays + job.points + at, used);
        const Wide bx = load_wide(job.ray_bend + at, used), by = load_wide(job.ray_bend + job.points + at, used);
        const Wide turned_x[2] = {wide(r[3 * axis]) * x + wide(r[3 * axis + 1]) * y, wide(r[6]) * x + wide(r[7]) * y};
        const Wide turned_b[2] = {wide(r[3 * axis]) * bx + wide(r[3 * axis + 1]) * by, wide(r[6]) * bx + wide(r[7]) * by};
        const double* bend = job.offset_bend + (2 * (int64_t)frame + axis) * job.points;
        j[axis][kDof - 2] = s.predicted[axis] - along * turned_x[0] - ahead * turned_x[1];
        j[axis][kDof - 1] = along * turned_b[0] + ahead * turned_b[1] - load_wide(bend + at, used);
      }
    }
    int pair = 0;
    for (int a = 0; a < kDof; ++a) {
      const Wide u = weight * j[0][a], v = weight * j[1][a];
      gradient[a] += u * s.residual[0] + v * s.residual[1];
      for (int b = a; b < kDof; ++b) hessian[pair++] += u * j[0][b] + v * j[1][b];
      const Wide mixed = u * depth[0] + v * depth[1];
      if (a < 6) {
        store_wide(out.mixed + (6 * (int64_t)frame + a) * job.points + at, mixed, used);
      } else {
        double* lens = out.lens_mixed + (a - 6) * job.points + at;
        store_wide(lens, load_wide(lens, used) + mixed, used);
      }
    }
    const Wide bend = weight * (depth[0] * depth[0] + depth[1] * depth[1]);
    const Wide pull = weight * (depth[0] * s.residual[0] + depth[1] * s.residual[1]);
    store_wide(out.points + at, load_wide(out.points + at, used) + bend, used);
    store_wide(out.points_gradient + at, load_wide(out.points_gradient + at, used) + pull, used);
  }
  // Blocks of this frame's pose; with a lens, of pose and lens: (frames, 8, 8) and (frames, 8).
  int pair = 0;
  for (int a = 0; a < kDof; ++a) {
    out.frames_gradient[kDof * frame + a] = sum_wide(gradient[a]);
    for (int b = a; b < kDof; ++b) {
      const double value = sum_wide(hessian[pair++]);
      double* block = out.frames + (int64_t)kDof * kDof * frame;
      block[kDof * a + b] = block[kDof * b + a] = value;
    }
  }
}

static void small_motion_sums(const SmallMotionJob& job, const SmallMotionSums& out) {
  for (int frame = 0; frame < job.frames; ++frame) {
    if (job.ray_bend)
      small_motion_frame<true>(job, out, frame);
    else
      small_motion_frame<false>(job, out, frame);
  }
}

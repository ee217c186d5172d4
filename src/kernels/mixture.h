// Overlap of two sets of Gaussians, each Gaussian of one with some of the other: value, gradient, normal equations.
// A row is a fixed Gaussian; its neighbours among the moving ones fill the lanes. Formulas: docs/mixture.md.
#pragma once

// e^x on [-22, 0].
static inline __attribute__((always_inline)) Vec exp_far(Vec x) {
  Vec e = exp_negative(max(x, splat(-22.0f)) * splat(0.25f));
  e = e * e;
  return e * e;
}

// Symmetric 3 x 3: xx xy xz yy yz zz.
static inline __attribute__((always_inline)) void product(const Vec* s, const Vec* v, Vec* out) {
  out[0] = s[0] * v[0] + s[1] * v[1] + s[2] * v[2];
  out[1] = s[1] * v[0] + s[3] * v[1] + s[4] * v[2];
  out[2] = s[2] * v[0] + s[4] * v[1] + s[5] * v[2];
}

static inline __attribute__((always_inline)) void cross(const Vec* a, const Vec* b, Vec* out) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

static inline __attribute__((always_inline)) Vec dot(const Vec* a, const Vec* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// Eight pairs of one row. The record of a Gaussian: mean (3), covariance (6), basis of its log-depth field (6).
struct MixturePairs {
  Vec moving[kMixtureRecord];  // in the fixed frame
  Vec gap[3];                  // fixed mean - moving mean
  Vec inverse[6];              // of the summed covariance
  Vec pull[3];                 // inverse * gap
  Vec overlap;                 // K
};

static inline __attribute__((always_inline)) void mixture_pairs(const MixtureJob& job, int64_t row, int begin, MixturePairs* p) {
  const float* fixed = job.fixed + row * kMixtureRecord;
  const int32_t* index = job.neighbours + row * job.width + begin;
  const int used = 9 + job.terms;
  Vec present;
  for (int lane = 0; lane < kLanes; ++lane) {
    const float* moving = job.moving + (int64_t)(index[lane] < 0 ? 0 : index[lane]) * kMixtureRecord;
    present[lane] = index[lane] < 0 ? 0.0f : 1.0f;
    for (int c = 0; c < used; ++c) p->moving[c][lane] = moving[c];
  }
  Vec s[6];
  for (int c = 0; c < 3; ++c) p->gap[c] = splat(fixed[c]) - p->moving[c];
  for (int c = 0; c < 6; ++c) s[c] = splat(fixed[3 + c]) + p->moving[3 + c];
  // Divided by its trace, so that the determinant of millimetres stays within what a float holds.
  const Vec trace = s[0] + s[3] + s[5], shrink = splat(1.0f) / trace;
  for (int c = 0; c < 6; ++c) s[c] *= shrink;
  Vec* q = p->inverse;
  q[0] = s[3] * s[5] - s[4] * s[4];
  q[1] = s[2] * s[4] - s[1] * s[5];
  q[2] = s[1] * s[4] - s[2] * s[3];
  q[3] = s[0] * s[5] - s[2] * s[2];
  q[4] = s[1] * s[2] - s[0] * s[4];
  q[5] = s[0] * s[3] - s[1] * s[1];
  const Vec determinant = s[0] * q[0] + s[1] * q[1] + s[2] * q[2];
  const Vec grow = shrink / determinant;
  for (int c = 0; c < 6; ++c) q[c] *= grow;
  product(q, p->gap, p->pull);
  const Vec squared = dot(p->gap, p->pull);
  const Mask near = at_least(splat(job.farthest), squared) & greater(determinant, splat(0.0f)) & greater(present, splat(0.0f));
  Vec overlap = load(job.affinities + row * job.width + begin) * exp_far(splat(-0.5f) * squared);
  if (job.normalised) overlap *= shrink * square_root(shrink / max(determinant, splat(1e-30f)));
  p->overlap = keep(near, overlap);
}

// Sums over rows [begin, end) into out: the upper triangle, row by row, over rotation, translation, field of the fixed
// set, field of the moving set.
template <int Terms>
static void mixture_rows_of(const MixtureJob& job, int64_t begin, int64_t end, MixtureSums* out) {
  constexpr int kTerms = Terms > 0 ? Terms : 1;
  constexpr int kSize = kPoseDof + 2 * Terms;
  const Vec zero = splat(0.0f);
  Vec hessian[21], gradient[6], pose_field[6][kTerms], field_field[kTerms * (kTerms + 1) / 2], field_gradient[kTerms];
  double fixed_pose[6][kTerms] = {}, fixed_fixed[kTerms][kTerms] = {}, fixed_moving[kTerms][kTerms] = {}, fixed_gradient[kTerms] = {};
  __builtin_memset((void*)hessian, 0, sizeof(hessian));
  __builtin_memset((void*)gradient, 0, sizeof(gradient));
  __builtin_memset((void*)pose_field, 0, sizeof(pose_field));
  __builtin_memset((void*)field_field, 0, sizeof(field_field));
  __builtin_memset((void*)field_gradient, 0, sizeof(field_gradient));
  MixturePairs pairs[kMixtureWidth / kLanes];
  const int blocks = job.width / kLanes;
  for (int64_t row = begin; row < end; ++row) {
    const float* fixed = job.fixed + row * kMixtureRecord;
    double total = 0.0;
    for (int b = 0; b < blocks; ++b) {
      mixture_pairs(job, row, b * kLanes, &pairs[b]);
      total += sum(pairs[b].overlap);
    }
    job.totals[row] = (float)total;
    if (!(total > 0.0)) continue;
    out->rows += 1.0;
    out->cost -= job.robust ? __builtin_log1p(total / job.floor) : total;
    const Vec share = splat(job.robust ? (float)(1.0 / (job.floor + total)) : 1.0f);
    Vec row_pose[6] = {zero, zero, zero, zero, zero, zero}, row_fixed = zero, row_gradient = zero, row_moving[kTerms];
    for (int k = 0; k < kTerms; ++k) row_moving[k] = zero;
    for (int b = 0; b < blocks; ++b) {
      const MixturePairs& p = pairs[b];
      if (!any(greater(p.overlap, zero))) continue;
      const Vec w = p.overlap * share, x = p.moving[0], y = p.moving[1], z = p.moving[2];
      out->weight += sum(w);
      Vec pull[3], h[6];
      for (int c = 0; c < 3; ++c) pull[c] = w * p.pull[c];
      for (int c = 0; c < 6; ++c) h[c] = w * p.inverse[c];
      // Columns of d gap / d rotation are the columns of [x]_x; d gap / d translation = -1. turn[k] = h * column k.
      const Vec columns[3][3] = {{zero, z, -y}, {-z, zero, x}, {y, -x, zero}};
      Vec turn[3][3];
      for (int k = 0; k < 3; ++k) product(h, columns[k], turn[k]);
      int at = 0;
      for (int k = 0; k < 3; ++k) {
        gradient[k] += dot(columns[k], pull);
        gradient[3 + k] -= pull[k];
        for (int l = k; l < 3; ++l) hessian[at++] += dot(columns[k], turn[l]);
        for (int l = 0; l < 3; ++l) hessian[at++] -= turn[k][l];
      }
      for (int c = 0; c < 6; ++c) hessian[at++] += h[c];
      if (job.turning) {  // what the moving covariance adds as it turns with the pose
        Vec carried[3], twist[3];
        product(p.moving + 3, p.pull, carried);
        cross(carried, pull, twist);
        for (int k = 0; k < 3; ++k) gradient[k] -= twist[k];
        if (job.normalised) {  // half the trace of S^-1 dS
          const Vec *a = p.moving + 3, *i = p.inverse;
          const Vec m01 = a[0] * i[1] + a[1] * i[3] + a[2] * i[4], m02 = a[0] * i[2] + a[1] * i[4] + a[2] * i[5];
          const Vec m10 = a[1] * i[0] + a[3] * i[1] + a[4] * i[2], m12 = a[1] * i[2] + a[3] * i[4] + a[4] * i[5];
          const Vec m20 = a[2] * i[0] + a[4] * i[1] + a[5] * i[2], m21 = a[2] * i[1] + a[4] * i[3] + a[5] * i[4];
          gradient[0] += w * (m12 - m21), gradient[1] += w * (m20 - m02), gradient[2] += w * (m01 - m10);
        }
      }
      if constexpr (Terms > 0) {
        // d gap / d field: phi times the fixed mean, and -phi times the moving one from its camera centre.
        const Vec mean[3] = {splat(fixed[0]), splat(fixed[1]), splat(fixed[2])};
        const Vec back[3] = {splat(job.translation[0]) - x, splat(job.translation[1]) - y, splat(job.translation[2]) - z};
        Vec from_mean[3], from_back[3];
        product(h, mean, from_mean), product(h, back, from_back);
        for (int k = 0; k < 3; ++k) {
          row_pose[k] += dot(columns[k], from_mean), row_pose[3 + k] -= from_mean[k];
        }
        row_fixed += dot(mean, from_mean), row_gradient += dot(mean, pull);
        const Vec mixed = dot(mean, from_back), own = dot(back, from_back), along = dot(back, pull);
        const Vec pose_back[6] = {dot(columns[0], from_back), dot(columns[1], from_back), dot(columns[2], from_back),
                                  -from_back[0], -from_back[1], -from_back[2]};
        int pair = 0;
        for (int k = 0; k < Terms; ++k) {
          const Vec phi = p.moving[9 + k], phi_own = phi * own;
          row_moving[k] += phi * mixed;
          field_gradient[k] += phi * along;
          for (int a = 0; a < kPoseDof; ++a) pose_field[a][k] += phi * pose_back[a];
          for (int l = k; l < Terms; ++l) field_field[pair++] += phi_own * p.moving[9 + l];
        }
      }
    }
    if constexpr (Terms > 0) {
      const double own = sum(row_fixed), along = sum(row_gradient);
      double pose[6], moving[kTerms];
      for (int a = 0; a < kPoseDof; ++a) pose[a] = sum(row_pose[a]);
      for (int k = 0; k < Terms; ++k) moving[k] = sum(row_moving[k]);
      for (int k = 0; k < Terms; ++k) {
        const double phi = fixed[9 + k];
        fixed_gradient[k] += phi * along;
        for (int a = 0; a < kPoseDof; ++a) fixed_pose[a][k] += phi * pose[a];
        for (int l = k; l < Terms; ++l) fixed_fixed[k][l] += phi * own * fixed[9 + l];
        for (int l = 0; l < Terms; ++l) fixed_moving[k][l] += phi * moving[l];
      }
    }
  }
  const auto at = [&](int a, int b) -> double& { return out->hessian[a * kSize + b]; };
  int pair = 0;
  for (int k = 0; k < 3; ++k) {
    for (int l = k; l < 3; ++l) at(k, l) = sum(hessian[pair++]);
    for (int l = 0; l < 3; ++l) at(k, 3 + l) = sum(hessian[pair++]);
  }
  for (int k = 0; k < 3; ++k)
    for (int l = k; l < 3; ++l) at(3 + k, 3 + l) = sum(hessian[pair++]);
  for (int a = 0; a < kPoseDof; ++a) out->gradient[a] = sum(gradient[a]);
  if constexpr (Terms > 0) {
    constexpr int kFixed = kPoseDof, kMoving = kPoseDof + Terms;
    pair = 0;
    for (int k = 0; k < Terms; ++k) {
      out->gradient[kFixed + k] = fixed_gradient[k];
      out->gradient[kMoving + k] = sum(field_gradient[k]);
      for (int a = 0; a < kPoseDof; ++a) at(a, kFixed + k) = fixed_pose[a][k], at(a, kMoving + k) = sum(pose_field[a][k]);
      for (int l = k; l < Terms; ++l) at(kFixed + k, kFixed + l) = fixed_fixed[k][l], at(kMoving + k, kMoving + l) = sum(field_field[pair++]);
      for (int l = 0; l < Terms; ++l) at(kFixed + k, kMoving + l) = fixed_moving[k][l];
    }
  }
}

static void mixture_rows(const MixtureJob& job, int64_t begin, int64_t end, MixtureSums* out) {
  if (job.terms == 0)
    mixture_rows_of<0>(job, begin, end, out);
  else if (job.terms == 1)
    mixture_rows_of<1>(job, begin, end, out);
  else
    mixture_rows_of<kMixtureTerms>(job, begin, end, out);
}

// How alike paired Gaussians look: exp of minus half the squared colour distance, and of the features' cosine less 1.
static void mixture_affinities(const AffinityJob& job, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    for (int first = 0; first < job.width; first += kLanes) {
      const int64_t at = row * job.width + first;
      Vec exponent = splat(0.0f), present = splat(0.0f);
      for (int lane = 0; lane < kLanes; ++lane) {
        const int64_t other = job.neighbours[at + lane];
        if (other < 0) continue;
        float power = 0.0f;
        if (job.colours[0]) {
          const float *a = job.colours[0] + 3 * row, *b = job.colours[1] + 3 * other;
          for (int c = 0; c < 3; ++c) power -= 0.5f * (a[c] - b[c]) * (a[c] - b[c]);
        }
        if (job.features[0]) {
          const float *a = job.features[0] + row * job.channels, *b = job.features[1] + other * job.channels;
          Vec product = splat(0.0f);
          for (int c = 0; c < job.channels; c += kLanes) product += load(a + c) * load(b + c);
          power += job.trust[0][row] * job.trust[1][other] * ((float)sum(product) - 1.0f);
        }
        exponent[lane] = power < 0.0f ? power : 0.0f;
        present[lane] = job.opacities[0][row] * job.opacities[1][other];
      }
      store(job.affinities + at, present * exp_far(exponent));
    }
  }
}

// The nearest Gaussians among those of the cells around the place where each point is seen.
static void cell_neighbours(const CellLookup& job, int64_t begin, int64_t end) {
  float distances[kMixtureWidth];
  for (int64_t row = begin; row < end; ++row) {
    int32_t* found = job.neighbours + row * job.width;
    for (int k = 0; k < job.width; ++k) found[k] = -1;
    const float *p = job.points + 3 * row, z = p[2];
    const float u = z > 0 ? job.camera.fx * p[0] / z + job.camera.cx : -1.0f;
    const float v = z > 0 ? job.camera.fy * p[1] / z + job.camera.cy : -1.0f;
    job.in_view[row] = u >= 0 && v >= 0 && u < (float)job.camera.width && v < (float)job.camera.height;
    if (!job.in_view[row]) continue;
    const int at_column = (int)(u / job.cell_px), at_row = (int)(v / job.cell_px);
    int held = 0;
    for (int i = -job.reach; i <= job.reach; ++i) {
      const int r = at_row + i * job.spacing;
      if (r < 0 || r >= job.cell_rows) continue;
      for (int j = -job.reach; j <= job.reach; ++j) {
        const int c = at_column + j * job.spacing;
        if (c < 0 || c >= job.cell_columns) continue;
        const int32_t index = job.cells[(int64_t)r * job.cell_columns + c];
        if (index < 0) continue;
        const float *m = job.means + 3 * (int64_t)index;
        const float x = m[0] - p[0], y = m[1] - p[1], w = m[2] - p[2], distance = x * x + y * y + w * w;
        if (held == job.count && !(distance < distances[held - 1])) continue;
        int place = held < job.count ? held++ : held - 1;
        for (; place > 0 && distance < distances[place - 1]; --place) {
          distances[place] = distances[place - 1];
          found[place] = found[place - 1];
        }
        distances[place] = distance;
        found[place] = index;
      }
    }
  }
}

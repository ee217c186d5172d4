// Local planes of a depth image: a least-squares affine inverse depth around every pixel.
#pragma once

static void fit_planes_row(const PlaneFit& f, int y) {
  const int padded = f.width + 2 * f.radius + kLanes;  // row stride of the padded image
  for (int x = 0; x < f.width; x += kLanes) {
    const int used = f.width - x < kLanes ? f.width - x : kLanes;
    const Vec centre = load(f.inverse_depth + (int64_t)(y + f.radius) * padded + x + f.radius);
    const Vec limit = splat(f.tolerance) * centre;
    // Moments of (1, i, j) and of the deviation d = kappa - centre.
    Vec n = splat(0), si = n, sj = n, sii = n, sij = n, sjj = n, d = n, di = n, dj = n, dd = n;
    for (int j = -f.radius; j <= f.radius; ++j) {
      const float* row = f.inverse_depth + (int64_t)(y + j + f.radius) * padded + x + f.radius;
      const Vec vj = splat((float)j);
      for (int i = -f.radius; i <= f.radius; ++i) {
        const Vec kappa = load(row + i), delta = kappa - centre, vi = splat((float)i);
        const Mask used_here = greater(kappa, splat(0.0f)) & at_least(limit, delta) & at_least(limit, -delta);
        const Vec w = keep(used_here, splat(1.0f)), wd = keep(used_here, delta);
        n += w, si += w * vi, sj += w * vj, sii += w * vi * vi, sij += w * vi * vj, sjj += w * vj * vj;
        d += wd, di += wd * vi, dj += wd * vj, dd += wd * delta;
      }
    }
    // Solve the 3x3 normal equations after removing the means.
    const Vec inverse = splat(1.0f) / max(n, splat(1.0f));
    const Vec mi = si * inverse, mj = sj * inverse, md = d * inverse;
    const Vec cii = sii * inverse - mi * mi, cij = sij * inverse - mi * mj, cjj = sjj * inverse - mj * mj;
    const Vec cdi = di * inverse - md * mi, cdj = dj * inverse - md * mj, cdd = dd * inverse - md * md;
    const Vec det = cii * cjj - cij * cij;
    const Vec safe = max(det, splat(1e-3f));
    const Vec slope_i = (cdi * cjj - cdj * cij) / safe, slope_j = (cdj * cii - cdi * cij) / safe;
    const Vec value = centre + md - slope_i * mi - slope_j * mj;
    const Vec window = splat(1.0f / ((2 * f.radius + 1) * (2 * f.radius + 1)));
    const Mask good = (centre > splat(0.0f)) & (n * window >= splat(f.min_support)) & (n >= splat(4.0f)) & (det > splat(1e-3f)) & (value > splat(0.0f));
    const Vec rms = square_root(max(cdd - slope_i * cdi - slope_j * cdj, splat(0.0f))) / max(centre, splat(1e-12f));
    float out[5][kLanes];
    store(out[0], keep(good, value));
    store(out[1], keep(good, slope_i));
    store(out[2], keep(good, slope_j));
    store(out[3], keep(good, rms));
    store(out[4], keep(centre > splat(0.0f), n * window));
    for (int k = 0; k < used; ++k) {
      const int64_t i = (int64_t)y * f.width + x + k;
      for (int c = 0; c < 3; ++c) f.fit[3 * i + c] = out[c][k];
      f.residual[i] = out[3][k];
      f.support[i] = out[4][k];
    }
  }
}

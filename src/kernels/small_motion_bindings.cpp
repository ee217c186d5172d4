// Python bindings of the small-motion kernels; arrays are documented by posesplat.kernels.small_motion.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <array>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>

#include "pool.h"
#include "render.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace posesplat {

void bind_small_motion(nb::module_& m);

namespace {

using Values = nb::ndarray<const double, nb::c_contig, nb::device::cpu>;
using Flags = nb::ndarray<const bool, nb::c_contig, nb::device::cpu>;
using Results = nb::ndarray<double, nb::c_contig, nb::device::cpu>;

template <class Array>
void expect(const Array& array, std::initializer_list<size_t> shape, const char* name) {
  bool same = array.ndim() == shape.size();
  size_t axis = 0;
  for (size_t side : shape) same = same && array.shape(axis++) == side;
  if (!same) throw std::invalid_argument(std::string("small motion: ") + name + " has the wrong shape.");
}

SmallMotionJob make_job(const Values& rotations, const Values& translations, const Values& inverse_depths,
                        const Values& rays, const Values& offsets, const std::array<double, 2>& focal) {
  const size_t frames = rotations.shape(0), points = inverse_depths.shape(0);
  expect(rotations, {frames, 3, 3}, "rotations");
  expect(translations, {frames, 3}, "translations");
  expect(inverse_depths, {points}, "inverse_depths");
  expect(rays, {2, points}, "rays");
  expect(offsets, {frames, 2, points}, "offsets");
  SmallMotionJob job{};
  job.frames = static_cast<int>(frames);
  job.points = static_cast<int64_t>(points);
  job.rotations = rotations.data(), job.translations = translations.data();
  job.inverse_depths = inverse_depths.data(), job.rays = rays.data(), job.offsets = offsets.data();
  job.focal[0] = focal[0], job.focal[1] = focal[1];
  return job;
}

void lengths(Values rotations, Values translations, Values inverse_depths, Values rays, Values offsets,
             const std::array<double, 2>& focal, Flags seen, Values deviations, Results out) {
  SmallMotionJob job = make_job(rotations, translations, inverse_depths, rays, offsets, focal);
  const size_t frames = rotations.shape(0), points = inverse_depths.shape(0);
  expect(seen, {frames, points}, "seen");
  expect(deviations, {points}, "deviations");
  expect(out, {frames, points}, "out");
  job.seen = seen.data(), job.deviations = deviations.data();
  nb::gil_scoped_release release;
  active_kernels().small_motion_lengths(job, out.data());
}

void sums(Values rotations, Values translations, Values inverse_depths, Values rays, Values offsets,
          const std::array<double, 2>& focal, Values weights, std::optional<Values> ray_bend,
          std::optional<Values> offset_bend, Results blocks, Results blocks_gradient, Results mixed, Results depths,
          Results depths_gradient, std::optional<Results> lens_mixed) {
  SmallMotionJob job = make_job(rotations, translations, inverse_depths, rays, offsets, focal);
  const size_t frames = rotations.shape(0), points = inverse_depths.shape(0);
  const bool lens = ray_bend.has_value();
  const size_t dof = lens ? 8 : 6;
  expect(weights, {frames, points}, "weights");
  expect(blocks, {frames, dof, dof}, "blocks");
  expect(blocks_gradient, {frames, dof}, "blocks_gradient");
  expect(mixed, {frames, 6, points}, "mixed");
  expect(depths, {points}, "depths");
  expect(depths_gradient, {points}, "depths_gradient");
  if (lens != offset_bend.has_value() || lens != lens_mixed.has_value())
    throw std::invalid_argument("small motion: a lens needs ray_bend, offset_bend and lens_mixed.");
  if (lens) {
    expect(*ray_bend, {2, points}, "ray_bend");
    expect(*offset_bend, {frames, 2, points}, "offset_bend");
    expect(*lens_mixed, {2, points}, "lens_mixed");
    job.ray_bend = ray_bend->data(), job.offset_bend = offset_bend->data();
  }
  job.weights = weights.data();
  const SmallMotionSums out{blocks.data(), blocks_gradient.data(), mixed.data(), depths.data(), depths_gradient.data(),
                            lens ? lens_mixed->data() : nullptr};
  nb::gil_scoped_release release;
  active_kernels().small_motion_sums(job, out);
}

}  // namespace

void bind_small_motion(nb::module_& m) {
  m.def("small_motion_lengths", &lengths, "rotations"_a, "translations"_a, "inverse_depths"_a, "rays"_a, "offsets"_a,
        "focal"_a, "seen"_a, "deviations"_a, "out"_a);
  m.def("small_motion_sums", &sums, "rotations"_a, "translations"_a, "inverse_depths"_a, "rays"_a, "offsets"_a,
        "focal"_a, "weights"_a, "ray_bend"_a.none(), "offset_bend"_a.none(), "blocks"_a, "blocks_gradient"_a, "mixed"_a,
        "depths"_a, "depths_gradient"_a, "lens_mixed"_a.none());
}

}  // namespace posesplat

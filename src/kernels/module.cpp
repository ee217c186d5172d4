// Python bindings: arrays in, arrays out, the GIL released while the loops run. Shapes and units are documented and
// checked by posesplat.kernels; here only what would crash is checked.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>

#include "pool.h"
#include "render.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace posesplat;

namespace {

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::numpy, float>;
using Doubles = nb::ndarray<nb::numpy, double>;

struct Camera {
  CameraParams params;
  Camera(float fx, float fy, float cx, float cy, int width, int height) : params{fx, fy, cx, cy, width, height} {}
};

PoseParams make_pose(const std::array<double, 9>& rotation, const std::array<double, 3>& centre) {
  PoseParams pose;
  for (int i = 0; i < 9; ++i) pose.rotation[i] = rotation[i];
  for (int i = 0; i < 3; ++i) pose.centre[i] = centre[i];
  return pose;
}

RobustTerm make_term(const std::array<float, 3>& values) { return {values[0], values[1], values[2]}; }

template <class T>
T* allocate(size_t size, nb::capsule& owner) {
  T* data = new T[size]();
  owner = nb::capsule(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return data;
}

class Outputs {
 public:
  float* add(const char* name, std::vector<size_t> shape) {
    size_t size = 1;
    for (size_t n : shape) size *= n;
    nb::capsule owner;
    float* data = allocate<float>(size, owner);
    result_[name] = Output(data, shape.size(), shape.data(), owner);
    return data;
  }
  nb::dict result() const { return result_; }

 private:
  nb::dict result_;
};

template <int Dof>
nb::dict to_dict(const Sums<Dof>& sums) {
  nb::capsule h_owner, g_owner;
  double* h = allocate<double>(Dof * Dof, h_owner);
  double* g = allocate<double>(Dof, g_owner);
  int k = 0;
  for (int a = 0; a < Dof; ++a) {
    g[a] = sums.g[a];
    for (int b = a; b < Dof; ++b, ++k) h[a * Dof + b] = h[b * Dof + a] = sums.h[k];
  }
  nb::dict result;
  const size_t h_shape[2] = {Dof, Dof}, g_shape[1] = {Dof};
  result["hessian"] = Doubles(h, 2, h_shape, h_owner);
  result["gradient"] = Doubles(g, 1, g_shape, g_owner);
  result["cost"] = sums.cost;
  result["observed"] = sums.observed;
  result["covered"] = sums.covered;
  result["inliers"] = sums.inliers;
  return result;
}

template <int Dof>
nb::dict to_dict(const std::vector<Sums<Dof>>& blocks) {
  Sums<Dof> total{};
  nb::capsule owner;
  double* gradients = allocate<double>(std::max<size_t>(blocks.size(), 1) * Dof, owner);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Sums<Dof>& b = blocks[i];
    for (int k = 0; k < Dof * (Dof + 1) / 2; ++k) total.h[k] += b.h[k];
    for (int k = 0; k < Dof; ++k) total.g[k] += gradients[i * Dof + k] = b.g[k];
    total.cost += b.cost, total.observed += b.observed, total.covered += b.covered, total.inliers += b.inliers;
  }
  nb::dict result = to_dict(total);
  const size_t shape[2] = {blocks.size(), Dof};
  result["block_gradients"] = Doubles(gradients, 2, shape, owner);
  return result;
}

const float* optional_data(const std::optional<Floats>& array) { return array ? array->data() : nullptr; }

void expect_size(const Floats& array, size_t size, const char* name) {
  if (array.size() != size)
    throw std::invalid_argument(std::string(name) + " must hold " + std::to_string(size) + " numbers; got " +
                                std::to_string(array.size()) + ".");
}

void expect_finite(const Floats& array, const char* name) {
  for (size_t i = 0; i < array.size(); ++i)
    if (!std::isfinite(array.data()[i]))
      throw std::invalid_argument(std::string(name) + " must be finite; got NaN or infinity. Drop such Gaussians.");
}

size_t pixels(const CameraParams& camera) { return static_cast<size_t>(camera.width) * camera.height; }

struct SceneArrays {  // checks before Scene copies
  SceneArrays(const Floats& means, const Floats& quats, const Floats& scales, const Floats& opacities,
              const Floats& normals, const Floats& values)
      : count(opacities.size()), channels(values.ndim() == 2 ? values.shape(1) : 0) {
    expect_size(means, 3 * count, "means");
    expect_size(quats, 4 * count, "quats_wxyz");
    expect_size(scales, 3 * count, "scales");
    expect_size(normals, 3 * count, "normals");
    expect_size(values, channels * count, "values");
    expect_finite(means, "means");
    expect_finite(quats, "quats_wxyz");
    expect_finite(scales, "scales");
    expect_finite(opacities, "opacities");
    expect_finite(normals, "normals");
    expect_finite(values, "values");
  }
  size_t count, channels;
};

nb::dict render(Scene& scene, const Camera& camera, const std::array<double, 9>& rotation,
                const std::array<double, 3>& centre, uint32_t flags, float near, int key_shift, int threads) {
  const size_t h = camera.params.height, w = camera.params.width, c = scene.channels();
  Outputs outputs;
  RenderOutputs targets{};
  targets.alpha = outputs.add("alpha", {h, w});
  if (flags & kExpectedDepth) targets.depth = outputs.add("depth", {h, w});
  if (flags & kPlanes) {
    targets.planes = outputs.add("planes", {h, w, 3});
    targets.variance = outputs.add("variance", {h, w});
  }
  if (flags & kChannels) targets.channels = outputs.add("channels", {h, w, c});
  if (flags & kChannelGradients) targets.gradients = outputs.add("gradients", {h, w, c, 2});
  if (flags & kDepthJacobian) targets.jacobian = outputs.add("jacobian", {h, w, kPoseDof});
  {
    nb::gil_scoped_release release;
    scene.render(camera.params, make_pose(rotation, centre), flags, near, key_shift, threads, targets);
  }
  return outputs.result();
}

nb::tuple normal_equations(Scene& scene, const Camera& camera, const std::array<double, 9>& rotation,
                           const std::array<double, 3>& centre, std::optional<Floats> depth,
                           std::optional<Floats> channels, const std::array<float, 3>& depth_term,
                           const std::array<float, 3>& channel_term, float gain, float bias, float min_alpha,
                           float near, int key_shift, int threads) {
  if (depth) expect_size(*depth, pixels(camera.params), "depth");
  if (channels) expect_size(*channels, pixels(camera.params) * scene.channels(), "channels");
  const Observations observations{optional_data(depth), optional_data(channels), make_term(depth_term),
                                  make_term(channel_term), gain, bias, min_alpha};
  PixelSums sums;
  {
    nb::gil_scoped_release release;
    sums = scene.normal_equations(camera.params, make_pose(rotation, centre), near, key_shift, threads, observations);
  }
  return nb::make_tuple(to_dict(sums.depth), to_dict(sums.channels));
}

// A rendered view kept on the C++ side by reference to its arrays.
struct RenderedView {
  Camera camera;
  PoseParams pose;
  Floats planes, variance, alpha;
  std::optional<Floats> channels;
  int channel_count;

  View view() const {
    return {camera.params, pose, planes.data(), variance.data(), alpha.data(), optional_data(channels), channel_count};
  }
};

nb::tuple lookup(const RenderedView& rendered, const Camera& camera, const std::array<double, 9>& rotation,
                 const std::array<double, 3>& centre, std::optional<Floats> depth, std::optional<Floats> channels,
                 std::optional<Floats> gradients, const std::array<float, 3>& depth_term,
                 const std::array<float, 3>& channel_term, float gain, float bias, float min_alpha, float occlusion,
                 int step, bool use_depth, int threads) {
  const size_t size = pixels(camera.params), count = rendered.channel_count;
  if (depth) expect_size(*depth, size, "depth");
  if (channels) {
    expect_size(*channels, size * count, "channels");
    if (!gradients || !rendered.channels) throw std::invalid_argument("channels need their gradients and a view with channels.");
    expect_size(*gradients, 2 * size * count, "gradients");
  }
  if (step < 1) throw std::invalid_argument("step must be at least 1.");
  const View view = rendered.view();
  const Query query{camera.params, make_pose(rotation, centre), optional_data(depth), optional_data(channels),
                    optional_data(gradients), step, gain, bias, make_term(depth_term), make_term(channel_term),
                    min_alpha, occlusion};
  const auto blocks = [](int n) { return (n + kLookupBlock - 1) / kLookupBlock; };
  const int query_rows = use_depth && depth ? blocks(camera.params.height) : 0, query_columns = blocks(camera.params.width);
  const int view_rows = channels ? blocks(view.camera.height) : 0, view_columns = blocks(view.camera.width);
  std::vector<Sums<kPoseDof>> depth_blocks(query_rows * query_columns);
  std::vector<Sums<kColourDof>> channel_blocks(view_rows * view_columns);
  {
    nb::gil_scoped_release release;
    const Kernels& kernels = active_kernels();
    parallel_for(query_rows + view_rows, threads, [&](int64_t row, int) {
      if (row < query_rows)
        kernels.lookup_depth_row(view, query, static_cast<int>(row), &depth_blocks[row * query_columns]);
      else
        kernels.lookup_channel_row(view, query, static_cast<int>(row - query_rows), &channel_blocks[(row - query_rows) * view_columns]);
    });
  }
  return nb::make_tuple(to_dict(depth_blocks), to_dict(channel_blocks));
}

nb::dict fit_planes(Floats inverse_depth, int width, int height, int radius, float tolerance, float min_support,
                    int threads) {
  if (radius < 1 || width < 1 || height < 1) throw std::invalid_argument("radius and size must be positive.");
  expect_size(inverse_depth, static_cast<size_t>(width + 2 * radius + kLanes) * (height + 2 * radius), "inverse_depth");
  const size_t h = height, w = width;
  Outputs outputs;
  const PlaneFit fit{inverse_depth.data(), width, height, radius, tolerance, min_support,
                     outputs.add("fit", {h, w, 3}), outputs.add("residual", {h, w}), outputs.add("support", {h, w})};
  {
    nb::gil_scoped_release release;
    const Kernels& kernels = active_kernels();
    parallel_for(height, threads, [&](int64_t row, int) { kernels.fit_planes_row(fit, static_cast<int>(row)); });
  }
  return outputs.result();
}

}  // namespace

NB_MODULE(_kernels, m) {
  m.attr("EXPECTED_DEPTH") = static_cast<uint32_t>(kExpectedDepth);
  m.attr("PLANES") = static_cast<uint32_t>(kPlanes);
  m.attr("CHANNELS") = static_cast<uint32_t>(kChannels);
  m.attr("CHANNEL_GRADIENTS") = static_cast<uint32_t>(kChannelGradients);
  m.attr("DEPTH_JACOBIAN") = static_cast<uint32_t>(kDepthJacobian);
  m.attr("PADDING") = kLanes;

  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
    return names;
  });
  m.def("instruction_set", [] { return std::string(active_kernels().name); });
  m.def("select_instruction_set", [](const std::string& name) { select_kernels(name.c_str()); });

  nb::class_<Camera>(m, "Camera").def(nb::init<float, float, float, float, int, int>());

  nb::class_<Scene>(m, "Scene")
      .def("__init__",
           [](Scene* self, Floats means, Floats quats, Floats scales, Floats opacities, Floats normals, Floats values) {
             const SceneArrays arrays(means, quats, scales, opacities, normals, values);
             new (self) Scene(arrays.count, static_cast<int>(arrays.channels), means.data(), quats.data(),
                              scales.data(), opacities.data(), normals.data(), values.data());
           })
      .def("__len__", &Scene::count)
      .def_prop_ro("channels", &Scene::channels);

  nb::class_<RenderedView>(m, "RenderedView")
      .def("__init__",
           [](RenderedView* self, const Camera& camera, const std::array<double, 9>& rotation,
              const std::array<double, 3>& centre, Floats planes, Floats variance, Floats alpha,
              std::optional<Floats> channels) {
             const size_t size = pixels(camera.params);
             expect_size(planes, 3 * size, "planes");
             expect_size(variance, size, "variance");
             expect_size(alpha, size, "alpha");
             const int count = channels && size ? static_cast<int>(channels->size() / size) : 0;
             if (channels) expect_size(*channels, size * count, "channels");
             new (self) RenderedView{camera, make_pose(rotation, centre), planes, variance, alpha, channels, count};
           },
           "camera"_a, "rotation"_a, "centre"_a, "planes"_a, "variance"_a, "alpha"_a, "channels"_a.none());

  m.def("render", &render, "scene"_a, "camera"_a, "rotation"_a, "centre"_a, "flags"_a, "near"_a, "key_shift"_a,
        "threads"_a);
  m.def("normal_equations", &normal_equations, "scene"_a, "camera"_a, "rotation"_a, "centre"_a, "depth"_a.none(),
        "channels"_a.none(), "depth_term"_a, "channel_term"_a, "gain"_a, "bias"_a, "min_alpha"_a, "near"_a,
        "key_shift"_a, "threads"_a);
  m.def("lookup", &lookup, "view"_a, "camera"_a, "rotation"_a, "centre"_a, "depth"_a.none(), "channels"_a.none(),
        "gradients"_a.none(), "depth_term"_a, "channel_term"_a, "gain"_a, "bias"_a, "min_alpha"_a, "occlusion"_a,
        "step"_a, "use_depth"_a, "threads"_a);
  m.def("fit_planes", &fit_planes, "inverse_depth"_a, "width"_a, "height"_a, "radius"_a, "tolerance"_a,
        "min_support"_a, "threads"_a);
}

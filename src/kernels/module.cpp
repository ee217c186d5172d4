// Python bindings: arrays in, arrays out, the GIL released while the loops run. Units are documented by
// posesplat.kernels; here shapes, and whatever else would crash or give NaN, are checked.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>

#include "pool.h"
#include "render.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace posesplat;

namespace posesplat {
void bind_small_motion(nb::module_& m);
void bind_mixture(nb::module_& m);
}

namespace {

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::numpy, float>;
using Doubles = nb::ndarray<nb::numpy, double>;

struct Camera {
  CameraParams params;
  Camera(float fx, float fy, float cx, float cy, int width, int height) : params{fx, fy, cx, cy, width, height} {
    if (std::min(width, height) < 1 || std::max(width, height) > kMaxImageSide)
      throw std::invalid_argument("Camera size must be 1 to " + std::to_string(kMaxImageSide) + " pixels; got " +
                                  std::to_string(width) + " x " + std::to_string(height) + ". Resize the image.");
  }
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
  result["weights"] = sums.weights;
  result["curvatures"] = sums.curvatures;
  return result;
}

template <int Dof>
Sums<Dof> total(const std::vector<Sums<Dof>>& blocks) {
  Sums<Dof> sums{};
  for (const Sums<Dof>& b : blocks) {
    for (int k = 0; k < Dof * (Dof + 1) / 2; ++k) sums.h[k] += b.h[k];
    for (int k = 0; k < Dof; ++k) sums.g[k] += b.g[k];
    sums.cost += b.cost, sums.observed += b.observed, sums.covered += b.covered, sums.inliers += b.inliers;
    sums.weights += b.weights, sums.curvatures += b.curvatures;
  }
  return sums;
}

template <int Dof>
nb::dict to_dict(const std::vector<Sums<Dof>>& blocks) {
  constexpr size_t kTriangle = Dof * (Dof + 1) / 2;
  nb::capsule g_owner, h_owner;
  double* gradients = allocate<double>(std::max<size_t>(blocks.size(), 1) * Dof, g_owner);
  double* hessians = allocate<double>(std::max<size_t>(blocks.size(), 1) * kTriangle, h_owner);
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::copy(blocks[i].g, blocks[i].g + Dof, gradients + i * Dof);
    std::copy(blocks[i].h, blocks[i].h + kTriangle, hessians + i * kTriangle);
  }
  nb::dict result = to_dict(total(blocks));
  const size_t g_shape[2] = {blocks.size(), Dof}, h_shape[2] = {blocks.size(), kTriangle};
  result["block_gradients"] = Doubles(gradients, 2, g_shape, g_owner);
  result["block_hessians"] = Doubles(hessians, 2, h_shape, h_owner);
  return result;
}

const float* optional_data(const std::optional<Floats>& array) { return array ? array->data() : nullptr; }

template <class Side>
std::string shape_text(size_t ndim, const Side& side) {
  std::string text = "(";
  for (size_t i = 0; i < ndim; ++i) text += (i ? ", " : "") + std::to_string(side(i));
  return text + (ndim == 1 ? ",)" : ")");
}

constexpr const char* kGaussianAdvice = "All arrays describe the same Gaussians, one row each.";
constexpr const char* kImageAdvice = "Pass the camera of the image, or resize it with Camera.resized().";

void expect_shape(const Floats& array, std::initializer_list<size_t> shape, const char* name, const char* advice) {
  const auto actual = [&](size_t i) { return array.shape(i); };
  const auto expected = [&](size_t i) { return shape.begin()[i]; };
  bool same = array.ndim() == shape.size();
  for (size_t i = 0; same && i < shape.size(); ++i) same = actual(i) == expected(i);
  if (!same)
    throw std::invalid_argument(std::string(name) + " must have shape " + shape_text(shape.size(), expected) +
                                "; got " + shape_text(array.ndim(), actual) + ". " + advice);
}

void expect_finite(const Floats& array, const char* name, const char* advice) {
  for (size_t i = 0; i < array.size(); ++i)
    if (!std::isfinite(array.data()[i]))
      throw std::invalid_argument(std::string(name) + " must be finite; got NaN or infinity. " + advice);
}

// NaN in an image shows in the sums, so that the image itself is searched only when there is something to find.
template <int Dof>
void expect_finite_sums(const Sums<Dof>& sums, const std::optional<Floats>& channels,
                        const std::optional<Floats>& gradients) {
  double total = sums.cost;
  for (double g : sums.g) total += g;
  if (std::isfinite(total)) return;
  if (channels) expect_finite(*channels, "channels", "Fill such pixels first.");
  if (gradients) expect_finite(*gradients, "gradients", "Fill such pixels first.");
  throw std::invalid_argument("The sums must be finite; got NaN or infinity. Check the gain, the bias, the robust "
                              "scale and the rendered view.");
}

void expect_layer(float layer) {
  if (!(layer >= 0 && layer < 1))
    throw std::invalid_argument("layer must be a relative depth in [0, 1); got " + std::to_string(layer) +
                                ". 0 composites strictly by depth.");
}

struct SceneArrays {  // checks before Scene copies
  SceneArrays(const Floats& means, const Floats& quats, const Floats& scales, const Floats& opacities,
              const Floats& normals, const Floats& values)
      : count(opacities.size()), channels(values.ndim() == 2 ? values.shape(1) : 0) {
    if (count > UINT32_MAX)
      throw std::invalid_argument("A scene must hold fewer than 2^32 Gaussians; got " + std::to_string(count) +
                                  ". Split it.");
    check(opacities, {count}, "opacities");
    check(means, {count, 3}, "means");
    check(quats, {count, 4}, "quats_wxyz");
    check(scales, {count, 3}, "scales");
    check(normals, {count, 3}, "normals");
    check(values, {count, channels}, "channels");
    for (size_t i = 0; i < count; ++i) {
      const float* q = quats.data() + 4 * i;
      if (q[0] == 0 && q[1] == 0 && q[2] == 0 && q[3] == 0)
        throw std::invalid_argument("quats_wxyz must be rotations; got 0 0 0 0 in row " + std::to_string(i) +
                                    ". Drop such Gaussians.");
    }
  }

  static void check(const Floats& array, std::initializer_list<size_t> shape, const char* name) {
    expect_shape(array, shape, name, kGaussianAdvice);
    expect_finite(array, name, "Drop such Gaussians.");
  }

  size_t count, channels;
};

bool is_render_mode(uint32_t flags) {
  for (uint32_t mode : {kExpectedDepth | 0u, kExpectedDepth | kChannels, kExpectedDepth | kDepthJacobian, kPlanes | 0u,
                        kPlanes | kChannels, kPlanes | kChannels | kChannelGradients})
    if (flags == mode) return true;
  return false;
}

nb::dict render(Scene& scene, const Camera& camera, const std::array<double, 9>& rotation,
                const std::array<double, 3>& centre, uint32_t flags, float near, float layer, int threads) {
  if (!is_render_mode(flags)) throw std::invalid_argument("flags must be a combination that render() offers.");
  expect_layer(layer);
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
    scene.render(camera.params, make_pose(rotation, centre), flags, near, layer, threads, targets);
  }
  return outputs.result();
}

nb::dict backward(Scene& scene, const Camera& camera, const std::array<double, 9>& rotation,
                  const std::array<double, 3>& centre, Floats channels, Floats alpha, Floats depth,
                  std::optional<Floats> by_channels, std::optional<Floats> by_alpha, std::optional<Floats> by_depth,
                  bool gaussians, float near, int threads) {
  const size_t h = camera.params.height, w = camera.params.width, n = scene.count(), c = scene.channels();
  expect_shape(channels, {h, w, c}, "channels", kImageAdvice);
  expect_shape(alpha, {h, w}, "alpha", kImageAdvice);
  expect_shape(depth, {h, w}, "depth", kImageAdvice);
  constexpr const char* kAdvice = "A loss that is not finite has no derivative.";
  if (by_channels) expect_shape(*by_channels, {h, w, c}, "by_channels", kImageAdvice), expect_finite(*by_channels, "by_channels", kAdvice);
  if (by_alpha) expect_shape(*by_alpha, {h, w}, "by_alpha", kImageAdvice), expect_finite(*by_alpha, "by_alpha", kAdvice);
  if (by_depth) expect_shape(*by_depth, {h, w}, "by_depth", kImageAdvice), expect_finite(*by_depth, "by_depth", kAdvice);
  Outputs outputs;
  SceneGradients targets{};
  if (gaussians) {
    targets.means = outputs.add("means_in_world", {n, 3});
    targets.quats_wxyz = outputs.add("quats_wxyz", {n, 4});
    targets.scales = outputs.add("scales", {n, 3});
    targets.opacities = outputs.add("opacities", {n});
    targets.values = outputs.add("channels", {n, c});
    targets.screen = outputs.add("screen", {n, 2});
    targets.visible = outputs.add("visible", {n});
  }
  nb::capsule owner;
  targets.pose = allocate<double>(kPoseDof, owner);
  const ImageGradients in{channels.data(), alpha.data(), depth.data(), optional_data(by_channels),
                          optional_data(by_alpha), optional_data(by_depth)};
  {
    nb::gil_scoped_release release;
    scene.backward(camera.params, make_pose(rotation, centre), near, threads, in, targets);
  }
  nb::dict result = outputs.result();
  const size_t shape[1] = {kPoseDof};
  result["pose"] = Doubles(targets.pose, 1, shape, owner);
  return result;
}

nb::tuple normal_equations(Scene& scene, const Camera& camera, const std::array<double, 9>& rotation,
                           const std::array<double, 3>& centre, std::optional<Floats> depth,
                           std::optional<Floats> channels, const std::array<float, 3>& depth_term,
                           const std::array<float, 3>& channel_term, float gain, float bias, float min_alpha,
                           float near, float layer, int threads) {
  const size_t h = camera.params.height, w = camera.params.width, c = scene.channels();
  if (depth) expect_shape(*depth, {h, w}, "depth", kImageAdvice);
  if (channels) expect_shape(*channels, {h, w, c}, "channels", kImageAdvice);
  expect_layer(layer);
  const Observations observations{optional_data(depth), optional_data(channels), make_term(depth_term),
                                  make_term(channel_term), gain, bias, min_alpha};
  PixelSums sums;
  {
    nb::gil_scoped_release release;
    sums = scene.normal_equations(camera.params, make_pose(rotation, centre), near, layer, threads, observations);
  }
  expect_finite_sums(sums.channels, channels, std::nullopt);
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
  const size_t h = camera.params.height, w = camera.params.width, c = rendered.channel_count;
  if (depth) expect_shape(*depth, {h, w}, "depth", kImageAdvice);
  if (channels) {
    if (!gradients || !rendered.channels) throw std::invalid_argument("channels need their gradients and a view with channels.");
    expect_shape(*channels, {h, w, c}, "channels", kImageAdvice);
    expect_shape(*gradients, {h, w, c, 2}, "gradients", kImageAdvice);
  }
  if (step < 1 || step > kLookupBlock)
    throw std::invalid_argument("step must be 1 to " + std::to_string(kLookupBlock) + " pixels; got " +
                                std::to_string(step) + ". Use a smaller image instead.");
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
  expect_finite_sums(total(channel_blocks), channels, gradients);
  return nb::make_tuple(to_dict(depth_blocks), to_dict(channel_blocks));
}

nb::dict fit_planes(Floats inverse_depth, int width, int height, int radius, float tolerance, float min_support,
                    int threads) {
  if (radius < 1 || radius > kMaxFitRadius)
    throw std::invalid_argument("radius must be 1 to " + std::to_string(kMaxFitRadius) + " pixels; got " +
                                std::to_string(radius) + ".");
  if (std::min(width, height) < 1 || std::max(width, height) > kMaxImageSide)
    throw std::invalid_argument("The depth image must have 1 to " + std::to_string(kMaxImageSide) +
                                " pixels a side; got " + std::to_string(width) + " x " + std::to_string(height) + ".");
  const size_t h = height, w = width, border = 2 * radius;
  expect_shape(inverse_depth, {h + border, w + border + kLanes}, "inverse_depth", "Pad it by the radius.");
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
  m.attr("LOOKUP_BLOCK") = kLookupBlock;

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
             const size_t h = camera.params.height, w = camera.params.width;
             const size_t c = channels && channels->ndim() == 3 ? channels->shape(2) : 0;
             expect_shape(planes, {h, w, 3}, "planes", kImageAdvice);
             expect_shape(variance, {h, w}, "variance", kImageAdvice);
             expect_shape(alpha, {h, w}, "alpha", kImageAdvice);
             if (channels) expect_shape(*channels, {h, w, c}, "channels", kImageAdvice);
             new (self) RenderedView{camera, make_pose(rotation, centre), planes, variance, alpha, channels, static_cast<int>(c)};
           },
           "camera"_a, "rotation"_a, "centre"_a, "planes"_a, "variance"_a, "alpha"_a, "channels"_a.none());

  m.def("render", &render, "scene"_a, "camera"_a, "rotation"_a, "centre"_a, "flags"_a, "near"_a, "layer"_a,
        "threads"_a);
  m.def("backward", &backward, "scene"_a, "camera"_a, "rotation"_a, "centre"_a, "channels"_a, "alpha"_a, "depth"_a,
        "by_channels"_a.none(), "by_alpha"_a.none(), "by_depth"_a.none(), "gaussians"_a, "near"_a, "threads"_a);
  m.def("normal_equations", &normal_equations, "scene"_a, "camera"_a, "rotation"_a, "centre"_a, "depth"_a.none(),
        "channels"_a.none(), "depth_term"_a, "channel_term"_a, "gain"_a, "bias"_a, "min_alpha"_a, "near"_a,
        "layer"_a, "threads"_a);
  m.def("lookup", &lookup, "view"_a, "camera"_a, "rotation"_a, "centre"_a, "depth"_a.none(), "channels"_a.none(),
        "gradients"_a.none(), "depth_term"_a, "channel_term"_a, "gain"_a, "bias"_a, "min_alpha"_a, "occlusion"_a,
        "step"_a, "use_depth"_a, "threads"_a);
  m.def("fit_planes", &fit_planes, "inverse_depth"_a, "width"_a, "height"_a, "radius"_a, "tolerance"_a,
        "min_support"_a, "threads"_a);
  bind_small_motion(m);
  bind_mixture(m);
}

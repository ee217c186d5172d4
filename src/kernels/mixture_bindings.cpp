// Python bindings of the mixture kernels; arrays are documented by posesplat.kernels.mixture.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "pool.h"
#include "render.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace posesplat {

void bind_mixture(nb::module_& m);

namespace {

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;
using FloatResults = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using IndexResults = nb::ndarray<int32_t, nb::c_contig, nb::device::cpu>;
using FlagResults = nb::ndarray<bool, nb::c_contig, nb::device::cpu>;
using DoubleResults = nb::ndarray<double, nb::c_contig, nb::device::cpu>;

template <class Array>
void expect(const Array& array, std::initializer_list<size_t> shape, const char* name) {
  bool same = array.ndim() == shape.size();
  size_t axis = 0;
  for (size_t side : shape) same = same && array.shape(axis++) == side;
  if (!same) throw std::invalid_argument(std::string("mixture: ") + name + " has the wrong shape.");
}

void expect_width(size_t width) {
  if (width == 0 || width % kLanes || width > kMixtureWidth)
    throw std::invalid_argument("mixture: a row must have a multiple of " + std::to_string(kLanes) + " and at most " +
                                std::to_string(kMixtureWidth) + " neighbours.");
}

void expect_indices(const Indices& neighbours, size_t count) {
  for (size_t i = 0; i < neighbours.size(); ++i)
    if (neighbours.data()[i] >= static_cast<int64_t>(count))
      throw std::invalid_argument("mixture: a neighbour must be one of " + std::to_string(count) +
                                  " Gaussians, or -1; got " + std::to_string(neighbours.data()[i]) + ".");
}

// Records with mean and covariance turned and shifted into the fixed frame.
std::vector<float> moved(const float* records, size_t count, const std::array<double, 9>& r,
                         const std::array<double, 3>& t) {
  std::vector<float> result(records, records + count * kMixtureRecord);
  for (size_t n = 0; n < count; ++n) {
    const float* in = records + n * kMixtureRecord;
    float* out = result.data() + n * kMixtureRecord;
    const double s[9] = {in[3], in[4], in[5], in[4], in[6], in[7], in[5], in[7], in[8]};
    double half[9];
    for (int i = 0; i < 3; ++i) {
      out[i] = static_cast<float>(r[3 * i] * in[0] + r[3 * i + 1] * in[1] + r[3 * i + 2] * in[2] + t[i]);
      for (int j = 0; j < 3; ++j)
        half[3 * i + j] = r[3 * i] * s[j] + r[3 * i + 1] * s[3 + j] + r[3 * i + 2] * s[6 + j];
    }
    int at = 3;
    for (int i = 0; i < 3; ++i)
      for (int j = i; j < 3; ++j)
        out[at++] = static_cast<float>(half[3 * i] * r[3 * j] + half[3 * i + 1] * r[3 * j + 1] + half[3 * i + 2] * r[3 * j + 2]);
  }
  return result;
}

// Runs task(begin, end) over chunks of rows.
template <class Task>
void for_chunks(size_t rows, int threads, const Task& task) {
  const int64_t chunks = (static_cast<int64_t>(rows) + kMixtureChunk - 1) / kMixtureChunk;
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    const int64_t begin = chunk * kMixtureChunk;
    task(begin, std::min<int64_t>(begin + kMixtureChunk, rows));
  });
}

nb::tuple sums(Floats fixed, Floats moving, const std::array<double, 9>& rotation,
               const std::array<double, 3>& translation, Indices neighbours, Floats affinities, int terms, double floor,
               float farthest, bool robust, bool normalised, bool turning, FloatResults totals, DoubleResults hessian,
               DoubleResults gradient, int threads) {
  const size_t rows = fixed.shape(0), count = moving.shape(0), width = neighbours.ndim() == 2 ? neighbours.shape(1) : 0;
  if (terms != 0 && terms != 1 && terms != kMixtureTerms)
    throw std::invalid_argument("mixture: a field must have 0, 1 or 6 terms.");
  const size_t size = kPoseDof + 2 * terms;
  expect(fixed, {rows, kMixtureRecord}, "fixed");
  expect(moving, {count, kMixtureRecord}, "moving");
  expect_width(width);
  expect(neighbours, {rows, width}, "neighbours");
  expect(affinities, {rows, width}, "affinities");
  expect(totals, {rows}, "totals");
  expect(hessian, {size, size}, "hessian");
  expect(gradient, {size}, "gradient");
  if (count == 0) throw std::invalid_argument("mixture: the moving set must hold a Gaussian.");
  expect_indices(neighbours, count);
  MixtureSums total{};
  {
    nb::gil_scoped_release release;
    const std::vector<float> records = moved(moving.data(), count, rotation, translation);
    const MixtureJob job{fixed.data(), records.data(), neighbours.data(), affinities.data(), static_cast<int>(width),
                         terms, {translation[0], translation[1], translation[2]}, farthest, floor, robust, normalised,
                         turning, totals.data()};
    std::vector<MixtureSums> parts((rows + kMixtureChunk - 1) / kMixtureChunk, MixtureSums{});
    const Kernels& kernels = active_kernels();
    for_chunks(rows, threads, [&](int64_t begin, int64_t end) {
      kernels.mixture_rows(job, begin, end, &parts[begin / kMixtureChunk]);
    });
    for (const MixtureSums& part : parts) {
      for (size_t k = 0; k < size * size; ++k) total.hessian[k] += part.hessian[k];
      for (size_t k = 0; k < size; ++k) total.gradient[k] += part.gradient[k];
      total.cost += part.cost, total.weight += part.weight, total.rows += part.rows;
    }
  }
  for (size_t a = 0; a < size; ++a) {
    gradient.data()[a] = total.gradient[a];
    for (size_t b = a; b < size; ++b)
      hessian.data()[a * size + b] = hessian.data()[b * size + a] = total.hessian[a * size + b];
  }
  return nb::make_tuple(total.cost, total.weight, static_cast<int64_t>(total.rows));
}

void affinities(Indices neighbours, Floats opacities, Floats other_opacities, std::optional<Floats> colours,
                std::optional<Floats> other_colours, std::optional<Floats> features,
                std::optional<Floats> other_features, Floats trust, Floats other_trust, FloatResults out, int threads) {
  const size_t rows = opacities.size(), count = other_opacities.size();
  const size_t width = neighbours.ndim() == 2 ? neighbours.shape(1) : 0;
  const size_t channels = features && features->ndim() == 2 ? features->shape(1) : 0;
  expect_width(width);
  expect(neighbours, {rows, width}, "neighbours");
  expect(out, {rows, width}, "affinities");
  expect(trust, {rows}, "trust");
  expect(other_trust, {count}, "the moving set's trust");
  if (colours.has_value() != other_colours.has_value() || features.has_value() != other_features.has_value())
    throw std::invalid_argument("mixture: both sets need colours, or neither; likewise features.");
  if (colours) expect(*colours, {rows, 3}, "colours"), expect(*other_colours, {count, 3}, "the moving set's colours");
  if (features) {
    if (channels % kLanes) throw std::invalid_argument("mixture: features must be padded to whole vectors.");
    expect(*features, {rows, channels}, "features");
    expect(*other_features, {count, channels}, "the moving set's features");
  }
  expect_indices(neighbours, count);
  const auto data = [](const std::optional<Floats>& array) { return array ? array->data() : nullptr; };
  const AffinityJob job{neighbours.data(), static_cast<int>(width), static_cast<int>(channels),
                        {opacities.data(), other_opacities.data()}, {data(colours), data(other_colours)},
                        {data(features), data(other_features)}, {trust.data(), other_trust.data()}, out.data()};
  nb::gil_scoped_release release;
  const Kernels& kernels = active_kernels();
  for_chunks(rows, threads, [&](int64_t begin, int64_t end) { kernels.mixture_affinities(job, begin, end); });
}

void neighbours_by_cell(Floats points, Indices cells, Floats means, const std::array<float, 4>& camera,
                        const std::array<int, 2>& size, float cell_px, int reach, int spacing, int count, IndexResults neighbours,
                        FlagResults in_view, int threads) {
  const size_t rows = points.shape(0), width = neighbours.ndim() == 2 ? neighbours.shape(1) : 0;
  expect(points, {rows, 3}, "points");
  expect(means, {means.shape(0), 3}, "means");
  expect_width(width);
  expect(neighbours, {rows, width}, "neighbours");
  expect(in_view, {rows}, "in_view");
  if (cells.ndim() != 2 || !(cell_px > 0) || reach < 0 || spacing < 1 || count < 1 || static_cast<size_t>(count) > width)
    throw std::invalid_argument("mixture: a lookup needs cells in rows and columns, a cell size, and neighbours.");
  expect_indices(cells, means.shape(0));
  const CellLookup job{points.data(), cells.data(), means.data(),
                       {camera[0], camera[1], camera[2], camera[3], size[0], size[1]},
                       static_cast<int>(cells.shape(0)), static_cast<int>(cells.shape(1)), cell_px, reach,
                       spacing, static_cast<int>(width), count, neighbours.data(), in_view.data()};
  nb::gil_scoped_release release;
  const Kernels& kernels = active_kernels();
  for_chunks(rows, threads, [&](int64_t begin, int64_t end) { kernels.cell_neighbours(job, begin, end); });
}

}  // namespace

void bind_mixture(nb::module_& m) {
  m.attr("MIXTURE_RECORD") = kMixtureRecord;
  m.attr("MIXTURE_WIDTH") = kMixtureWidth;
  m.def("mixture_sums", &sums, "fixed"_a, "moving"_a, "rotation"_a, "translation"_a, "neighbours"_a, "affinities"_a,
        "terms"_a, "floor"_a, "farthest"_a, "robust"_a, "normalised"_a, "turning"_a, "totals"_a, "hessian"_a,
        "gradient"_a, "threads"_a);
  m.def("mixture_affinities", &affinities, "neighbours"_a, "opacities"_a, "other_opacities"_a, "colours"_a.none(),
        "other_colours"_a.none(), "features"_a.none(), "other_features"_a.none(), "trust"_a, "other_trust"_a, "out"_a,
        "threads"_a);
  m.def("cell_neighbours", &neighbours_by_cell, "points"_a, "cells"_a, "means"_a, "camera"_a, "size"_a, "cell_px"_a,
        "reach"_a, "spacing"_a, "count"_a, "neighbours"_a, "in_view"_a, "threads"_a);
}

}  // namespace posesplat

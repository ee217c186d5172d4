// Plain data shared by all instruction-set builds of the kernels. Nothing here has code of its own: a function
// instantiated in two builds could be merged by the linker and run AVX code on a machine without it.
#pragma once

#include <cstdint>

namespace posesplat {

// Image tiles: wide, so that a splat a few pixels across costs one vector per row and is rarely duplicated.
constexpr int kTileWidth = 128;
constexpr int kTileHeight = 16;
constexpr int kLanes = 8;
constexpr int kRowStride = kTileWidth + kLanes;  // a span may start at the last pixel of a row

constexpr int kProjectChunk = 4096;  // Gaussians a task; fixed, so that results do not depend on the thread count
constexpr int kLookupBlock = 16;     // pixels; side of the blocks whose sums feed the covariance
constexpr int kMaxImageSide = 1 << 20;  // tile numbers fit an int
constexpr int kMaxFitRadius = 1000;     // pixels

constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kAlphaMax = 0.999f;
constexpr float kTransmittanceMin = 1e-4f;
constexpr float kScreenBlur = 0.3f;  // px^2 added to the projected covariance, as gsplat's classic mode
constexpr float kLayerSigmas = 7.0f;     // thickness of a splat's layer, in standard deviations of its own depth
constexpr float kThickestLayer = 0.25f;  // the most that makes, relative to the depth
constexpr float kFarthest = 1e12f;   // an observed depth beyond this, such as infinity, counts as missing

constexpr int kPoseDof = 6;
constexpr int kColourDof = 8;  // pose, gain, bias

struct CameraParams {
  float fx, fy, cx, cy;
  int width, height;
};

// cam_from_world as rotation and camera centre: X = R (m - centre).
struct PoseParams {
  double rotation[9];
  double centre[3];
};

struct SceneView {
  int64_t count;
  int channels;
  const float* means;        // count x 3
  const float* covariances;  // count x 6: xx xy xz yy yz zz
  const float* opacities;    // count
  const float* normals;      // count x 3
  const float* values;       // count x channels
};

// A Gaussian on the screen; one cache line.
struct alignas(64) Splat {
  float u, v;        // centre, pixels
  float a, b, c;     // conic: alpha = opacity exp(-(a dx^2 + 2 b dx dy + c dy^2) / 2)
  float opacity;
  float z;           // depth of the centre
  float behind;      // layered compositing: hides only splats whose centres lie deeper than this
  float plane[3];    // inverse depth along a ray r is plane . r
  int32_t x_lo, x_hi, y_lo, y_hi;  // pixels inside the 1/255 level set, inclusive; x_hi < x_lo when culled
};

struct Entry {
  uint32_t key;
  uint32_t id;
};

// What the compositing pass accumulates.
enum RenderFlags : uint32_t {
  kExpectedDepth = 1,
  kPlanes = 2,
  kChannels = 4,
  kChannelGradients = 8,  // needs kChannels
  kDepthJacobian = 16,    // needs kExpectedDepth
};

struct RenderJob {
  SceneView scene;
  CameraParams camera;
  PoseParams pose;
  uint32_t flags;
  float near;
  float layer;    // least relative depth within which splats do not hide each other; 0 composites strictly by depth
  Splat* splats;
  Entry* entries;
  int tiles_x, tiles_y;
  const int64_t* tile_start;  // tiles + 1 offsets into entries
};

struct RobustTerm {
  float scale;         // Geman-McClure scale at depth 0
  float scale_growth;  // s(z) = scale (1 + growth z^2)
  float gate;          // largest relative variance of inverse depth that still counts as one surface
};

struct Observations {
  const float* depth;    // height x width metres, 0 = missing; null without
  const float* channels; // height x width x channels; null without
  RobustTerm depth_term;
  RobustTerm channel_term;
  float gain, bias;      // predicted channel = gain * rendered + bias
  float min_alpha;
};

// Sums over pixels for one term; the matrix is the upper triangle, row by row.
template <int Dof>
struct Sums {
  double h[Dof * (Dof + 1) / 2];
  double g[Dof];
  double cost;
  double observed;  // pixels that hold an observation
  double covered;   // of those, pixels where the map has one clean surface
  double inliers;   // of those, residuals within the robust scale
  double weights;     // sum of the robust weights, which scale the matrix
  double curvatures;  // sum of the second derivatives of the robust cost, which its true Hessian would have instead
};

struct PixelSums {
  Sums<kPoseDof> depth;
  Sums<kColourDof> channels;
};

struct RenderOutputs {  // null pointers are not written
  float* alpha;          // h x w
  float* depth;          // h x w
  float* planes;         // h x w x 3
  float* variance;       // h x w, relative variance of inverse depth
  float* channels;       // h x w x c
  float* gradients;      // h x w x c x 2, derivative of the channel for a shift of the splats
  float* jacobian;       // h x w x 6, derivative of depth for a left perturbation (rotation, translation)
};

// A rendered view that is looked up instead of rendered again.
struct View {
  CameraParams camera;
  PoseParams pose;
  const float* planes;
  const float* variance;
  const float* alpha;
  const float* channels;  // null without
  int channel_count;
};

struct Query {
  CameraParams camera;
  PoseParams pose;
  const float* depth;      // null without
  const float* channels;   // null without
  const float* gradients;  // h x w x c x 2 image gradient of the channels
  int step;                // every step-th pixel in x and y
  float gain, bias;
  RobustTerm depth_term;
  RobustTerm channel_term;
  float min_alpha;
  float occlusion;         // relative depth difference beyond which a colour sample counts as hidden
};

// Moments of a loss that one splat collects in one tile, in the order of a record; its channels follow.
enum RecordField : int {
  kByPower,    // derivative for the exponent of alpha, summed over pixels: d = pixel - centre
  kByPowerX,   // ... times d_x
  kByPowerY,   // ... times d_y
  kByPowerXX,  // ... times d_x^2
  kByPowerXY,
  kByPowerYY,
  kByDepth,    // derivative for the depth of the centre
  kRecordFields,
};

// Backward pass over a rendered image: derivatives of a loss in, one record a splat and tile out.
struct BackwardJob {
  RenderJob render;
  const float* channels;     // h x w x c, composited on black
  const float* alpha;        // h x w
  const float* depth;        // h x w, expected depth
  const float* by_channels;  // h x w x c, derivative of the loss; null without
  const float* by_alpha;     // h x w; null without
  const float* by_depth;     // h x w; null without
  bool values;               // also derivatives for the channel values
  const int64_t* first_record;  // of each splat; its tiles follow row by row
  float* records;
  int record_size;
};

struct PlaneFit {
  const float* inverse_depth;  // padded by radius on all sides with zeros
  int width, height, radius;
  float tolerance;  // relative to the centre
  float min_support;
  float* fit;       // h x w x 3: value and slopes per pixel
  float* residual;  // h x w: root mean square of the fit, relative
  float* support;   // h x w: share of the window used
};

// Points of a reference seen in later frames; everything row by row.
struct SmallMotionJob {
  int frames;
  int64_t points;
  const double* rotations;       // frames x 9, cam_from_reference
  const double* translations;    // frames x 3
  const double* inverse_depths;  // points
  const double* rays;            // 2 x points, at z = 1
  const double* offsets;         // frames x 2 x points: seen pixels from the principal point
  const bool* seen;              // frames x points
  const double* deviations;      // points; for lengths
  const double* weights;         // frames x points; for sums
  const double* ray_bend;        // 2 x points: change of the rays with the radial term; null without a lens
  const double* offset_bend;     // frames x 2 x points: the same of the seen pixels
  double focal[2];
};

struct SmallMotionSums {  // zero at first; with a lens, blocks of frames have 8 unknowns instead of 6
  double* frames;           // frames x dof x dof
  double* frames_gradient;  // frames x dof
  double* mixed;            // frames x 6 x points
  double* points;           // points
  double* points_gradient;  // points
  double* lens_mixed;       // 2 x points; null without a lens
};

constexpr int kMixtureTerms = 6;    // of a log-depth field
constexpr int kMixtureRecord = 16;  // floats a Gaussian: mean (3), covariance xx xy xz yy yz zz, field basis (6), spare
constexpr int kMixtureWidth = 64;   // most neighbours of a row
constexpr int kMixtureChunk = 256;  // rows a task; fixed, so that results do not depend on the thread count

// Gaussians of a fixed set, each with some of a moving set, which is already in the fixed frame.
struct MixtureJob {
  const float* fixed;         // rows x record
  const float* moving;        // count x record
  const int32_t* neighbours;  // rows x width, -1 = none
  const float* affinities;    // rows x width
  int width;                  // neighbours a row, a multiple of the lanes
  int terms;                  // 0, 1 or 6 of each set's log-depth field
  double translation[3];      // centre of the moving set's camera
  float farthest;             // largest squared Mahalanobis distance of a pair that counts
  double floor;               // eps in log(1 + sum K / eps)
  bool robust;                // the cost of a row is that logarithm, otherwise sum K itself
  bool normalised;            // K holds |S|^-1/2
  bool turning;               // the gradient knows that the moving covariances turn with the pose
  float* totals;              // rows: sum of K
};

struct MixtureSums {  // zero at first
  double hessian[(kPoseDof + 2 * kMixtureTerms) * (kPoseDof + 2 * kMixtureTerms)];  // upper triangle, row by row
  double gradient[kPoseDof + 2 * kMixtureTerms];
  double cost, weight, rows;  // rows that overlap at all
};

struct AffinityJob {  // [0] of the fixed set, [1] of the moving one
  const int32_t* neighbours;  // rows x width
  int width, channels;        // multiples of the lanes
  const float* opacities[2];
  const float* colours[2];   // x 3, in units of the deviation; null without
  const float* features[2];  // x channels, unit length; null without
  const float* trust[2];     // how much a feature counts
  float* affinities;         // rows x width
};

// Points looked up among Gaussians that were lifted from the cells of an image, one a cell.
struct CellLookup {
  const float* points;       // rows x 3, in the frame of the image's camera
  const int32_t* cells;      // cell_rows x cell_columns: the cell's Gaussian, -1 = none
  const float* means;        // of those Gaussians, x 3, in the same frame
  CameraParams camera;
  int cell_rows, cell_columns;
  float cell_px;
  int reach, spacing;        // steps to every side, and cells a step
  int width, count;          // neighbours stored and asked for
  int32_t* neighbours;       // rows x width, nearest first, -1 = none; all -1 out of view
  bool* in_view;             // rows
};

struct Kernels {
  const char* name;
  void (*project)(const RenderJob&, int64_t begin, int64_t end);
  void (*count_tiles)(const RenderJob&, int64_t begin, int64_t end, int32_t* counts);
  void (*scatter)(const RenderJob&, int64_t begin, int64_t end, int64_t* cursors);
  int (*tile_planes)(uint32_t flags, int channels);
  void (*composite_tile)(const RenderJob&, int tile, Entry* scratch, float* buffer);
  void (*write_tile)(const RenderJob&, int tile, const float* buffer, const RenderOutputs&);
  void (*accumulate_tile)(const RenderJob&, int tile, const float* buffer, const Observations&, PixelSums*);
  void (*lookup_depth_row)(const View&, const Query&, int block_row, Sums<kPoseDof>* blocks);
  void (*lookup_channel_row)(const View&, const Query&, int block_row, Sums<kColourDof>* blocks);
  int (*backward_planes)(int channels);
  void (*backward_tile)(const BackwardJob&, int tile, Entry* scratch, float* buffer);
  void (*fit_planes_row)(const PlaneFit&, int row);
  void (*small_motion_lengths)(const SmallMotionJob&, double* lengths);
  void (*small_motion_sums)(const SmallMotionJob&, const SmallMotionSums&);
  void (*mixture_rows)(const MixtureJob&, int64_t begin, int64_t end, MixtureSums* out);
  void (*mixture_affinities)(const AffinityJob&, int64_t begin, int64_t end);
  void (*cell_neighbours)(const CellLookup&, int64_t begin, int64_t end);
};

const Kernels& kernels_baseline();
#if defined(POSESPLAT_X86)
const Kernels& kernels_v3();
const Kernels& kernels_v4();
#endif

}  // namespace posesplat

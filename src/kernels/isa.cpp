// All inner loops, compiled once for each instruction set; POSESPLAT_ISA names the build.
// Only plain C-like code here (see types.h), so that nothing of one build can leak into another.

#include "types.h"

namespace posesplat {
namespace {

#include "vector.h"
#include "project.h"
#include "composite.h"
#include "accumulate.h"
#include "lookup.h"
#include "backward.h"
#include "plane_fit.h"
#include "small_motion.h"
#include "mixture.h"

#define POSESPLAT_STRING_(x) #x
#define POSESPLAT_STRING(x) POSESPLAT_STRING_(x)

const Kernels kTable = {
    POSESPLAT_STRING(POSESPLAT_ISA),
    project,
    count_tiles,
    scatter,
    tile_planes,
    composite_tile,
    write_tile,
    accumulate_tile,
    lookup_depth_row,
    lookup_channel_row,
    backward_planes,
    backward_tile,
    fit_planes_row,
    small_motion_lengths,
    small_motion_sums,
    mixture_rows,
    mixture_affinities,
    cell_neighbours,
};

}  // namespace

#define POSESPLAT_JOIN_(a, b) a##b
#define POSESPLAT_JOIN(a, b) POSESPLAT_JOIN_(a, b)
const Kernels& POSESPLAT_JOIN(kernels_, POSESPLAT_ISA)() { return kTable; }

}  // namespace posesplat

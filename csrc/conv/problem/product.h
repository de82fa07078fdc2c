// A convolution as products of matrices: how many rows, columns and terms they have.
//
//              rows M           columns N   sum over K
//     fprop    pixels of y      filters     taps, channels
//     dgrad    pixels of gx     channels    taps, filters
//     wgrad    taps, channels   filters     pixels of gy
//
// There is one such product for each group, and for dgrad one for each group and phase (phases.h).
#pragma once
#include <algorithm>
#include <optional>

#include "phases.h"
#include "problem.h"

namespace convgpu::conv {

// The products of one launch: `items` of M x N sums over K. Where M or K counts pixels, they are those of `images`
// images, which is the whole batch or as much of it as 32 bits count.
struct Product {
    int64_t M = 0, N = 0, K = 0, items = 0, images = 0;
};

// `phases`: those of dgrad that are computed together, null for the other directions. Throws std::invalid_argument
// where a single image has more pixels than 32 bits count.
Product product_of(const Problem& problem, const Phases* phases);

// The phases of dgrad; nothing for the other directions.
std::optional<Phases> phases_of(const Problem& problem);

// Calls use(first image, images) for one part of the batch after the other, each of at most `images`.
template <class Use>
void each_part(const ConvGeometry& geo, int64_t images, Use use) {
    for (int64_t n = 0; n < geo.batch; n += images) use(n, static_cast<int>(std::min(images, geo.batch - n)));
}

}  // namespace convgpu::conv
